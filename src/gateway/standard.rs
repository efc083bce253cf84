//! How is a request answered on a route in standard mode?
//! Given a grant for it, hands back what RFC 9111 says: from memory, after asking, or through.
//! Never shares what may not be stored, and never lets a token of ours reach the partner.

mod errand;

mod call;

mod take;

mod change;

mod give;

mod foresee;

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderMap, Method, Response};
use hyper::body::{Body as _, Incoming};

use crate::access::Grant;
use crate::budget::lanes::Lane;
use crate::budget::{Asker, Cause};
use crate::cache::Reply;
use crate::cache::freshness::Fallback;
use crate::cache::reason::{Detail, Why};
use crate::cache::validation;
use crate::cache::{Key, Stored};
use crate::clock::{Now, Tick};
use crate::http::cache_control::Wishes;
use crate::route::{Mode, Resource, Route, RouteIndex};
use crate::trail::Trail;
use crate::upstream::through;

use super::fetches::Fetches;
use super::flights::Came;
use super::landing::Kept;
use super::plan::{Plan, plan};
use super::refusal::Refusal;
use super::respond::{Body, Delivery};
use super::{Dials, REFRESHES, turn};

use errand::{Brought, ReplyErrand};

/// A request, read.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    route: RouteIndex,
    forwards_authorization: bool,
    /// Whether the upstream's failures, and what it wants of us, are told in our own name: a route in api mode.
    hides_failures: bool,
    method: Method,
    target: String,
    key: Key,
    asker: Asker,
    /// The head as the caller sent it, without what belongs to its connection or says who it is.
    head: HeaderMap,
    wishes: Wishes,
}

/// What a request gets.
pub(super) enum Got {
    /// A stored reply.
    Reply {
        asked: Asked,
        reply: Arc<Reply>,
        delivery: Delivery,
        /// When it was judged.
        at: Tick,
    },
    /// One that was just fetched.
    Kept(Asked, Kept),
    /// One that passes through.
    Through(Response<Body>, Delivery),
}

/// Of what is stored, what a call may confirm or replace, and why it is made.
#[derive(Debug)]
struct Miss {
    /// The reply that fits the request.
    stored: Option<Arc<Reply>>,
    /// Those that fit others, which a 304 may name.
    others: Vec<Arc<Reply>>,
    why: Why,
    /// Whether `stored` is served where the call fails.
    fallback: Fallback,
    /// Whether all who ask meanwhile wait for one call.
    coalesce: bool,
}

impl Miss {
    /// What a plan asks the upstream for; else the plan, which asks for nothing.
    fn of(plan: Plan<Reply>) -> Result<Self, Plan<Reply>> {
        match plan {
            Plan::Revalidate { stored, why, fallback } => {
                Ok(Self { stored: Some(stored), others: Vec::new(), why, fallback, coalesce: true })
            }
            Plan::Fetch { why, coalesce, others } => {
                Ok(Self { stored: None, others, why, fallback: Fallback::NONE, coalesce })
            }
            plan => Err(plan),
        }
    }

    /// Whether the call of this request is for nobody else.
    fn is_alone(&self, asked: &Asked) -> bool {
        asked.method == Method::HEAD || asked.wishes.no_store || !self.coalesce
    }
}

