//! What does a caller send and get?
//! Given bytes or the parts of a request, hands back the answer as it stood on the wire.
//! Never repairs anything: a target goes out as it is written, an answer that ends early says so.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::slow_peer;

/// One answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the body has the length that was announced.
    pub(crate) whole: bool,
}

impl Response {
    /// The value of a header; several are joined as RFC 9110 §5.3 says.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> =
            self.headers.iter().filter(|(other, _)| other == name).map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The same of one that must be there.
    pub(crate) fn expect_header(&self, name: &str) -> String {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// Head and body, to look for what must not be in them.
    pub(crate) fn head_and_body(&self) -> String {
        let head: String = self.headers.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
        head + &self.text()
    }
}

/// A connection of a caller.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).expect("the gateway listens");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self(stream)
    }

    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        // Whoever is refused early may find the door closed: what was answered decides.
        let _ = self.0.write_all(bytes.as_ref());
    }

    /// Reads `most` bytes at most; 0 is the end, in whichever way it came.
    pub(crate) fn read_some(&mut self, most: usize) -> usize {
        match self.0.read(&mut vec![0; most]) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("the connection stands still"),
            Err(_) => 0,
        }
    }

    /// Reads to the end of the connection.
    pub(crate) fn read_response(mut self, head_only: bool) -> Response {
        let mut bytes = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut bytes) {
            assert!(error.kind() != ErrorKind::WouldBlock, "no end within 20 s: {}", String::from_utf8_lossy(&bytes));
        }
        parse(&bytes, head_only)
    }

    /// Leaves with a reset, as a process that is killed may.
    pub(crate) fn reset(self) {
        reset(self.0);
    }

    /// Whether the other side has closed, without waiting for it.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.0.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        match self.0.read(&mut [0; 64]) {
            Ok(read) => read == 0,
            Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        }
    }
}

/// Closes with an RST in place of a FIN, which only tokio offers.
pub(crate) fn reset(socket: TcpStream) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _guard = runtime.enter();
    socket.set_nonblocking(true).unwrap();
    let stream = tokio::net::TcpStream::from_std(socket).unwrap();
    stream.set_zero_linger().unwrap();
}

/// The head of a request that asks for the connection's end.
pub(crate) fn request(method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    request_as("gateway", method, target, headers, body)
}

fn request_as(host: &str, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n");
    if !body.is_empty() {
        head += &format!("content-length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let mut bytes = (head + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One request over a connection of its own.
pub(crate) fn ask(to: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let mut caller = Connection::connect(to);
    caller.say(request(method, target, headers, body));
    caller.read_response(method == "HEAD")
}

/// The same to a host of this name.
pub(crate) fn send_request_to_host(
    host: &str,
    to: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let mut caller = Connection::connect(to);
    caller.say(request_as(host, method, target, headers, body));
    caller.read_response(method == "HEAD")
}

/// The same over a Unix socket, the whole request as it stands on the wire.
pub(crate) fn send_request_to_socket(path: &Path, request: &[u8]) -> Response {
    let mut stream = UnixStream::connect(path).expect("the gateway listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&bytes, false)
}

pub(super) fn parse(bytes: &[u8], head_only: bool) -> Response {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Response::default();
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut answer = Response { status: status.unwrap_or_default(), headers, body: Vec::new(), whole: false };
    let rest = &bytes[end + 4..];
    if answer.header("transfer-encoding").is_some() {
        (answer.body, answer.whole) = dechunk(rest);
    } else {
        let told: Option<usize> = answer.header("content-length").and_then(|length| length.parse().ok());
        answer.whole = head_only || told.is_none_or(|told| told == rest.len());
        answer.body = rest.to_vec();
    }
    answer
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    loop {
        let Some(at) = rest.windows(2).position(|window| window == b"\r\n") else { return (body, false) };
        let size = usize::from_str_radix(&String::from_utf8_lossy(&rest[..at]), 16).unwrap_or_default();
        rest = &rest[at + 2..];
        if size == 0 {
            return (body, true);
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(&rest[..size.min(rest.len())]);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}

/// A connection that stays open: one request after the other, each with all its bytes.
pub(crate) struct KeepAliveConnection<S = TcpStream> {
    stream: S,
    read: Vec<u8>,
}

impl KeepAliveConnection {
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let Connection(stream) = Connection::connect(to);
        Self::over(stream)
    }
}

impl<S: Read + Write> KeepAliveConnection<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends these bytes in one piece.
    pub(crate) fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next answer, which has a length or no body; a default one at the end of the connection.
    pub(crate) fn read_response(&mut self, head_only: bool) -> Response {
        loop {
            let end = self.read.windows(4).position(|window| window == b"\r\n\r\n").map(|end| end + 4);
            if let Some(end) = end {
                let head = parse(&self.read[..end], true);
                let bodiless = head_only || head.status == 304;
                let length = if bodiless { 0 } else { head.expect_header("content-length").parse().unwrap() };
                if let Some(whole) = self.read.get(..end + length) {
                    let answer = parse(whole, bodiless);
                    self.read.drain(..end + length);
                    return answer;
                }
            }
            let mut more = [0; 16 << 10];
            match self.stream.read(&mut more) {
                Ok(0) | Err(_) => return Response::default(),
                Ok(read) => self.read.extend_from_slice(&more[..read]),
            }
        }
    }

    /// One request in one piece, and its answer.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>) -> Response {
        let head_only = request.as_ref().starts_with(b"HEAD ");
        self.say(request);
        self.read_response(head_only)
    }

    /// The same in two pieces.
    pub(crate) fn send_request_in_two(&mut self, request: impl AsRef<[u8]>) -> Response {
        let request = request.as_ref();
        let (first, second) = request.split_at(request.len() / 2);
        self.say(first);
        slow_peer(Duration::from_millis(5));
        self.say(second);
        self.read_response(request.starts_with(b"HEAD "))
    }
}
