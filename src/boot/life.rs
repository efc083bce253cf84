//! How does the house live?
//! Given a built house and bound sockets, serves them on one thread per worker until told to end, then drains.
//! Never loses an answer that was begun, as long as it ends within `shutdown_grace`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{Admin, Connections, Health};
use crate::authority::{self, Authority, RequestContext};
use crate::config::{Config, Given};
use crate::dial::Dialer;
use crate::fast_path;
use crate::file_watch::LogOnce;
use crate::gateway::respond::{self, Body, End};
use crate::generation::InForce;
use crate::listen::{Address, AtOnce, BadHead, Bound, ConnectionLimiter, Handler, Limits, Listener, Tls, Wire};

use super::House;
use super::assemble::{self, ListenerInfo};
use super::bind::{BoundListeners, watch_certificate};
use super::notify::{self, Beats};
use super::pause::Pause;
use super::reload::Reloads;
use super::traces::{self, Sending};

/// Without a byte for this long a connection is closed.
const IDLE: Duration = Duration::from_secs(75);

/// For the access log at the end, also where nothing is left of the grace.
const LOG_TIME: Duration = Duration::from_millis(200);

/// What is left of the grace for the process log after that.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(600);

/// Between two looks at the key files.
const KEY_WATCH: Duration = Duration::from_secs(1);

/// The public door: the authority's paths, and the path itself for all others.
#[derive(Clone)]
struct Public {
    in_force: Arc<InForce<Dialer>>,
    /// Which of the public listeners this is.
    nth: usize,
}

impl Handler for Public {
    type Body = Body;
    type Owed = End;

    fn at_once(&self, head: &[u8], peer: SocketAddr, wire: &mut Wire) -> Option<AtOnce<End>> {
        let in_force = self.in_force.now();
        let ambient = in_force.ambient.get(self.nth).and_then(Option::as_ref);
        let listener = fast_path::Listener { nth: self.nth, ambient };
        in_force.fast_path.answer(&in_force.gateway, head, peer, listener, wire)
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        // Once for each request: it ends in the house that it began in.
        let in_force = self.in_force.now();
        let house = &in_force.gateway;
        if !authority::is_for(request.uri().path()) {
            let ambient = in_force.ambient.get(self.nth).and_then(Option::as_ref);
            return house.serve(request, peer, ambient).await;
        }
        let rooms = RequestContext {
            routes: house.routes(),
            rules: house.rules(),
            caller_limits: house.caller_limits(),
            strangers: house.strangers(),
        };
        let work = async |request| {
            let answered = in_force.authority.answer(request, peer, rooms).await;
            (answered.response, answered.caller, answered.cause)
        };
        // In a box: it is large, and every connection would have room for it.
        Box::pin(house.beside(request, peer, work)).await
    }

    fn refuse_head(&self, fault: BadHead, peer: SocketAddr) -> Response<Body> {
        self.in_force.now().gateway.refuse_head(fault, peer)
    }

    fn refuse_on_the_wire(&self, fault: BadHead, peer: SocketAddr) -> Bytes {
        respond::on_the_wire(self.refuse_head(fault, peer))
    }
}

/// A house being served.
pub struct Serving {
    in_force: Arc<InForce<Dialer>>,
    /// What goes on beside the doors.
    upkeep: Vec<tokio::task::JoinHandle<()>>,
    reloads: Option<tokio::task::JoinHandle<()>>,
    traces: Option<Sending>,
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
}

/// How the end went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request and flight was finished.
    Clean,
    /// Some were cut off at the end of the grace.
    CutOff,
}

