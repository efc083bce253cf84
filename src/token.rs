//! Who asks?
//! Given what was presented and `now`, hands back the [`Caller`], or why nobody could be identified.
//! Never knows routes, the partner's key or the network; never prints a token.

pub mod scope;

pub mod bounds;

pub mod revoked;

pub mod ambient;

mod remembered;

pub mod claims;

pub mod ring;

pub mod verify;

pub mod operator;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::account_api::API_KEY;
use crate::clock::Now;

use bounds::Bounds;
use claims::Claims;
use remembered::{Familiar, Remembered};
use revoked::{Life, Revoked};
use ring::Ring;
use scope::{ScopeNames, Scopes};

/// A longer token is not issued and not looked at.
pub const LONGEST: usize = 4096;

/// Who may ask, and what their tokens must say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `iss` of our tokens.
    pub issuer: String,
    /// The `aud` of our tokens.
    pub audience: String,
    /// Whether a token may also come in `X-Reseller-Api-Key`.
    pub accept_api_key_header: bool,
    /// The callers and the scopes each may have at most.
    pub callers: Vec<Policy>,
}

/// What one caller may do at most, whatever its token says.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The caller's name: `client_id` and `sub` of its tokens.
    pub name: String,
    /// Names of the scopes it may have.
    pub scopes: Vec<String>,
    /// Which clients and providers it may reach.
    pub bounds: Bounds,
    /// Its place in the queue for the partner.
    pub priority: Priority,
}

/// A caller's place in the queue for the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Priority {
    /// Somebody waits for the answer.
    #[default]
    Interactive,
    /// Nobody does.
    Batch,
}

/// An identified caller with its effective right: what its token says, cut down to what its policy allows today.
#[derive(Debug)]
pub struct Caller {
    name: Arc<str>,
    jti: Box<str>,
    kid: Box<str>,
    scopes: Scopes,
    bounds: Bounds,
    issued: u64,
    expires: u64,
    /// The epoch of revocations at which it was last found good.
    checked: AtomicU64,
    seat: Seat,
}

/// What of a caller's policy other rooms go by.
#[derive(Debug, Clone, Copy, Default)]
struct Seat {
    index: usize,
    priority: Priority,
}

impl Caller {
    /// The caller's name as the configuration has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The id of the token it came with (RFC 7519 §4.1.7), or [`ambient::ID`].
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// Its effective bounds.
    pub fn bounds(&self) -> &Bounds {
        &self.bounds
    }

    /// Its effective scopes.
    pub fn scopes(&self) -> Scopes {
        self.scopes
    }

    /// When its token was issued, seconds since 1970.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// When its token ends, seconds since 1970.
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// Its position among [`Settings::callers`]: rooms that keep something for each caller find it without hashing a name.
    pub fn index(&self) -> usize {
        self.seat.index
    }

    /// Its place in the queue for the partner.
    pub fn priority(&self) -> Priority {
        self.seat.priority
    }
}

/// What is known of a token before any signature is checked.
#[derive(Debug)]
pub enum Recalled<'a> {
    /// It was found good before.
    Caller(Arc<Caller>),
    /// It was never seen, or forgotten: [`Tokens::examine`] costs a signature.
    Unseen(&'a [u8]),
}

/// Why nobody could be identified. The texts are for the log; strangers get a constant one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unidentified {
    /// Neither header carried a token.
    #[error("no token")]
    Missing,
    /// The two headers, or two of one kind, carried different tokens.
    #[error("two different tokens")]
    Ambiguous,
    /// Not a token of ours: form, signature, key id, type, issuer or audience.
    #[error("bad token: {0}")]
    Bad(&'static str),
    /// Its time is over.
    #[error("expired token")]
    Expired,
    /// It was taken back, by its id or with all of its caller's.
    #[error("revoked token")]
    Revoked,
    /// Its caller is not in the configuration any more.
    #[error("caller no longer configured")]
    UnknownCaller,
}

/// A policy as it is joined with a token.
struct Allowed {
    name: Arc<str>,
    scopes: Scopes,
    bounds: Bounds,
    seat: Seat,
    /// Who it is without a token.
    ambient: Arc<Caller>,
}

/// The door: knows the keys, the callers and the tokens seen lately.
pub struct Tokens {
    settings: Settings,
    ring: Arc<Ring>,
    names: Arc<ScopeNames>,
    policies: HashMap<String, Allowed>,
    revoked: Arc<Revoked>,
    seen: Remembered,
    familiar: Arc<Familiar>,
}

