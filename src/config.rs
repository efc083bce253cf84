//! What shall the gateway do?
//! Given a file's text, the environment and flags, hands back the effective settings, or all faults with their places.
//! Never judges by guessing: an unknown key, a doubtful value, an unsafe combination is refused.

mod changes;

mod fault;

mod page;

mod reach;

mod template;

mod tree;

mod origins;

mod notes;

mod values;

mod table;

mod callers;

mod credential;

mod inside;

mod partner;

mod routes;

mod check;
#[cfg(test)]
mod tests;

mod forecast;

mod tls;

mod listeners;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

pub use self::callers::{Caller, LONGEST_WITHOUT_STATE, Limits, Priority, SecretDigest, Subject, Tokens, Trust};
pub use self::changes::Changed;
pub use self::credential::{ApiKey, Credential, Exchange, UpstreamKind};
pub use self::fault::{Fault, Faults, Origin, Warning};
pub use self::forecast::Forecast;
pub use self::inside::{AccessLog, Cache, LogFormat, State, Telemetry, Views};
pub use self::listeners::{Admin, Health, Listener, Server};
pub use self::partner::{Breaker, Budget, Expect, Retry, Upstream};
pub use self::reach::{Reach, reach};
pub use self::routes::{ExtraRoute, Projection, ROUTE_NAMES, Route, RouteMode, RouteShape};
pub use self::tls::Tls;
pub use self::values::{listen_address, nearest, time};

use self::notes::Notes;
use self::origins::Origins;
use self::page::Page;
pub(crate) use self::page::time_text;
use self::table::Table;
use self::tree::{Span, Tree};
use crate::secret::Secret;

/// What every variable of ours starts with.
const PREFIX: &str = "RESELLER_GATEWAY__";

/// What one starts with that was meant to be ours. Kubernetes makes others that start like this, for its services.
const NEAR_PREFIX: &str = "RESELLER_GATEWAY_";

/// The effective settings: the file, over it the environment, over it the flags. Paths are resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// What holds for every connection.
    pub server: Server,
    /// The public doors; at least one.
    pub listeners: Vec<Listener>,
    /// Where health and metrics are shown.
    pub health: Health,
    /// Where administration is done.
    pub admin: Admin,
    /// The partner.
    pub upstream: Upstream,
    /// What is kept in memory.
    pub cache: Cache,
    /// The built-in routes, all of them, in the order of [`ROUTE_NAMES`].
    pub routes: Vec<Route>,
    /// The operator's own routes.
    pub extra_routes: Vec<ExtraRoute>,
    /// What narrowed rights may see beyond the schema.
    pub views: Views,
    /// The tokens issued here.
    pub tokens: Tokens,
    /// Issuers whose tokens may be exchanged.
    pub trust: Vec<Trust>,
    /// Who may ask.
    pub callers: Vec<Caller>,
    /// What is kept on disk.
    pub state: State,
    /// What is told.
    pub telemetry: Telemetry,
    /// Settings that are understood and have no effect.
    pub warnings: Vec<Warning>,
    /// Where each of them stands, for what is found out later.
    pub(crate) sources: Sources,
}

/// Where the settings stand. It is no setting, so two configurations that differ in it alone are the same.
#[derive(Clone, Default)]
pub(crate) struct Sources(Option<Arc<Origins>>);

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sources")
    }
}

impl PartialEq for Sources {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What the settings are made of.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The configuration file; its folder is where relative paths start.
    pub file: Option<PathBuf>,
    /// Its text where it is already read, for tests and the demo.
    pub text: Option<String>,
    /// Variables by name. Those that start with `RESELLER_GATEWAY__` are settings; of others, one that was probably meant as a
    /// setting is warned about.
    pub environment: Vec<(String, String)>,
    /// Dotted key, value, and the flag's name for messages.
    pub flags: Vec<(String, String, String)>,
}

/// Reads, overrides, checks.
///
/// # Errors
/// Everything that is wrong, at once.
pub fn load(given: Given) -> Result<Config, Faults> {
    let (config, faults, _) = read(given)?;
    if faults.is_empty() { Ok(config) } else { Err(Faults::new(faults)) }
}

