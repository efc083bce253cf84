//! Could a listener stand here?
//! Given an address or the path of a Unix socket, hands back what binding it would say.
//! Never listens and leaves nothing behind: nobody can connect in between, and a gateway that starts meanwhile is not disturbed.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::Access;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use super::socket::is_in_use;

/// Whether this address could be listened on. The address is tried by a socket that never listens: with `SO_REUSEADDR`, as
/// [`super::bind`] sets it too, such a socket excludes nobody, and is excluded only by one that listens.
///
/// # Errors
/// What binding says: in use, not of this machine, not allowed.
pub fn could_bind(address: SocketAddr) -> io::Result<()> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
    Ok(rustix::net::bind(&socket, &address)?)
}

/// Whether a Unix socket could be put there.
///
/// # Errors
/// As [`super::bind_unix`] has them.
pub fn could_bind_unix(path: &Path) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(io::ErrorKind::AlreadyExists.into()),
        Ok(_) if is_in_use(path)? => return Err(io::ErrorKind::AddrInUse.into()),
        _ => {}
    }
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    if !std::fs::metadata(folder)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    // The socket is made in a folder of its own beside its place, and moved.
    Ok(rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    #[test]
    fn an_address_is_taken_by_whoever_listens_and_by_nobody_who_only_looked() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(could_bind(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        could_bind(address).unwrap();
        could_bind(address).unwrap();
        let _again = TcpListener::bind(address).unwrap();
        // TEST-NET-1 (RFC 5737) is no machine's.
        let foreign = could_bind("192.0.2.1:80".parse().unwrap()).unwrap_err();
        assert_eq!(foreign.kind(), io::ErrorKind::AddrNotAvailable);
    }

    #[test]
    fn a_place_for_a_unix_socket_is_a_folder_where_nobody_listens_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("door");
        could_bind_unix(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is made");
        let bound = super::super::bind_unix(&path, 0o600).unwrap();
        assert_eq!(could_bind_unix(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(bound);
        could_bind_unix(&path).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(could_bind_unix(&file).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(could_bind_unix(&file.join("door")).is_err());
        assert_eq!(could_bind_unix(&folder.path().join("no/door")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
