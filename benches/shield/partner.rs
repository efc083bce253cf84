//! Where does the partner listen?
//! Given a port of its own, serves the partner there, and takes the port again after a stop.
//! Never holds a socket while it is stopped.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpSocket};
use tokio::task::{AbortHandle, JoinSet, spawn_local};

use crate::fake_partner::{FakePartner, Reply};

/// A port that is taken again after a stop may still have connections of before.
fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// A partner that listens.
pub(crate) struct Listening {
    pub(crate) address: SocketAddr,
    partner: Arc<FakePartner>,
    accepting: RefCell<Option<AbortHandle>>,
}

impl Deref for Listening {
    type Target = FakePartner;

    fn deref(&self) -> &FakePartner {
        &self.partner
    }
}

impl Listening {
    /// At a free port, replying 200.
    pub(crate) fn new() -> std::io::Result<Rc<Self>> {
        let address = listen(([127, 0, 0, 1], 0).into())?.local_addr()?;
        let listening = Self { address, partner: FakePartner::new(), accepting: RefCell::default() };
        listening.start()?;
        Ok(Rc::new(listening))
    }

    /// Its socket and all connections go.
    pub(crate) fn end(&self) {
        self.stop();
        if let Some(accepting) = self.accepting.borrow_mut().take() {
            accepting.abort();
        }
    }

    /// It listens, and replies 200.
    pub(crate) fn start(&self) -> std::io::Result<()> {
        let listener = listen(self.address)?;
        self.respond_with(|_| Reply::status(200));
        let partner = Arc::clone(&self.partner);
        let accepting = spawn_local(async move {
            let mut connections = JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                let _ = stream.set_nodelay(true);
                if let Ok(served) = partner.accept(stream) {
                    connections.spawn_local(served);
                }
            }
        });
        *self.accepting.borrow_mut() = Some(accepting.abort_handle());
        Ok(())
    }
}