impl Tokens {
    /// Opens the door for the configured callers; `names` are the scopes that routes ask for.
    pub fn new(settings: Settings, ring: Arc<Ring>, names: Arc<ScopeNames>) -> Self {
        let policies = settings
            .callers
            .iter()
            .enumerate()
            .map(|(index, policy)| {
                let scopes = names.set_of(policy.scopes.iter().map(String::as_str));
                let name: Arc<str> = Arc::from(policy.name.as_str());
                let seat = Seat { index, priority: policy.priority };
                let ambient = Arc::new(Caller {
                    name: Arc::clone(&name),
                    jti: ambient::ID.into(),
                    scopes: ambient::scopes_of(policy, &names),
                    bounds: policy.bounds.clone(),
                    expires: u64::MAX,
                    kid: Box::default(),
                    issued: u64::MAX,
                    checked: AtomicU64::new(0),
                    seat,
                });
                (policy.name.clone(), Allowed { name, scopes, bounds: policy.bounds.clone(), seat, ambient })
            })
            .collect();
        let seen = Remembered::new();
        Self { settings, ring, names, policies, revoked: Arc::default(), seen, familiar: Arc::default() }
    }

    /// The door of a house that takes another's place: other callers, the same keys and revocations. Nothing remembered
    /// comes along, since scopes are numbered by the routes there are; a token is examined once more.
    #[must_use]
    pub fn reconfigured(&self, settings: Settings, names: Arc<ScopeNames>) -> Self {
        let (revoked, familiar) = (Arc::clone(&self.revoked), Arc::clone(&self.familiar));
        Self { revoked, familiar, ..Self::new(settings, Arc::clone(&self.ring), names) }
    }

    /// Whether the signature of this very token was good before, here or in the house before.
    pub fn is_familiar(&self, token: &[u8]) -> bool {
        self.familiar.has(token)
    }

    /// What was taken back.
    pub fn revoked(&self) -> &Arc<Revoked> {
        &self.revoked
    }

    /// The keys.
    pub fn ring(&self) -> &Arc<Ring> {
        &self.ring
    }

    /// Who sent these headers? A token seen before costs no signature; its expiry is judged every time.
    ///
    /// # Errors
    /// [`Unidentified`]; nothing is remembered of a token that fails.
    pub fn identify(&self, headers: &HeaderMap, now: Now) -> Result<Arc<Caller>, Unidentified> {
        self.identify_token(self.presented(headers)?, now)
    }

    /// Callers whose newest token in use has less than a tenth of its life left: whoever renews in time is none of them.
    pub fn expiring(&self, unix: u64) -> Vec<String> {
        let ends_soon = |(issued, expires): (u64, u64)| expires - unix < expires.saturating_sub(issued) / 10;
        let newest = self.seen.newest(unix).into_iter();
        newest.filter(|(_, life)| ends_soon(*life)).map(|(caller, _)| caller.to_string()).collect()
    }

    /// Whose token is this? The same as [`Tokens::identify`], where the token came in another way.
    ///
    /// # Errors
    /// The same.
    pub fn identify_token(&self, token: &[u8], now: Now) -> Result<Arc<Caller>, Unidentified> {
        match self.recall_token(token, now)? {
            Recalled::Caller(caller) => Ok(caller),
            Recalled::Unseen(token) => self.examine(token, now),
        }
    }

