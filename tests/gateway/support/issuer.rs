//! Who else signs tokens?
//! Given claims, hands back tokens of a foreign issuer, and the key set that it shows.
//! Never uses the library that the gateway verifies with.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

/// An issuer with one key.
pub(crate) struct TokenIssuer {
    pub(crate) kid: String,
    key: Key,
}

pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn base64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

impl TokenIssuer {
    pub(crate) fn rsa(kid: &str) -> Self {
        Self { kid: kid.to_owned(), key: Key::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap()) }
    }

    pub(crate) fn ec(kid: &str) -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self { kid: kid.to_owned(), key: Key::Ec(key) }
    }

    pub(crate) fn jwk(&self) -> Value {
        match &self.key {
            Key::Rsa(key) => {
                let (n, e) = (key.public_key().modulus(), key.public_key().exponent());
                let (n, e) = (n.big_endian_without_leading_zero(), e.big_endian_without_leading_zero());
                json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.kid, "n": base64(n), "e": base64(e)})
            }
            Key::Ec(key) => {
                let point = key.public_key().as_ref();
                let (x, y) = (base64(&point[1..33]), base64(&point[33..]));
                json!({"kty": "EC", "crv": "P-256", "kid": self.kid, "x": x, "y": y})
            }
        }
    }

    /// A set of these issuers' keys, and whatever else stands in it.
    pub(crate) fn set(issuers: &[&Self], more: &[Value]) -> String {
        let keys = issuers.iter().map(|issuer| issuer.jwk()).chain(more.iter().cloned());
        json!({"keys": keys.collect::<Vec<_>>()}).to_string()
    }

    /// Signed, with this header and these claims.
    pub(crate) fn signs(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()));
        let random = SystemRandom::new();
        let signature = match &self.key {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Key::Ec(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", base64(&signature))
    }

    pub(crate) fn header(&self) -> Value {
        let alg = if matches!(self.key, Key::Rsa(_)) { "RS256" } else { "ES256" };
        json!({"alg": alg, "kid": self.kid})
    }

    /// As Kubernetes makes one for a service account, bent where `bend` says so.
    pub(crate) fn token(&self, issuer: &str, sub: &str, bend: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, now) = (self.header(), unix_now());
        let mut claims = json!({
            "iss": issuer, "sub": sub, "aud": ["reseller-gateway"], "exp": now + 600, "iat": now, "nbf": now,
            "kubernetes.io": {"namespace": "billing", "serviceaccount": {"name": "api"}},
        });
        bend(&mut header, &mut claims);
        self.signs(&header, &claims)
    }
}
