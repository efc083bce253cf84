//! Who may ask, and how does one prove it?
//! Given `[tokens]`, `[[trust]]` and `[[callers]]`, hands back the callers with their rights.
//! Never checks a token, never prints a secret's digest.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use data_encoding::HEXLOWER_PERMISSIVE;

use super::page::Page;
use super::table::Table;
use super::tree::Value;
use super::values::{self, Keyword};
use crate::gcra::Rate;
use crate::token::bounds::{self, Bound};

const HOUR: Duration = Duration::from_secs(3600);

/// The longest token where revocations and keys are only in memory.
pub const LONGEST_WITHOUT_STATE: Duration = HOUR;

/// `[tokens]`: the tokens issued here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The `aud` of every token but an admin's.
    pub audience: String,
    /// Where the signing keys lie, one `<kid>.pem` each; `None`: in memory (no `state.dir`).
    pub keys_dir: Option<PathBuf>,
    /// How long a token lasts where nothing else is said.
    pub default_ttl: Duration,
    /// How long a token may last.
    pub max_ttl: Duration,
    /// Whether a token may come in `X-Reseller-Api-Key`.
    pub accept_api_key_header: bool,
    /// How old the newest signing key may get before another is made; zero: as old as it will.
    pub key_max_age: Duration,
    /// How long a new key is published before it signs.
    pub key_notice: Duration,
    /// For how long the tokens of a caller that left the file wait for it to be back.
    pub removed_grace: Duration,
}

impl Tokens {
    pub(super) fn read(mut t: Table<'_>, state: Option<&PathBuf>) -> Self {
        if state.is_none() && t.has("keys_dir") {
            t.notes.fault(
                &t.at("keys_dir"),
                "without state.dir the signing keys are in memory; set state.dir or drop this",
            );
        }
        let longest = if state.is_some() { 720 * HOUR } else { LONGEST_WITHOUT_STATE };
        let max_ttl = t.get("max_ttl", values::some_time).unwrap_or(longest);
        let tokens = Self {
            audience: t.get("audience", values::filled).unwrap_or_else(|| "account-api".to_owned()),
            keys_dir: t.path("keys_dir").or_else(|| state.map(|dir| dir.join("keys"))),
            default_ttl: t.get("default_ttl", values::some_time).unwrap_or(HOUR.min(max_ttl)),
            max_ttl,
            accept_api_key_header: t.get("accept_api_key_header", values::truth).unwrap_or(true),
            key_max_age: t.get("key_max_age", values::duration).unwrap_or(2160 * HOUR),
            key_notice: t.get("key_notice", values::duration).unwrap_or(HOUR / 6),
            removed_grace: t.get("removed_grace", values::duration).unwrap_or(HOUR / 6),
        };
        t.finish();
        tokens
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[tokens]");
        page.line("audience", self.audience.as_str());
        page.path("keys_dir", self.keys_dir.as_deref());
        page.time("default_ttl", self.default_ttl);
        page.time("max_ttl", self.max_ttl);
        page.line("accept_api_key_header", self.accept_api_key_header);
        page.time("key_max_age", self.key_max_age);
        page.time("key_notice", self.key_notice);
        page.time("removed_grace", self.removed_grace);
    }
}

/// One `[[trust]]`: an issuer whose tokens may be exchanged for ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The `iss` of its tokens.
    pub issuer: String,
    /// Where its keys are fetched; exactly one of this and the next is there.
    pub jwks_url: Option<String>,
    /// The file of its keys, re-read when it changes.
    pub jwks_file: Option<PathBuf>,
    /// Issuers of the certificate at `jwks_url`, PEM.
    pub ca_file: Option<PathBuf>,
    /// The token to present at `jwks_url`.
    pub bearer_token_file: Option<PathBuf>,
    /// The `aud` its tokens must have.
    pub audience: String,
}

impl Trust {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        root.tables("trust").unwrap_or_default().into_iter().map(Self::read).collect()
    }

    fn read(mut t: Table<'_>) -> Self {
        if t.has("jwks_url") == t.has("jwks_file") {
            t.notes.missing(
                &t.at("jwks_url"),
                "where the issuer's keys are is missing or said twice; set jwks_url or jwks_file",
            );
        }
        let trust = Self {
            issuer: t.need("issuer", values::filled, "an issuer is missing").unwrap_or_default(),
            jwks_url: t.get("jwks_url", https),
            jwks_file: t.path("jwks_file"),
            ca_file: t.path("ca_file"),
            bearer_token_file: t.path("bearer_token_file"),
            audience: t.get("audience", values::filled).unwrap_or_else(|| "reseller-gateway".to_owned()),
        };
        t.finish();
        trust
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[[trust]]");
        page.line("issuer", self.issuer.as_str());
        if let Some(url) = &self.jwks_url {
            page.line("jwks_url", url.as_str());
        }
        page.path("jwks_file", self.jwks_file.as_deref());
        page.path("ca_file", self.ca_file.as_deref());
        page.path("bearer_token_file", self.bearer_token_file.as_deref());
        page.line("audience", self.audience.as_str());
    }
}

fn https(value: &Value) -> Result<String, String> {
    let text = values::filled(value)?;
    let uri = text.parse::<http::Uri>().ok();
    let safe = |uri: &http::Uri| {
        let host = uri.host().unwrap_or_default();
        let scheme = uri.scheme_str().unwrap_or_default();
        !host.is_empty() && (scheme == "https" || (scheme == "http" && values::is_loopback(host)))
    };
    uri.filter(safe)
        .map(|_| text)
        .ok_or_else(|| "an address that starts with https:// is wanted; http:// only on loopback".to_owned())
}

