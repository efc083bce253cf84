//! What does the partner do?
//! Given a script of replies for targets, serves it on a real socket and keeps a record of every call.
//! Never improvises: a call without a script gets a 599 and fails the test when the partner is dropped.

use std::collections::{HashMap, VecDeque};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::{slow_peer, wait_for, wire};

/// Holds replies back until it is opened.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn wait(&self, closed: &AtomicBool) {
        let mut open = self.0.0.lock().unwrap();
        while !*open && !closed.load(Ordering::Relaxed) {
            open = self.0.1.wait_timeout(open, Duration::from_millis(20)).unwrap().0;
        }
    }
}

#[derive(Clone)]
enum End {
    /// The connection goes on.
    Stays,
    /// Only so many bytes of the body are sent, then the connection is closed in order.
    Truncated(usize),
    /// The same, but reset.
    Reset(usize),
    /// Nothing at all is sent.
    Silence,
}

/// One reply.
#[derive(Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    gate: Option<Gate>,
    end: End,
    /// Without a length, as the answer to a HEAD may be.
    bare: bool,
}

impl Reply {
    pub(crate) fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), gate: None, end: End::Stays, bare: false }
    }

    pub(crate) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200).header("content-type", "application/json").body(body)
    }

    pub(crate) fn no_response() -> Self {
        Self { end: End::Silence, ..Self::status(200) }
    }

    pub(crate) fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(other, _)| other != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) fn without_length(self) -> Self {
        Self { bare: true, ..self }
    }

    pub(crate) fn behind(self, gate: &Gate) -> Self {
        Self { gate: Some(gate.clone()), ..self }
    }

    pub(crate) fn truncated_at(self, at: usize) -> Self {
        Self { end: End::Truncated(at), ..self }
    }

    pub(crate) fn reset_at(self, at: usize) -> Self {
        Self { end: End::Reset(at), ..self }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Said\r\n", self.status);
        if self.status != 304 && !self.bare {
            head += &format!("content-length: {}\r\n", self.body.len());
        }
        for (name, value) in &self.headers {
            head += &format!("{name}: {value}\r\n");
        }
        let most = match self.end {
            End::Truncated(at) | End::Reset(at) => at,
            End::Stays | End::Silence => usize::MAX,
        };
        let mut bytes = (head + "\r\n").into_bytes();
        bytes.extend_from_slice(&self.body[..most.min(self.body.len())]);
        bytes
    }
}

/// What reached the partner.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) at: Instant,
}

impl Call {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Default)]
struct State {
    script: Mutex<HashMap<String, VecDeque<Reply>>>,
    calls: Mutex<Vec<Call>>,
    connections: AtomicUsize,
    unscripted: Mutex<Vec<String>>,
    closed: AtomicBool,
}

/// A partner that does what is scripted.
pub(crate) struct ScriptedPartner {
    address: SocketAddr,
    scheme: &'static str,
    state: Arc<State>,
}

impl ScriptedPartner {
    pub(crate) fn listen() -> Self {
        Self::serve(None)
    }

    /// The same over TLS.
    pub(crate) fn listen_with(tls: Arc<rustls::ServerConfig>) -> Self {
        Self::serve(Some(tls))
    }

    fn serve(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let scheme = if tls.is_some() { "https" } else { "http" };
        let theirs = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if theirs.closed.load(Ordering::Relaxed) {
                    return;
                }
                theirs.connections.fetch_add(1, Ordering::Relaxed);
                let (state, tls) = (Arc::clone(&theirs), tls.clone());
                std::thread::spawn(move || connection(stream, tls, &state));
            }
        });
        Self { address, scheme, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://localhost:{}", self.scheme, self.address.port()).replace("http://localhost", "http://127.0.0.1")
    }

    /// Scripts a target: one reply after the other, the last again and again.
    pub(crate) fn respond_with<const N: usize>(&self, target: &str, replies: [Reply; N]) {
        self.state.script.lock().unwrap().insert(target.to_owned(), replies.into());
    }

    /// The calls that came whole.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.state.calls.lock().unwrap().len()
    }

    /// Connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// Waits until so many calls have come.
    pub(crate) fn wait_for_calls(&self, calls: usize) {
        wait_for("a call of the partner", || (self.count() >= calls).then_some(()));
    }
}

