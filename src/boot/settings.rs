//! The settings of each module, out of the configuration.
//! Given a configuration, hands back what each module is made with.
//! Never keeps the configuration: each module has what is its own.

use std::sync::Arc;

use anyhow::Context;
use http::header::HeaderName;
use http::uri::Scheme;

use crate::access::Rules;
use crate::budget::{self, breaker};
use crate::cache;
use crate::config::{self, AccessLog, ApiKey, Config, Credential, LogFormat, Projection, RouteMode, secret_in};
use crate::dial::proxy::Proxy;
use crate::dial::{self, DialError, Dialer, dialer};
use crate::gateway;
use crate::gcra::Quota;
use crate::quota;
use crate::route::{Mode, Route, Routes, Terms};
use crate::token::bounds::Bounds;
use crate::token::ring::Ring;
use crate::token::scope::ScopeNames;
use crate::token::{self, Policy, Tokens};
use crate::trail::line::{Look, Which};
use crate::trail::trace::Tracer;
use crate::upstream;
use crate::upstream::credential::Source;
use crate::view::Allow;

use super::lack::Lack;
use super::memory;

/// The name of the configuration, or one of chance: two gateways in a row must not look like one that calls itself.
pub(super) fn name_of(config: &Config) -> anyhow::Result<String> {
    config.server.name.clone().map_or_else(random_name, Ok)
}

/// Where the partner is; without keys for one whose keys stay as they are.
pub(super) fn partner(config: &Config, name: &str, keys: Vec<Source>) -> anyhow::Result<upstream::Settings> {
    let url = &config.upstream.url;
    Ok(upstream::Settings {
        scheme: url.scheme().cloned().unwrap_or(Scheme::HTTPS),
        authority: url.authority().cloned().context("upstream.url has no host")?,
        kind: if config.upstream.credential.is_for_a_hub() { upstream::Kind::Hub } else { upstream::Kind::Partner },
        keys,
        exchange: match &config.upstream.credential {
            Credential::Exchange(exchange) => Some(upstream::exchange::Settings {
                subject_token_file: exchange.subject_token_file.clone(),
                scope: exchange.scope.clone(),
            }),
            _ => None,
        },
        max_response: bounded(config.upstream.max_response),
        name: name.to_owned(),
    })
}

pub(super) fn caller_limits(config: &Config) -> impl Iterator<Item = (String, Option<quota::Limits>)> {
    config.callers.iter().map(|caller| (caller.name.clone(), caller.limits.as_ref().map(limits)))
}

pub(super) fn store(config: &Config) -> cache::Settings {
    cache::Settings {
        max_bytes: config.cache.max_bytes.unwrap_or_else(memory::store_bytes),
        max_object: bounded(config.cache.max_object),
        max_variants: usize::try_from(config.cache.max_variants).unwrap_or(usize::MAX),
    }
}

/// Every caller may wait for one of its own; refreshes have nobody waiting.
pub(super) fn most_flights(config: &Config) -> usize {
    config.server.max_connections.saturating_add(gateway::REFRESHES)
}

pub(super) fn budget(config: &Config) -> budget::Settings {
    let (budget, settings) = (&config.upstream.budget, &config.upstream.breaker);
    budget::Settings {
        quota: Quota { rate: budget.rate, burst: budget.burst },
        max_in_flight: budget.max_in_flight,
        max_wait: budget.max_wait,
        shared: config.callers.len() > 1,
        breaker: breaker::Settings {
            failures: settings.failures,
            cool_down: settings.cool_down,
            cool_down_max: settings.cool_down_max,
        },
    }
}

/// How calls are made and repeated.
pub(super) fn calls(config: &Config) -> upstream::calls::Settings {
    upstream::calls::Settings {
        max_pause: config.upstream.max_pause,
        retries: config.upstream.retry.attempts,
        backoff: config.upstream.retry.backoff,
        propagate_trace: config.upstream.propagate_trace,
    }
}