/// One `[[callers]]`: an internal application and its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its name, the `sub` and `client_id` of its tokens.
    pub name: String,
    /// What its tokens may do.
    pub scopes: Vec<String>,
    /// Which clients it may see.
    pub clients: Bound,
    /// Which providers it may see.
    pub providers: Bound,
    /// Digests of its secrets.
    pub secrets: Vec<SecretDigest>,
    /// Foreign identities that prove it.
    pub subjects: Vec<Subject>,
    /// Its place in the queue for the partner.
    pub priority: Priority,
    /// How long its tokens last where nothing else is said.
    pub token_ttl: Duration,
    /// Its limits; `None` is unlimited.
    pub limits: Option<Limits>,
}

/// The SHA-256 digest of a caller's secret, as `token secret` prints it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretDigest(pub [u8; 32]);

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// A foreign identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The issuer of its tokens.
    pub issuer: String,
    /// The `sub` of its tokens.
    pub sub: String,
}

/// A caller's place in the queue for the partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    /// Somebody waits for the answer.
    Interactive,
    /// Nobody does.
    Batch,
}

impl Keyword for Priority {
    const KEYWORDS: &'static [(&'static str, Self)] = &[("interactive", Self::Interactive), ("batch", Self::Batch)];
}

/// `[callers.limits]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests in so much time.
    pub requests: Rate,
    /// How many may come at once after a rest.
    pub burst: u32,
    /// How many may be under way at one time; `None` is unlimited.
    pub concurrent: Option<u32>,
    /// Calls of the partner it may cause in so much time.
    pub upstream: Rate,
}

impl Caller {
    pub(super) fn read_all(root: &mut Table<'_>, default_ttl: Duration) -> Vec<Self> {
        let tables = root.tables("callers").unwrap_or_default();
        tables.into_iter().map(|t| Self::read(t, default_ttl)).collect()
    }

    fn read(mut t: Table<'_>, default_ttl: Duration) -> Self {
        let name = t.need("name", |value| values::name(&values::text(value)?), "a caller has a name");
        let caller = Self {
            name: name.unwrap_or_default(),
            scopes: t.list("scopes", values::scope).unwrap_or_default(),
            clients: bound(&mut t, "clients"),
            providers: bound(&mut t, "providers"),
            secrets: t.list("secrets", SecretDigest::read).unwrap_or_default(),
            subjects: t.tables("subjects").unwrap_or_default().into_iter().map(Subject::read).collect(),
            priority: t.get("priority", values::keyword).unwrap_or(Priority::Interactive),
            token_ttl: t.get("token_ttl", values::some_time).unwrap_or(default_ttl),
            limits: t.table("limits").map(Limits::read),
        };
        t.finish();
        caller
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[[callers]]");
        page.line("name", self.name.as_str());
        page.list("scopes", &self.scopes);
        page.list("clients", &self.clients.names());
        page.list("providers", &self.providers.names());
        page.list("secrets", &vec!["(hidden)"; self.secrets.len()]);
        let subjects = self.subjects.iter().map(|subject| {
            let pairs = [("issuer", &subject.issuer), ("sub", &subject.sub)];
            toml::Value::Table(pairs.map(|(key, text)| (key.to_owned(), text.clone().into())).into_iter().collect())
        });
        page.line("subjects", subjects.collect::<Vec<_>>());
        page.line("priority", self.priority.as_str());
        page.time("token_ttl", self.token_ttl);
        if let Some(limits) = &self.limits {
            page.head("[callers.limits]");
            page.rate("requests", limits.requests);
            page.line("burst", limits.burst);
            if let Some(concurrent) = limits.concurrent {
                page.line("concurrent", concurrent);
            }
            page.rate("upstream", limits.upstream);
        }
    }
}

fn bound(t: &mut Table<'_>, key: &'static str) -> Bound {
    if !t.has(key) {
        t.notes.missing(&t.at(key), format!("a caller says which {key} it may see; [\"*\"] is all, [] is none"));
    }
    let one = |text: &str| if text == bounds::ALL { Ok(text.to_owned()) } else { values::identifier(text) };
    let names = t.list(key, one).unwrap_or_default();
    Bound::of(&names).unwrap_or_else(|why| {
        t.notes.fault(&t.at(key), why.to_string());
        Bound::default()
    })
}

impl SecretDigest {
    fn read(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
        digits
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| "a secret stands here as its digest: \"sha256:\" and 64 hexadecimal digits".to_owned())
    }
}

impl Subject {
    fn read(mut t: Table<'_>) -> Self {
        let subject = Self {
            issuer: t.need("issuer", values::filled, "the subject's issuer is missing").unwrap_or_default(),
            sub: t.need("sub", values::filled, "the subject's `sub` is missing").unwrap_or_default(),
        };
        t.finish();
        subject
    }
}

impl Limits {
    fn read(mut t: Table<'_>) -> Self {
        if t.has("burst") && !t.has("requests") {
            t.notes
                .fault(&t.at("burst"), "this many `requests` may come at once, and nothing limits them; set requests");
        }
        let requests = t.get("requests", values::rate).unwrap_or(Rate::Unlimited);
        let limits = Self {
            requests,
            burst: t.get("burst", values::whole(1..=1_000_000)).unwrap_or_else(|| requests.in_a_second()),
            concurrent: t.get("concurrent", values::whole(1..=1_000_000)),
            upstream: t.get("upstream", values::rate).unwrap_or(Rate::Unlimited),
        };
        t.finish();
        limits
    }
}
