//! Where do the doors stand, and with which certificates?
//! Given a configuration, hands back bound sockets, their certificates read, and keeps looking at these.
//! Never lets one of systemd's sockets be wider than the configuration says.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};

use crate::clock::{Clock, Now, time_text};
use crate::config::{self, Config};
use crate::file_watch::LogOnce;
use crate::listen::inherited::Inherited;
use crate::listen::{self, Address, Bound, Look, Socket, Tls};

use super::lack::Lack;
use super::preflight;

/// Between two looks at the files of a certificate.
const WATCH: Duration = Duration::from_secs(1);

/// What is said of a certificate that is about to end.
const SOON: i64 = 7 * 86_400;

/// All doors, bound.
pub struct BoundListeners {
    /// The public ones, in the order of the configuration.
    pub public: Vec<Bound>,
    /// Health.
    pub health: TcpListener,
    /// Administration.
    pub admin: Bound,
}

/// Binds every door, and reads its certificate.
///
/// # Errors
/// What cannot be bound or read, with its key and what to do.
pub fn bind_all(config: &Config, mut inherited: Inherited, clock: Clock) -> anyhow::Result<BoundListeners> {
    let now = clock.now();
    let mut public = Vec::with_capacity(config.listeners.len());
    for (index, listener) in config.listeners.iter().enumerate() {
        let key = format!("listeners[{index}]");
        let tls = private(listener.tls.as_ref(), &key, now)?;
        let socket = match &listener.address {
            Address::Systemd(name) => {
                let lack = |why: &dyn std::fmt::Display| {
                    Lack::new(format!("{key}.address"), format!("{}: {why}", listener.address))
                };
                let socket = inherited.take(name).map_err(|error| lack(&error))?;
                admit(listener, &socket).map_err(|error| lack(&error))?;
                socket
            }
            address => bind_at(&format!("{key}.address"), address, listener.unix_mode)?,
        };
        public.push(Bound { socket, tls });
    }
    let health = bind("health.listen", config.health.listen)?;
    let tls = private(config.admin.tls.as_ref(), "admin", now)?;
    Ok(BoundListeners {
        public,
        health,
        admin: Bound { socket: bind_at("admin.listen", &config.admin.listen, 0o600)?, tls },
    })
}

/// Binds one address, which this key names.
///
/// # Errors
/// When it is taken, or not this machine's.
pub fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, Lack> {
    listen::bind(address).map_err(|error| preflight::bound(key, address, error).1)
}

fn bind_at(key: &str, address: &Address, unix_mode: u32) -> anyhow::Result<Socket> {
    match address {
        Address::Tcp(address) => Ok(Socket::Tcp(bind(key, *address)?)),
        Address::Unix(path) => {
            let bound = listen::bind_unix(path, unix_mode).map_err(|error| preflight::bound_unix(key, path, error).1);
            Ok(Socket::Unix(bound?))
        }
        Address::Systemd(_) => bail!("cannot listen on {address}: only a public listener may be one of systemd's"),
    }
}

/// What `check` could not know, since only now is seen where systemd's socket stands.
fn admit(listener: &config::Listener, socket: &Socket) -> anyhow::Result<()> {
    let local = socket.is_local().context("not a socket that listens")?;
    if !local && listener.tls.is_none() && !listener.allow_clear_text {
        bail!(
            "this socket is off loopback and would speak clear text; give it a certificate (tls), or set allow_clear_text = true where something in front speaks TLS"
        );
    }
    if listener.tls.is_some() && matches!(socket, Socket::Unix(_)) {
        bail!("this is a Unix socket, and TLS is for addresses");
    }
    Ok(())
}

fn private(tls: Option<&config::Tls>, key: &str, now: Now) -> anyhow::Result<Option<Arc<Tls>>> {
    let Some(tls) = tls else { return Ok(None) };
    let opened = preflight::open(tls, &format!("{key}.tls"), now)?;
    warn_of_its_end(key, &opened, now);
    Ok(Some(Arc::new(opened)))
}

fn warn_of_its_end(listener: &str, tls: &Tls, now: Now) {
    let validity = tls.figures().validity;
    let now = i64::try_from(now.unix()).unwrap_or(i64::MAX);
    let left = validity.until.saturating_sub(now);
    if left <= 0 {
        tracing::warn!(listener, "the certificate has expired; clients refuse it until another is put there");
    } else if validity.from > now {
        tracing::warn!(listener, "the certificate is not valid yet; clients refuse it until it is");
    } else if left < SOON {
        let left = time_text(Duration::from_secs(left.unsigned_abs()));
        tracing::warn!(listener, left, "the certificate expires soon");
    }
}

/// Looks at the files of a certificate for as long as it is served, so that a new one is shown within a second or two.
pub(super) async fn watch_certificate(listener: String, tls: Arc<Tls>, clock: Clock) {
    let mut said = LogOnce::default();
    loop {
        clock.sleep_until(clock.tick().plus(WATCH)).await;
        let (looking, now) = (Arc::clone(&tls), clock.now());
        let Ok(found) = tokio::task::spawn_blocking(move || looking.look(now)).await else { continue };
        match found {
            Look::New(validity) => {
                let seconds = validity.until.saturating_sub(i64::try_from(now.unix()).unwrap_or(i64::MAX));
                tracing::info!(listener, expires_in_seconds = seconds, "a new certificate is served");
                warn_of_its_end(&listener, &tls, now);
            }
            Look::Bad(fault) => {
                if said.is_new(&fault) {
                    tracing::warn!(listener, "{fault}; the last good certificate is kept");
                }
            }
            Look::Same if !tls.figures().faulty => said.clear(),
            Look::Same => {}
        }
    }
}
