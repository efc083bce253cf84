//! What do they want?
//! Given a method and a target, hands back the [`Match`]: which route, and which resource of the partner.
//! Never knows who asks, and never repairs a target: what could be read in two ways is refused.

pub mod target;

use std::time::Duration;

use http::Method;
use http::header::HeaderName;
use smallvec::SmallVec;

use crate::account_api::{Endpoint, PREFIX};
use crate::token::scope::Scopes;

pub use target::{Malformed, Target};

/// Where no route leads, whatever the configuration says: the partner's own administration.
pub const NEVER_ROUTED: &str = "/reseller/admin";

/// The position of a route in the table: the seven, then `other`, then the extra ones.
pub type RouteIndex = usize;

/// So many editions of routes there may be while a process lives.
pub const MOST_EDITIONS: u32 = (1 << 24) - 1;

/// The position of `other`.
pub const OTHER: RouteIndex = Endpoint::ALL.len();

/// Everything the configuration says of one route.
#[derive(Debug, Clone)]
pub struct Route {
    /// Its name in configuration, log and metrics.
    pub name: String,
    /// What a caller needs.
    pub scope: Scopes,
    /// The same in words, for refusals.
    pub scope_name: String,
    /// By which rules answers are used.
    pub mode: Mode,
    /// Whether answers are stored by those rules, or passed through.
    pub stored: bool,
    /// Lifetimes and windows.
    pub terms: Terms,
    /// Whether an answer that is no document of the API, as its top shows, is a fault (the seven in `api` mode).
    pub documents_only: bool,
    /// Query parameters that are part of the resource.
    pub query: Vec<String>,
    /// Query parameters that are dropped.
    pub ignore_query: Vec<String>,
    /// Request headers that go to the partner, and so are part of the key.
    pub forward_headers: Vec<HeaderName>,
    /// Whether a caller without every right may read it although nothing narrows its answers.
    pub open_to_narrowed: bool,
    /// Counts how often what is stored for it came to mean something else, up to [`MOST_EDITIONS`]. It is in every key: what was stored under
    /// another meaning is out of reach, and so are answers to what was asked under it and is still under way.
    pub edition: u32,
}

impl Route {
    /// Whether an answer stored for the one stands for the same request in the other. Lifetimes do not matter: an entry
    /// keeps its own; nor do scopes, which are judged before it is shown.
    pub fn means_the_same(&self, other: &Self) -> bool {
        (&self.name, self.mode, self.stored) == (&other.name, other.mode, other.stored)
            && (&self.query, &self.forward_headers) == (&other.query, &other.forward_headers)
    }
}

/// By which rules a route's answers are stored and given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// As documents of the partner's API, by the route's table of lifetimes.
    Api,
    /// As any plain shared cache does (RFC 9111): every method, the target and the headers as they came.
    Standard {
        /// Whether an `Authorization` of another scheme than Bearer goes on to the partner.
        forward_authorization: bool,
    },
}

/// For how long answers of a route are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Freshness lifetime where the partner says nothing.
    pub ttl: Duration,
    /// How long after that it is still served while a refresh runs behind (RFC 5861 §3).
    pub stale_while_revalidate: Duration,
    /// How long after that it is served when the partner fails (RFC 5861 §4).
    pub stale_if_error: Duration,
    /// Lifetime of 404 and 410.
    pub negative_ttl: Duration,
    /// Whether these stand above what the partner says.
    pub overrides: bool,
}

/// An identifier or a query value: short ones stay on the stack.
pub type Word = SmallVec<[u8; 40]>;

/// An identifier of the partner's as keys hold it: UUIDs in lower case; `None` for a text that cannot be one.
pub fn identifier(text: &str) -> Option<Word> {
    target::identifier(text)
}

/// The client in a target of the seven, as keys hold it.
pub fn client_in(target: &str) -> Option<Word> {
    let uri = target.parse().ok()?;
    let target = Target::parse(&uri).ok()?;
    let (_, ids) = Endpoint::match_segments(&target.below(PREFIX)?)?;
    target::identifier(ids.client?)
}

/// Which resource of the partner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// One of the seven, by its values.
    Documented {
        /// Which.
        endpoint: Endpoint,
        /// The identifiers in the path, in order.
        ids: SmallVec<[Word; 2]>,
        /// Query parameters by their position in [`Route::query`], ascending.
        query: SmallVec<[(u8, Word); 1]>,
    },
    /// Any other target, as it came.
    Opaque(String),
}

