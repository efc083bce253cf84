//! How does the house live?
//! Given a built house and bound sockets, serves them on one thread per worker until told to end, then drains.
//! Never loses an answer that was begun, as long as it ends within `shutdown_grace`.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::admin::{Admin, Health, Own};
use crate::authority::{self, Authority, Rooms};
use crate::config::{self, Config};
use crate::gateway::Ambient;
use crate::gateway::respond::Body;
use crate::listen::{Address, Door, Limits, Listener, Socket};

use super::House;
use super::pause::Pause;

/// Without a byte for this long a connection is closed.
const IDLE: Duration = Duration::from_secs(75);

/// Between two looks at the key files.
const KEY_WATCH: Duration = Duration::from_secs(1);

/// The public door: the authority's paths, and the path itself for all others.
#[derive(Clone)]
struct Public {
    house: Arc<House>,
    authority: Arc<Authority>,
    ambient: Option<Arc<Ambient>>,
}

impl Door for Public {
    type Body = Body;

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        if !authority::is_for(request.uri().path()) {
            return self.house.serve(request, peer, self.ambient.as_deref()).await;
        }
        let house = &self.house;
        let rooms =
            Rooms { routes: &house.routes, rules: &house.rules, turns: &house.turns, strangers: &house.strangers };
        let work = async |request| {
            let answered = self.authority.answer(request, peer, rooms).await;
            (answered.response, answered.caller, answered.cause)
        };
        self.house.beside(request, peer, work).await
    }

    fn head_too_large(&self, peer: SocketAddr) -> Bytes {
        self.house.head_too_large(peer)
    }
}

/// A house being served.
pub struct Serving {
    house: Arc<House>,
    authority: Arc<Authority>,
    upkeep: tokio::task::JoinHandle<()>,
    /// Where there is state: who keeps the partner's wish to be left alone.
    pause: Option<(Arc<Pause>, tokio::task::JoinHandle<()>)>,
    ready: Arc<AtomicBool>,
    closed: CancellationToken,
    workers: Vec<(std::thread::JoinHandle<()>, oneshot::Receiver<()>)>,
    health: tokio::task::JoinHandle<()>,
    admin: tokio::task::JoinHandle<()>,
    /// Closes the admin door, last of those that change anything.
    admin_closed: CancellationToken,
    /// The files of the public Unix sockets.
    public_files: Vec<PathBuf>,
    /// The file of the admin door's Unix socket.
    admin_file: Option<PathBuf>,
    drain_delay: Duration,
    grace: Duration,
}

/// How the end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request and flight was finished.
    Clean,
    /// Some were cut off at the end of the grace.
    CutOff,
}

/// Serves the house on these sockets.
///
/// # Errors
/// When threads or runtimes cannot be made.
pub fn serve(
    house: Arc<House>,
    authority: Arc<Authority>,
    config: &Config,
    public: Vec<Socket>,
    health: TcpListener,
    admin: Socket,
) -> anyhow::Result<Serving> {
    let limits = Limits {
        connections: config.server.max_connections,
        head_bytes: usize::try_from(config.server.max_header_bytes).unwrap_or(usize::MAX),
        head_time: config.server.header_timeout,
        idle_time: IDLE,
    };
    let open = Arc::new(AtomicUsize::new(0));
    let closed = CancellationToken::new();
    let count = match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let ambient = ambient_callers(config, &public)?;
    let pause = config.state.dir.as_deref().map(|folder| kept_pause(folder, &house));
    let mut workers = Vec::with_capacity(count);
    for nth in 0..count {
        let mut served = Vec::with_capacity(public.len());
        for (socket, ambient) in public.iter().zip(&ambient) {
            let door =
                Public { house: Arc::clone(&house), authority: Arc::clone(&authority), ambient: ambient.clone() };
            let listener = Listener::new(door, limits, house.clock, Arc::clone(&open));
            served.push((listener, socket.try_clone().context("listeners")?));
        }
        workers.push(worker(nth, served, closed.clone(), Arc::clone(&house))?);
    }
    let ready = Arc::new(AtomicBool::new(true));
    let door = Health::new(Arc::clone(&house), Arc::clone(&authority), Arc::clone(&ready), open);
    let listener = Listener::new(door, Limits { connections: 256, ..limits }, house.clock, Arc::default());
    tokio::spawn(watch_keys(Arc::clone(&house)));
    let health = apart("health", listener, health, CancellationToken::new());
    let admin_closed = CancellationToken::new();
    let door = Admin::new(Arc::clone(&house), Arc::clone(&authority), own_names(config));
    let listener = Listener::new(door, Limits { connections: 64, ..limits }, house.clock, Arc::default());
    let admin = apart("admin", listener, admin, admin_closed.clone());
    let admin_file = unix_file(&config.admin.listen);
    let public_files = config.listeners.iter().filter_map(|listener| unix_file(&listener.address)).collect();
    let (drain_delay, grace) = (config.server.drain_delay, config.server.shutdown_grace);
    let upkeep = tokio::spawn(Arc::clone(&authority).keep_up(super::authority::upkeep(config)));
    Ok(Serving {
        house,
        authority,
        upkeep,
        pause,
        ready,
        closed,
        workers,
        health,
        admin,
        admin_closed,
        public_files,
        admin_file,
        drain_delay,
        grace,
    })
}