/// Serves the house on these sockets. With a file in `given`, another takes its place when that changes.
///
/// # Errors
/// When threads or runtimes cannot be made.
pub fn serve(
    gateway: Arc<House>,
    authority: Arc<Authority>,
    config: &Config,
    doors: BoundListeners,
    given: Given,
) -> anyhow::Result<Serving> {
    let BoundListeners { public, health, admin } = doors;
    let most = config.server.max_connections;
    let limits = Limits {
        connections: most,
        per_peer: config.server.max_connections_per_peer.unwrap_or_else(|| most.div_ceil(4)),
        head_bytes: usize::try_from(config.server.max_header_bytes).unwrap_or(usize::MAX),
        head_time: config.server.header_timeout,
        idle_time: IDLE,
        silent_time: IDLE,
    };
    // Nobody needs a connection to these before it asks something, and few are enough to keep everybody out.
    let apart_limits = |connections: usize| Limits {
        connections,
        per_peer: connections.div_ceil(4),
        silent_time: limits.head_time,
        ..limits
    };
    let clock = gateway.clock();
    let stands = public.iter().map(ListenerInfo::of).collect::<anyhow::Result<Vec<_>>>()?;
    let first = assemble::estate(config, gateway, authority, &stands);
    let in_force = Arc::new(InForce::new(first, clock.now().unix()));
    let crowd = Arc::new(ConnectionLimiter::default());
    let closed = CancellationToken::new();
    let count = match config.server.workers {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        count => count,
    };
    let beats = Beats::wanted(count);
    let pause = config.state.dir.as_deref().map(|folder| persisted_pause(folder, &in_force));
    let mut workers = Vec::with_capacity(count);
    for nth in 0..count {
        let door = |(nth, bound): (usize, &Bound)| {
            let door = Public { in_force: Arc::clone(&in_force), nth };
            let listener = Listener::new(door, limits, clock, Arc::clone(&crowd));
            anyhow::Ok((listener, bound.try_clone().context("listeners")?))
        };
        let doors = public.iter().enumerate().map(door).collect::<anyhow::Result<_>>()?;
        let tasks = in_force.now().gateway.tasks().clone();
        let beat = beats.clone().map(|beats| beats.beat(nth, clock));
        workers.push(worker(nth, doors, closed.clone(), tasks, beat)?);
    }
    let ready = Arc::new(AtomicBool::new(true));
    let certificates = certificates(config, &public, &admin);
    for (listener, tls) in &certificates {
        tokio::spawn(watch_certificate(listener.clone(), Arc::clone(tls), clock));
    }
    let connections = Connections { limiter: crowd, certificates: certificates.into() };
    let door = Health::new(Arc::clone(&in_force), Arc::clone(&ready), connections);
    let listener = Listener::new(door, apart_limits(256), clock, Arc::default());
    let health = apart("health", listener, health, CancellationToken::new());
    let (wishes, wanted) = mpsc::channel(4);
    let reloads = Reloads::new(Arc::clone(&in_force), given, config, stands);
    let admin_closed = CancellationToken::new();
    let door = Admin::new(Arc::clone(&in_force), reloads.as_ref().map(|_| wishes));
    let listener = Listener::new(door, apart_limits(64), clock, Arc::default());
    let admin = apart("admin", listener, admin, admin_closed.clone());
    let reloads = match reloads {
        Some(reloads) => Some(tokio::spawn(reloads.run(wanted, signal(SignalKind::hangup())?))),
        None => None,
    };
    let upkeep = upkeep(&in_force, beats);
    let public_files = config.listeners.iter().filter_map(|listener| unix_file(&listener.address)).collect();
    let admin_file = unix_file(&config.admin.listen);
    let traces = traces::send(config, &in_force.now().gateway)?;
    Ok(Serving {
        in_force,
        upkeep,
        reloads,
        traces,
        pause,
        ready,
        closed,
        workers,
        health,
        admin,
        admin_closed,
        public_files,
        admin_file,
    })
}

/// What goes on beside the doors for as long as the process lives.
fn upkeep(in_force: &Arc<InForce<Dialer>>, beats: Option<Beats>) -> Vec<tokio::task::JoinHandle<()>> {
    let (clock, theirs) = (in_force.now().gateway.clock(), Arc::clone(in_force));
    let keys = tokio::spawn(watch_keys(Arc::clone(in_force)));
    let tokens = tokio::spawn(authority::keep_up(clock, move || Arc::clone(&theirs.now().authority)));
    let life = beats.map(|beats| tokio::spawn(beats.watch(clock)));
    [keys, tokens].into_iter().chain(life).collect()
}

/// Serves a door on the calling runtime, apart from the workers: it answers while they are busy.
fn apart<D: Handler>(
    name: &'static str,
    listener: Listener<D>,
    socket: impl Into<Bound> + Send + 'static,
    closed: CancellationToken,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        if let Err(error) = listener.serve(socket, closed).await {
            tracing::error!(%error, listener = name, "a listener failed");
        }
    })
}

/// Every certificate that is served, by its listener as the configuration calls it.
fn certificates(config: &Config, public: &[Bound], admin: &Bound) -> Vec<(String, Arc<Tls>)> {
    let public = config.listeners.iter().zip(public).map(|(listener, bound)| (listener.address.to_string(), bound));
    let all = public.chain([(config.admin.listen.to_string(), admin)]);
    all.filter_map(|(listener, bound)| bound.tls.clone().map(|tls| (listener, tls))).collect()
}

