//! Who gets a token, and who loses one?
//! Given requests for `/oauth/*`, `/.well-known/*` and `/-/me`, issues, exchanges, explains and takes back tokens.
//! Never keeps a token or a secret; what it answers about revocations is on disk by then.

pub mod ledger;

pub mod rights;

pub mod secret;

pub mod trust;

mod desk;

pub(crate) mod form;

mod pending;

mod proof;

mod published;

mod refused;

mod grant;

mod endpoints;

mod exchange;

mod introspect;

mod revoke;

mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;

use crate::clock::{Clock, Now};
use crate::token::{Issued, NotIssued, TokenSpec, Tokens};
use crate::trail::count::TokenFigures;

use ledger::{Broken, Changed, How, Ledger, Present, Row};
use pending::Pending;
use proof::{Failures, Proofs};
use trust::Trusted;

pub use desk::Undone;
pub use endpoints::{RequestContext, is_for};
pub use proof::MOST_SECRETS;
pub use upkeep::keep_up;

/// What the authority goes by.
#[derive(Clone)]
pub struct Settings {
    /// The callers and how they prove themselves.
    pub members: Vec<Member>,
    /// Issuers whose tokens are exchanged.
    pub trust: Vec<trust::Settings>,
    /// How long a token may last.
    pub max_ttl: Duration,
    /// How old the newest signing key may get; zero: as old as it will.
    pub key_max_age: Duration,
    /// For how long the tokens of a caller that left the configuration wait for it.
    pub removed_grace: Duration,
    /// For a request, its body included.
    pub patience: Duration,
}

/// One caller. It cannot be printed: digests of secrets are in it.
#[derive(Clone)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// How long its tokens last where nothing else is said.
    pub ttl: Duration,
    /// Digests of its secrets.
    pub secrets: Vec<secret::Digest>,
    /// Foreign identities that prove it: issuer and subject.
    pub subjects: Vec<(String, String)>,
}

impl Member {
    /// What the ledger compares it by, without anything that a secret or a subject could be found from.
    fn present(&self) -> Present {
        let mark = |kind: &str, parts: [&[u8]; 2]| {
            let mut text = kind.as_bytes().to_vec();
            for part in parts {
                text.extend((part.len() as u64).to_be_bytes());
                text.extend(part);
            }
            let digest = digest(&SHA256, &text);
            HEXLOWER.encode(digest.as_ref().get(..16).unwrap_or_default())
        };
        let secrets = self.secrets.iter().map(|secret| mark("secret", [secret, b""]));
        let subjects = self.subjects.iter().map(|(issuer, sub)| mark("subject", [issuer.as_bytes(), sub.as_bytes()]));
        Present { name: self.name.clone(), proofs: secrets.chain(subjects).collect() }
    }
}

/// The authority.
pub struct Authority {
    tokens: Arc<Tokens>,
    ledger: Ledger,
    clock: Clock,
    proofs: Proofs,
    failures: Arc<Failures>,
    subjects: HashMap<(String, String), String>,
    /// The callers as the ledger compares them with those of before.
    present: Vec<Present>,
    ttls: HashMap<String, Duration>,
    trusted: Vec<Arc<Trusted>>,
    max_ttl: Duration,
    key_max_age: Duration,
    removed_grace: Duration,
    patience: Duration,
    figures: Arc<Figures>,
    pending: Arc<Pending>,
    /// How often each caller had left the configuration when this one began.
    departures: HashMap<String, u64>,
}

/// What was done, as it is counted.
#[derive(Debug, Default)]
struct Figures {
    issued: AtomicU64,
    refused: AtomicU64,
    revoked: AtomicU64,
}

/// Why a token that may be issued was not.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failed {
    /// It may not.
    #[error(transparent)]
    NotIssued(#[from] NotIssued),
    /// It could not be noted.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// It was exchanged from one that was revoked meanwhile.
    #[error("the token it comes from was revoked")]
    ParentRevoked,
    /// The caller has too many.
    #[error("the caller has 100,000 living tokens; it has to use each until it expires, or its token_ttl is too long")]
    Full,
    /// The caller is not in the configuration that came into force meanwhile.
    #[error("the caller was taken out of the configuration")]
    Left,
}

