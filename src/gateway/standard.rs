//! How is a request answered on a route in standard mode?
//! Given a grant for it, hands back what RFC 9111 says: from memory, after asking, or through.
//! Never shares what may not be stored, and never lets a token of ours reach the partner.

mod reply_fetch;

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
use crate::budget::Asker;
use crate::cache::reason::Why;
use crate::cache::{Key, Reply, Stored, validation};
use crate::clock::{Now, Tick};
use crate::flight::Rank;
use crate::http::cache_control::RequestCacheControl;
use crate::route::{Mode, Resource, Route, RouteIndex};
use crate::trail::Trail;
use crate::upstream::through;

use super::execute::{Ask, Query, Reached};
use super::fetches::Fetches;
use super::landing::FetchedReply;
use super::plan::{Plan, plan};
use super::refusal::Refusal;
use super::respond::{Body, Delivery};
use super::{Dials, asker};

use reply_fetch::{Brought, ReplyFetch};

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
    wishes: RequestCacheControl,
}

/// What a request gets.
pub(super) enum Got {
    /// What is stored, or was just fetched.
    Stored {
        asked: Box<Asked>,
        reply: Arc<Reply>,
        /// Fields that are for who asked and for no store.
        withheld: HeaderMap,
        delivery: Delivery,
    },
    /// One that passes through.
    Through(Response<Body>, Delivery),
}

impl Asked {
    /// Whether the call of this request is for nobody else, whatever the plan says.
    fn is_alone(&self) -> bool {
        self.method == Method::HEAD || self.wishes.no_store
    }
}

impl<C: Dials> Query<C> for Asked {
    type Stored = Reply;
    type Job = ReplyFetch;

    fn key(&self) -> Option<&Key> {
        Some(&self.key)
    }

    fn rank(&self) -> Rank {
        asker::rank(self.asker.lane, self.asker.who)
    }

    fn is_alone(&self) -> bool {
        self.is_alone()
    }

    fn starts_none(&self, _: &Fetches<C>) -> bool {
        false
    }

    fn stored_since(&self, fetches: &Fetches<C>, _: Option<&Arc<Reply>>, now: Now) -> Option<Arc<Reply>> {
        match plan(fetches.store.select(&self.key, &self.head, now), &self.wishes, true, now.tick) {
            Plan::Serve(reply, None) => Some(reply),
            _ => None,
        }
    }

    fn job(&self, _: &Fetches<C>, ask: Ask<Reply>) -> ReplyFetch {
        ReplyFetch::new(self, ask)
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
        self.from_memory(Box::new(asked), now, trail).await
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
        let Resource::Opaque(target) = grant.wanted().resource() else { return Err(Refusal::NoSuchRoute) };
        let reads = matches!(*grant.wanted().method(), Method::GET | Method::HEAD);
        let why = match () {
            () if !reads => Some(Why::Method),
            () if !route.stored || has_body => Some(Why::Bypass),
            () => validation::is_for_the_partner(head).then_some(Why::Bypass),
        };
        let wishes = RequestCacheControl::of(head);
        if why.is_some() && wishes.only_if_cached && reads {
            return Err(Refusal::OnlyIfCached);
        }
        let key = Key::named(grant.wanted(), route, &HeaderMap::new());
        let asker = asker::asker(grant, asker::resource(&key), asker::scope(grant.wanted().route()));
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
    async fn from_memory(self: &Arc<Self>, asked: Box<Asked>, now: Now, trail: &mut Trail) -> Result<Got, Refusal> {
        let found = self.store.select(&asked.key, &asked.head, now);
        self.traced_look(trail, || found.state(now.tick));
        let plan = plan(found, &asked.wishes, true, now.tick);
        Ok(match self.execute(&*asked, plan, now, trail).await? {
            Reached::Stored(reply, detail) => {
                reply.was_hit();
                Got::Stored { asked, reply, withheld: HeaderMap::new(), delivery: Delivery::from_memory(detail) }
            }
            Reached::Brought { brought: Brought::Kept(kept), why, collapsed } => {
                let FetchedReply { reply, withheld, delivery, took } = kept;
                trail.upstream = Some(took);
                let forwarded = delivery.forwarded.map(|(_, status)| (why, status));
                Got::Stored { asked, reply, withheld, delivery: Delivery { forwarded, collapsed, ..delivery } }
            }
            Reached::Brought { brought: Brought::Through { response, delivery, took }, .. } => {
                trail.upstream = Some(took);
                Got::Through(response, delivery)
            }
        })
    }
}

fn forwards_authorization(route: &Route) -> bool {
    matches!(route.mode, Mode::Standard { forward_authorization: true })
}
