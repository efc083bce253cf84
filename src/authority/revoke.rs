//! How is a token taken back?
//! Given a token or a caller, revokes in memory at once, then on disk, with an audit line of who did it.
//! Never lets go of a revocation that the disk refused: it is written when that goes again.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::token::revoked::Revoked;

use super::ledger::{Broken, Ledger, Revocation};
use super::pending::{Pending, Waiting};
use super::{Authority, Figures};

/// What a revocation needs, for a task of its own.
#[derive(Clone)]
struct Revoker {
    revoked: Arc<Revoked>,
    ledger: Ledger,
    pending: Arc<Pending>,
    figures: Arc<Figures>,
    unix: u64,
}

impl Authority {
    /// Takes a token of this caller's and what was exchanged from it back; how many.
    ///
    /// In a task of its own: who hangs up, or runs out of time, between memory and disk must not leave it half done.
    pub(super) async fn revoke(&self, jti: &str, expires: u64, caller: &str, actor: &str) -> Result<usize, Broken> {
        let token = Waiting { jti: jti.to_owned(), expires, caller: caller.to_owned() };
        let (this, actor) = (self.revoker(), actor.to_owned());
        tokio::spawn(async move { this.token(token, &actor).await }).await.unwrap_or_else(|_| Err(Broken::ended()))
    }

    /// Takes back all that a caller was given until now, in a task of its own too.
    pub(super) async fn revoke_caller(&self, caller: &str, actor: &str) -> Result<(), Broken> {
        let (this, caller, actor) = (self.revoker(), caller.to_owned(), actor.to_owned());
        tokio::spawn(async move { this.caller(&caller, &actor).await }).await.unwrap_or_else(|_| Err(Broken::ended()))
    }

    /// Writes what the disk refused before, as far as it takes it now.
    pub async fn write_pending(&self) {
        let this = self.revoker();
        if this.pending.count() > 0 {
            // The first that fails speaks for the rest.
            let _ = this.write_pending().await;
        } else if this.ledger.is_failing() {
            let _ = this.ledger.probe().await;
        }
    }

    fn revoker(&self) -> Revoker {
        Revoker {
            revoked: Arc::clone(self.tokens.revoked()),
            ledger: self.ledger.clone(),
            pending: Arc::clone(&self.pending),
            figures: Arc::clone(&self.figures),
            unix: self.clock.now().unix(),
        }
    }
}

impl Revoker {
    async fn token(&self, token: Waiting, actor: &str) -> Result<usize, Broken> {
        // Before memory knows of it: whoever finds it revoked there asks whether it is on disk.
        self.pending.begun(&token.jti);
        let done = self.write(&token, actor).await;
        self.pending.ended(&token.jti);
        done
    }

    async fn write(&self, token: &Waiting, actor: &str) -> Result<usize, Broken> {
        let Waiting { jti, expires, caller } = token;
        self.revoked.revoke([(jti.as_str(), *expires)]);
        // A slow or full disk can be read: what was exchanged from it is refused at once as well.
        let (ledger, id, until) = (self.ledger.clone(), jti.clone(), *expires);
        if let Ok(Ok(family)) = tokio::task::spawn_blocking(move || ledger.family(&id, until)).await {
            self.revoked.revoke(family.iter().map(|(jti, expires)| (jti.as_str(), *expires)));
        }
        match self.ledger.revoke(jti.clone(), *expires, caller.clone(), self.unix).await {
            Ok(done) => {
                self.pending.done(jti);
                let many = self.take(done);
                self.figures.revoked.fetch_add(1, Ordering::Relaxed);
                tracing::info!(target: "audit", actor, jti, with_its_own = many, "audit: token revoked");
                Ok(many)
            }
            Err(broken) => {
                tracing::warn!(target: "audit", actor, jti, "audit: token revoked in this process; the disk refused it, and it is tried again");
                if !self.pending.add(token.clone()) {
                    let last = self.unix.max(self.revoked.earliest(caller));
                    self.revoked.revoke_caller(caller, last);
                    self.pending.add_caller(caller, last);
                    tracing::warn!(target: "audit", actor, caller, "audit: too many revocations wait for the disk; all tokens of their caller are revoked");
                }
                Err(broken)
            }
        }
    }

    /// Puts in force what the ledger says was taken back.
    fn take(&self, done: Revocation) -> usize {
        self.revoked.revoke(done.tokens.iter().map(|(jti, expires)| (jti.as_str(), *expires)));
        if let Some(ended) = done.caller {
            self.revoked.revoke_caller(&ended.caller, ended.last);
            self.revoked.forget(ended.covered.iter().map(String::as_str));
            let (caller, tokens) = (&ended.caller, ended.covered.len());
            tracing::warn!(target: "audit", caller, tokens, "audit: too many revoked tokens of one caller are remembered; all tokens of it until now are revoked");
        }
        done.tokens.len()
    }

    async fn caller(&self, caller: &str, actor: &str) -> Result<(), Broken> {
        // A token that was issued since the last time, in the same second, is dated into the next.
        let last = self.unix.max(self.revoked.earliest(caller));
        self.revoked.revoke_caller(caller, last);
        match self.ledger.revoke_caller(caller.to_owned(), last).await {
            Ok(()) => {
                self.pending.done_with(caller, last);
                self.figures.revoked.fetch_add(1, Ordering::Relaxed);
                tracing::info!(target: "audit", actor, caller, "audit: all tokens of a caller revoked");
                Ok(())
            }
            Err(broken) => {
                self.pending.add_caller(caller, last);
                tracing::warn!(target: "audit", actor, caller, "audit: all tokens of a caller revoked in this process; the disk refused it, and it is tried again");
                Err(broken)
            }
        }
    }

    async fn write_pending(&self) -> Result<(), Broken> {
        let (callers, tokens) = self.pending.all();
        for (caller, last) in callers {
            self.ledger.revoke_caller(caller.clone(), last).await?;
            self.pending.done_with(&caller, last);
            self.figures.revoked.fetch_add(1, Ordering::Relaxed);
            tracing::info!(target: "audit", caller, "audit: a revocation that the disk had refused is written");
        }
        for Waiting { jti, expires, caller } in tokens {
            let done = self.ledger.revoke(jti.clone(), expires, caller, self.unix).await?;
            self.pending.done(&jti);
            self.figures.revoked.fetch_add(1, Ordering::Relaxed);
            let many = self.take(done);
            tracing::info!(target: "audit", jti, with_its_own = many, "audit: a revocation that the disk had refused is written");
        }
        Ok(())
    }
}
