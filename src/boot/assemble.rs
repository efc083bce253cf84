//! One configuration's instance of everything that serves.
//! Given a configuration, and the gateway in whose place another comes, hands back the next: with new settings, and with all that
//! has state. Then the estate of it, which is put in force.
//! Never changes the one before: it answers on until the next is in its place. Never serves.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context;
use tokio_util::task::TaskTracker;

use crate::authority::Authority;
use crate::budget::Budget;
use crate::cache::key::named;
use crate::cache::purge::How;
use crate::cache::{Key, Store};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::dial::Dialer;
use crate::dial::turnover::Turnover;
use crate::fast_path::FastPath;
use crate::flight::Flights;
use crate::gateway::buffers::Buffers;
use crate::gateway::landing::Landing;
use crate::gateway::{Ambient, Dials, Gateway, Parts};
use crate::generation::{AllowedHosts, Generation};
use crate::listen::{Address, Bound, Socket};
use crate::quota::CallerLimits;
use crate::route::Routes;
use crate::token::ring::Ring;
use crate::trail::Ledger;
use crate::trail::count::Counts;
use crate::trail::line::Lines;
use crate::upstream::Upstream;
use crate::upstream::calls::{Calls, Holdings};
use crate::upstream::credential::Source;

use super::change::Change;
use super::settings::{self, Table};

/// The gateway over real sockets.
pub type House = Gateway<Dialer>;

/// Builds the gateway for a real partner, its key read from where the configuration says.
///
/// # Errors
/// What cannot be read or joined, with what to do.
pub fn build(config: &Config, ring: Ring, clock: Clock) -> anyhow::Result<Arc<House>> {
    build_over(config, ring, clock, |dialer| dialer)
}

/// The same with what is made of the partner's connector.
///
/// # Errors
/// As [`build`].
pub fn build_over<C: Dials>(
    config: &Config,
    ring: Ring,
    clock: Clock,
    over: impl FnOnce(Dialer) -> C,
) -> anyhow::Result<Arc<Gateway<C>>> {
    let keys = settings::partner_keys(&config.upstream)?;
    join(config, ring, keys, over(settings::partner_dialer(&config.upstream)?), clock)
}

/// The first gateway of a process, over any connector.
///
/// # Errors
/// Settings that one module refuses.
pub fn join<C: Dials>(
    config: &Config,
    ring: Ring,
    keys: Vec<Source>,
    connector: C,
    clock: Clock,
) -> anyhow::Result<Arc<Gateway<C>>> {
    Ok(Arc::new(assemble(config, Origin::New(First { ring, keys, connector, clock }))?))
}

/// The next gateway, for `config` in place of the one by which `before` was built.
///
/// # Errors
/// Files that cannot be read, and settings that one module refuses.
pub(super) fn reconfigured(config: &Config, before: &House, was: &Config, change: &Change) -> anyhow::Result<House> {
    let keys = if change.keys { settings::partner_keys(&config.upstream)? } else { Vec::new() };
    let connector = change.connections.then(|| settings::partner_dialer(&config.upstream)).transpose()?;
    assemble(config, Origin::Of(Previous { gateway: before, was, change, keys, connector }))
}

/// What a gateway is assembled from, beside its configuration.
enum Origin<'a, C> {
    /// The start of the process.
    New(First<C>),
    /// A reload.
    Of(Previous<'a, C>),
}

/// What the first gateway is made of.
struct First<C> {
    ring: Ring,
    keys: Vec<Source>,
    connector: C,
    clock: Clock,
}

/// The gateway before, and what is another than there.
struct Previous<'a, C> {
    gateway: &'a Gateway<C>,
    was: &'a Config,
    change: &'a Change,
    /// None where they lie where they lay.
    keys: Vec<Source>,
    /// `None` where connections stay as they are.
    connector: Option<C>,
}

