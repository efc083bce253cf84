//! A credential that the upstream refuses in the middle of a call: whether another is tried.
//! Given the refusal, hands back the credential for the next attempt; of a key that may have been refused by mistake, one call at
//! a time finds out whether that was meant.
//! Never presents more than a few credentials over one call.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, StatusCode};

use crate::budget::{Permit, Scope, Verdict};
use crate::clock::Tick;

use super::Failed;
use super::calls::{Call, Calls, Connects, NO_FLIGHT, dice};
use super::credential::Presented;
use super::fault::Unanswered;
use super::hub::AuthRejection;

/// A call presents at most so many keys beyond the first, while the partner's nodes differ over them.
const MAX_KEYS: u32 = 6;

/// Refused as often over one document, while others' calls had it accepted, a key is good and the document another's.
const REFUSALS_OF_OTHER_LOGIN: u32 = 2;

/// A key that was accepted so lately is taken to be good where one caller's documents want another login.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// A credential that was not accepted.
pub(super) enum Rejected {
    /// The hub says so of its token.
    Token(AuthRejection),
    /// A documented route says so of the key.
    Key,
    /// Another target says so, which is no word on the key; this other one is tried.
    OnOpaque(Presented),
}

/// What has been tried already.
#[derive(Debug, Default)]
pub(super) struct Tried {
    pub(super) attempts: u32,
    pub(super) keys: u32,
    /// Whether the call was repeated because its connection may have been closed before it was sent.
    pub(super) reconnected: bool,
}

/// What came of a call: a status and a head, or nothing.
pub(super) type Heard<'a> = Result<(StatusCode, &'a HeaderMap), Failed>;

/// One call at a time finds out whether a refusal of a key was meant.
pub(super) type Confirming<'a> = Option<tokio::sync::MutexGuard<'a, ()>>;

impl<C: Connects> Calls<C> {
    /// What an answer says of the credential that it was presented, where another try may be answered otherwise.
    pub(super) fn credential_again(
        &self,
        call: &Call,
        repeatable: bool,
        heard: Heard<'_>,
        presented: &Presented,
        tried: &mut Tried,
    ) -> Option<Rejected> {
        let (status, head) = heard.ok()?;
        let rejected = if self.upstream.is_hub() {
            let said = self.upstream.rejection(status, head).filter(|said| said.is_of_the_token());
            Rejected::Token(said.filter(|_| !call.forwards_authorization)?)
        } else if status != StatusCode::UNAUTHORIZED || call.forwards_authorization {
            return None;
        } else if call.asker.scope == Scope::Documented {
            if self.wants_another_login(call) {
                return None;
            }
            Rejected::Key
        } else {
            self.note_opaque_refusal(call);
            let other = self.upstream.credential().other(presented).filter(|_| repeatable && tried.keys == 0)?;
            Rejected::OnOpaque(other)
        };
        self.telemetry.counts.heard(Ok(StatusCode::UNAUTHORIZED));
        tried.keys += 1;
        Some(rejected)
    }

    /// Whether a 401 is an answer about this document alone: the key is good, as others' calls show.
    fn wants_another_login(&self, call: &Call) -> bool {
        let now = self.clock.tick();
        let lately = Tick::from_nanos(now.as_nanos().saturating_sub(GOOD_FOR.as_nanos() as u64));
        self.budget.has_other_login(call.asker.who, now) && self.upstream.credential().accepted_since(lately)
    }

    fn note_opaque_refusal(&self, call: &Call) {
        if self.upstream.credential().opaque_refusal(call.asker.resource, self.clock.tick()) {
            tracing::error!(
                "the partner answered 401 for several paths that are no documents of its API; documents are still fetched with the key"
            );
        }
    }

    /// Whether this call would present a key that was refused a moment ago, while it is not known yet whether that was meant.
    pub(super) fn is_in_doubt(&self, call: &Call, permit: &Permit) -> bool {
        let credential = self.upstream.credential();
        let concerned = call.asker.scope == Scope::Documented && !self.upstream.is_hub() && !permit.is_probe();
        concerned && credential.is_in_doubt() && !credential.alternates(self.clock.tick())
    }

    /// Waits until the call that confirms a refused key has ended, and takes its place where that left the refusal in doubt.
    pub(super) async fn wait_for_the_confirming(
        &self,
        call: &Call,
        permit: Permit,
    ) -> Result<(Permit, Confirming<'_>), Unanswered> {
        let credential = self.upstream.credential();
        // Whoever confirms needs a permit: it is not held while it is waited for.
        drop(permit);
        let mine = self.clock.until(call.deadline, credential.confirm()).await.map_err(|_| Unanswered::Deadline)?;
        // Whether it was meant is the breaker's to say: what was refused for another caller may be accepted for this one.
        let mine = Some(mine).filter(|_| credential.is_in_doubt());
        Ok((self.permit(call.asker, call.deadline, NO_FLIGHT).await?, mine))
    }

    /// A documented route refused a key: the files are read again, and one call at a time finds out whether it was meant.
    ///
    /// # Errors
    /// Every slot was refused as often as it takes, or there is no permit for another call.
    pub(super) async fn confirm_key(
        &self,
        call: &Call,
        mut permit: Permit,
        presented: &Presented,
        asked: Tick,
        keys: u32,
    ) -> Result<(Permit, Confirming<'_>), Unanswered> {
        let credential = self.upstream.credential();
        let files = Arc::clone(credential);
        // Not on a worker: a disk may be slow.
        let reread = tokio::task::spawn_blocking(move || files.reread()).await;
        let now = self.clock.tick();
        if reread.is_ok_and(|reread| reread.changed) {
            tracing::info!("a new key is in use");
            self.budget.key_changed(now);
        }
        let slot = presented.slot();
        if keys >= REFUSALS_OF_OTHER_LOGIN && credential.accepted_in_call_after(asked) && !credential.alternates(now) {
            // Others' calls had the key accepted while this one was under way, each time: the document wants another login.
            permit.settle(Verdict::Answered, now, 0);
            self.budget.note_other_login(call.asker.who, now);
            return Err(self.key_fault().into());
        }
        let (left, alternates) = (credential.refused(presented, asked, now), credential.alternates(now));
        // Where both keys were accepted within a minute, nodes differ over them: either may be accepted by the next one.
        let is_final = if alternates { keys > MAX_KEYS } else { !left };
        if is_final {
            let recent = credential.accepted_lately(now);
            permit.settle(Verdict::KeyRefused { recent }, now, dice());
            tracing::error!(slot, "the partner refused every key; put a good one where upstream.api_key_file points");
            return Err(self.key_fault().into());
        }
        tracing::warn!(slot, "the partner refused a key; it is asked again");
        drop(permit);
        let mut confirming = None;
        if !alternates {
            let mine = self.clock.until(call.deadline, credential.confirm()).await.map_err(|_| Unanswered::Deadline)?;
            confirming = Some(mine).filter(|_| credential.is_in_doubt());
        }
        let permit = self.permit(call.asker, call.deadline, NO_FLIGHT).await?;
        Ok((permit, confirming))
    }
}