/// A route and the resource wanted of it.
#[derive(Debug, Clone)]
pub struct Match {
    route: RouteIndex,
    resource: Resource,
    method: Method,
}

impl Match {
    /// The route's position in the table.
    pub fn route(&self) -> RouteIndex {
        self.route
    }

    /// The resource.
    pub fn resource(&self) -> &Resource {
        &self.resource
    }

    /// The caller's method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The list of projects of the client that one of the seven is about.
    pub fn projects(&self) -> Option<Self> {
        let Resource::Documented { ids, .. } = &self.resource else { return None };
        let (endpoint, ids) = (Endpoint::ClientProjects, ids.first().into_iter().cloned().collect());
        let resource = Resource::Documented { endpoint, ids, query: SmallVec::new() };
        Some(Self { route: endpoint as usize, resource, method: Method::GET })
    }
}

/// Why no route leads there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoSuchRoute {
    /// Nothing has this path.
    Path,
    /// The path is there, the method is not; GET and HEAD are.
    Method(RouteIndex),
}

/// The table of routes.
pub struct Routes {
    routes: Vec<Route>,
    extra: matchit::Router<RouteIndex>,
    /// Of the extra routes, in their order.
    templates: Vec<String>,
    /// Those among them that may match something below the prefix.
    near: Vec<String>,
    /// The last edition that was given to a route; none is given twice.
    edition: u32,
}

/// A template that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the path {0:?} of an extra route is not a template, or overlaps another's")]
pub struct BadTemplate(String);

/// Routes have changed so often that what is stored could not be told apart any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("routes have changed 16,777,215 times since the start; restart")]
pub struct NoMoreEditions;

impl Routes {
    /// The table: the seven and `other` in the order of [`Endpoint::ALL`], then `extra` with their templates.
    ///
    /// # Errors
    /// [`BadTemplate`] for a template that does not parse or overlaps.
    pub fn new(built_in: Vec<Route>, extra: Vec<(String, Route)>) -> Result<Self, BadTemplate> {
        let (mut routes, mut router) = (built_in, matchit::Router::new());
        let mut templates = Vec::new();
        for (template, route) in extra {
            router.insert(template.clone(), routes.len()).map_err(|_| BadTemplate(template.clone()))?;
            templates.push(template);
            routes.push(route);
        }
        let near = templates.iter().filter(|template| is_near(template)).cloned().collect();
        Ok(Self { routes, extra: router, templates, near, edition: 0 })
    }

    /// The table `next` in this one's place: a route that is not what stood at its position, or whose stored answers
    /// mean something else for another reason, gets an edition that none has had.
    ///
    /// # Errors
    /// [`NoMoreEditions`].
    pub fn reconfigured(&self, mut next: Self, means_another: impl Fn(&Route) -> bool) -> Result<Self, NoMoreEditions> {
        next.edition = self.edition;
        let new = self.edition.saturating_add(1);
        for index in 0..next.routes.len() {
            let template = next.template_of(index) == self.template_of(index);
            let Some(route) = next.routes.get_mut(index) else { continue };
            let same = self.at(index).filter(|old| template && old.means_the_same(route) && !means_another(route));
            route.edition = same.map_or(new, |old| old.edition);
            next.edition = next.edition.max(route.edition);
        }
        if next.edition > MOST_EDITIONS { Err(NoMoreEditions) } else { Ok(next) }
    }

    /// The path of an extra route, as the configuration has it.
    pub fn template_of(&self, index: RouteIndex) -> Option<&str> {
        self.templates.get(index.checked_sub(OTHER + 1)?).map(String::as_str)
    }

    /// All routes in their order.
    pub fn all(&self) -> &[Route] {
        &self.routes
    }

    /// The route at a position this table gave out.
    pub fn at(&self, index: RouteIndex) -> Option<&Route> {
        self.routes.get(index)
    }

    /// Which resource is wanted.
    ///
    /// # Errors
    /// [`Miss`]: no such route, or a query the route does not take.
    pub fn find(&self, method: &Method, target: &Target<'_>) -> Result<Match, Miss> {
        let (index, seven) = self.lead(target)?;
        let route = self.routes.get(index).ok_or(NoSuchRoute::Path)?;
        // TRACE would send our key back to the caller; CONNECT is no question at all.
        if method == Method::TRACE || method == Method::CONNECT {
            return Err(NoSuchRoute::Method(index).into());
        }
        let documents = (route.stored || seven.is_some()) && route.mode == Mode::Api;
        if documents && method != Method::GET && method != Method::HEAD {
            return Err(NoSuchRoute::Method(index).into());
        }
        let resource = match seven {
            Some((endpoint, ids)) if route.mode == Mode::Api => Resource::Documented {
                endpoint,
                ids,
                query: target.query_of(&route.query, &route.ignore_query, || table_of(index, route))?,
            },
            _ => Resource::Opaque(target.as_sent().to_owned()),
        };
        Ok(Match { route: index, resource, method: method.clone() })
    }

