//! The credential of a call, and the renewal of a hub's token.
//! Given a call that is about to start, hands back the key, or a hub's token; given a refusal, whether another is worth a call.
//! Never keeps what was fetched with a token that the hub has taken back.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::budget::{Permit, Verdict};
use crate::clock::Tick;

use super::calls::{Calls, Connects, dice};
use super::credential::{Presented, Refused};
use super::exchange::NotGiven;
use super::fault::{Fault, Unanswered};
use super::hub::AuthRejection;
use super::token_state::Heard;

/// A refusal waits no longer than this for what the hub says of the right.
const AT_ONCE_PATIENCE: Duration = Duration::from_secs(2);

impl<C: Connects> Calls<C> {
    /// What is shown in this call. A sidecar that has no token yet gets one first; later that is done in time, beside the calls.
    pub(super) async fn presented(&self, permit: &mut Permit, deadline: Tick) -> Result<Presented, Unanswered> {
        let presented = match self.upstream.credential().show() {
            Some(presented) => presented,
            None => self.first_token(permit, deadline).await?,
        };
        // What a token may do is known before anything is stored that it brought: else the first answer about it, which may be
        // of a right that has changed meanwhile, drops what is stored.
        let now = self.clock.tick();
        if self.upstream.right_is_unknown(now) {
            let until = deadline.min(now.plus(AT_ONCE_PATIENCE));
            let _ = self.clock.until(until, self.heard_of(&presented)).await;
        }
        Ok(presented)
    }

    /// Gets a sidecar's first token, for a call that cannot go on without.
    async fn first_token(&self, permit: &mut Permit, deadline: Tick) -> Result<Presented, Unanswered> {
        match self.clock.until(deadline, self.renewed(None)).await.map_err(|_| Unanswered::Deadline)? {
            Ok(()) => self.upstream.credential().show().ok_or(self.key_fault().into()),
            Err(why) => {
                // Nothing is held yet that a first refusal could be waited with.
                let busy = unheard(why).filter(|_| !matches!(why, NotGiven::Refused(..)));
                let verdict = if busy.is_some() { Verdict::Failed } else { Verdict::KeyRefused { recent: false } };
                permit.settle(verdict, self.clock.tick(), dice());
                Err(busy.unwrap_or(self.key_fault()).into())
            }
        }
    }

