//! What may everybody know of the authority?
//! Given its address, scopes and keys, hands back its metadata (RFC 8414) and the public halves of its keys (RFC 7517).
//! Never shows a private half, and shows a new key before it signs.

use serde_json::{Value, json};

use crate::token::bounds;
use crate::token::ring::Ring;

/// The grants of RFC 6749 §4.4 and RFC 8693.
pub(super) const CLIENT_CREDENTIALS: &str = "client_credentials";
pub(super) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";

/// `/.well-known/oauth-authorization-server`.
pub(super) fn metadata(issuer: &str, scopes: &[String]) -> Value {
    let proofs = ["client_secret_basic", "client_secret_post"];
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth/token"),
        "jwks_uri": format!("{issuer}/.well-known/jwks.json"),
        "introspection_endpoint": format!("{issuer}/oauth/introspect"),
        "revocation_endpoint": format!("{issuer}/oauth/revoke"),
        "scopes_supported": scopes,
        "authorization_details_types_supported": [bounds::TYPE],
        // Required (RFC 8414 §2), and never an empty list (§3.2): without an authorization endpoint it is `none`.
        "response_types_supported": ["none"],
        "grant_types_supported": [CLIENT_CREDENTIALS, EXCHANGE],
        "token_endpoint_auth_methods_supported": [proofs[0], proofs[1], "none"],
        "introspection_endpoint_auth_methods_supported": proofs,
        "revocation_endpoint_auth_methods_supported": proofs,
    })
}

/// `/.well-known/jwks.json`.
pub(super) fn jwks(ring: &Ring) -> Value {
    let keys = ring.keys();
    let shown = keys
        .iter()
        .map(|key| json!({"kty": "OKP", "crv": "Ed25519", "x": key.x, "kid": key.kid, "use": "sig", "alg": "EdDSA"}));
    json!({"keys": shown.collect::<Vec<_>>()})
}