impl Drop for ScriptedPartner {
    fn drop(&mut self) {
        self.state.closed.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let unscripted = self.state.unscripted.lock().unwrap();
        if !std::thread::panicking() {
            assert!(unscripted.is_empty(), "calls without a script: {unscripted:?}");
        }
    }
}

trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

fn connection(tcp: TcpStream, tls: Option<Arc<rustls::ServerConfig>>, state: &State) {
    let _ = tcp.set_nodelay(true);
    let Ok(socket) = tcp.try_clone() else { return };
    let mut stream: Box<dyn Stream> = match tls {
        None => Box::new(tcp),
        Some(tls) => Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(tls).unwrap(), tcp)),
    };
    let mut read = Vec::new();
    while let Some(call) = receive(&mut stream, &mut read) {
        let reply = next(state, &call.target);
        state.calls.lock().unwrap().push(call);
        if let Some(gate) = &reply.gate {
            gate.wait(&state.closed);
        }
        match reply.end {
            End::Silence => {
                // Holds the connection until the other side gives up or the test is over.
                let _ = socket.set_read_timeout(Some(Duration::from_millis(50)));
                while !state.closed.load(Ordering::Relaxed) {
                    if stream.read(&mut [0; 64]).is_ok_and(|read| read == 0) {
                        break;
                    }
                }
                return;
            }
            _ if stream.write_all(&reply.bytes()).and_then(|()| stream.flush()).is_err() => return,
            End::Stays => {}
            End::Truncated(_) => {
                let _ = socket.shutdown(std::net::Shutdown::Both);
                return;
            }
            End::Reset(_) => {
                drop(stream);
                // The bytes before it have time to arrive.
                slow_peer(Duration::from_millis(30));
                return wire::reset(socket);
            }
        }
    }
}

fn next(state: &State, target: &str) -> Reply {
    let mut script = state.script.lock().unwrap();
    let replies = script.get_mut(target);
    let reply = match replies {
        Some(replies) if replies.len() > 1 => replies.pop_front(),
        Some(replies) => replies.front().cloned(),
        None => None,
    };
    reply.unwrap_or_else(|| {
        state.unscripted.lock().unwrap().push(target.to_owned());
        Reply::status(599)
    })
}

/// Reads one request; `None` at the connection's end.
fn receive(stream: &mut dyn Stream, read: &mut Vec<u8>) -> Option<Call> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        more(stream, read)?;
    };
    let head = String::from_utf8_lossy(&read[..end]).into_owned();
    read.drain(..end);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ').map(str::to_owned);
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut call = Call { method: first.next()?, target: first.next()?, headers, body: Vec::new(), at: Instant::now() };
    if call.header("transfer-encoding").is_some() {
        loop {
            let line = loop {
                match read.windows(2).position(|window| window == b"\r\n") {
                    Some(at) => break at,
                    None => more(stream, read)?,
                }
            };
            let size = usize::from_str_radix(std::str::from_utf8(&read[..line]).ok()?, 16).ok()?;
            read.drain(..line + 2);
            while read.len() < size + 2 {
                more(stream, read)?;
            }
            call.body.extend_from_slice(&read[..size]);
            read.drain(..size + 2);
            if size == 0 {
                break;
            }
        }
    } else if let Some(length) = call.header("content-length").and_then(|length| length.parse::<usize>().ok()) {
        while read.len() < length {
            more(stream, read)?;
        }
        call.body = read.drain(..length).collect();
    }
    Some(call)
}

fn more(stream: &mut dyn Stream, read: &mut Vec<u8>) -> Option<()> {
    let mut part = [0; 16 << 10];
    let got = stream.read(&mut part).ok().filter(|&got| got > 0)?;
    read.extend_from_slice(&part[..got]);
    Some(())
}
