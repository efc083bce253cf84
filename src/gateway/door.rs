//! Who is let in, and for what must they pay?
//! Given a request's headers and its peer, hands back the caller; given a trail, whether its caller may start a partner call.
//! Never examines a token for a peer whose tokens keep turning out bad, and never sends one away whose token is remembered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::HeaderName;

use crate::clock::{Now, Tick};
use crate::quota::Limit;
use crate::token::{Caller, Recalled};
use crate::trail::Trail;

use super::refusal::Refusal;
use super::{Dials, Gateway};

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STANDING: HeaderName = HeaderName::from_static("ratelimit");

impl<C: Dials> Gateway<C> {
    /// The caller behind a token. One that is not remembered costs a signature, and a bad one its peer's patience.
    pub(super) fn identify(&self, headers: &HeaderMap, peer: IpAddr, now: Now) -> Result<Arc<Caller>, Refusal> {
        match self.tokens.recall(headers, now)? {
            Recalled::Caller(caller) => Ok(caller),
            Recalled::Unseen(token) => self.examine(token, peer, now),
        }
    }

    #[cold]
    fn examine(&self, token: &[u8], peer: IpAddr, now: Now) -> Result<Arc<Caller>, Refusal> {
        self.strangers.may_try(peer, now.tick).map_err(|back| Refusal::BadTokens { retry: back.at.since(now.tick) })?;
        Ok(self.tokens.examine(token, now).inspect_err(|_| self.strangers.failed(peer, now.tick))?)
    }

    /// Lets the caller of this request pay for a call to the partner that it is about to start.
    pub(super) fn pay(&self, trail: &Trail, now: Tick) -> Result<(), Refusal> {
        // Who has no turn has not come through the door, and starts nothing.
        let none = Refusal::Limited { limit: Limit::Upstream, retry: Duration::ZERO };
        let turn = trail.turn.as_ref().ok_or(none)?;
        turn.start(now).map_err(|back| Refusal::limited(back, now))
    }

    /// Tells a caller that has limits how it stands (draft-ietf-httpapi-ratelimit-headers-11).
    pub(super) fn tell_limits(&self, trail: &Trail, headers: &mut HeaderMap) {
        let Some(caller) = &trail.caller else { return };
        if let Some(told) = self.turns.tell(caller, || self.clock.tick()) {
            headers.insert(POLICY, told.policy);
            headers.insert(STANDING, told.standing);
        }
    }
}
