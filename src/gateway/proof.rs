//! What is the partner shown, and what becomes of it?
//! Given a call that is about to start, hands back the key, or a hub's token; given a refusal, whether another is worth a call.
//! Never shows or keeps what was fetched with a token that the hub has taken back.

use std::pin::Pin;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use crate::budget::{Permit, Verdict};
use crate::cache::Key;
use crate::cache::key::named::Which;
use crate::cache::purge::How;
use crate::clock::Tick;
use crate::upstream::credential::{Refused, Shown};
use crate::upstream::exchange::NotGiven;
use crate::upstream::hub::Said;

use super::refusal::{Fault, Refusal};
use super::turn::dice;
use super::{Dials, Gateway};

impl<C: Dials> Gateway<C> {
    /// What is shown in this call. A sidecar that has no token yet gets one first; later that is done in time, beside the calls.
    pub(super) async fn shown(&self, permit: &mut Permit, deadline: Tick) -> Result<Shown, Refusal> {
        let credential = self.upstream.credential();
        if let Some(shown) = credential.show() {
            return Ok(shown);
        }
        match self.clock.until(deadline, self.renewed(None)).await.map_err(|_| Refusal::Deadline)? {
            Ok(()) => credential.show().ok_or(self.key_fault().into()),
            Err(why) => {
                let busy = unheard(why);
                let verdict = if busy.is_some() { Verdict::Failed } else { Verdict::KeyRefused { recent: false } };
                permit.settle(verdict, self.clock.tick(), dice());
                Err(busy.unwrap_or(self.key_fault()).into())
            }
        }
    }

    /// In a box: it is rare, and that it is `Send` for any connector is settled here.
    fn renewed<'a>(
        &'a self,
        refused: Option<&'a Shown>,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotGiven>> + Send + 'a>> {
        Box::pin(self.upstream.renew(refused))
    }

    /// That nothing we have is taken.
    pub(super) fn key_fault(&self) -> Fault {
        if self.upstream.is_hub() { Fault::Token } else { Fault::Key }
    }

    /// The hub refused the token: good if another is worth a call now.
    ///
    /// # Errors
    /// What is wrong instead: nothing we have is taken, or a hub has no time to give another token for one that has ended.
    pub(super) async fn key_refused(&self, permit: &mut Permit, shown: Shown, said: Said) -> Result<(), Fault> {
        let (credential, old) = (Arc::clone(self.upstream.credential()), shown.clone());
        // The files are read again: not on a worker.
        let refused = tokio::task::spawn_blocking(move || credential.token_refused(&old)).await;
        let Refused { another, was_current } = refused.unwrap_or(Refused { another: false, was_current: true });
        // A token whose time is over was good until then, and an exchange brings one for the same right. Whatever a token brought
        // that was taken back goes at once, and so it does where a file holds another now.
        if was_current && (said != Said::Expired || another) {
            self.forget_the_hubs();
        }
        let renewed = if another { Ok(()) } else { self.renewed(Some(&shown)).await };
        if let (Said::Expired, Some(busy)) = (said, renewed.err().and_then(unheard)) {
            permit.settle(Verdict::Failed, self.clock.tick(), dice());
            tracing::warn!("the token has ended, and the hub gives no other now");
            return Err(busy);
        }
        let another = renewed.is_ok();
        if !another {
            self.forget_the_hubs();
        }
        let verdict = if another { Verdict::Answered } else { Verdict::KeyRefused { recent: false } };
        permit.settle(verdict, self.clock.tick(), dice());
        match another {
            true => tracing::warn!("the hub refused the token; another is tried"),
            false => tracing::error!(
                "the hub refused the token, and what it had brought is dropped; upstream.token_file or upstream.exchange has to bring a good one"
            ),
        }
        if another { Ok(()) } else { Err(self.key_fault()) }
    }

    /// Drops all that a hub's token has brought: it may not have been meant for whoever holds the next one. What is on its
    /// way by that token is for those who wait for it already, and for nobody who comes now.
    pub fn forget_the_hubs(&self) {
        if self.upstream.is_hub() {
            self.store.purge(&Which::All, How::Hard, false, self.clock.now());
            self.flights.leave_behind(|_| true);
            self.standard_flights.leave_behind(|_| true);
        }
    }

    /// Whether what was held before a call may be shown after it: what a hub's token brought may have gone with the token.
    pub(super) fn still_ours(&self, key: &Key) -> bool {
        !self.upstream.is_hub() || self.store.holds(key)
    }

    /// Refuses in our own name what the hub refuses to our token, or sends round; what is held of it goes.
    pub(super) fn withheld(&self, status: StatusCode, head: &HeaderMap, key: Option<&Key>) -> Result<(), Refusal> {
        match self.upstream.said(status, head) {
            Some(Said::Beyond) => {
                if let Some(key) = key.filter(|key| self.store.holds(key)) {
                    self.store.purge(&Which::Resource(key.clone()), How::Hard, true, self.clock.now());
                }
                Err(Refusal::HubRights)
            }
            Some(Said::Loop) => Err(Refusal::Loop),
            Some(Said::Expired | Said::Refused) | None => Ok(()),
        }
    }

    /// Looks whether there is something new to show, and gets it when it is time: for whoever calls this each second.
    /// Hands back what is wrong with the files.
    pub async fn keep_proven(&self) -> Vec<String> {
        let credential = Arc::clone(self.upstream.credential());
        let Ok(found) = tokio::task::spawn_blocking(move || credential.reread()).await else { return Vec::new() };
        if found.changed {
            tracing::info!("a new key or token is in use");
            self.forget_the_hubs();
        }
        let renewed = self.upstream.renew_in_time().await == Some(Ok(()));
        if found.changed || renewed {
            self.budget.key_changed(self.clock.tick());
        }
        found.faults.iter().map(ToString::to_string).collect()
    }
}

/// That a hub could not be asked for a token, or had no time: no word on what we may.
fn unheard(why: NotGiven) -> Option<Fault> {
    match why {
        NotGiven::Failed(failed) => Some(Fault::Failed(failed)),
        NotGiven::Refused(status) if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            Some(Fault::Status)
        }
        NotGiven::No | NotGiven::Subject | NotGiven::Refused(_) | NotGiven::Empty => None,
    }
}