pub(super) fn path(config: &Config) -> gateway::Settings {
    gateway::Settings {
        request_timeout: config.server.request_timeout,
        flight_timeout: config.upstream.timeout,
        max_request_body: bounded(config.server.max_request_body),
        max_connections: config.server.max_connections,
        memory_limit: memory::limit_bytes(),
    }
}

pub(super) fn route_names(routes: &Routes) -> Vec<String> {
    routes.all().iter().map(|route| route.name.clone()).collect()
}

/// Room for uploads, and for answers whose readers are slow.
pub(super) fn buffer_bytes(config: &Config) -> usize {
    bounded(config.server.buffer_bytes.unwrap_or_else(|| memory::buffer_bytes(config.server.max_request_body)))
}

/// In the order of their places.
pub(super) fn caller_names(config: &Config) -> Vec<String> {
    config.callers.iter().map(|caller| caller.name.clone()).collect()
}

/// Where request ids begin.
pub(super) fn first_request() -> anyhow::Result<u64> {
    let mut start = [0; 8];
    getrandom::fill(&mut start).map_err(|_| anyhow::anyhow!("the machine gives no random bytes"))?;
    Ok(u64::from_le_bytes(start))
}

/// What is asked for, and what it takes.
pub struct Table {
    /// The scopes there are.
    pub names: Arc<ScopeNames>,
    /// The routes.
    pub routes: Routes,
    /// The decisions over both.
    pub rules: Rules,
}

/// The routes of a configuration with their scopes.
///
/// # Errors
/// Settings that a room refuses.
pub fn table(config: &Config) -> anyhow::Result<Table> {
    let all = || config.routes.iter().chain(config.extra_routes.iter().map(|extra| &extra.route));
    let names = Arc::new(ScopeNames::new(all().map(|route| route.scope.as_str()))?);
    let routes = config.routes.iter().map(|route| route_settings(route, &names)).collect::<anyhow::Result<_>>()?;
    let extra = config.extra_routes.iter().map(|extra| Ok((extra.path.clone(), route_settings(&extra.route, &names)?)));
    let routes = Routes::new(routes, extra.collect::<anyhow::Result<_>>()?)?;
    Ok(Table { rules: Rules::new(&names), names, routes })
}

/// The door for these callers.
pub fn tokens(config: &Config, ring: Ring, names: Arc<ScopeNames>) -> Tokens {
    Tokens::new(token_settings(config), Arc::new(ring), names)
}

/// The signing keys: a folder's, or one in memory where no state is kept.
///
/// # Errors
/// What is wrong with the folder.
pub fn ring(tokens: &config::Tokens) -> anyhow::Result<Ring> {
    let notice = tokens.key_notice;
    match tokens.keys_dir.as_deref() {
        Some(folder) => Ring::open(folder, notice).context("tokens.keys_dir"),
        None => Ring::in_memory().context("signing key"),
    }
}

/// What the configuration says of callers and tokens.
pub(super) fn token_settings(config: &Config) -> token::Settings {
    let policy = |caller: &crate::config::Caller| Policy {
        name: caller.name.clone(),
        scopes: caller.scopes.clone(),
        bounds: Bounds { clients: caller.clients.clone(), providers: caller.providers.clone() },
        priority: match caller.priority {
            config::Priority::Interactive => token::Priority::Interactive,
            config::Priority::Batch => token::Priority::Batch,
        },
    };
    token::Settings {
        issuer: config.server.public_url.clone(),
        audience: config.tokens.audience.clone(),
        accept_api_key_header: config.tokens.accept_api_key_header,
        callers: config.callers.iter().map(policy).collect(),
    }
}

fn limits(limits: &config::Limits) -> quota::Limits {
    quota::Limits {
        requests: Quota { rate: limits.requests, burst: limits.burst },
        concurrent: limits.concurrent,
        upstream: Quota { rate: limits.upstream, burst: limits.upstream.in_a_second() },
    }
}

