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
use crate::cache::Key;
use crate::cache::standard::reuse::{self, Fallback, Use};
use crate::cache::standard::slot::Held;
use crate::cache::standard::{Detail, Reply, Why, validation};
use crate::clock::{Late, Now, Tick};
use crate::flight::{Joined, Obligation};
use crate::http::cache_control::Wishes;
use crate::route::{Mode, Resource, Route, RouteIndex};
use crate::trail::Trail;
use crate::upstream::{Failed, through};

use super::fetch::{FULL, Instead};
use super::landing::{Kept, Landed, Landing};
use super::refusal::{Fault, Refusal};
use super::respond::{Body, Told};
use super::{Dials, Gateway, REFRESHES, turn};

use errand::{Brought, Errand};

/// A request, read.
#[derive(Debug, Clone)]
struct Asked {
    route: RouteIndex,
    forwards_authorization: bool,
    method: Method,
    target: String,
    key: Key,
    asker: Asker,
    /// The head as the caller sent it, without what belongs to its connection or says who it is.
    head: HeaderMap,
    wishes: Wishes,
}

impl Asked {
    /// Whether its call is for nobody else.
    fn is_alone(&self, held: &Held) -> bool {
        self.method == Method::HEAD || self.wishes.no_store || matches!(held, Held::Uncacheable)
    }
}

