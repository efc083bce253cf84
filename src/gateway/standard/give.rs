//! How is a stored answer given?
//! Given a reply and what happened, hands back the response in the shape that the request's preconditions and range want.
//! Never changes a field of the partner's but age and length.

use http::header::{
    CACHE_CONTROL, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_RANGE, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::cache::conditions::{self, Shape};
use crate::cache::{Reply, Stored};
use crate::clock::Clock;
use crate::http::range::{self, Wanted};
use crate::trail::Trail;

use super::super::respond::{Body, Delivery, Signature, ttl};
use super::{Asked, Got};

/// RFC 9110 §15.4.5: what a 304 carries of the head; the last modification for callers that know no tags.
const OF_A_304: [http::HeaderName; 7] = [CACHE_CONTROL, CONTENT_LOCATION, DATE, ETAG, EXPIRES, VARY, LAST_MODIFIED];

impl Signature {
    /// The response to a request on a route in standard mode.
    pub(in crate::gateway) fn give(&self, got: Got, clock: Clock, trail: &mut Trail) -> Response<Body> {
        match got {
            Got::Stored { asked, reply, withheld, delivery } => {
                let mut response = self.give_reply(&asked, &reply, delivery, clock, trail);
                response.headers_mut().extend(withheld);
                response
            }
            Got::Through(mut response, delivery) => {
                self.tell(response.headers_mut(), delivery, (None, None), &trail.request_id);
                (trail.outcome, trail.cause) = delivery.outcome_and_cause(false);
                response
            }
        }
    }

    fn give_reply(
        &self,
        asked: &Asked,
        reply: &Reply,
        delivery: Delivery,
        clock: Clock,
        trail: &mut Trail,
    ) -> Response<Body> {
        // A hit is judged and given at one moment; whatever had to wait is older by then.
        let is_hit = delivery == Delivery::HIT && trail.upstream.is_none();
        let life = reply.life();
        let age = life.age(if is_hit { trail.began } else { clock.tick() });
        let seconds = age.as_secs();
        let mut response = shaped(&asked.method, &asked.head, reply);
        // RFC 9111 §5.1: an age says that the partner was not asked for this request.
        let is_told = delivery.forwarded.is_none() || delivery.collapsed || seconds > 0;
        let times = (Some(ttl(life.lifetime, age)), is_told.then_some(seconds));
        self.tell(response.headers_mut(), delivery, times, &trail.request_id);
        trail.age = Some(seconds);
        (trail.outcome, trail.cause) = delivery.outcome_and_cause(false);
        response
    }
}

fn shaped(method: &Method, asked: &HeaderMap, reply: &Reply) -> Response<Body> {
    let body = reply.body();
    let mut head = reply.head();
    let shape = match *method {
        Method::GET | Method::HEAD => conditions::shape(method, asked, reply),
        _ => Shape::Of(Wanted::Whole),
    };
    let (status, body) = match shape {
        Shape::Of(Wanted::Whole) => (reply.status(), body),
        Shape::NotModified => {
            let mut kept = HeaderMap::with_capacity(12);
            for name in &OF_A_304 {
                kept.extend(head.get_all(name).iter().map(|value| (name.clone(), value.clone())));
            }
            head = kept;
            (StatusCode::NOT_MODIFIED, bytes::Bytes::new())
        }
        Shape::Of(Wanted::Part(slice)) => {
            head.insert(CONTENT_RANGE, slice.content_range());
            (StatusCode::PARTIAL_CONTENT, slice.of(&body))
        }
        Shape::Of(Wanted::Beyond) => {
            head.insert(CONTENT_RANGE, range::beyond(body.len() as u64));
            (StatusCode::RANGE_NOT_SATISFIABLE, bytes::Bytes::new())
        }
    };
    let bare = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    if method == Method::HEAD && !bare {
        head.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let body = if method == Method::HEAD { Body::empty() } else { Body::full(body) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = head;
    response
}