/// Serves a door on the calling runtime, apart from the workers: it answers while they are busy.
fn apart<D: Door>(
    name: &'static str,
    listener: Listener<D>,
    socket: impl Into<Socket> + Send + 'static,
    closed: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = listener.serve(socket, closed).await {
            tracing::error!(%error, listener = name, "a listener failed");
        }
    })
}

/// What each public listener says of requests without a token, by the port that it really has.
fn ambient_callers(config: &Config, public: &[Socket]) -> anyhow::Result<Vec<Option<Arc<Ambient>>>> {
    let of = |(listener, socket): (&config::Listener, &Socket)| {
        let port = match socket {
            Socket::Tcp(socket) => Some(socket.local_addr().context("listeners")?.port()),
            Socket::Unix(_) => None,
        };
        Ok(listener.ambient.clone().map(|caller| Arc::new(Ambient::new(caller, port))))
    };
    config.listeners.iter().zip(public).map(of).collect()
}

fn unix_file(address: &Address) -> Option<PathBuf> {
    match address {
        Address::Unix(path) => Some(path.clone()),
        Address::Tcp(_) => None,
    }
}

/// Removes the files of sockets, before these are closed: after that another gateway may have put its own there.
fn remove(files: impl IntoIterator<Item = PathBuf>) {
    for file in files {
        let _ = std::fs::remove_file(file);
    }
}

/// Under which names the admin door may be called.
fn own_names(config: &Config) -> Own {
    let address = match config.admin.listen {
        Address::Tcp(address) if !address.ip().is_loopback() => Some(address.ip()),
        _ => None,
    };
    let public = config.server.public_url.parse::<http::Uri>().ok();
    Own { address, public: public.and_then(|uri| uri.host().map(str::to_owned)) }
}

/// Looks at the key files for as long as the house stands, so that a new key is used within a second of its being there.
async fn watch_keys(house: Arc<House>) {
    let mut told = String::new();
    loop {
        house.clock.sleep_until(house.clock.tick().plus(KEY_WATCH)).await;
        let credential = Arc::clone(house.upstream.credential());
        let Ok(found) = tokio::task::spawn_blocking(move || credential.reread()).await else { continue };
        if found.changed {
            tracing::info!("a new key of the partner's is in use");
            house.budget.key_changed(house.clock.tick());
        }
        // Said once, not every second.
        let faults: Vec<String> = found.faults.iter().map(ToString::to_string).collect();
        let faults = faults.join("; ");
        if faults != told && !faults.is_empty() {
            tracing::warn!("{faults}; the last good key is kept");
        }
        told = faults;
    }
}

/// Closes the gate as the last process left it, and keeps the file from now on.
fn kept_pause(folder: &Path, house: &House) -> (Arc<Pause>, tokio::task::JoinHandle<()>) {
    let pause = Pause::new(folder, &house.origin, Arc::clone(&house.budget), house.clock);
    pause.restore();
    let keeper = tokio::spawn(Arc::clone(&pause).keep());
    (pause, keeper)
}

type Worker = (std::thread::JoinHandle<()>, oneshot::Receiver<()>);

fn worker(
    nth: usize,
    doors: Vec<(Listener<Public>, Socket)>,
    closed: CancellationToken,
    house: Arc<House>,
) -> anyhow::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    let work = move || {
        runtime.block_on(async {
            let mut served = tokio::task::JoinSet::new();
            for (listener, socket) in doors {
                let closed = closed.clone();
                served.spawn(async move { listener.serve(socket, closed).await });
            }
            while let Some(ended) = served.join_next().await {
                if let Ok(Err(error)) = ended {
                    tracing::error!(%error, "a listener failed");
                }
            }
            // Flights run on the worker that started them, and others may wait for them.
            house.tasks.wait().await;
        });
        let _ = done.send(());
    };
    let thread = std::thread::Builder::new().name(format!("worker-{nth}")).spawn(work)?;
    Ok((thread, ended))
}

impl Serving {
    /// Ends: not ready, `drain_delay` if `patiently`, sockets closed, requests and flights finished, log flushed.
    pub async fn end(self, patiently: bool) -> Ended {
        let clock = self.house.clock;
        let until = clock.tick().plus(self.grace);
        self.ready.store(false, Ordering::Relaxed);
        self.house.draining.store(true, Ordering::Relaxed);
        if patiently {
            clock.sleep_until(clock.tick().plus(self.drain_delay).min(until)).await;
        }
        remove(self.public_files);
        self.closed.cancel();
        let mut ended = Ended::Clean;
        for (_, worker) in self.workers {
            if clock.until(until, worker).await.is_err() {
                ended = Ended::CutOff;
            }
        }
        remove(self.admin_file);
        self.admin_closed.cancel();
        if clock.until(until, self.admin).await.is_err() {
            ended = Ended::CutOff;
        }
        self.health.abort();
        self.upkeep.abort();
        let _ = clock.until(until, self.authority.note()).await;
        if let Some((pause, keeper)) = self.pause {
            keeper.abort();
            if let Err(error) = pause.write() {
                tracing::error!(%error, "a restart will not know whether the partner wants to be left alone");
            }
        }
        self.house.ledger.lines.flush();
        ended
    }
}

/// Waits for SIGTERM (`true`: others must first learn that we go) or SIGINT (`false`: somebody sits there and waits).
///
/// # Errors
/// When the signals cannot be watched.
pub async fn until_signal() -> anyhow::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => false,
    })
}
