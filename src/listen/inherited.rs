//! Which sockets did systemd open for us?
//! Given the names it passed (`LISTEN_FDNAMES`), hands back the listening socket of a name, once.
//! Never closes a socket it was given: systemd holds it, so connections wait in it while we restart.

use std::io;

use listenfd::ListenFd;

use super::Socket;

/// The sockets that came with the process, by their names.
pub struct Inherited {
    sockets: ListenFd,
    names: Vec<String>,
}

/// Why there is no such socket.
#[derive(Debug, thiserror::Error)]
pub enum NotInherited {
    /// None came at all.
    #[error("systemd passed no sockets; start this through a .socket unit, or write an address")]
    None,
    /// Others came.
    #[error("systemd passed no socket of this name, but {0}; FileDescriptorName= of the .socket unit says its name")]
    Others(String),
    /// Taken already.
    #[error("this socket stands for another listener already")]
    Taken,
    /// It is no stream socket of TCP or Unix.
    #[error("not a listening TCP or Unix socket; ListenStream= in the .socket unit makes one")]
    Unfit,
    /// Nobody can connect to it.
    #[error("this socket does not listen; ListenStream= with Accept=no, as it is by default, makes one that does")]
    Silent,
    /// What the operating system says.
    #[error(transparent)]
    Refused(#[from] io::Error),
}

impl Inherited {
    /// Takes them over; `names` is `LISTEN_FDNAMES`. To be called once, before there is a second thread: the variables
    /// are taken out of the environment, so that no child believes they are its own.
    pub fn take_over(names: Option<&str>) -> Self {
        let sockets = ListenFd::from_env();
        let names = names.unwrap_or_default().split(':').map(str::to_owned).collect();
        Self { sockets, names }
    }

    /// The socket of this name.
    ///
    /// # Errors
    /// [`NotInherited`].
    pub fn take(&mut self, name: &str) -> Result<Socket, NotInherited> {
        let count = self.sockets.len();
        let names: Vec<&str> = self.names.iter().map(String::as_str).take(count).collect();
        let at = match names.iter().position(|other| *other == name) {
            Some(at) => at,
            None if count == 0 => return Err(NotInherited::None),
            None => return Err(NotInherited::Others(names.join(", "))),
        };
        let tcp = match self.sockets.take_tcp_listener(at) {
            Ok(Some(socket)) => Some(Socket::Tcp(socket)),
            Ok(None) => return Err(NotInherited::Taken),
            Err(_) => None,
        };
        let socket = match tcp {
            Some(socket) => socket,
            None => Socket::Unix(self.sockets.take_unix_listener(at).ok().flatten().ok_or(NotInherited::Unfit)?),
        };
        if !socket.listens()? {
            return Err(NotInherited::Silent);
        }
        match &socket {
            Socket::Tcp(socket) => socket.set_nonblocking(true)?,
            Socket::Unix(socket) => socket.set_nonblocking(true)?,
        }
        Ok(socket)
    }
}
