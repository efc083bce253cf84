//! What may an operator do with tokens?
//! Given an operator's wish, issues, lists and takes back any caller's tokens, by the ledger.
//! Never checks who the operator is: the admin door did, or it is the command with the ledger in its hands.

use std::time::Duration;

use crate::token::bounds::Bounds;
use crate::token::{Issued, NotIssued, TokenSpec};

use super::ledger::{Broken, How, Listed};
use super::{Authority, Failed};

/// Rows of one page, at most.
const PAGE: usize = 1000;

/// Why it was not done; the texts are for operators.
#[derive(Debug, thiserror::Error)]
pub enum Undone {
    /// The wish cannot be granted.
    #[error("{0}")]
    Wrong(String),
    /// Nothing of this name is there.
    #[error("{0}")]
    Unknown(String),
    /// The ledger failed.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<Failed> for Undone {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Broken(broken) => Self::Broken(broken),
            Failed::NotIssued(error @ NotIssued::UnknownCaller(..)) => Self::Unknown(error.to_string()),
            other => Self::Wrong(other.to_string()),
        }
    }
}

impl Authority {
    /// Issues a token for a caller; without `ttl` for as long as the caller's last.
    ///
    /// # Errors
    /// [`Undone`] says what would have to change.
    pub async fn issue_for(
        &self,
        caller: &str,
        scopes: Vec<String>,
        bounds: Bounds,
        ttl: Option<Duration>,
        how: How,
    ) -> Result<Issued, Undone> {
        let ttl = ttl.unwrap_or_else(|| self.ttl_of(caller));
        if ttl.as_secs() == 0 || ttl > self.max_ttl {
            let most = self.max_ttl.as_secs();
            return Err(Undone::Wrong(format!("the ttl must be at least 1 s and at most tokens.max_ttl, {most} s")));
        }
        let wish = TokenSpec { caller: caller.to_owned(), scopes, bounds, ttl };
        Ok(self.issue(&wish, how, self.clock.now()).await?)
    }

    /// A page of the ledger, after the id where the last one ended; `most` rows, a thousand at most.
    ///
    /// # Errors
    /// [`Undone::Broken`].
    pub async fn list(
        &self,
        caller: Option<String>,
        after: Option<String>,
        most: usize,
    ) -> Result<Vec<Listed>, Undone> {
        let ledger = self.ledger.clone();
        let read = move || ledger.list(caller.as_deref(), after.as_deref(), most.min(PAGE));
        Ok(blocking(read).await?)
    }

    /// One token's row.
    ///
    /// # Errors
    /// [`Undone`].
    pub async fn find(&self, jti: &str) -> Result<Listed, Undone> {
        let (ledger, wanted) = (self.ledger.clone(), jti.to_owned());
        let row = blocking(move || ledger.find(&wanted)).await?;
        row.ok_or_else(|| Undone::Unknown(format!("no token has the id {jti:?}; `token list` shows those there are")))
    }

    /// Takes back one token and what was exchanged from it; how many.
    ///
    /// # Errors
    /// [`Undone`].
    pub async fn revoke_one(&self, jti: &str, actor: &str) -> Result<usize, Undone> {
        let row = self.find(jti).await?;
        Ok(self.revoke(jti, row.row.expires, &row.row.caller, actor).await?)
    }

    /// Takes back all that a caller was given until now; it need not be configured any more.
    ///
    /// # Errors
    /// [`Undone`].
    pub async fn revoke_all(&self, caller: &str, actor: &str) -> Result<(), Undone> {
        let named = self.tokens.settings().callers.iter().any(|policy| policy.name == caller);
        if !named
            && !self.was_registered(caller).await?
            && self.list(Some(caller.to_owned()), None, 1).await?.is_empty()
        {
            return Err(Undone::Unknown(format!("no caller is called {caller:?}, and no token was issued to one")));
        }
        self.revoke_caller(caller, actor).await?;
        Ok(())
    }
}

impl Authority {
    async fn was_registered(&self, caller: &str) -> Result<bool, Broken> {
        let (ledger, caller) = (self.ledger.clone(), caller.to_owned());
        blocking(move || ledger.knows(&caller)).await
    }
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> Result<T, Broken> + Send + 'static) -> Result<T, Broken> {
    tokio::task::spawn_blocking(read).await.unwrap_or_else(|_| Err(Broken::ended()))
}
