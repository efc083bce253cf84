//! What has to be done from time to time?
//! Given the authority, reads the key folder again, rotates keys by age, notes uses, and sweeps what is over.
//! Never takes a key away that a living token was signed with.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::file_watch::LogOnce;

use super::Authority;
use super::ledger::{Broken, Fate, Ledger, Moment, Moved, SWEEP};

/// How soon a key that another process made or took away is noticed.
const LOOK: Duration = Duration::from_secs(2);

/// How coarse "last used" is, and how often the ledger is swept.
const ROUND: u32 = 30;

/// Keeps up the authority that is in force at each time, until it is dropped.
pub async fn keep_up(clock: Clock, in_force: impl Fn() -> Arc<Authority>) {
    let mut said = LogOnce::default();
    let mut round = 0;
    loop {
        clock.sleep_until(clock.tick().plus(LOOK)).await;
        let this = in_force();
        let keys = tokio::task::spawn_blocking(move || this.keep_keys(round == 0)).await;
        let fault = keys.map_or_else(|error| error.to_string(), |kept| kept.err().unwrap_or_default());
        if said.is_new(&fault) {
            tracing::error!(%fault, "signing keys");
        }
        in_force().write_pending().await;
        in_force().end_departed().await;
        round += 1;
        if round == ROUND {
            round = 0;
            in_force().note().await;
        }
    }
}

impl Authority {
    /// Notes which callers left and which are back, and takes back what must not live on; to be done before the first
    /// request, and before this authority takes another's place.
    ///
    /// # Errors
    /// [`Broken`]: then nothing may be served.
    pub async fn reconcile(&self) -> Result<(), Broken> {
        let moved = self.ledger.reconcile(self.present.clone(), self.moment()).await?;
        self.tell(moved);
        Ok(())
    }

    /// What [`Authority::reconcile`] would do.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn foresee(&self) -> Result<Vec<Moved>, Broken> {
        let (ledger, present, at) = (self.ledger.clone(), self.present.clone(), self.moment());
        let read = tokio::task::spawn_blocking(move || ledger.foresee(present, at)).await;
        read.unwrap_or_else(|_| Err(Broken::ended()))
    }

    /// Ends the tokens of callers that left and were not back in time.
    async fn end_departed(&self) {
        let (ledger, at) = (self.ledger.clone(), self.moment());
        let departed = tokio::task::spawn_blocking(move || ledger.departed()).await;
        let departed = departed.unwrap_or_else(|_| Err(Broken::ended())).unwrap_or_default();
        let over = |left: &u64| left.saturating_add(at.grace) <= at.steady;
        if departed.iter().any(|(_, left)| over(left)) {
            // Whoever is back meanwhile is judged by the same rule; the next look tries again.
            self.tell(self.ledger.end_departed(at).await.unwrap_or_default());
        }
    }

    fn moment(&self) -> Moment {
        let (wall, steady) = (self.clock.now().unix(), self.clock.steady());
        Moment { wall, steady, grace: self.removed_grace.as_secs() }
    }

    /// Puts it in force, and writes down what became of whom.
    fn tell(&self, moved: Vec<Moved>) {
        for Moved { caller, fate, tokens } in moved {
            match fate {
                Fate::Wait(until) => {
                    tracing::info!(target: "audit", %caller, tokens, until, "audit: a caller is configured no more; its tokens are refused, and end unless it is back in time");
                }
                Fate::Live => {
                    tracing::info!(target: "audit", %caller, tokens, "audit: a caller is configured again; its tokens count again");
                }
                Fate::End(last) => {
                    self.tokens.revoked().revoke_caller(&caller, last);
                    tracing::info!(target: "audit", %caller, tokens, "audit: the tokens of a caller that is, or was, configured no more are revoked");
                }
            }
        }
    }

    /// Fills what the path knows of revocations from the ledger; to be done before anything is judged.
    ///
    /// # Errors
    /// [`Broken`]: then nothing may be served.
    pub async fn recall(&self) -> Result<(), Broken> {
        let ledger: Ledger = self.ledger.clone();
        let read = tokio::task::spawn_blocking(move || ledger.standing()).await;
        let standing = read.unwrap_or_else(|_| Err(Broken::ended()))?;
        let revoked = self.tokens.revoked();
        revoked.revoke(standing.tokens.iter().map(|(jti, expires)| (jti.as_str(), *expires)));
        for (caller, last) in &standing.callers {
            revoked.revoke_caller(caller, *last);
        }
        if let Some(last) = standing.floor {
            revoked.revoke_all(last);
        }
        revoked.has_forgotten(standing.forgotten);
        Ok(())
    }

    /// Notes uses and sweeps; also to be done last of all.
    pub async fn note(&self) {
        let revoked = self.tokens.revoked();
        let used = revoked.take_used();
        // By a clock that does not jump ahead: what is forgotten can revive.
        let now = self.clock.steady();
        revoked.forget_expired(now);
        revoked.advance();
        if !used.is_empty() {
            let _ = self.ledger.used(used).await;
        }
        while let Ok(swept) = self.ledger.sweep(now).await {
            revoked.has_forgotten(swept.forgotten);
            if swept.rows < SWEEP {
                break;
            }
        }
    }

    fn keep_keys(&self, removing: bool) -> Result<(), String> {
        let (ring, now) = (self.tokens.ring(), self.clock.now().unix());
        let told = |error: crate::token::ring::RingError| error.to_string();
        if ring.refresh().map_err(told)? {
            let kids: Vec<String> = ring.keys().iter().map(|key| key.kid.clone()).collect();
            tracing::info!(target: "audit", ?kids, "audit: the signing keys are others now");
            self.tokens.revoked().advance();
        }
        if !self.key_max_age.is_zero() && ring.is_due(now, self.key_max_age) {
            let kid = ring.rotate().map_err(told)?.unwrap_or_default();
            tracing::info!(target: "audit", %kid, "audit: a signing key was made, by age");
        }
        if removing { self.remove_keys() } else { Ok(()) }
    }

    /// Removes keys that sign no more, once nothing that they signed lives.
    fn remove_keys(&self) -> Result<(), String> {
        let (ring, now) = (self.tokens.ring(), self.clock.steady());
        let mut over = Vec::new();
        for (kid, since) in ring.superseded(now) {
            // Tokens of an earlier, longer max_ttl are in the ledger; those of a command's minute are not.
            let least = self.max_ttl.as_secs().max(120);
            let needed =
                since.saturating_add(least) > now || self.ledger.needs_key(&kid, now).map_err(|e| e.to_string())?;
            if !needed {
                over.push(kid);
            }
        }
        if !over.is_empty() {
            ring.remove(&over).map_err(|error| error.to_string())?;
            self.tokens.revoked().advance();
            tracing::info!(target: "audit", kids = ?over, "audit: signing keys were removed; nothing they signed lives");
        }
        Ok(())
    }
}