impl<C: Dials> Fetches<C> {
    /// What a request for a grant of such a route gets.
    pub(super) async fn reply_to(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &mut Parts,
        body: Incoming,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Got, Refusal> {
        let (mut asked, why) = self.asked(grant, &mut parts.headers, !body.is_end_stream())?;
        if let Some(why) = why {
            let stored = self.routes.at(asked.route).is_some_and(|route| route.stored);
            let (deadline, target) = (self.pass_deadline(trail), asked.target.clone());
            let (outgoing, _upload) = self.outgoing(parts, body, target, asked.asker.who, deadline).await?;
            self.pay(trail, self.clock.tick())?;
            return self.send_through(asked, why, outgoing, stored, trail).await;
        }
        asked.head = std::mem::take(&mut parts.headers);
        self.from_memory(asked, now, trail).await
    }

    /// What is passed through ends then.
    pub(super) fn pass_deadline(&self, trail: &Trail) -> Tick {
        trail.began.plus(self.settings.flight_timeout.min(self.settings.request_timeout))
    }

    /// Reads a request, and why the store has no part in it if it has none. The head becomes the one that goes out.
    pub(super) fn asked(
        &self,
        grant: &Grant,
        head: &mut HeaderMap,
        has_body: bool,
    ) -> Result<(Asked, Option<Why>), Refusal> {
        let route = self.routes.at(grant.wanted().route()).ok_or(Refusal::NoSuchRoute)?;
        through::make_ready(head, forwards_authorization(route));
        let Resource::Raw(target) = grant.wanted().resource() else { return Err(Refusal::NoSuchRoute) };
        let reads = matches!(*grant.wanted().method(), Method::GET | Method::HEAD);
        let why = match () {
            () if !reads => Some(Why::Method),
            () if !route.stored || has_body => Some(Why::Bypass),
            () => validation::is_for_the_partner(head).then_some(Why::Bypass),
        };
        let wishes = Wishes::of(head);
        if why.is_some() && wishes.only_if_cached && reads {
            return Err(Refusal::OnlyIfCached);
        }
        let key = Key::named(grant.wanted(), route, &HeaderMap::new());
        let asker = turn::asker(grant, turn::resource(&key), turn::scope(grant.wanted().route()));
        let asked = Asked {
            route: grant.wanted().route(),
            forwards_authorization: forwards_authorization(route),
            hides_failures: route.mode == Mode::Api,
            method: grant.wanted().method().clone(),
            target: target.clone(),
            key,
            asker,
            head: HeaderMap::new(),
            wishes,
        };
        Ok((asked, why))
    }

    /// What is held, if it may be used; else the partner is asked.
    async fn from_memory(self: &Arc<Self>, asked: Asked, now: Now, trail: &mut Trail) -> Result<Got, Refusal> {
        let found = self.store.select(&asked.key, &asked.head, now);
        self.traced_look(trail, || found.word(now.tick));
        let plan = match Miss::of(plan(found, &asked.wishes, true, now.tick)) {
            Ok(miss) => return self.fetch(asked, miss, trail).await,
            Err(plan) => plan,
        };
        let (reply, detail) = match plan {
            Plan::ServeAndRefresh(reply, detail) => {
                self.refresh(&asked, &reply, now, trail);
                (reply, detail)
            }
            Plan::Serve(reply, detail) => (reply, detail),
            Plan::Refuse | Plan::Revalidate { .. } | Plan::Fetch { .. } => return Err(Refusal::OnlyIfCached),
        };
        reply.was_hit();
        Ok(Got::Reply { asked, reply, delivery: Delivery::from_memory(detail), at: trail.began })
    }

    /// Asks the partner, together with whoever asks the same in the same words.
    async fn fetch(self: &Arc<Self>, asked: Asked, miss: Miss, trail: &mut Trail) -> Result<Got, Refusal> {
        let (alone, old, fallback) = (miss.is_alone(&asked), miss.stored.clone(), miss.fallback);
        let errand = ReplyErrand::new(&asked, miss);
        let now = self.clock.now();
        let brought = match alone {
            true => self.alone(errand, trail).await.map(|brought| Came::Brought(brought, false)),
            false => {
                // Between the look and the join a flight may have landed.
                let stored = || {
                    let found = self.store.select(&asked.key, &asked.head, now);
                    match plan(found, &asked.wishes, true, now.tick) {
                        Plan::Serve(reply, None) => Some(reply),
                        _ => None,
                    }
                };
                let rank = turn::rank(asked.asker.lane, asked.asker.who);
                self.coalesced((&errand.name(), rank, false), stored, |_| errand.clone(), trail).await
            }
        };
        match brought {
            Ok(Came::Stored(reply)) => Ok(Got::Reply { asked, reply, delivery: Delivery::HIT, at: now.tick }),
            Ok(Came::Brought(Brought::Kept(kept), collapsed)) => {
                trail.upstream = Some(kept.took);
                let delivery = Delivery { collapsed, ..kept.delivery };
                Ok(Got::Kept(asked, Kept { delivery, ..kept }))
            }
            Ok(Came::Brought(Brought::Through { response, delivery, took }, _)) => {
                trail.upstream = Some(took);
                Ok(Got::Through(response, delivery))
            }
            Err(refusal) => match old.filter(|_| refusal.allows(fallback) && self.still_ours(&asked.key)) {
                Some(reply) => {
                    let delivery = Delivery::from_memory(Some(Detail::StaleIfError));
                    Ok(Got::Reply { asked, reply, delivery, at: self.clock.tick() })
                }
                None => Err(refusal),
            },
        }
    }

    /// Fetches a successor behind, unless somebody does.
    fn refresh(self: &Arc<Self>, asked: &Asked, reply: &Arc<Reply>, now: Now, trail: &Trail) {
        // Asked first: who has claimed it and starts none would leave it without a successor for a while.
        let full = self.flights.count() >= REFRESHES;
        if full || !reply.claim_refresh(now.tick, now.tick.plus(self.settings.flight_timeout)) {
            return;
        }
        let asker = Asker { lane: Lane::Refresh, who: 0, payer: None, ..asked.asker };
        let asked = Asked { method: Method::GET, asker, ..asked.clone() };
        let stored = Some(Arc::clone(reply));
        let miss = Miss { stored, others: Vec::new(), why: Why::Stale, fallback: Fallback::NONE, coalesce: true };
        let mut errand = ReplyErrand::new(&asked, miss);
        // A server error does not replace what is held.
        (errand.cause, errand.keeps_errors_out) = (Cause::Refresh, true);
        self.send_behind(&errand.name(), || Ok(()), || errand.clone(), trail);
    }
}

fn forwards_authorization(route: &Route) -> bool {
    matches!(route.mode, Mode::Standard { forward_authorization: true })
}
