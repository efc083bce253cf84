//! What does a house take over from the one before?
//! Given that one and another configuration, hands back the next: with new settings, and with all that has state.
//! Never changes the one before: it answers on until the next is in its place.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;

use crate::budget::Budget;
use crate::config::{self, Config};
use crate::dial::turnover::Turnover;
use crate::gateway::respond::Signature;
use crate::gateway::{self, Gateway};
use crate::quota::Turns;
use crate::route::{Mode, Route};
use crate::trail::Ledger;
use crate::upstream::calls::Calls;
use crate::upstream::credential::Source;

use super::house::{self, House, Table};

/// What the partner's certificate is checked by, as it was read for the connections there are.
pub(super) type Roots = Option<Vec<u8>>;

/// Reads the file of `upstream.ca_file`, to see whether it is another one.
pub(super) fn roots(upstream: &config::Upstream) -> Roots {
    upstream.ca_file.as_deref().and_then(|path: &Path| std::fs::read(path).ok())
}

/// What of the partner is another than before.
pub(super) struct Change {
    /// The partner itself: nothing that was said by the one before counts.
    another: bool,
    /// That, or what a hub gives us: nothing that was brought before counts.
    pub(super) partner: bool,
    /// Where its keys lie.
    keys: bool,
    /// How it is reached.
    connections: bool,
    /// What narrowed rights see of the same document.
    views: bool,
}

impl Change {
    /// From one configuration and its roots to another.
    pub(super) fn between(was: (&Config, &Roots), is: (&Config, &Roots)) -> Self {
        let ((before, roots_before), (after, roots)) = (was, is);
        let (old, new) = (&before.upstream, &after.upstream);
        let keys = old.credential != new.credential;
        // What a hub brought was cut to the right of the token that it was shown.
        let another = old.url != new.url || old.credential.is_for_a_hub() != new.credential.is_for_a_hub();
        let partner = another || (keys && new.credential.is_for_a_hub());
        let way = |it: &config::Upstream| {
            let proxy = (it.proxy.clone(), it.proxy_auth_file.clone());
            (it.ca_file.clone(), it.connect_timeout, proxy, it.max_connection_age)
        };
        Self {
            another,
            partner,
            keys,
            connections: partner || way(old) != way(new) || roots_before != roots,
            views: before.views != after.views,
        }
    }
}

/// The next house, for `config` in place of the one by which `before` was built.
pub(super) fn renew(config: &Config, before: &House, was: &Config, change: &Change) -> anyhow::Result<House> {
    let Table { names, routes, rules } = house::table(config)?;
    // Views are kept beside an entry by right alone.
    let means_another = |route: &Route| change.partner || (change.views && route.mode == Mode::Api);
    let routes = routes.following(&before.routes, means_another)?;
    let stays = was.server.name.is_none() && config.server.name.is_none();
    let name = if stays { before.name.clone() } else { house::name_of(config)? };
    let keys = if change.keys { house::partner_keys(&config.upstream)? } else { Vec::<Source>::new() };
    let dialled = change.connections.then(|| house::partner_dialer(&config.upstream)).transpose()?;
    let clients = dialled.map(|dialer| Turnover::new(dialer, config.upstream.max_connection_age));
    let upstream = house::partner(config, &name, keys)?;
    let telemetry = &config.telemetry;
    let store = Arc::new(before.store.renewed(house::store(config)));
    let flights = Arc::new(before.flights.with_most(house::most_flights(config)));
    let ledger = Arc::new(Ledger {
        counts: before.ledger.counts.renewed(house::route_names(&routes), &house::caller_names(config)),
        lines: before.ledger.lines.renewed(house::which(telemetry.access_log), house::look(telemetry.log_format)),
        // Where traces go, and how many, waits for a restart.
        traces: before.ledger.traces.clone(),
    });
    let old = &before.calls;
    Ok(Gateway {
        tokens: Arc::new(before.tokens.renewed(house::token_settings(config), names)),
        turns: Turns::after(house::turns(config), &before.turns),
        strangers: Arc::clone(&before.strangers),
        rules,
        origin: format!("{}://{}", upstream.scheme, upstream.authority),
        calls: Calls::new(
            // Another partner has said nothing yet about how often it may be asked.
            if change.another { another_budget(config, before) } else { Arc::clone(old.budget()) },
            old.upstream().renewed(clients, upstream).context("upstream")?,
            Arc::clone(&ledger),
            house::holdings(&store, &flights, before.clock),
            house::calls(config),
            before.clock,
        ),
        store,
        flights,
        allow: Arc::new(house::allow(&config.views.allow)?),
        // What was read for the house before may mean something else here.
        memory: gateway::at_once::Memory::default(),
        views: gateway::Views::new(gateway::VIEWS),
        ledger,
        signature: Signature::new(&name).context("server.name")?,
        name,
        settings: house::path(config),
        clock: before.clock,
        tasks: before.tasks.clone(),
        buffers: Arc::clone(&before.buffers),
        press: Arc::clone(&before.press),
        draining: Arc::clone(&before.draining),
        requests: house::requests()?,
        routes,
    })
}

/// The budget of another partner: what an operator paused stays paused.
fn another_budget(config: &Config, before: &House) -> Arc<Budget> {
    let budget = Budget::new(house::budget(config));
    if let Some(pause) = before.calls.budget().operator_pause(before.clock.tick()) {
        budget.pause(pause);
    }
    budget
}

/// What has to follow once the house is in force: shared state goes by its settings, and what it cannot reach is given up.
pub(super) fn settle_in(gateway: &House, before: &House, config: &Config, change: &Change) {
    let now = gateway.clock.now();
    gateway.buffers.resize(house::buffer_bytes(config));
    match change.another {
        true => before.calls.budget().followed(),
        false => gateway.calls.budget().change(house::budget(config), now.tick),
    }
    if change.keys {
        gateway.calls.budget().key_changed(now.tick);
    }
    let editions = |gateway: &House| gateway.routes.all().iter().map(|route| route.edition).collect();
    let (old, new): (Box<[u32]>, Box<[u32]>) = (editions(before), editions(gateway));
    if old != new {
        gateway.store.give_up_outside(new, now);
    }
}
