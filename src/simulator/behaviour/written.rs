//! How are rates and headers written in JSON?
//! Given a text or an object of texts, hands back what it means, or why it cannot be meant.
//! Never lets through what would contradict the body that is sent.

use std::collections::BTreeMap;
use std::fmt::Display;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, Serializer};

use crate::gcra::Rate;

const MOST_HEADERS: usize = 64;

pub(super) mod rate {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(rate: &Rate, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(rate)
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Rate, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

pub(super) mod headers {
    use super::*;

    pub(in super::super) fn serialize<S: Serializer>(headers: &HeaderMap, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(headers.iter().map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()))))
    }

    pub(in super::super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<HeaderMap, D::Error> {
        let named = BTreeMap::<String, String>::deserialize(from)?;
        if named.len() > MOST_HEADERS {
            return Err(refused(format!("at most {MOST_HEADERS} headers")));
        }
        named.into_iter().map(|(name, value)| header(&name, &value).map_err(refused)).collect()
    }

    fn refused<E: serde::de::Error>(reason: impl Display) -> E {
        E::custom(reason)
    }
}

/// A header that an answer may carry.
fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let read = HeaderName::try_from(name).map_err(|_| format!("`{name}` cannot be a header's name"))?;
    if ["connection", "content-length", "transfer-encoding"].contains(&read.as_str()) {
        return Err(format!("`{read}` follows from the body; say `body` or `drip` in a fault"));
    }
    let value = HeaderValue::try_from(value).map_err(|_| format!("the value of `{read}` cannot be a header's"))?;
    Ok((read, value))
}