impl<C: Dials> Gateway<C> {
    pub(super) async fn standard(
        self: &Arc<Self>,
        grant: &Grant,
        parts: &mut Parts,
        body: Incoming,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
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
    fn asked(&self, grant: &Grant, head: &mut HeaderMap, has_body: bool) -> Result<(Asked, Option<Why>), Refusal> {
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
    async fn from_memory(
        self: &Arc<Self>,
        asked: Asked,
        now: Now,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let held = self.store.select(&asked.key, &asked.head, now);
        let Held::Fits(reply) = &held else {
            self.traced_look(trail, || if matches!(held, Held::Uncacheable) { "uncacheable" } else { "absent" });
            if asked.wishes.only_if_cached {
                return Err(Refusal::OnlyIfCached);
            }
            let why = if matches!(held, Held::Others(_)) { Why::VaryMiss } else { Why::UriMiss };
            return self.fetch(asked, held, why, Fallback::NONE, trail).await;
        };
        let used = reuse::judge(&reply.life(), &asked.wishes, now.tick);
        self.traced_look(trail, || match used {
            Use::Fresh => "fresh",
            Use::Stale(_) | Use::Refresh => "stale",
            Use::Validate { .. } => "expired",
        });
        if !matches!(used, Use::Validate { .. }) {
            reply.was_hit();
        }
        match used {
            Use::Fresh => Ok(self.give(&asked, reply, Told::default(), trail.began, trail)),
            Use::Stale(detail) => Ok(self.give(&asked, reply, stale(detail), trail.began, trail)),
            Use::Refresh => {
                self.refresh(&asked, reply, now, trail);
                Ok(self.give(&asked, reply, stale(Detail::StaleWhileRevalidate), trail.began, trail))
            }
            Use::Validate { .. } if asked.wishes.only_if_cached => Err(Refusal::OnlyIfCached),
            Use::Validate { why, fallback } => self.fetch(asked, held, why, fallback, trail).await,
        }
    }

    /// Asks the partner, together with whoever asks the same in the same words.
    async fn fetch(
        self: &Arc<Self>,
        asked: Asked,
        held: Held,
        why: Why,
        fallback: Fallback,
        trail: &mut Trail,
    ) -> Result<Response<Body>, Refusal> {
        let alone = asked.is_alone(&held);
        let old = match &held {
            Held::Fits(reply) => Some(Arc::clone(reply)),
            _ => None,
        };
        let errand = Errand::new(&asked, held, why, fallback);
        let deadline = trail.began.plus(self.settings.request_timeout);
        let mut collapsed = false;
        let mut brought = None;
        if !alone {
            let now = self.clock.now();
            // Joining is free, starting is paid for; and between the look and the join a flight may have landed.
            let may_start = || match self.store.select(&asked.key, &asked.head, now) {
                Held::Fits(reply) if reuse::judge(&reply.life(), &asked.wishes, now.tick) == Use::Fresh => {
                    Err(Instead::Show(reply))
                }
                _ => self.pay(trail, now.tick).map_err(Instead::Refuse),
            };
            match self.flights.join_or(&errand.name(), turn::rank(asked.asker.lane, asked.asker.who), may_start) {
                Err(Instead::Show(reply)) => return Ok(self.give(&asked, &reply, Told::default(), now.tick, trail)),
                Err(Instead::Alone) => {}
                Err(Instead::Refuse(refusal)) => brought = Some(Brought::Failed(refusal)),
                Ok(Joined::Full) => return Err(FULL),
                Ok(Joined::Wait(pending)) => {
                    let landed = self.clock.until(deadline, pending.landed()).await;
                    let late = |_| Some((Landed::Refused(Refusal::Deadline), None));
                    let (landed, flight) = landed.unwrap_or_else(late).unzip();
                    self.traced_flight(&mut trail.trace, flight.flatten(), true);
                    (brought, collapsed) = (landed.and_then(Brought::shared), true);
                }
                Ok(Joined::Fetch(obligation, pending)) => {
                    brought = Some(self.send_off(errand.clone(), Some(obligation), deadline, trail).await);
                    drop(pending);
                }
            }
        }
        // Nothing to share, or it was for another alone: one's own call.
        let brought = match brought {
            Some(brought) => brought,
            None => {
                collapsed = false;
                // What finds no place does not start, and is not paid for.
                let may = if self.flights.is_full() { Err(FULL) } else { self.pay(trail, self.clock.tick()) };
                match may {
                    Ok(()) => self.send_off(errand, None, deadline, trail).await,
                    Err(refusal) => Brought::Failed(refusal),
                }
            }
        };
        match brought {
            Brought::Kept(kept) => {
                trail.upstream = Some(kept.took);
                let told = Told { collapsed, ..kept.told };
                Ok(self.give_kept(&asked, Kept { told, ..kept }, trail))
            }
            Brought::Through { response, told, took } => {
                trail.upstream = Some(took);
                Ok(self.hand_on(response, told, trail))
            }
            Brought::Failed(refusal) => match old.filter(|_| refusal.allows(fallback) && self.still_ours(&asked.key)) {
                Some(reply) => Ok(self.give(&asked, &reply, stale(Detail::StaleIfError), self.clock.tick(), trail)),
                None => Err(refusal),
            },
        }
    }

    /// Flies in a task of its own, so that a caller that leaves changes nothing, and waits for it until `deadline`.
    async fn send_off(
        self: &Arc<Self>,
        errand: Errand,
        obligation: Option<Obligation<Key, Landing>>,
        deadline: Tick,
        trail: &mut Trail,
    ) -> Brought {
        // A flight that others may join has its place already.
        let place = match &obligation {
            Some(_) => None,
            None => match self.flights.alone() {
                Some(place) => Some(place),
                None => return Brought::Failed(FULL),
            },
        };
        let (this, trace) = (Arc::clone(self), trail.trace.start(|| self.clock.tick()));
        let context = trace.context();
        let flight = self.tasks.spawn(async move {
            let _place = place;
            this.fly_standard(errand, obligation, trace).await
        });
        let brought = self.clock.until(deadline, flight).await;
        self.traced_flight(&mut trail.trace, context, false);
        match brought {
            Ok(landed) => landed.unwrap_or_else(|_| Brought::Failed(Fault::Failed(Failed::Broken).into())),
            Err(Late) => Brought::Failed(Refusal::Deadline),
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
        let mut errand = Errand::new(&asked, Held::Fits(Arc::clone(reply)), Why::Stale, Fallback::NONE);
        // A server error does not replace what is held.
        (errand.cause, errand.keeps_errors_out) = (Cause::Refresh, true);
        if let Joined::Fetch(obligation, _) = self.flights.join(&errand.name(), turn::REFRESH) {
            let (this, trace) = (Arc::clone(self), trail.trace.start(|| self.clock.tick()));
            self.tasks.spawn(async move { this.fly_standard(errand, Some(obligation), trace).await });
        }
    }
}

fn stale(detail: Detail) -> Told {
    Told { detail: Some(detail), ..Told::default() }
}

fn forwards_authorization(route: &Route) -> bool {
    matches!(route.mode, Mode::Standard { forward_authorization: true })
}
