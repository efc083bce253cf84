//! What would happen to a request now, and why?
//! Given one, walks the path by the same rooms as [`Gateway::serve`], and hands back what each of them would say.
//! Never does any of it: nothing is counted, spent, started or kept longer, and no token has been used.

mod ahead;

mod state;

mod verdict;

mod plan;

mod document;

mod list;

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::access::{Decision, Grant};
use crate::budget::{Prospect, Scope};
use crate::cache::Key;
use crate::cache::key::target_of;
use crate::cache::peek::Peek;
use crate::clock::Now;
use crate::quota::{ComeBack, LimitHeaders};
use crate::route::{Mode, RouteIndex, Target};
use crate::secret::Secret;
use crate::token::{Caller, Unidentified};

use super::refusal::Refusal;
use super::{Dials, Gateway, asker};

pub(super) use plan::Subject;
pub use state::{State, StoredState};
pub use verdict::{Call, Verdict};

/// A request that nobody has sent.
#[derive(Debug)]
pub struct Wanted {
    /// Its method.
    pub method: Method,
    /// Its target.
    pub target: Uri,
    /// Its headers, without credentials.
    pub headers: HeaderMap,
    /// Whose it is.
    pub who: Who,
}

/// Whose request it is.
#[derive(Debug)]
pub enum Who {
    /// Somebody's without a token.
    Nobody,
    /// Whoever the token stands for.
    Token(Secret),
    /// A caller's, with all that its policy allows.
    Caller(String),
}

/// What the rooms would say. What is not reached, or not there, is `None`.
#[derive(Debug)]
pub struct Explained {
    /// The target as the partner is asked for it.
    pub asked_as: Option<String>,
    /// The route.
    pub route: Option<RouteIndex>,
    /// The caller.
    pub caller: Option<Arc<Caller>>,
    /// How it stands, if it has limits.
    pub limits: Option<LimitHeaders>,
    /// Its right to the resource.
    pub grant: Option<Grant>,
    /// What is held, where the route holds anything.
    pub stored: Option<StoredState>,
    /// Whether somebody fetches it.
    pub flight: Option<bool>,
    /// What a call would be told.
    pub partner: Prospect,
    /// What would happen.
    pub verdict: Verdict,
}

/// What is known of a request before its caller is.
struct Located {
    route: Option<RouteIndex>,
    asked_as: Option<String>,
    peek: Option<Peek>,
}

/// What is found out on the way.
#[derive(Default)]
struct Found {
    route: Option<RouteIndex>,
    caller: Option<Arc<Caller>>,
    grant: Option<Grant>,
    flight: Option<bool>,
}

/// Whether its caller could start a call.
type May = Result<(), ComeBack>;

impl<C: Dials> Gateway<C> {
    /// Explains one request. Looks at every key there is, so not for a worker.
    pub fn explain(&self, wanted: &Wanted) -> Explained {
        let now = self.clock.now();
        let located = self.locate(wanted);
        let scope = located.route.map_or(Scope::Documented, asker::scope);
        let partner = self.fetches.calls.budget().foresee(0, scope, now.tick);
        let mut found = Found::default();
        let verdict = self.foresee(wanted, &located, now, &mut found);
        let stored = located.peek.as_ref().map(|peek| StoredState::of(peek, &wanted.headers, now));
        let flight = located.peek.as_ref().map(|peek| self.fetches.flights.has(peek.key()));
        Explained {
            asked_as: located.asked_as,
            route: located.route,
            limits: found.caller.as_ref().and_then(|caller| self.caller_limits.tell(caller, || now.tick)),
            caller: found.caller,
            grant: found.grant,
            stored,
            flight: found.flight.or(flight),
            partner,
            verdict: verdict.unwrap_or_else(|refusal| Verdict::refused(&refusal)),
        }
    }

    /// Where it leads, whoever asks.
    fn locate(&self, wanted: &Wanted) -> Located {
        let mut located = Located { route: None, asked_as: None, peek: None };
        let Ok(target) = Target::parse(&wanted.target) else { return located };
        let Ok(found) = self.routes.find(&wanted.method, &target) else { return located };
        let Some(route) = self.routes.at(found.route()) else { return located };
        located.route = Some(found.route());
        located.asked_as = Some(target_of(found.resource(), route));
        let none = HeaderMap::new();
        let forwarded = if route.mode == Mode::Api { &wanted.headers } else { &none };
        located.peek = route.stored.then(|| self.store.peek(Key::named(&found, route, forwarded)));
        located
    }

    /// The path, line by line as in [`Gateway::answer`].
    fn foresee(&self, wanted: &Wanted, located: &Located, now: Now, found: &mut Found) -> Result<Verdict, Refusal> {
        if self.fetches.calls.upstream().has_been(&wanted.headers) {
            return Err(Refusal::Loop);
        }
        let target = Target::parse(&wanted.target)?;
        let caller = Arc::new(self.recognise(&wanted.who, now)?);
        found.caller = Some(Arc::clone(&caller));
        let may = self.caller_limits.foresee(&caller, now.tick).map_err(|back| Refusal::limited(back, now.tick))?;
        let grant = match self.resolve(caller, &target, &wanted.method, &mut found.route)? {
            Decision::Granted(grant) => grant,
            Decision::Needs(question) => match self.settled(*question, wanted, may, now)? {
                Ok(grant) => grant,
                Err(verdict) => return Ok(verdict),
            },
        };
        let grant = found.grant.insert(grant);
        let route = self.routes.at(grant.wanted().route()).ok_or(Refusal::NoSuchRoute)?;
        match route.mode {
            Mode::Api => self.foresee_document(grant, route, (wanted, located.peek.as_ref()), may, now),
            Mode::Standard { .. } => {
                let (verdict, flight) = self.foresee_standard(grant, (wanted, located.peek.as_ref()), may, now)?;
                found.flight = flight;
                Ok(verdict)
            }
        }
    }

    fn recognise(&self, who: &Who, now: Now) -> Result<Caller, Unidentified> {
        match who {
            Who::Nobody => Err(Unidentified::Missing),
            Who::Token(token) => self.tokens.weigh(token.reveal().trim().as_bytes(), now),
            Who::Caller(name) => self.tokens.in_full(name).ok_or(Unidentified::UnknownCaller),
        }
    }
}