/// The connector to the partner or hub: directly or through the proxy, trusting whom the configuration says.
///
/// # Errors
/// Files that cannot be read.
pub fn partner_dialer(upstream: &config::Upstream) -> Result<Dialer, Lack> {
    if upstream.proxy.is_none() && upstream.url.scheme() == Some(&Scheme::HTTP) {
        return dial::clear(upstream.connect_timeout).map_err(|error| Lack::new("upstream.url", error));
    }
    let auth_file = upstream.proxy_auth_file.clone();
    let proxy = upstream.proxy.clone().map(|address| Proxy { address, auth_file });
    dialer(upstream.ca_file.as_deref(), upstream.connect_timeout, proxy.as_ref()).map_err(|error| {
        let key = if matches!(error, DialError::Proxy(_)) { "upstream.proxy_auth_file" } else { "upstream.ca_file" };
        Lack::new(key, error)
    })
}

pub(super) fn partner_keys(upstream: &config::Upstream) -> Result<Vec<Source>, Lack> {
    let (first, next) = match &upstream.credential {
        Credential::Key { first: ApiKey::File(path), next } => (Source::File(path.clone()), next.clone()),
        Credential::Key { first: ApiKey::Variable(name), next } => {
            let key = secret_in(name).ok_or_else(|| {
                let reason = format!("the variable {name} is not set; set it to the partner's key");
                Lack::new("upstream.api_key_env", reason)
            })?;
            (Source::Fixed(key), next.clone())
        }
        Credential::Token(path) => (Source::File(path.clone()), None),
        Credential::Exchange(_) => (Source::Exchanged, None),
    };
    Ok(std::iter::once(first).chain(next.map(Source::File)).collect())
}

fn route_settings(route: &crate::config::Route, names: &ScopeNames) -> anyhow::Result<Route> {
    let forward = route.forward_headers.iter().map(|name| name.parse::<HeaderName>());
    Ok(Route {
        name: route.name.clone(),
        scope: names.set_of([route.scope.as_str()]),
        scope_name: route.scope.clone(),
        mode: match route.mode {
            RouteMode::Api => Mode::Api,
            RouteMode::Standard => Mode::Standard { forward_authorization: route.forward_authorization },
        },
        stored: route.store,
        terms: Terms {
            ttl: route.ttl,
            stale_while_revalidate: route.stale_while_revalidate,
            stale_if_error: route.stale_if_error,
            negative_ttl: route.negative_ttl,
            overrides: route.r#override,
        },
        documents_only: route.shape == config::RouteShape::Document,
        query: route.query.clone(),
        ignore_query: route.ignore_query.clone(),
        forward_headers: forward.collect::<Result<_, _>>().context("forward_headers")?,
        open_to_narrowed: route.projection == Projection::NoneNeeded,
        edition: 0,
    })
}

pub(super) fn allow(paths: &[String]) -> anyhow::Result<Allow> {
    let mut allow = Allow::default();
    for path in paths {
        allow.add(path).with_context(|| format!("views.allow: {path}"))?;
    }
    Ok(allow)
}

fn random_name() -> anyhow::Result<String> {
    let mut bits = [0; 4];
    getrandom::fill(&mut bits).map_err(|_| anyhow::anyhow!("the machine gives no random bytes"))?;
    Ok(format!("gateway-{}", data_encoding::HEXLOWER.encode(&bits)))
}

fn bounded(size: u64) -> usize {
    usize::try_from(size).unwrap_or(usize::MAX)
}

/// Nothing is made where nothing is traced.
pub(super) fn traces(telemetry: &config::Telemetry) -> Option<Arc<Tracer>> {
    let any = telemetry.otlp_endpoint.is_some() && telemetry.trace_sample > 0.0;
    any.then(|| Arc::new(Tracer::new(telemetry.trace_sample)))
}

pub(super) fn which(log: AccessLog) -> Which {
    match log {
        AccessLog::All => Which::All,
        AccessLog::Errors => Which::Errors,
        AccessLog::Off => Which::Off,
    }
}

pub(super) fn look(format: LogFormat) -> Look {
    match format {
        LogFormat::Auto => Look::Auto,
        LogFormat::Json => Look::Json,
        LogFormat::Text => Look::Text,
    }
}