impl Authority {
    /// An authority over these tokens and this ledger.
    pub fn new(settings: Settings, tokens: Arc<Tokens>, ledger: Ledger, clock: Clock) -> Self {
        let members = settings.members;
        let of = |member: &Member| (member.name.clone(), member.secrets.clone());
        let subjects = members.iter().flat_map(|member| {
            member.subjects.iter().map(|subject| (subject.clone(), member.name.clone())).collect::<Vec<_>>()
        });
        Self {
            proofs: Proofs::new(members.iter().map(of)),
            subjects: subjects.collect(),
            present: members.iter().map(Member::present).collect(),
            ttls: members.iter().map(|member| (member.name.clone(), member.ttl)).collect(),
            trusted: settings.trust.into_iter().map(|trust| Arc::new(Trusted::new(trust))).collect(),
            max_ttl: settings.max_ttl,
            key_max_age: settings.key_max_age,
            removed_grace: settings.removed_grace,
            pending: Arc::default(),
            patience: settings.patience,
            failures: Arc::default(),
            figures: Arc::default(),
            departures: ledger.departures(),
            tokens,
            ledger,
            clock,
        }
    }

    /// The authority of a house that takes this one's place: other callers, the same ledger and figures, what is known of
    /// sources that fail, and the keys of issuers that are trusted as before.
    #[must_use]
    pub fn reconfigured(&self, settings: Settings, tokens: Arc<Tokens>) -> Self {
        let mut fresh = Self::new(settings, tokens, self.ledger.clone(), self.clock);
        for trusted in &mut fresh.trusted {
            if let Some(same) = self.trusted.iter().find(|other| other.is_for(trusted)) {
                *trusted = Arc::clone(same);
            }
        }
        let (failures, figures, pending) =
            (Arc::clone(&self.failures), Arc::clone(&self.figures), Arc::clone(&self.pending));
        Self { failures, figures, pending, ..fresh }
    }

    /// What was done since the start, and what is so now.
    pub fn figures(&self) -> TokenFigures {
        let now = self.clock.now().unix();
        let key = self.tokens.ring().signer(now);
        TokenFigures {
            issued: self.figures.issued.load(Ordering::Relaxed),
            refused: self.figures.refused.load(Ordering::Relaxed),
            revoked: self.figures.revoked.load(Ordering::Relaxed),
            tombstones: self.tokens.revoked().count(now),
            ledger_failures: self.ledger.failures(),
            key_age: key.filter(|key| key.made > 0).map(|key| now.saturating_sub(key.made)),
        }
    }

    /// Makes a token, notes it, and leaves an audit line. Nothing is handed out that is not in the ledger.
    async fn issue(&self, wish: &TokenSpec, how: How, now: Now) -> Result<Issued, Failed> {
        let issued = self.tokens.issue(wish, now)?;
        let claims = &issued.claims;
        let row = Row {
            caller: claims.client_id.clone(),
            scope: claims.scope.clone(),
            bounds: claims.authorization_details.clone(),
            issued: claims.iat,
            expires: claims.exp,
            kid: issued.kid.clone(),
            how: how.clone(),
            last_used: None,
        };
        let departures = self.departures.get(&claims.client_id).copied().unwrap_or_default();
        match self.ledger.issue(claims.jti.clone(), row, departures).await? {
            Changed::Done => {}
            Changed::ParentRevoked => return Err(Failed::ParentRevoked),
            Changed::Full => return Err(Failed::Full),
            Changed::Left => return Err(Failed::Left),
        }
        self.figures.issued.fetch_add(1, Ordering::Relaxed);
        let how = serde_json::to_string(&how).unwrap_or_default();
        let (caller, jti, scope, expires) = (&claims.client_id, &claims.jti, &claims.scope, claims.exp);
        tracing::info!(target: "audit", %caller, %jti, %scope, expires, %how, "audit: token issued");
        Ok(issued)
    }

    /// Why what was revoked or issued may not outlast this process, if so.
    pub fn unwritten(&self) -> Option<String> {
        let waiting = self.pending.count();
        match (waiting, self.ledger.is_failing()) {
            (0, false) => None,
            (0, true) => Some("the ledger of tokens cannot be written; the process log says why".to_owned()),
            (many, _) => Some(format!(
                "the ledger of tokens cannot be written; revocations in force in this process and not on disk: {many}"
            )),
        }
    }

    fn ttl_of(&self, caller: &str) -> Duration {
        self.ttls.get(caller).copied().unwrap_or(self.max_ttl).min(self.max_ttl)
    }
}