/// The variables of the environment that are ours, for [`Given::environment`].
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn environment() -> Vec<(String, String)> {
    let variables = std::env::vars_os().map(|(name, value)| {
        // What is not Unicode cannot be a setting; it reads as a faulty value instead of ending the process.
        (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
    });
    variables.filter(|(name, _)| starts_with(name, NEAR_PREFIX)).collect()
}

/// The secret in the variable that `upstream.api_key_env` names.
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn secret_in(variable: &str) -> Option<Secret> {
    std::env::var(variable).ok().map(Secret::new)
}

impl Config {
    /// The effective settings as TOML, secrets hidden; without secrets it reads as the same settings.
    pub fn render(&self) -> String {
        let mut page = Page::default();
        self.server.write(&mut page);
        self.listeners.iter().for_each(|listener| listener.write(&mut page));
        listeners::write_listen(&mut page, "[health]", self.health.listen);
        self.admin.write(&mut page);
        self.upstream.write(&mut page);
        self.cache.write(&mut page);
        for route in &self.routes {
            page.head(&format!("[routes.{}]", route.name));
            route.write(&mut page);
        }
        self.extra_routes.iter().for_each(|extra| extra.write(&mut page));
        self.views.write(&mut page);
        self.tokens.write(&mut page);
        self.trust.iter().for_each(|trust| trust.write(&mut page));
        self.callers.iter().for_each(|caller| caller.write(&mut page));
        self.state.write(&mut page);
        self.telemetry.write(&mut page);
        page.close()
    }

    /// Something is wrong with what this key refers to, though its text is fine.
    pub fn fault(&self, key: &str, reason: impl Into<String>) -> Fault {
        match &self.sources.0 {
            Some(origins) => origins.fault(key, reason.into(), origins.value(key), false),
            None => Fault { origin: Origin::Nowhere, key: key.to_owned(), reason: reason.into(), source: None },
        }
    }

    /// What the lifetimes can cost in partner calls, and whether the budget allows it; `None` without `upstream.expect.clients`.
    pub fn forecast(&self) -> Option<Forecast> {
        Forecast::of(self)
    }

    fn read(mut root: Table<'_>) -> Self {
        let state = State::read(root.section("state"));
        let tokens = Tokens::read(root.section("tokens"), state.dir.as_ref());
        let config = Self {
            server: Server::read(root.section("server")),
            listeners: Listener::read_all(&mut root),
            health: Health { listen: listeners::read_listen(root.section("health"), Health::default().listen) },
            admin: Admin::read(root.section("admin")),
            upstream: Upstream::read(root.section("upstream")),
            cache: Cache::read(root.section("cache")),
            routes: Route::read_all(root.section("routes")),
            extra_routes: ExtraRoute::read_all(&mut root),
            views: Views::read(root.section("views")),
            trust: Trust::read_all(&mut root),
            callers: Caller::read_all(&mut root, tokens.default_ttl),
            telemetry: Telemetry::read(root.section("telemetry")),
            state,
            tokens,
            warnings: Vec::new(),
            sources: Sources::default(),
        };
        root.finish();
        config
    }
}

/// The settings, the faults, and every key the reader knows.
fn read(given: Given) -> Result<(Config, Vec<Fault>, BTreeSet<String>), Faults> {
    let text = text_of(&given)?;
    let (mut tree, broken) = Tree::of(text.as_deref().unwrap_or_default());
    let misplaced = put_over(&mut tree, &given);
    let mut notes = Notes::new(given.file.as_deref(), text, std::mem::take(&mut tree.spans));
    broken.into_iter().for_each(|(span, reason)| notes.broken(span, reason));
    for (key, reason, place) in misplaced {
        notes.misplaced(&key, reason, &place);
    }
    let mut config = Config::read(Table::new(&notes, String::new(), tree.values));
    if notes.is_whole() {
        check::all(&config, &notes);
    }
    for (name, _) in given.environment.iter().filter(|(name, _)| !is_ours(name)) {
        let rest = name.get(NEAR_PREFIX.len()..).unwrap_or_default();
        if let Some(key) = notes.near_key(rest).filter(|_| starts_with(name, NEAR_PREFIX)) {
            let right = format!("{PREFIX}{}", key.to_ascii_uppercase().replace('.', "__"));
            notes.ignored_variable(
                name,
                format!("this variable sets nothing; {key} is set by {right}, with two underscores each"),
            );
        }
    }
    let (faults, warnings, known, origins) = notes.close();
    (config.warnings, config.sources) = (warnings, Sources(Some(Arc::new(origins))));
    Ok((config, faults, known))
}

fn text_of(given: &Given) -> Result<Option<String>, Faults> {
    match (&given.text, &given.file) {
        (Some(text), _) => Ok(Some(text.clone())),
        (None, Some(file)) => std::fs::read_to_string(file).map(Some).map_err(|error| {
            let reason = format!("cannot be read: {error}");
            Faults::new(vec![Fault::of_file(&file.display().to_string(), reason)])
        }),
        (None, None) => Ok(None),
    }
}

/// Variables over the file, flags over both; hands back what could not be put there.
fn put_over(tree: &mut Tree, given: &Given) -> Vec<(String, String, Span)> {
    let variables = given.environment.iter().filter(|(name, _)| is_ours(name)).map(|(name, value)| {
        let key = name.get(PREFIX.len()..).unwrap_or_default().to_ascii_lowercase().replace("__", ".");
        (key, value, Span::Variable(name.clone()))
    });
    let flags = given.flags.iter().map(|(key, value, flag)| (key.clone(), value, Span::Flag(flag.clone())));
    let mut misplaced = Vec::new();
    for (key, value, place) in variables.chain(flags) {
        if let Err(reason) = tree.put(&key, value, &place) {
            misplaced.push((key, reason, place));
        }
    }
    misplaced
}

/// The names of the sockets that systemd passed, in their order (`LISTEN_FDNAMES`).
#[expect(clippy::disallowed_methods, reason = "the one reader of the environment")]
pub fn names_of_sockets() -> Option<String> {
    std::env::var("LISTEN_FDNAMES").ok()
}

fn is_ours(name: &str) -> bool {
    starts_with(name, PREFIX)
}

fn starts_with(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
