//! Could the listeners stand where they should?
//! Given addresses, hands back why not, in the words that `serve` has for it too.
//! Never listens, and sends at most one request: to the health listener, where no state says whether a gateway runs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use crate::config::Config;
use crate::listen::{self, Address};

use super::{Found, Lack, describe};

/// For a listener on this machine that is asked what it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// Of every listener; `running`: a gateway has the ledger of this configuration open.
pub(super) fn all(config: &Config, running: bool, found: &mut Found) {
    let public = config.listeners.iter().enumerate();
    let public = public.map(|(index, listener)| (format!("listeners[{index}].address"), listener.address.clone()));
    let health = ("health.listen".to_owned(), Address::Tcp(config.health.listen));
    let admin = ("admin.listen".to_owned(), config.admin.listen.clone());
    let mut busy = Vec::new();
    for (key, address) in public.chain([health, admin]) {
        let tried = match &address {
            Address::Tcp(address) => listen::could_bind(*address).map_err(|error| bound(&key, *address, error)),
            Address::Unix(path) => listen::could_bind_unix(path).map_err(|error| bound_unix(&key, path, error)),
            Address::Systemd(name) => {
                found
                    .notes
                    .push(format!("{key}: systemd passes the socket {name:?} at the start, so it was not tried"));
                continue;
            }
        };
        match tried {
            Ok(()) => {}
            Err((ErrorKind::AddrInUse, lack)) => busy.push(lack),
            Err((_, lack)) => found.lacks.push(lack),
        }
    }
    if running || busy.is_empty() {
        return;
    }
    // Where nothing is on disk only the gateway itself can say that it is there.
    if config.state.dir.is_none() && is_a_gateway(config.health.listen) {
        let health = config.health.listen;
        found
            .notes
            .push(format!("a gateway answers on {health} (health.listen): addresses in use are taken to be its own"));
    } else {
        found.lacks.append(&mut busy);
    }
}

/// Why an address cannot be listened on.
pub(in crate::boot) fn bound(key: &str, address: SocketAddr, error: io::Error) -> (ErrorKind, Lack) {
    let why = match error.kind() {
        ErrorKind::AddrInUse => "another process listens there; is another gateway running?".to_owned(),
        ErrorKind::AddrNotAvailable => "no network card of this machine has this address".to_owned(),
        ErrorKind::PermissionDenied => {
            "ports below 1024 take a right (CAP_NET_BIND_SERVICE); choose another, or let systemd pass the socket"
                .to_owned()
        }
        _ => error.to_string(),
    };
    (error.kind(), Lack::new(key, format!("cannot listen on {address}: {why}")))
}

/// Why a Unix socket cannot be put there.
pub(in crate::boot) fn bound_unix(key: &str, path: &Path, error: io::Error) -> (ErrorKind, Lack) {
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let why = match error.kind() {
        ErrorKind::AddrInUse => "another process listens there; is another gateway running?".to_owned(),
        ErrorKind::AlreadyExists => "a file that is no socket is there".to_owned(),
        ErrorKind::NotFound => format!("the folder {} is not there; make it", folder.display()),
        ErrorKind::NotADirectory => format!("{} is not a folder", folder.display()),
        _ => describe(folder, &error),
    };
    (error.kind(), Lack::new(key, format!("cannot listen on unix:{}: {why}", path.display())))
}

/// Whether what answers there shows a gateway's metrics.
fn is_a_gateway(health: SocketAddr) -> bool {
    let ask = || -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect_timeout(&health, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| memchr::memmem::find(&answer, b"reseller_gateway_build_info").is_some())
}
