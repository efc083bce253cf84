//! What does a caller's secret look like?
//! Given randomness, hands back a new one and its digest; given a text, hands back the digest of one of ours.
//! Never takes a text that a person thought up: it lacks the form, so its digest proves nothing.

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use zeroize::Zeroizing;

/// What every secret begins with, so that scanners of code and logs find one that got out.
pub const PREFIX: &str = "rgws_";

/// 32 random bytes, and 4 of their digest.
const RANDOM: usize = 32;
const CHECK: usize = 4;

/// The digest of a secret, as the configuration has it after `sha256:`.
pub type Digest = [u8; 32];

/// A new secret and the form in which the configuration holds it.
pub struct Fresh {
    /// For the caller.
    pub secret: Zeroizing<String>,
    /// For `secrets` in the configuration.
    pub stored: String,
}

/// The machine gives no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the machine gives no random bytes")]
pub struct NoRandomness;

/// Makes one: `rgws_` and 48 characters, of which the last few say whether it was copied whole.
///
/// # Errors
/// [`NoRandomness`].
pub fn fresh() -> Result<Fresh, NoRandomness> {
    let mut bytes = Zeroizing::new([0; RANDOM + CHECK]);
    let (random, check) = bytes.split_at_mut(RANDOM);
    getrandom::fill(random).map_err(|_| NoRandomness)?;
    check.copy_from_slice(&check_of(random));
    let secret = Zeroizing::new(format!("{PREFIX}{}", BASE64URL_NOPAD.encode(&*bytes)));
    let stored = format!("sha256:{}", HEXLOWER.encode(&sha256(secret.as_bytes())));
    Ok(Fresh { secret, stored })
}

/// The digest of a text that has the form of a secret, copied whole.
pub(super) fn digest_of(text: &str) -> Option<Digest> {
    let bytes = Zeroizing::new(BASE64URL_NOPAD.decode(text.strip_prefix(PREFIX)?.as_bytes()).ok()?);
    let (random, check) = bytes.split_at_checked(RANDOM)?;
    (check == check_of(random)).then(|| sha256(text.as_bytes()))
}

fn check_of(random: &[u8]) -> [u8; CHECK] {
    let [a, b, c, d, ..] = sha256(random);
    [a, b, c, d]
}

fn sha256(bytes: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_secret_is_recognised_and_has_the_stored_digest() {
        let (one, other) = (fresh().unwrap(), fresh().unwrap());
        assert_eq!(one.secret.len(), 53);
        assert_eq!(format!("sha256:{}", HEXLOWER.encode(&digest_of(&one.secret).unwrap())), one.stored);
        assert_ne!(one.stored, other.stored);
    }

    #[test]
    fn what_was_thought_up_or_half_copied_is_no_secret() {
        let good = fresh().unwrap().secret;
        let mut bent = good.to_string().into_bytes();
        bent[20] = if bent[20] == b'A' { b'B' } else { b'A' };
        let bent = String::from_utf8(bent).unwrap();
        for text in ["", "hunter2", PREFIX, "rgws_hunter2", &good[..52], &good[5..], &bent, &format!("{}A", &*good)] {
            assert_eq!(digest_of(text), None, "{text}");
        }
    }
}