    /// The first, cheap half of [`Tokens::identify`].
    ///
    /// # Errors
    /// [`Unidentified`] as far as it shows without a signature.
    pub fn recall<'a>(&self, headers: &'a HeaderMap, now: Now) -> Result<Recalled<'a>, Unidentified> {
        self.recall_token(self.presented(headers)?, now)
    }

    fn recall_token<'a>(&self, token: &'a [u8], now: Now) -> Result<Recalled<'a>, Unidentified> {
        let Some(caller) = self.seen.find(token) else { return Ok(Recalled::Unseen(token)) };
        self.holds(&caller, now)?;
        Ok(Recalled::Caller(caller))
    }

    /// Whether the token that a caller was identified by, at this door, still holds.
    ///
    /// # Errors
    /// [`Unidentified`].
    #[inline]
    pub fn holds(&self, caller: &Caller, now: Now) -> Result<(), Unidentified> {
        if now.unix() >= caller.expires {
            return Err(Unidentified::Expired);
        }
        if caller.checked.load(Ordering::Relaxed) != self.revoked.epoch() {
            self.judge(caller, now)?;
        }
        Ok(())
    }

    /// The second half: checks the signature and what was taken back, and remembers the token if all is well.
    ///
    /// # Errors
    /// [`Unidentified`].
    pub fn examine(&self, token: &[u8], now: Now) -> Result<Arc<Caller>, Unidentified> {
        let found = self.verify(token, now).and_then(|caller| self.judge(&caller, now).map(|()| caller));
        // Whoever turns out bad queues with the strangers from here on.
        let caller = Arc::new(found.inspect_err(|_| self.familiar.forget(token))?);
        self.seen.keep(token, Arc::clone(&caller), now.unix());
        self.familiar.keep(token);
        Ok(caller)
    }

    /// Whether a token whose signature was found good still stands. The epoch is read first: a revocation that comes
    /// meanwhile moves it, and the token is judged once more.
    #[cold]
    fn judge(&self, caller: &Caller, now: Now) -> Result<(), Unidentified> {
        let epoch = self.revoked.epoch();
        self.check_revocation(caller)?;
        self.revoked.note_use(&caller.jti, now.unix());
        caller.checked.store(epoch, Ordering::Relaxed);
        Ok(())
    }

    fn check_revocation(&self, caller: &Caller) -> Result<(), Unidentified> {
        let life = Life { issued: caller.issued, expires: caller.expires };
        if self.revoked.refuses(&caller.name, &caller.jti, life) {
            return Err(Unidentified::Revoked);
        }
        if self.ring.find(&caller.kid).is_none() {
            return Err(Unidentified::Bad("key id"));
        }
        Ok(())
    }

    /// Whose token would this be? The same as [`Tokens::identify_token`] without a trace: it was neither seen nor used.
    ///
    /// # Errors
    /// The same.
    pub fn weigh(&self, token: &[u8], now: Now) -> Result<Caller, Unidentified> {
        if token.is_empty() {
            return Err(Unidentified::Missing);
        }
        let caller = self.verify(token, now)?;
        self.check_revocation(&caller)?;
        Ok(caller)
    }

    /// Whom a token of this caller's with all that its policy allows would stand for; `None` where it is not configured.
    pub fn in_full(&self, caller: &str) -> Option<Caller> {
        let allowed = self.policies.get(caller)?;
        Some(Caller {
            name: Arc::clone(&allowed.name),
            jti: Box::default(),
            kid: Box::default(),
            scopes: allowed.scopes,
            bounds: allowed.bounds.clone(),
            issued: u64::MAX,
            expires: u64::MAX,
            checked: AtomicU64::new(0),
            seat: allowed.seat,
        })
    }

    fn presented<'a>(&self, headers: &'a HeaderMap) -> Result<&'a [u8], Unidentified> {
        let mut found: Option<&[u8]> = None;
        // One walk over the few headers of a request costs less than two look-ups.
        for (name, value) in headers {
            if *name == AUTHORIZATION {
                if let Some(token) = bearer(value.as_bytes()) {
                    only(&mut found, token)?;
                }
            } else if *name == API_KEY && self.settings.accept_api_key_header {
                only(&mut found, value.as_bytes().trim_ascii())?;
            }
        }
        match found {
            None | Some(b"") => Err(Unidentified::Missing),
            Some(token) => Ok(token),
        }
    }

    fn verify(&self, token: &[u8], now: Now) -> Result<Caller, Unidentified> {
        let token = std::str::from_utf8(token).map_err(|_| Unidentified::Bad("not text"))?;
        let (issuer, audience) = (Some(self.settings.issuer.as_str()), &self.settings.audience);
        let (claims, kid) = verify::verify(token, &self.ring, issuer, audience, now)?;
        let allowed = self.policies.get(&claims.client_id).ok_or(Unidentified::UnknownCaller)?;
        let bounds = match &claims.authorization_details {
            None => allowed.bounds.clone(),
            Some(details) => Bounds::of_details(details)
                .map_err(|_| Unidentified::Bad("authorization_details"))?
                .intersect(&allowed.bounds),
        };
        Ok(Caller {
            name: Arc::clone(&allowed.name),
            scopes: self.names.set_of(claims.scope.split(' ')).intersect(allowed.scopes),
            bounds,
            jti: claims.jti.into_boxed_str(),
            kid: kid.into_boxed_str(),
            issued: claims.iat,
            expires: claims.exp,
            checked: AtomicU64::new(0),
            seat: allowed.seat,
        })
    }

    /// Makes a token for a configured caller, with these scopes or, if none are named, all its reading ones.
    ///
    /// # Errors
    /// [`NotIssued`], naming what would have to change.
    pub fn issue(&self, wish: &TokenSpec, now: Now) -> Result<Issued, NotIssued> {
        let policy = self.settings.callers.iter().find(|policy| policy.name == wish.caller);
        let policy = policy.ok_or_else(|| NotIssued::UnknownCaller(wish.caller.clone(), self.caller_names()))?;
        let scopes = match wish.scopes.as_slice() {
            [] => policy.scopes.iter().filter(|scope| scope::is_given_unasked(scope)).cloned().collect(),
            asked => asked.to_vec(),
        };
        if scopes.is_empty() {
            return Err(NotIssued::Nothing(policy.name.clone(), policy.scopes.join(" ")));
        }
        if let Some(wide) = scopes.iter().find(|scope| !policy.scopes.contains(scope)) {
            return Err(NotIssued::Wider(wide.clone(), policy.name.clone(), policy.scopes.join(" ")));
        }
        for (kind, may, asked) in [
            ("client", &policy.bounds.clients, &wish.bounds.clients),
            ("provider", &policy.bounds.providers, &wish.bounds.providers),
        ] {
            // Who names nothing gets what the caller has.
            if let Some(beyond) = may.beyond(asked).filter(|_| !asked.is_all()) {
                return Err(NotIssued::Beyond(kind, beyond.to_owned(), policy.name.clone()));
            }
        }
        let audience = match scopes.iter().any(|scope| scope == scope::ADMIN) {
            false => self.settings.audience.as_str(),
            true if scopes.len() == 1 && wish.bounds.are_all() => operator::AUDIENCE,
            true => return Err(NotIssued::AdminAlone),
        };
        // All of a caller's tokens may have been taken back in this very second; a new one is of the next.
        let issued = now.unix().max(self.revoked.earliest(&policy.name));
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            sub: policy.name.clone(),
            aud: audience.to_owned(),
            exp: now.unix().saturating_add(wish.ttl.as_secs()),
            iat: issued,
            jti: claims::new_id().map_err(|_| ring::RingError::Random)?,
            client_id: policy.name.clone(),
            scope: scopes.join(" "),
            // Also where they are the policy's own today: it may be widened, and the token was not asked to follow.
            authorization_details: (!wish.bounds.are_all()).then(|| wish.bounds.details()),
        };
        let bounds = wish.bounds.intersect(&policy.bounds);
        let kid = self.ring.signer(issued).ok_or(ring::RingError::Signature)?.kid.clone();
        let token = self.ring.sign(&claims)?;
        if token.len() > LONGEST { Err(NotIssued::TooLong) } else { Ok(Issued { token, kid, bounds, claims }) }
    }

    /// What these tokens say of themselves.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Every scope that some caller may have.
    pub fn all_scopes(&self) -> Vec<String> {
        let all = self.settings.callers.iter().flat_map(|policy| policy.scopes.iter().cloned());
        all.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// The names in a set of scopes.
    pub fn names_in(&self, scopes: Scopes) -> Vec<String> {
        let mut names: Vec<String> = self.names.names_in(scopes).map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    fn caller_names(&self) -> String {
        let names: Vec<&str> = self.settings.callers.iter().map(|policy| policy.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }
}

/// A wish for a token.
#[derive(Debug, Clone)]
pub struct TokenSpec {
    /// For whom.
    pub caller: String,
    /// Which scopes; none means the caller's reading ones.
    pub scopes: Vec<String>,
    /// Which clients and providers; all means the caller's own.
    pub bounds: Bounds,
    /// For how long.
    pub ttl: std::time::Duration,
}

/// A token that was just made.
pub struct Issued {
    /// The token itself.
    pub token: String,
    /// The id of the key that signed it.
    pub kid: String,
    /// What it reaches, by it and by its caller's policy of now.
    pub bounds: Bounds,
    /// What it says.
    pub claims: Claims,
}

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issued").field("kid", &self.kid).field("claims", &self.claims).finish_non_exhaustive()
    }
}

