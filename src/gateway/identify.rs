//! Who is let in, and for what must they pay?
//! Given a request's headers and its peer, hands back the caller; given a trail, whether its caller may start a partner call.
//! Never examines a token for a peer whose tokens keep turning out bad, and never sends one away whose token is remembered.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;

use crate::clock::Now;
use crate::gcra::ComeBack;
use crate::http::rate_limit_fields::{RATE_LIMIT, RATE_LIMIT_POLICY};
use crate::quota::LimitHeaders;
use crate::token::ambient::shows_nothing;
use crate::token::{Caller, Recalled, Unidentified};
use crate::trail::Trail;

use super::refusal::Refusal;
use super::{Ambient, Dials, Gateway};

impl<C: Dials> Gateway<C> {
    /// The caller behind a token. One that is not remembered costs a signature, and a bad one its peer's patience.
    /// Without any token it is the listener's ambient caller, if it has one.
    pub(super) fn identify(
        &self,
        parts: &Parts,
        peer: IpAddr,
        ambient: Option<&Ambient>,
        now: Now,
    ) -> Result<Arc<Caller>, Refusal> {
        match (self.tokens.recall(&parts.headers, now), ambient) {
            (Ok(Recalled::Caller(caller)), _) => Ok(caller),
            (Ok(Recalled::Unseen(token)), _) => self.examine(token, peer, now),
            (Err(Unidentified::Missing), Some(ambient)) if shows_nothing(&parts.headers) => {
                ambient.judge(&parts.uri, &parts.headers)?;
                Ok(self.tokens.ambient(ambient.caller())?)
            }
            (Err(why), _) => Err(why.into()),
        }
    }

    #[cold]
    fn examine(&self, token: &[u8], peer: IpAddr, now: Now) -> Result<Arc<Caller>, Refusal> {
        if !self.tokens.is_familiar(token) {
            let refuse = |back: ComeBack| Refusal::BadTokens { retry: back.at.since(now.tick) };
            self.strangers.may_try(peer, now.tick).map_err(refuse)?;
        }
        Ok(self.tokens.examine(token, now).inspect_err(|_| self.strangers.failed(peer, now.tick))?)
    }

    /// Tells a caller that has limits how it stands (draft-ietf-httpapi-ratelimit-headers-11).
    pub(super) fn tell_limits(&self, trail: &Trail, headers: &mut HeaderMap) {
        if let Some(told) = self.limits_of(trail) {
            headers.insert(RATE_LIMIT_POLICY, told.policy);
            headers.insert(RATE_LIMIT, told.standing);
        }
    }

    /// How the caller of this request stands, if it has limits.
    pub(crate) fn limits_of(&self, trail: &Trail) -> Option<LimitHeaders> {
        self.caller_limits.tell(trail.caller.as_ref()?, || self.clock.tick())
    }
}