    /// In a box: it is rare, and that it is `Send` for any connector is settled here.
    fn renewed<'a>(
        &'a self,
        refused: Option<&'a Presented>,
    ) -> Pin<Box<dyn Future<Output = Result<(), NotGiven>> + Send + 'a>> {
        Box::pin(async move {
            let renewed = self.upstream.renew(refused).await?;
            // What a token of another right brought was meant for that.
            if renewed.another_right {
                tracing::info!("the hub gives a token of another right; what was held by the one before is dropped");
                self.forget_holdings();
            }
            Ok(())
        })
    }

    /// The same of the question what a token may do.
    fn heard_of<'a>(&'a self, presented: &'a Presented) -> Pin<Box<dyn Future<Output = Heard> + Send + 'a>> {
        let holds = (self.holdings.any)();
        Box::pin(async move {
            let heard = self.upstream.ask_right(presented, holds).await;
            if heard == Heard::Another {
                tracing::info!(
                    "the hub says that the token has another right; what was held by the one before is dropped"
                );
                self.forget_holdings();
            }
            heard
        })
    }

    /// That nothing we have is taken.
    pub fn key_fault(&self) -> Fault {
        match self.upstream.is_hub() {
            true if self.upstream.has_expired() => Fault::TokenExpired,
            true => Fault::Token,
            false => Fault::Key,
        }
    }

    /// What a 401 means that is no word on what we present: a partner wants another login there, and behind a hub that is a
    /// failure like others.
    pub fn login_fault(&self) -> Fault {
        if self.upstream.is_hub() { Fault::Status } else { Fault::Key }
    }

    /// The hub refused the token: good if another is worth a call now.
    ///
    /// # Errors
    /// What is wrong instead: nothing we have is taken, or a hub has no time to give another token for one that has ended.
    pub(super) async fn key_refused(
        &self,
        permit: &mut Permit,
        presented: Presented,
        said: AuthRejection,
    ) -> Result<(), Fault> {
        // What the token brought goes with it, once the hub has said twice that it was taken back.
        let heard = if said == AuthRejection::Revoked { Some(self.heard_of(&presented).await) } else { None };
        if heard == Some(Heard::Revoked) {
            self.forget_holdings();
        }
        let fault = match self.another_token(&presented).await {
            Ok(()) => {
                permit.settle(Verdict::Answered, self.clock.tick(), dice());
                tracing::warn!("the hub refused the token; another is tried");
                return Ok(());
            }
            Err(why) if said == AuthRejection::Expired => self.without_another(&presented, Heard::Expired, why),
            Err(why) => {
                let heard = match heard {
                    Some(heard) => heard,
                    None => self.heard_of(&presented).await,
                };
                self.without_another(&presented, heard, why)
            }
        };
        let verdict = match fault {
            Fault::Token | Fault::TokenExpired => Verdict::KeyRefused { recent: false },
            _ => Verdict::Failed,
        };
        permit.settle(verdict, self.clock.tick(), dice());
        Err(fault)
    }

    /// Another token than the one that was refused: out of its file, or by an exchange.
    async fn another_token(&self, refused: &Presented) -> Result<(), NotGiven> {
        let (credential, old) = (Arc::clone(self.upstream.credential()), refused.clone());
        // The files are read again: not on a worker.
        let read = tokio::task::spawn_blocking(move || credential.token_refused(&old)).await;
        match read {
            Ok(Refused { another: true, was_current }) => {
                if was_current {
                    self.another_file();
                }
                Ok(())
            }
            _ => self.renewed(Some(refused)).await,
        }
    }

    /// There is no other token than one that was refused, or whose time is over. What it brought goes where the hub has said
    /// twice that it is good for nothing: that a token's time is over takes nothing back.
    fn without_another(&self, presented: &Presented, heard: Heard, why: NotGiven) -> Fault {
        let endpoint_said = match why {
            NotGiven::Refused(_, times) => times,
            _ => 0,
        };
        match heard {
            Heard::Revoked => self.taken_back(),
            Heard::Expired if endpoint_said > 1 => self.taken_back(),
            // A hub that came back with other keys gives another for the same right.
            Heard::Refused if why == NotGiven::Later => Fault::Status,
            Heard::Refused => self.taken_back(),
            Heard::Expired => {
                tracing::warn!(%why, "the token has ended, and there is no other now");
                unheard(why).unwrap_or_else(|| {
                    self.upstream.note_expired();
                    Fault::TokenExpired
                })
            }
            Heard::Nothing if endpoint_said > 0 => self.taken_back(),
            Heard::Same | Heard::Another | Heard::Nothing => {
                tracing::warn!(?heard, "a refusal of the token is not confirmed by the hub");
                let now = self.clock.tick();
                self.upstream.credential().taken(presented, now, now);
                Fault::Status
            }
        }
    }

    /// The hub has taken back what it gave.
    fn taken_back(&self) -> Fault {
        self.forget_holdings();
        tracing::error!(
            "the hub refused the token, and what it had brought is dropped; upstream.token_file or upstream.exchange has to bring a good one"
        );
        Fault::Token
    }

    /// A file holds another token.
    fn another_file(&self) {
        self.upstream.forget_right();
        self.forget_holdings();
    }

    /// The hub refused a request for want of a right: it is asked at once what is left of that.
    pub(super) async fn is_beyond(&self, presented: &Presented, deadline: Tick) {
        let now = self.clock.tick();
        if self.upstream.is_to_ask_at_once(now) {
            let until = deadline.min(now.plus(AT_ONCE_PATIENCE));
            let _ = self.clock.until(until, self.heard_of(presented)).await;
        }
    }

    /// Asks the hub what the token may do, when it is time.
    async fn keep_right(&self) {
        if !self.upstream.is_to_ask(self.clock.tick()) {
            return;
        }
        let Some(presented) = self.upstream.credential().good() else { return };
        let mut heard = self.heard_of(&presented).await;
        if matches!(heard, Heard::Refused | Heard::Revoked) {
            heard = self.heard_of(&presented).await;
        }
        let lost = match heard {
            Heard::Revoked => {
                self.forget_holdings();
                self.another_token(&presented).await
            }
            Heard::Refused | Heard::Expired => self.another_token(&presented).await,
            Heard::Same | Heard::Another | Heard::Nothing => return,
        };
        if let Err(why) = lost {
            let _ = self.without_another(&presented, heard, why);
        }
    }

    /// Drops all that a hub's token has brought: it may not have been meant for whoever holds the next one. What is on its
    /// way by that token is for those who wait for it already, and for nobody who comes now.
    pub fn forget_holdings(&self) {
        if self.upstream.is_hub() {
            (self.holdings.forget)();
        }
    }

    /// The next token, when it is time for it; whether there is one.
    async fn renewed_in_time(&self) -> bool {
        let Some(Ok(renewed)) = self.upstream.renew_in_time().await else { return false };
        if renewed.another_right {
            tracing::info!("the hub gives a token of another right; what was held by the one before is dropped");
            self.forget_holdings();
        }
        true
    }

    /// Looks whether there is something new to show, gets it when it is time, and asks a hub what it is good for: for whoever
    /// calls this each second. Hands back what is wrong with the files.
    pub async fn keep_proven(&self) -> Vec<String> {
        let credential = Arc::clone(self.upstream.credential());
        let Ok(found) = tokio::task::spawn_blocking(move || credential.reread()).await else { return Vec::new() };
        if found.changed {
            tracing::info!("a new key or token is in use");
            self.another_file();
        }
        let renewed = match self.upstream.credential().good() {
            // A first token's right is known before anything is held that it brought.
            None => {
                let renewed = self.renewed_in_time().await;
                self.keep_right().await;
                renewed
            }
            // A hub that is slow in the one keeps the other no longer than it takes itself.
            Some(_) => tokio::join!(self.renewed_in_time(), self.keep_right()).0,
        };
        if found.changed || renewed {
            self.budget.key_changed(self.clock.tick());
        }
        found.faults.iter().map(ToString::to_string).collect()
    }
}

/// That a hub could not be asked for a token, or had no time, or somebody else answered: no word on what we may.
fn unheard(why: NotGiven) -> Option<Fault> {
    match why {
        NotGiven::Failed(failed) => Some(Fault::Failed(failed)),
        NotGiven::Unclear(_) | NotGiven::Later | NotGiven::Refused(_, 1) => Some(Fault::Status),
        NotGiven::No | NotGiven::Subject | NotGiven::Refused(..) | NotGiven::Empty => None,
    }
}
