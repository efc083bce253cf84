//! What does a token say?
//! Given its payload, hands back the claims of RFC 9068 §2.2.
//! Never judges them; a claim it does not know is ignored, as RFC 7519 §4 wants.

use serde::{Deserialize, Serialize};

/// The claims of one of our tokens.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// Issuer: `server.public_url`.
    pub iss: String,
    /// The caller's name.
    pub sub: String,
    /// One audience.
    pub aud: String,
    /// Not after, seconds since 1970.
    pub exp: u64,
    /// Issued at, seconds since 1970.
    pub iat: u64,
    /// The token's own id.
    pub jti: String,
    /// The caller's name, as RFC 9068 §2.2 has it.
    pub client_id: String,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// Bounds (RFC 9396), where they are narrower than the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<serde_json::Value>,
}

/// A fresh token id: 128 random bits, base64url.
pub(super) fn new_id() -> Result<String, getrandom::Error> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits)?;
    Ok(data_encoding::BASE64URL_NOPAD.encode(&bits))
}
