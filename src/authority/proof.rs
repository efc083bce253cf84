//! Is this the caller it says it is?
//! Given a name and a secret, hands back the caller; given failures, says when a source has to wait.
//! Never tells an unknown name from a wrong secret, in words or in time; and never keeps the right secret waiting.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;

use crate::clock::Tick;
use crate::gcra::{ComeBack, Quota, Rate};
use crate::throttle::Throttle;

use super::secret::{self, Digest};

/// Secrets one caller may have at a time: for a rotation two, and some to spare. Every comparison is with all of them.
pub const MOST_SECRETS: usize = 8;

/// Sources whose failures are counted at a time.
const SOURCES: usize = 4096;

/// Failures of one source: so many at once, then one each six seconds.
const FAILURES: Quota = Quota { rate: Rate::Every(Duration::from_secs(6)), burst: 20 };

/// Every caller's secrets, filled up with digests that no text has.
pub(super) struct Proofs {
    callers: HashMap<String, (Arc<str>, [Digest; MOST_SECRETS])>,
    nobody: (Arc<str>, [Digest; MOST_SECRETS]),
}

impl Proofs {
    /// Of callers with their digests; of more than [`MOST_SECRETS`] the first count.
    pub(super) fn new(callers: impl IntoIterator<Item = (String, Vec<Digest>)>) -> Self {
        let filled = |name: &str, digests: &[Digest]| {
            let mut places = [[0; 32]; MOST_SECRETS];
            for (place, digest) in places.iter_mut().zip(digests) {
                *place = *digest;
            }
            (Arc::from(name), places)
        };
        let callers = callers.into_iter().map(|(name, digests)| {
            let held = filled(&name, &digests);
            (name, held)
        });
        Self { callers: callers.collect(), nobody: filled("", &[]) }
    }

    /// The caller of this name, if that is its secret.
    pub(super) fn caller(&self, name: &str, text: &str) -> Option<Arc<str>> {
        // An unknown name and a text of the wrong form go the same way as a wrong secret.
        let digest = secret::digest_of(text).unwrap_or([0xff; 32]);
        let (caller, digests) = self.callers.get(name).unwrap_or(&self.nobody);
        let mut same = 0;
        for known in digests {
            same += u8::from(verify_slices_are_equal(known, &digest).is_ok());
        }
        (same > 0).then(|| Arc::clone(caller))
    }
}

/// Failures by where they came from.
pub(super) struct Failures(Throttle);

impl Default for Failures {
    fn default() -> Self {
        Self(Throttle::new(FAILURES, SOURCES))
    }
}

impl Failures {
    /// One more failure from there.
    ///
    /// # Errors
    /// [`ComeBack`], when there were too many.
    pub(super) fn count(&self, source: IpAddr, now: Tick) -> Result<(), ComeBack> {
        self.0.failed(source, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(secret: &str) -> Digest {
        secret::digest_of(secret).unwrap()
    }

    #[test]
    fn each_of_a_callers_secrets_proves_it_and_no_others_do() {
        let [one, two, other] = [(); 3].map(|()| secret::fresh().unwrap().secret);
        let proofs = Proofs::new([
            ("billing".to_owned(), vec![digest(&one), digest(&two)]),
            ("support".to_owned(), vec![digest(&other)]),
            ("none".to_owned(), vec![]),
        ]);
        assert_eq!(proofs.caller("billing", &one).as_deref(), Some("billing"));
        assert_eq!(proofs.caller("billing", &two).as_deref(), Some("billing"));
        for (name, text) in [("billing", other.as_str()), ("support", &one), ("none", &one), ("nobody", &one), ("", "")]
        {
            assert_eq!(proofs.caller(name, text), None, "{name}");
        }
        // What fills the places up is no digest that a text could be given for.
        assert_eq!(proofs.caller("none", ""), None);
        assert_eq!(proofs.caller("billing", "rgws_"), None);
    }

    #[test]
    fn a_source_that_fails_too_often_waits_and_others_do_not() {
        let failures = Failures::default();
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = Tick::from_nanos(1_000_000_000);
        for _ in 0..FAILURES.burst {
            assert_eq!(failures.count(here, now), Ok(()));
        }
        let ComeBack { at } = failures.count(here, now).unwrap_err();
        assert_eq!(at.since(now), Duration::from_secs(6));
        assert_eq!(failures.count(there, now), Ok(()));
        assert_eq!(failures.count(here, at), Ok(()));
    }

    /// Once more networks had failed than are counted, everybody was forgotten, and a guesser could go on at once.
    #[test]
    fn a_source_that_has_to_wait_waits_however_many_others_fail() {
        let failures = Failures::default();
        let (guesser, now) = ("192.0.2.1".parse().unwrap(), Tick::from_nanos(1_000_000_000));
        while failures.count(guesser, now).is_ok() {}
        for other in 0..20_000_u32 {
            assert_eq!(failures.count(IpAddr::V4(other.into()), now), Ok(()), "others do not wait for it");
        }
        assert!(failures.count(guesser, now).is_err());
    }
}
