//! What is the upstream shown, so that it answers?
//! Given `[upstream]` and its kind, hands back where the partner's key lies, or how a sidecar comes by its token at a hub.
//! Never reads a key or a token.

use std::path::PathBuf;

use super::page::Page;
use super::table::Table;
use super::tree::Value;
use super::values;
use super::values::Keyword;

/// Who answers at the partner's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamKind {
    /// The Account API itself.
    Partner,
    /// Another gateway.
    Hub,
}

impl Keyword for UpstreamKind {
    const KEYWORDS: &'static [(&'static str, Self)] = &[("partner", Self::Partner), ("hub", Self::Hub)];
}

/// Settings of the key, and of the key alone.
const OF_A_KEY: [&str; 3] = ["api_key_file", "api_key_env", "api_key_file_next"];

/// What the upstream is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// The partner: its key.
    Key {
        /// Where it lies.
        first: ApiKey,
        /// A second key file, tried where the first is refused.
        next: Option<PathBuf>,
    },
    /// A hub: a token that lies in this file.
    Token(PathBuf),
    /// A hub: a token that it gives for another one.
    Exchange(Exchange),
}

/// Where the partner's key lies; the configuration never holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiKey {
    /// In this file.
    File(PathBuf),
    /// In the environment variable of this name.
    Variable(String),
}

/// `[upstream.exchange]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// The token that is exchanged, as Kubernetes puts one into a pod.
    pub subject_token_file: PathBuf,
    /// The scopes that are asked for; none asks for what the hub gives unasked.
    pub scope: Vec<String>,
}

impl Credential {
    /// Whether it is a hub that is shown it.
    pub fn is_for_a_hub(&self) -> bool {
        !matches!(self, Self::Key { .. })
    }

    pub(super) fn kind(&self) -> UpstreamKind {
        if self.is_for_a_hub() { UpstreamKind::Hub } else { UpstreamKind::Partner }
    }

    /// Reads what belongs to this kind; what belongs to the other is a fault.
    pub(super) fn read(t: &mut Table<'_>, kind: UpstreamKind) -> Self {
        match kind {
            UpstreamKind::Partner => {
                let first = ApiKey::read(t);
                for key in ["token_file", "exchange"].into_iter().filter(|key| t.has(key)) {
                    t.notes.fault(&t.at(key), "this is for a hub; set kind = \"hub\", or drop it");
                }
                // Read all the same, so that they are known and their own faults are told.
                let (_, _) = (t.path("token_file"), Exchange::read(t));
                Self::Key { first, next: t.path("api_key_file_next") }
            }
            UpstreamKind::Hub => {
                let set: Vec<_> = OF_A_KEY.into_iter().filter(|key| t.has(key)).collect();
                for key in &set {
                    let reason =
                        "the hub holds the partner's key; it is shown a token: token_file or [upstream.exchange]";
                    t.notes.fault(&t.at(key), reason);
                }
                let (_, _, _) = (t.path("api_key_file"), t.get("api_key_env", variable), t.path("api_key_file_next"));
                let (token, exchanges) = (t.path("token_file"), t.has("exchange"));
                match (token, Exchange::read(t)) {
                    (Some(_), _) if exchanges => {
                        let reason = "upstream.exchange is set too; the token comes from one place";
                        t.notes.fault(&t.at("token_file"), reason);
                        Self::Token(PathBuf::new())
                    }
                    (Some(token), _) => Self::Token(token),
                    (None, Some(exchange)) => Self::Exchange(exchange),
                    (None, None) => {
                        if set.is_empty() && !exchanges && !t.has("token_file") {
                            let reason = "what the hub is shown is missing; set token_file, or [upstream.exchange]";
                            t.notes.missing(&t.at("token_file"), reason);
                        }
                        Self::Token(PathBuf::new())
                    }
                }
            }
        }
    }

    /// The settings that stand in `[upstream]` itself.
    pub(super) fn write(&self, page: &mut Page) {
        match self {
            Self::Key { first, next } => {
                match first {
                    ApiKey::File(path) => page.path("api_key_file", Some(path)),
                    ApiKey::Variable(name) => page.line("api_key_env", name.as_str()),
                }
                page.path("api_key_file_next", next.as_deref());
            }
            Self::Token(path) => page.path("token_file", Some(path)),
            Self::Exchange(_) => {}
        }
    }

    /// Its own table, if it has one.
    pub(super) fn write_table(&self, page: &mut Page) {
        if let Self::Exchange(exchange) = self {
            page.head("[upstream.exchange]");
            page.path("subject_token_file", Some(&exchange.subject_token_file));
            page.list("scope", &exchange.scope);
        }
    }
}

impl ApiKey {
    fn read(t: &mut Table<'_>) -> Self {
        let (both, neither) =
            (t.has("api_key_file") && t.has("api_key_env"), !t.has("api_key_file") && !t.has("api_key_env"));
        let file = t.path("api_key_file").map(Self::File);
        let variable = t.get("api_key_env", variable).map(Self::Variable);
        if both {
            t.notes.fault(&t.at("api_key_env"), "api_key_file is set too; the key lies in one place");
        }
        if neither && !t.has("api_key") {
            t.notes.missing(
                &t.at("api_key_file"),
                "where the partner's key lies is missing; set api_key_file or api_key_env",
            );
        }
        file.or(variable).unwrap_or(Self::Variable(String::new()))
    }
}

impl Exchange {
    fn read(t: &mut Table<'_>) -> Option<Self> {
        let mut t = t.table("exchange")?;
        let reason =
            "the token that is exchanged is missing, as in subject_token_file = \"/var/run/secrets/tokens/hub\"";
        if !t.has("subject_token_file") {
            t.notes.missing(&t.at("subject_token_file"), reason);
        }
        let exchange = Self {
            subject_token_file: t.path("subject_token_file").unwrap_or_default(),
            scope: t.list("scope", values::scope).unwrap_or_default(),
        };
        t.finish();
        Some(exchange)
    }
}

fn variable(value: &Value) -> Result<String, String> {
    let name = values::text(value)?;
    let starts_well = name.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
    if starts_well && name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'_') {
        return Ok(name);
    }
    Err("the name of an environment variable is wanted, not the key itself".to_owned())
}
