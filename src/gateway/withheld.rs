//! What a hub keeps from this gateway's own token.
//! Given an answer of the hub's, refuses in our own name what it refused to the token, or sent round; what is held of it goes.
//! Never judges a partner's answer.

use http::{HeaderMap, StatusCode};

use crate::cache::Key;
use crate::cache::key::named::Which;
use crate::cache::purge::How;
use crate::upstream::hub::AuthRejection;

use super::Dials;
use super::fetches::Fetches;
use super::refusal::Refusal;

impl<C: Dials> Fetches<C> {
    /// Whether what was held before a call may be shown after it: what a hub's token brought may have gone with the token.
    pub(super) fn still_ours(&self, key: &Key) -> bool {
        !self.calls.upstream().is_hub() || self.store.holds(key)
    }

    /// Refuses in our own name what the hub refuses to our token, or sends round; what is held of it goes.
    pub(super) fn withheld(&self, status: StatusCode, head: &HeaderMap, key: Option<&Key>) -> Result<(), Refusal> {
        match self.calls.upstream().rejection(status, head) {
            Some(AuthRejection::Beyond) => {
                if let Some(key) = key.filter(|key| self.store.holds(key)) {
                    self.store.purge(&Which::Resource(key.clone()), How::Hard, true, self.clock.now());
                }
                Err(Refusal::HubRights)
            }
            Some(AuthRejection::Loop) => Err(Refusal::Loop),
            Some(AuthRejection::Expired | AuthRejection::Revoked | AuthRejection::Refused) | None => Ok(()),
        }
    }
}
