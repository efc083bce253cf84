//! Who stands between the gateway and the world?
//! Given how it behaves, serves CONNECT on a real socket and keeps the heads that it got.
//! Never looks into a tunnel.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What it says to a CONNECT.
#[derive(Clone, Copy)]
pub(crate) enum ConnectResponse {
    /// It opens the tunnel.
    Yes,
    /// It says this, and no more until the other side leaves.
    Only(&'static str),
    /// A head that never ends.
    Endless,
}

/// A proxy.
pub(crate) struct FakeProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
}

impl FakeProxy {
    pub(crate) fn listen(says: ConnectResponse) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let heads: Arc<Mutex<Vec<String>>> = Arc::default();
        let theirs = Arc::clone(&heads);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let heads = Arc::clone(&theirs);
                std::thread::spawn(move || serve(stream, says, &heads));
            }
        });
        Self { address, heads }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads it got.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

fn serve(mut stream: TcpStream, says: ConnectResponse, heads: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        (stream.read(&mut byte).ok()? > 0).then(|| head.push(byte[0]))?;
    }
    let head = String::from_utf8(head).unwrap();
    heads.lock().unwrap().push(head.clone());
    match says {
        ConnectResponse::Yes => {}
        ConnectResponse::Only(text) => {
            stream.write_all(text.as_bytes()).ok()?;
            while stream.read(&mut [0; 64]).ok()? > 0 {}
            return None;
        }
        ConnectResponse::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").ok()?;
            while stream.write_all(b"x-more: and more\r\n").is_ok() {}
            return None;
        }
    }
    let there = TcpStream::connect(head.split(' ').nth(1)?).ok()?;
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").ok()?;
    let (back, mut to) = (stream.try_clone().ok()?, there.try_clone().ok()?);
    std::thread::spawn(move || pump(there, back));
    let _ = std::io::copy(&mut stream, &mut to);
    to.shutdown(Shutdown::Write).ok()
}

fn pump(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