    /// The seven first, then the extra ones, then `other` for what is left below the prefix. What would be a narrower route's in
    /// another letter case leads nowhere: a partner that does not tell cases apart would serve it by the wider one's right.
    fn lead(&self, target: &Target<'_>) -> Result<Lead, Miss> {
        let below = target.below(PREFIX);
        if let Some((endpoint, ids)) = below.as_deref().and_then(Endpoint::match_segments) {
            // A path shaped like one of the seven whose identifier cannot be one is nobody's resource.
            let word = |id| target::identifier(id).ok_or_else(|| Malformed::Identifier(target::shortened(id)));
            let ids = [ids.client, ids.inner].into_iter().flatten().map(word);
            return Ok((endpoint as usize, Some((endpoint, ids.collect::<Result<_, _>>()?))));
        }
        if is_never_routed(target.path()) {
            return Err(NoSuchRoute::Path.into());
        }
        let path = target.path();
        match self.extra.at(path) {
            Ok(_) if is_documented(path) => Err(NoSuchRoute::Path.into()),
            Ok(found) => Ok((*found.value, None)),
            Err(_) if below.is_none() || is_documented(path) => Err(NoSuchRoute::Path.into()),
            Err(_) if self.near.iter().any(|template| fills(template, path)) => Err(NoSuchRoute::Path.into()),
            Err(_) => Ok((OTHER, None)),
        }
    }
}

/// How the configuration calls a route's table.
fn table_of(index: RouteIndex, route: &Route) -> String {
    if index > OTHER { format!("[[extra_routes]] {:?}", route.name) } else { format!("[routes.{}]", route.name) }
}

/// Whether a path fills a template, whatever the letter case of its literals.
fn fills(template: &str, path: &str) -> bool {
    let mut segments = path.split('/');
    for wanted in template.split('/') {
        let Some(segment) = segments.next() else { return false };
        let matches = match wanted.strip_prefix('{') {
            Some(name) if name.starts_with('*') => return !segment.is_empty(),
            Some(_) => !segment.is_empty(),
            None => segment.eq_ignore_ascii_case(wanted),
        };
        if !matches {
            return false;
        }
    }
    segments.next().is_none()
}

/// Whether a path is one of the seven's but for its letter case.
fn is_documented(path: &str) -> bool {
    let Some(rest) = path.get(PREFIX.len()..).filter(|rest| has_prefix(path, PREFIX) && has_prefix(rest, "/clients"))
    else {
        return false;
    };
    let rest = rest.trim_end_matches('/');
    Endpoint::ALL.iter().any(|one| fills(one.template().trim_end_matches('/'), rest))
}

/// Whether a template may match something below the prefix in any letter case.
fn is_near(template: &str) -> bool {
    let mut both = template.split('/').zip(PREFIX.split('/'));
    both.all(|(own, theirs)| own.starts_with('{') || own.eq_ignore_ascii_case(theirs))
}

/// Whether a path is this folder, or below it, in any letter case.
fn has_prefix(path: &str, folder: &str) -> bool {
    path.as_bytes()
        .split_at_checked(folder.len())
        .is_some_and(|(start, rest)| start.eq_ignore_ascii_case(folder.as_bytes()) && matches!(rest, [] | [b'/', ..]))
}

/// Whole segments, in any letter case: whether the partner tells cases apart is not for us to bet on.
fn is_never_routed(path: &str) -> bool {
    has_prefix(path, NEVER_ROUTED)
}

type Lead = (RouteIndex, Option<(Endpoint, SmallVec<[Word; 2]>)>);

/// Why a target led to no resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Miss {
    /// No such route.
    Route(NoSuchRoute),
    /// An identifier cannot be one, or the query is not one the route takes.
    Target(Malformed),
}

impl From<NoSuchRoute> for Miss {
    fn from(none: NoSuchRoute) -> Self {
        Self::Route(none)
    }
}

impl From<Malformed> for Miss {
    fn from(malformed: Malformed) -> Self {
        Self::Target(malformed)
    }
}

#[cfg(test)]
mod tests;