/// The one place where a gateway is put together: of new parts at the start, of what has state at a reload.
fn assemble<C: Dials>(config: &Config, parts: Origin<'_, C>) -> anyhow::Result<Gateway<C>> {
    let previous = match &parts {
        Origin::New(_) => None,
        Origin::Of(previous) => Some(previous),
    };
    let before = previous.map(|previous| previous.gateway);
    let Table { names, routes, rules } = settings::table(config)?;
    let routes = match previous {
        Some(Previous { gateway, change, .. }) => {
            gateway.routes().reconfigured(routes, |route| change.means_another(route))?
        }
        None => routes,
    };
    let stays = previous.filter(|it| it.was.server.name.is_none() && config.server.name.is_none());
    let name = stays.map_or_else(|| settings::name_of(config), |it| Ok(it.gateway.name().to_owned()))?;
    let pooled = |connector| Turnover::new(connector, config.upstream.max_connection_age);
    let ledger = Arc::new(ledger(config, &routes, before.map(|before| &**before.ledger())));
    let bounds = settings::store(config);
    let store = Arc::new(before.map_or_else(|| Store::new(bounds), |before| before.store().reconfigured(bounds)));
    let most = settings::most_flights(config);
    let flights = Arc::new(before.map_or_else(|| Flights::new(most), |before| before.flights().reconfigured(most)));
    let budget = match previous {
        None => Budget::new(settings::budget(config)),
        // Another partner has said nothing yet about how often it may be asked.
        Some(it) if it.change.another => another_budget(config, it.gateway),
        Some(it) => Arc::clone(it.gateway.calls().budget()),
    };
    let limits = settings::caller_limits(config);
    let caller_limits = before.map_or_else(
        || CallerLimits::new(settings::caller_limits(config)),
        |before| before.caller_limits().reconfigured(limits),
    );
    let (tokens, upstream, clock) = match parts {
        Origin::New(First { ring, keys, connector, clock }) => {
            let upstream = Upstream::new(pooled(connector), settings::partner(config, &name, keys)?, clock);
            (settings::tokens(config, ring, names), upstream, clock)
        }
        Origin::Of(Previous { gateway, keys, connector, .. }) => {
            let partner = settings::partner(config, &name, keys)?;
            let upstream = gateway.calls().upstream().reconfigured(connector.map(pooled), partner);
            (gateway.tokens().reconfigured(settings::token_settings(config), names), upstream, gateway.clock())
        }
    };
    let upstream = upstream.context("upstream")?;
    let gateway = Gateway::new(Parts {
        tokens: Arc::new(tokens),
        caller_limits,
        strangers: before.map(|before| Arc::clone(before.strangers())).unwrap_or_default(),
        rules,
        calls: Calls::new(
            budget,
            upstream,
            Arc::clone(&ledger),
            holdings(&store, &flights, clock),
            settings::calls(config),
            clock,
        ),
        store,
        flights,
        allow: Arc::new(settings::allow(&config.views.allow)?),
        ledger,
        name,
        settings: settings::path(config),
        clock,
        tasks: before.map_or_else(closed_tasks, |before| before.tasks().clone()),
        buffers: before
            .map_or_else(|| Buffers::new(settings::buffer_bytes(config)), |before| Arc::clone(before.buffers())),
        compression: before
            .map_or_else(|| Arc::new(tokio::sync::Semaphore::new(1)), |before| Arc::clone(before.compression())),
        draining: before.map_or_else(|| Arc::new(AtomicBool::new(false)), |before| Arc::clone(before.draining())),
        first_request: settings::first_request()?,
        routes: Arc::new(routes),
    });
    gateway.context("server.name")
}

/// A tracker that can be waited for at any time.
fn closed_tasks() -> TaskTracker {
    let tasks = TaskTracker::new();
    tasks.close();
    tasks
}

fn ledger(config: &Config, routes: &Routes, before: Option<&Ledger>) -> Ledger {
    let telemetry = &config.telemetry;
    let (names, callers) = (settings::route_names(routes), settings::caller_names(config));
    let (which, look) = (settings::which(telemetry.access_log), settings::look(telemetry.log_format));
    match before {
        None => Ledger {
            counts: Counts::new(names, &callers),
            lines: Lines::new(which, look),
            traces: settings::traces(telemetry),
        },
        Some(before) => Ledger {
            counts: before.counts.reconfigured(names, &callers),
            lines: before.lines.reconfigured(which, look),
            // Where traces go, and how many, waits for a restart.
            traces: before.traces.clone(),
        },
    }
}

