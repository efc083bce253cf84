//! What may be asked for, and how long does an answer last?
//! Given `[routes.*]` and `[[extra_routes]]`, hands back every route with its defaults filled in.
//! Never matches a path.

use std::time::Duration;

use http::HeaderName;

use super::page::Page;
use super::table::Table;
use super::template;
use super::values::{self, Keyword};
use crate::http::hop_by_hop::is_hop_by_hop;
use crate::upstream::headers;

/// The built-in routes, in the order of [`super::Config::routes`].
pub const ROUTE_NAMES: [&str; 8] = [
    "clients",
    "client",
    "client_providers",
    "client_projects",
    "client_resources",
    "provider_resources",
    "project_resources",
    "other",
];

/// Headers that carry a caller's credential, or that each hop writes itself: they are never forwarded, as little as those
/// that belong to one connection.
const NEVER_FORWARDED: [&str; 8] =
    ["authorization", "content-length", "cookie", "expect", "forwarded", "host", "via", "x-reseller-api-key"];

/// A built-in route, or the settings of an extra one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Its name, in logs and metrics too.
    pub name: String,
    /// By which rules answers are kept.
    pub mode: RouteMode,
    /// Whether answers are kept at all.
    pub store: bool,
    /// How long an answer is fresh where the partner says nothing.
    pub ttl: Duration,
    /// How long after that it is shown while a new one is fetched.
    pub stale_while_revalidate: Duration,
    /// How long after that it is shown where fetching fails.
    pub stale_if_error: Duration,
    /// How long a 404 or 410 is kept.
    pub negative_ttl: Duration,
    /// Whether the times above hold against what the partner says.
    pub r#override: bool,
    /// Whether an answer of the seven has to be a document of the API.
    pub shape: RouteShape,
    /// Query parameters that are passed on, and part of the key.
    pub query: Vec<String>,
    /// Query parameters that are dropped.
    pub ignore_query: Vec<String>,
    /// Headers of the caller's, in small letters, that are passed on, and part of the key.
    pub forward_headers: Vec<String>,
    /// Whether a caller's `Authorization` of another scheme than Bearer is passed on (`mode = "standard"`).
    pub forward_authorization: bool,
    /// What a token must hold.
    pub scope: String,
    /// Whether a narrowed right may have the answer as it is.
    pub projection: Projection,
}

/// By which rules a route's answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteMode {
    /// The Account API's own rules.
    Api,
    /// A plain shared cache, as RFC 9111 says.
    Standard,
}

impl Keyword for RouteMode {
    const KEYWORDS: &'static [(&'static str, Self)] = &[("api", Self::Api), ("standard", Self::Standard)];
}

/// What an answer of one of the seven has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteShape {
    /// An object with the documented member, or with those of one that was good.
    Document,
    /// Any JSON.
    Any,
}

impl Keyword for RouteShape {
    const KEYWORDS: &'static [(&'static str, Self)] = &[("document", Self::Document), ("any", Self::Any)];
}

/// Whether a narrowed right may have an answer as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// Only through a view; where there is none, not at all.
    Required,
    /// The answer holds nothing that a right would hide (`other` and extra routes only).
    NoneNeeded,
}

impl Keyword for Projection {
    const KEYWORDS: &'static [(&'static str, Self)] =
        &[("required", Self::Required), ("none-needed", Self::NoneNeeded)];
}

/// One `[[extra_routes]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtraRoute {
    /// Its name.
    pub name: String,
    /// Its path: literal segments, `{name}` segments, and maybe `{*rest}` at the end.
    pub path: String,
    /// Its settings.
    pub route: Route,
}

impl Route {
    /// A built-in route, or an extra one, as it is where the file says nothing.
    pub(super) fn with_defaults(name: &str) -> Self {
        let (scope, ttl, stale_while_revalidate) = match name {
            "client_providers" => ("providers:read", 300, 900),
            "client_projects" => ("projects:read", 120, 600),
            "client_resources" | "provider_resources" | "project_resources" => ("resources:read", 30, 120),
            "other" => ("other:read", 0, 0),
            _ => ("clients:read", 60, 300),
        };
        let other = name == "other";
        Self {
            name: name.to_owned(),
            mode: if other { RouteMode::Standard } else { RouteMode::Api },
            store: !other,
            ttl: Duration::from_secs(ttl),
            stale_while_revalidate: Duration::from_secs(stale_while_revalidate),
            stale_if_error: Duration::from_secs(if other { 0 } else { 86_400 }),
            negative_ttl: Duration::from_secs(if other { 0 } else { 10 }),
            r#override: false,
            shape: RouteShape::Document,
            query: if name == "clients" { vec!["provider_id".to_owned()] } else { Vec::new() },
            ignore_query: Vec::new(),
            forward_headers: Vec::new(),
            forward_authorization: false,
            scope: scope.to_owned(),
            projection: Projection::Required,
        }
    }

