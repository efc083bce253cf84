//! Whose call is it?
//! Given the keys that are accepted, by name, and the one that a call brings, hands back the name.
//! Never shows a key: what is told of one is its name.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::{HeaderMap, HeaderValue};

use crate::account_api::KEY_HEADER;
use crate::clock::Tick;
use crate::gcra::{Arrivals, ComeBack, Quota};
use crate::secret::Secret;

/// The name of the key it starts with.
const FIRST: &str = "initial";

/// What stands for keys that are not accepted, where calls are counted.
pub(super) const REFUSED: &str = "refused";

const MOST_KEYS: usize = 32;
const LONGEST_NAME: usize = 64;
const LONGEST_KEY: usize = 4096;

/// The accepted keys by name, each with what it has used of its rate.
#[derive(Debug)]
pub(super) struct Keys(BTreeMap<String, (Secret, Arrivals)>);

impl Keys {
    /// One key alone.
    pub(super) fn one(key: Secret) -> Self {
        Self(BTreeMap::from([(FIRST.to_owned(), (key, Arrivals::default()))]))
    }

    /// The keys of a JSON object of names and keys; none at all is allowed.
    ///
    /// # Errors
    /// What is wanted.
    pub(super) fn read(object: &[u8]) -> Result<Self, String> {
        // What serde says of a wrong value may hold it, and it may be a key.
        let named: BTreeMap<String, String> = serde_json::from_slice(object)
            .map_err(|_| r#"A JSON object of names and keys is wanted, as in {"old": "…", "new": "…"}."#.to_owned())?;
        if named.len() > MOST_KEYS {
            return Err(format!("At most {MOST_KEYS} keys."));
        }
        let fits = |name: &str| {
            let allowed = |letter: u8| letter.is_ascii_alphanumeric() || letter == b'_' || letter == b'-';
            (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed) && name != REFUSED
        };
        if !named.keys().all(|name| fits(name)) {
            return Err(format!("A name has 1 to {LONGEST_NAME} letters, digits, `_` or `-`, and is not `{REFUSED}`."));
        }
        let can_be_sent = |key: &str| (1..=LONGEST_KEY).contains(&key.len()) && HeaderValue::from_str(key).is_ok();
        if let Some((name, _)) = named.iter().find(|(_, key)| !can_be_sent(key)) {
            return Err(format!("{name}: a key of 1 to {LONGEST_KEY} bytes that can be a header's value is wanted."));
        }
        let kept = named.into_iter().map(|(name, key)| (name, (Secret::new(key), Arrivals::default())));
        Ok(Self(kept.collect()))
    }

    /// The name of the key that these headers bring, if it is accepted.
    pub(super) fn find(&self, headers: &HeaderMap) -> Option<&str> {
        let presented = headers.get(KEY_HEADER).map(HeaderValue::as_bytes)?;
        let same = |key: &Secret| verify_slices_are_equal(presented, key.reveal().as_bytes()).is_ok();
        self.0.iter().find(|(_, (key, _))| same(key)).map(|(name, _)| name.as_str())
    }

    /// One more call with this key.
    ///
    /// # Errors
    /// When its rate allows it.
    pub(super) fn admit(&mut self, name: &str, quota: Quota, now: Tick) -> Result<(), ComeBack> {
        if let Some((_, arrivals)) = self.0.get_mut(name) {
            *arrivals = arrivals.admit(quota, now)?;
        }
        Ok(())
    }

    /// Every name.
    pub(super) fn names(&self) -> Vec<&str> {
        self.0.keys().map(String::as_str).collect()
    }
}