/// What a hub's token has brought, and brings by calls that are under way.
fn holdings(store: &Arc<Store>, flights: &Arc<Flights<Key, Landing>>, clock: Clock) -> Holdings {
    let (stored, coming) = (Arc::clone(store), Arc::clone(flights));
    let any = Box::new(move || stored.figures().0 > 0 || coming.count() > 0);
    let (stored, coming) = (Arc::clone(store), Arc::clone(flights));
    let forget = Box::new(move || {
        stored.purge(&named::Which::All, How::Hard, false, clock.now());
        coming.leave_behind(|_| true);
    });
    Holdings { any, forget }
}

/// The budget of another partner: what an operator paused stays paused.
fn another_budget<C: Dials>(config: &Config, before: &Gateway<C>) -> Arc<Budget> {
    let budget = Budget::new(settings::budget(config));
    if let Some(pause) = before.calls().budget().operator_pause(before.clock().tick()) {
        budget.pause(pause);
    }
    budget
}

/// What has to follow once the gateway is in force: shared state goes by its settings, and what it cannot reach is given up.
pub(super) fn settle_in(gateway: &House, before: &House, config: &Config, change: &Change) {
    let now = gateway.clock().now();
    gateway.buffers().resize(settings::buffer_bytes(config));
    match change.another {
        true => before.calls().budget().retire(),
        false => gateway.calls().budget().reconfigure(settings::budget(config), now.tick),
    }
    if change.keys {
        gateway.calls().budget().key_changed(now.tick);
    }
    let editions = |gateway: &House| gateway.routes().all().iter().map(|route| route.edition).collect();
    let (old, new): (Box<[u32]>, Box<[u32]>) = (editions(before), editions(gateway));
    if old != new {
        gateway.store().give_up_outside(new, now);
    }
}

/// All that one configuration makes, with where its listeners really stand.
pub(super) fn estate(
    config: &Config,
    gateway: Arc<House>,
    authority: Arc<Authority>,
    listener_infos: &[ListenerInfo],
) -> Generation<Dialer> {
    Generation {
        gateway,
        fast_path: FastPath::default(),
        authority,
        ambient: ambient_callers(config, listener_infos),
        allowed_hosts: allowed_hosts_of(config),
        drain_delay: config.server.drain_delay,
        grace: config.server.shutdown_grace,
    }
}

/// Where a public listener stands since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct ListenerInfo {
    /// The port that it really has; `None` of a Unix socket.
    port: Option<u16>,
    /// Whether it speaks TLS.
    private: bool,
}

impl ListenerInfo {
    /// Of a listener that is bound.
    pub(super) fn of(bound: &Bound) -> anyhow::Result<Self> {
        let port = match &bound.socket {
            Socket::Tcp(socket) => Some(socket.local_addr().context("listeners")?.port()),
            Socket::Unix(_) => None,
        };
        Ok(Self { port, private: bound.tls.is_some() })
    }
}

/// What each public listener says of requests without a token, by the port that it really has.
fn ambient_callers(config: &Config, listener_infos: &[ListenerInfo]) -> Vec<Option<Ambient>> {
    let of = |(listener, stand): (&config::Listener, &ListenerInfo)| {
        listener.ambient.clone().map(|caller| Ambient::new(caller, stand.port, stand.private))
    };
    config.listeners.iter().zip(listener_infos).map(of).collect()
}

/// Under which names the admin door may be called.
fn allowed_hosts_of(config: &Config) -> AllowedHosts {
    let address = match config.admin.listen {
        Address::Tcp(address) if !address.ip().is_loopback() => Some(address.ip()),
        _ => None,
    };
    let public = config.server.public_url.parse::<http::Uri>().ok();
    AllowedHosts { address, public: public.and_then(|uri| uri.host().map(str::to_owned)) }
}
