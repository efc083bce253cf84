//! How long is it until then?
//! Given a text that names a time in any of the forms that partners use, hands back how long that is from now.
//! Never guesses: what is not wholly of one form is no time.

use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::DATE;
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;
use jiff::fmt::{rfc2822, temporal};

use crate::clock::Now;
use crate::http::date;

/// What a date is held against: the answer's own `Date`, so that two clocks that differ change nothing, or else our clock.
#[derive(Clone, Copy)]
pub(super) struct Reference<'a> {
    pub(super) head: &'a HeaderMap,
    pub(super) now: Now,
}

impl Reference<'_> {
    fn since_1970(self) -> Duration {
        let date = self.head.get(DATE).and_then(|value| date(value.to_str().ok()?.trim()));
        date.unwrap_or(Duration::from_millis(self.now.unix_ms))
    }
}

/// What a number counts where nothing in the text says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

/// From here on a number is a moment and no time from now: as seconds 31 years, as milliseconds 3.
const LEAST_UNIX_SECONDS: f64 = 1e9;
const LEAST_UNIX_MILLIS: f64 = 1e11;
const LEAST_UNIX_MICROS: f64 = 1e14;
const LEAST_UNIX_NANOS: f64 = 1e17;

/// How long it is until the moment that a text names; nothing if that is over.
///
/// - a number, fractions included, by its size: below 10^9 seconds from now; below 10^11 Unix time in seconds; below 10^14 in
///   milliseconds, below 10^17 in microseconds, else in nanoseconds;
/// - an HTTP date in all three forms (RFC 9110 §5.6.7), or RFC 5322's with another zone; an RFC 3339 timestamp; a structured
///   field's date (`@1659578233`, RFC 9651 §3.3.7);
/// - a duration as Go and others write it (`20s`, `0m20s`, `1m30.5s`, `500ms`) or as ISO 8601 does (`PT20S`).
///
/// Of several numbers in a list the longest counts, as of two lines that were joined on the way.
pub(super) fn wait(text: &str, unit: Unit, reference: Reference<'_>) -> Option<Duration> {
    let text = text.trim();
    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text).trim();
    one(text, unit, reference).or_else(|| {
        let parts = text.split(',').map(|part| one(part.trim(), unit, reference));
        parts.collect::<Option<Vec<_>>>()?.into_iter().max()
    })
}

fn one(text: &str, unit: Unit, reference: Reference<'_>) -> Option<Duration> {
    let until = |moment: Duration| moment.saturating_sub(reference.since_1970());
    if let Some(number) = number(text) {
        return Some(match plausible(number, unit) {
            Counted::FromNow(wait) => wait,
            Counted::Since1970(moment) => until(moment),
        });
    }
    if let Some(number) = text.strip_prefix('@').and_then(number) {
        return Some(until(seconds(number)));
    }
    date(text).map(until).or_else(|| duration(text))
}

/// Digits with at most one point and an exponent: `20`, `20.5`, `1.7e+09`.
pub(super) fn number(text: &str) -> Option<f64> {
    let allowed = |byte: u8| byte.is_ascii_digit() || b".eE+-".contains(&byte);
    let plain = text.len() <= 64 && text.starts_with(|first: char| first.is_ascii_digit()) && text.bytes().all(allowed);
    plain.then(|| text.parse().ok()).flatten()
}

enum Counted {
    FromNow(Duration),
    Since1970(Duration),
}

fn plausible(number: f64, unit: Unit) -> Counted {
    match unit {
        Unit::Seconds if number < LEAST_UNIX_SECONDS => Counted::FromNow(seconds(number)),
        Unit::Milliseconds if number < LEAST_UNIX_MILLIS => Counted::FromNow(seconds(number / 1e3)),
        _ if number < LEAST_UNIX_MILLIS => Counted::Since1970(seconds(number)),
        _ if number < LEAST_UNIX_MICROS => Counted::Since1970(seconds(number / 1e3)),
        _ if number < LEAST_UNIX_NANOS => Counted::Since1970(seconds(number / 1e6)),
        _ => Counted::Since1970(seconds(number / 1e9)),
    }
}

/// What is too many for a duration is the longest.
fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number).unwrap_or(Duration::MAX)
}

/// A date, as the time since 1970.
fn date(text: &str) -> Option<Duration> {
    if let Some(date) = date::parse(text.as_bytes()) {
        return Some(date.duration_since(UNIX_EPOCH).unwrap_or_default());
    }
    let moment = || -> Option<jiff::Timestamp> {
        let rfc2822 = rfc2822::DateTimeParser::new().relaxed_weekday(true).parse_timestamp(text);
        rfc2822.or_else(|_| temporal::DateTimeParser::new().parse_timestamp(text)).ok()
    };
    Some(Duration::try_from(moment()?.as_duration()).unwrap_or_default())
}

fn duration(text: &str) -> Option<Duration> {
    let span = SpanParser::new().parse_span(text).or_else(|_| temporal::SpanParser::new().parse_span(text)).ok()?;
    let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(signed).ok()
}