    pub(super) fn read_all(mut t: Table<'_>) -> Vec<Self> {
        let mut routes = Vec::new();
        for name in ROUTE_NAMES {
            let mut t = t.section(name);
            routes.push(Self::read(&mut t, Self::with_defaults(name)));
            t.finish();
        }
        t.finish();
        routes
    }

    fn read(t: &mut Table<'_>, d: Self) -> Self {
        Self {
            name: d.name,
            mode: t.get("mode", values::keyword).unwrap_or(d.mode),
            store: t.get("store", values::truth).unwrap_or(d.store),
            ttl: t.get("ttl", values::duration).unwrap_or(d.ttl),
            stale_while_revalidate: t
                .get("stale_while_revalidate", values::duration)
                .unwrap_or(d.stale_while_revalidate),
            stale_if_error: t.get("stale_if_error", values::duration).unwrap_or(d.stale_if_error),
            negative_ttl: t.get("negative_ttl", values::duration).unwrap_or(d.negative_ttl),
            r#override: t.get("override", values::truth).unwrap_or(d.r#override),
            shape: t.get("shape", values::keyword).unwrap_or(d.shape),
            query: t.list("query", parameter).unwrap_or(d.query),
            ignore_query: t.list("ignore_query", parameter).unwrap_or(d.ignore_query),
            forward_headers: t.list("forward_headers", header).unwrap_or(d.forward_headers),
            forward_authorization: t.get("forward_authorization", values::truth).unwrap_or(d.forward_authorization),
            scope: t.get("scope", |value| values::scope(&values::text(value)?)).unwrap_or(d.scope),
            projection: t.get("projection", values::keyword).unwrap_or(d.projection),
        }
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.line("mode", self.mode.as_str());
        page.line("store", self.store);
        page.time("ttl", self.ttl);
        page.time("stale_while_revalidate", self.stale_while_revalidate);
        page.time("stale_if_error", self.stale_if_error);
        page.time("negative_ttl", self.negative_ttl);
        page.line("override", self.r#override);
        page.line("shape", self.shape.as_str());
        page.list("query", &self.query);
        page.list("ignore_query", &self.ignore_query);
        page.list("forward_headers", &self.forward_headers);
        page.line("forward_authorization", self.forward_authorization);
        page.line("scope", self.scope.as_str());
        page.line("projection", self.projection.as_str());
    }
}

impl ExtraRoute {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        root.tables("extra_routes").unwrap_or_default().into_iter().map(Self::read).collect()
    }

    fn read(mut t: Table<'_>) -> Self {
        let name = t.need("name", |value| route_name(&values::text(value)?), "a route has a name");
        let name = name.unwrap_or_default();
        let path = t.need("path", |value| template::read(&values::text(value)?), "a route has a path");
        let read =
            Self { path: path.unwrap_or_default(), route: Route::read(&mut t, Route::with_defaults(&name)), name };
        t.finish();
        read
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[[extra_routes]]");
        page.line("name", self.name.as_str());
        page.line("path", self.path.as_str());
        self.route.write(page);
    }
}

fn route_name(text: &str) -> Result<String, String> {
    let allowed = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'_';
    if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err("a route's name has 1 to 64 small letters, digits or `_`".to_owned())
}

fn parameter(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
        return Err("a query parameter's name is wanted".to_owned());
    }
    Ok(text.to_owned())
}

fn header(text: &str) -> Result<String, String> {
    let name: HeaderName = text.parse().map_err(|_| "a header's name is wanted".to_owned())?;
    // What differs by `_` alone is the same to many servers.
    let folded = headers::folded(name.as_str());
    if NEVER_FORWARDED.contains(&folded.as_ref()) || is_hop_by_hop(&folded) || headers::is_like_our_key(&folded) {
        return Err(format!("`{name}` is never forwarded: it is a credential or belongs to one connection"));
    }
    Ok(name.as_str().to_owned())
}
