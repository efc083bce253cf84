//! Where does a door stand?
//! Given an address, hands back a bound socket: TCP, or a Unix socket with the permissions that were asked for.
//! Never takes a path that something else uses, and never opens a Unix socket wider than asked, not even for a moment.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Who comes through a Unix socket: this machine, without a port.
pub const ON_THIS_MACHINE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Who connected, as logs call them: an address and a port, or `unix`.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No TCP connection comes from port 0.
        if self.0 == ON_THIS_MACHINE { f.write_str("unix") } else { self.0.fmt(f) }
    }
}

/// An address of this machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Address {
    /// An IP address and a port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
    /// A socket that systemd opened, by its name.
    Systemd(String),
}

impl Address {
    /// Whether only this machine can reach it; of systemd's sockets that is not known before they are there.
    pub fn is_local(&self) -> Option<bool> {
        match self {
            Self::Tcp(address) => Some(address.ip().is_loopback()),
            Self::Unix(_) => Some(true),
            Self::Systemd(_) => None,
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub enum Socket {
    /// Of an IP address.
    Tcp(std::net::TcpListener),
    /// Of a path; its file is removed by whoever bound it.
    Unix(std::os::unix::net::UnixListener),
}

impl Socket {
    /// The same socket once more, for one more worker.
    ///
    /// # Errors
    /// When the process has no descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(socket) => socket.try_clone().map(Self::Tcp),
            Self::Unix(socket) => socket.try_clone().map(Self::Unix),
        }
    }

    /// Whether only this machine can reach it.
    ///
    /// # Errors
    /// When it has no address, as it is no socket that listens.
    pub fn is_local(&self) -> io::Result<bool> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(|address| address.ip().is_loopback()),
            Self::Unix(socket) => socket.local_addr().map(|_| true),
        }
    }

    /// Whether connections can come to it. A socket that was made by somebody else may be one of a single connection
    /// (`Accept=yes` of systemd), or bound and no more.
    ///
    /// # Errors
    /// When it is no socket.
    pub(super) fn listens(&self) -> io::Result<bool> {
        Ok(match self {
            Self::Tcp(socket) => rustix::net::sockopt::socket_acceptconn(socket),
            Self::Unix(socket) => rustix::net::sockopt::socket_acceptconn(socket),
        }?)
    }
}

impl From<std::net::TcpListener> for Socket {
    fn from(socket: std::net::TcpListener) -> Self {
        Self::Tcp(socket)
    }
}

/// Binds a listening TCP socket, ready for any number of workers.
///
/// # Errors
/// What the operating system says, the address being in use first of all.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Binds a Unix socket with these permissions. What a gateway left behind that runs no more is replaced.
///
/// # Errors
/// `AddrInUse` if somebody listens there, `AlreadyExists` if it is no socket, and what the operating system says.
pub fn bind_unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if is_in_use(path)? => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    // The permissions of a new socket are the process's habit; inside a closed folder nobody can use them meanwhile.
    let folder = path.parent().unwrap_or(Path::new("")).join(format!(".{}", std::process::id()));
    let draft = folder.join("s");
    let clear = || {
        let _ = std::fs::remove_file(&draft);
        let _ = std::fs::remove_dir(&folder);
    };
    // In a container every gateway has the same id: one that was killed here may have left its folder.
    clear();
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let bound = std::os::unix::net::UnixListener::bind(&draft).and_then(|listener| {
        std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        std::fs::rename(&draft, path)?;
        Ok(listener)
    });
    clear();
    bound
}

/// Whether somebody listens behind this socket. Asked without waiting: where the backlog is full, because its owner is
/// stopped or busy, a connection would wait for as long as that lasts.
pub(super) fn is_in_use(path: &Path) -> io::Result<bool> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let probe = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&probe, &SocketAddrUnix::new(path)?) {
        // The owner is there; or its queue is full; or it is one of datagrams.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS | Errno::PROTOTYPE) => Ok(true),
        // Left behind by a process that is gone, or removed just now.
        Err(Errno::CONNREFUSED | Errno::NOENT) => Ok(false),
        // Nobody knows, so it is not taken: another user's, most of all.
        Err(error) => Err(error.into()),
    }
}

/// A socket joined to a runtime.
pub(super) enum Accepting {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl TryFrom<Socket> for Accepting {
    type Error = io::Error;

    fn try_from(socket: Socket) -> io::Result<Self> {
        Ok(match socket {
            Socket::Tcp(socket) => Self::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Socket::Unix(socket) => Self::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixDatagram, UnixStream};

    use super::*;

    #[test]
    fn a_unix_socket_has_the_permissions_asked_for_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let _bound = bind_unix(&path, 0o600).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_socket_in_use_is_not_taken_and_one_left_behind_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let bound = bind_unix(&path, 0o600).unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        bind_unix(&path, 0o600).unwrap();
    }

    /// A start beside an owner that was stopped waited for it without a word, in the middle of binding its sockets.
    #[test]
    fn a_socket_whose_queue_is_full_is_in_use_and_nobody_waits_for_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let _bound = bind_unix(&path, 0o600).unwrap();
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let mut waiting = Vec::new();
        loop {
            let caller = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            match rustix::net::connect(&caller, &SocketAddrUnix::new(&path).unwrap()) {
                Ok(()) => waiting.push(caller),
                Err(full) => break assert_eq!(full, Errno::AGAIN),
            }
        }
        let (said, heard) = std::sync::mpsc::channel();
        std::thread::spawn(move || said.send(bind_unix(&path, 0o600).map(drop).map_err(|error| error.kind())));
        let bound = heard.recv_timeout(std::time::Duration::from_secs(5)).expect("an answer at once");
        assert_eq!(bound, Err(io::ErrorKind::AddrInUse));
    }

    #[test]
    fn a_socket_of_datagrams_is_somebodys_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        let _theirs = UnixDatagram::bind(&path).unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        std::fs::write(&path, "precious").unwrap();
        assert_eq!(bind_unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }
}