fn unix_file(address: &Address) -> Option<PathBuf> {
    match address {
        Address::Unix(path) => Some(path.clone()),
        // What systemd opened is systemd's.
        Address::Tcp(_) | Address::Systemd(_) => None,
    }
}

/// Removes the files of sockets, before these are closed: after that another gateway may have put its own there.
fn remove(files: impl IntoIterator<Item = PathBuf>) {
    for file in files {
        let _ = std::fs::remove_file(file);
    }
}

/// Looks at the key files for as long as the house stands, so that a new key is used within a second of its being there,
/// and for a sidecar's token, so that the next one is there in time.
async fn watch_keys(in_force: Arc<InForce<Dialer>>) {
    let mut said = LogOnce::default();
    loop {
        let house = Arc::clone(&in_force.now().gateway);
        let faults = house.calls().keep_proven().await.join("; ");
        if said.is_new(&faults) {
            tracing::warn!("{faults}; the last good key is kept");
        }
        house.clock().sleep_until(house.clock().tick().plus(KEY_WATCH)).await;
    }
}

/// Closes the gate as the last process left it, and keeps the file from now on.
fn persisted_pause(folder: &Path, in_force: &Arc<InForce<Dialer>>) -> (Arc<Pause>, tokio::task::JoinHandle<()>) {
    let (clock, theirs) = (in_force.now().gateway.clock(), Arc::clone(in_force));
    let partner = move || {
        let house = &theirs.now().gateway;
        (house.calls().upstream().origin(), Arc::clone(house.calls().budget()), house.calls().settings().max_pause)
    };
    let pause = Pause::new(folder, partner, clock);
    pause.restore();
    let keeper = tokio::spawn(Arc::clone(&pause).keep());
    (pause, keeper)
}

type Worker = (std::thread::JoinHandle<()>, oneshot::Receiver<()>);

fn worker(
    nth: usize,
    doors: Vec<(Listener<Public>, Bound)>,
    closed: CancellationToken,
    tasks: TaskTracker,
    beat: Option<impl Future<Output = ()> + Send + 'static>,
) -> anyhow::Result<Worker> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    let work = move || {
        runtime.block_on(async {
            let mut served = tokio::task::JoinSet::new();
            let beat = beat.map(tokio::spawn);
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
            tasks.wait().await;
            if let Some(beat) = beat {
                beat.abort();
            }
        });
        let _ = done.send(());
    };
    let thread = std::thread::Builder::new().name(format!("worker-{nth}")).spawn(work)?;
    Ok((thread, ended))
}

impl Serving {
    /// Ends: not ready, `drain_delay` if `patiently`, sockets closed, requests and flights finished, traces and log flushed.
    pub async fn end(self, patiently: bool) -> Ended {
        notify::stopping();
        // Whoever is in the middle of a reload is cut off: the house that answers now is the last.
        self.reloads.iter().for_each(tokio::task::JoinHandle::abort);
        let house = self.in_force.held();
        let clock = house.gateway.clock();
        let until = clock.tick().plus(house.grace);
        self.ready.store(false, Ordering::Relaxed);
        house.gateway.draining().store(true, Ordering::Relaxed);
        if patiently {
            clock.sleep_until(clock.tick().plus(house.drain_delay).min(until)).await;
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
        self.upkeep.iter().for_each(tokio::task::JoinHandle::abort);
        let _ = clock.until(until, house.authority.write_pending()).await;
        let _ = clock.until(until, house.authority.note()).await;
        if let Some(why) = house.authority.unwritten() {
            tracing::error!("{why}; a start does not know of them");
        }
        if let Some((pause, keeper)) = self.pause {
            keeper.abort();
            if let Err(error) = pause.write() {
                tracing::error!(%error, "a restart will not know whether the partner wants to be left alone");
            }
        }
        if let Some(traces) = self.traces {
            traces.end(clock, until).await;
        }
        // Whoever should read the log may have stopped: no thread that serves waits here, only this one.
        let left = until.since(clock.tick()).saturating_sub(LOG_FLUSH_TIMEOUT).max(LOG_TIME);
        let lines = Arc::clone(house.gateway.ledger());
        let _ = tokio::task::spawn_blocking(move || lines.lines.flush(left)).await;
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