/// Why no token was made.
#[derive(Debug, thiserror::Error)]
pub enum NotIssued {
    /// The caller is not in the configuration.
    #[error("no caller is called {0:?}; the configuration has: {1}")]
    UnknownCaller(String, String),
    /// A scope goes beyond the caller's policy.
    #[error("the scope {0:?} is not among those of {1:?}, which are: {2}")]
    Wider(String, String, String),
    /// No scope was named, and the caller has none that is given without being named (RFC 6749 §3.3).
    #[error("{0:?} has no scope that is given unless it is named; it may name: {1}")]
    Nothing(String, String),
    /// A token opens either the admin listener or the public one.
    #[error(
        "gateway:admin stands alone, without other scopes, clients or providers: its token opens the admin listener and nothing else"
    )]
    AdminAlone,
    /// An object is outside the caller's bounds: its kind, it, the caller.
    #[error("the {0} {1:?} is not among those of {2:?}; its [[callers]] table says which are")]
    Beyond(&'static str, String, String),
    /// It would not fit into a header.
    #[error("the token would be longer than 4 KiB; ask for fewer scopes, clients or providers")]
    TooLong,
    /// The signing key or the machine's randomness failed.
    #[error("cannot sign: {0}")]
    Unsigned(#[from] ring::RingError),
}

fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii())
}

fn only<'a>(found: &mut Option<&'a [u8]>, token: &'a [u8]) -> Result<(), Unidentified> {
    match *found {
        Some(other) if other != token => Err(Unidentified::Ambiguous),
        _ => {
            *found = Some(token);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
