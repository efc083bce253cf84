//! Which headers tell of the partner's limits?
//! Given a head, hands back how long to wait by `Retry-After` and its kin, or until a limit of which nothing is left is renewed.
//! Never takes the reset of one limit for that of another.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::excerpt::HeaderExcerpt;
use super::moment::{self, Reference, Unit};

/// What was found: how long to wait and the header that says it, and a header that should say it and cannot be read.
#[derive(Default)]
pub(super) struct Found {
    pub(super) wait: Option<(Duration, HeaderExcerpt)>,
    pub(super) unread: Option<HeaderExcerpt>,
}

impl Found {
    /// The longest counts.
    fn take(&mut self, name: &HeaderName, value: &[u8], wait: Option<Duration>) {
        match wait {
            None => self.unread = self.unread.or_else(|| Some(HeaderExcerpt::new(name, value))),
            Some(wait) if self.wait.is_none_or(|(longest, _)| longest < wait) => {
                self.wait = Some((wait, HeaderExcerpt::new(name, value)));
            }
            Some(_) => {}
        }
    }
}

/// Names beside `Retry-After`, and those of limits that end in it (`x-ratelimit-retry-after`, `x-rate-limit-retry-after-seconds`).
const RETRY_NAMES: [&str; 4] = ["x-retry-after", "retry-after-ms", "x-ms-retry-after-ms", "retry-after-seconds"];

/// By `Retry-After`, or where that is not there or cannot be read by what others call it.
pub(super) fn retry_after(head: &HeaderMap, reference: Reference<'_>) -> Found {
    let mut found = Found::default();
    let read = |found: &mut Found, name: &HeaderName, value: &HeaderValue, unit: Unit| {
        found.take(name, value.as_bytes(), moment::wait(text_of(value), unit, reference));
    };
    for value in head.get_all(RETRY_AFTER) {
        read(&mut found, &RETRY_AFTER, value, Unit::Seconds);
    }
    if found.wait.is_none() {
        for (name, value) in head {
            let told = RETRY_NAMES.contains(&name.as_str()).then(|| unit_of(name.as_str()));
            let told = told.or_else(|| field(name).filter(|it| it.tells == Tells::RetryAfter).map(|it| it.unit));
            if let Some(unit) = told {
                read(&mut found, name, value, unit);
            }
        }
    }
    found
}

/// How long until a spent limit is renewed; the longest, where several are spent. Where `limited`, a 429 has said that one
/// is, and a reset without a number of what is left counts too.
pub(super) fn nothing_left(head: &HeaderMap, reference: Reference<'_>, limited: bool) -> Found {
    let mut found = Found::default();
    // Most answers say nothing of limits: one look at the names is all they cost.
    if !head.keys().any(|name| is_a_limit(name.as_str())) {
        return found;
    }
    let fields: Vec<(Field<'_>, &str)> =
        head.iter().filter_map(|(name, value)| Some((field(name)?, text_of(value)))).collect();
    let resets = || fields.iter().filter(|(field, _)| field.tells == Tells::Reset);
    let lefts = || fields.iter().filter(|(field, _)| field.tells == Tells::Left);
    let mut read = |(field, value): &(Field<'_>, &str)| {
        let wait = moment::wait(without_parameters(value), field.unit, reference);
        found.take(field.name, value.as_bytes(), wait);
    };
    for (left, _) in lefts().filter(|(_, value)| is_nothing(value)) {
        // Its own reset, or the one that all limits of the family share; another family's where its own names none.
        let same = |reset: &Field<'_>| (reset.family == left.family, reset.limit == left.limit);
        let fits = |wanted: (bool, bool)| resets().filter(move |(reset, _)| same(reset) == wanted);
        let shared = |own: bool| resets().filter(move |(reset, _)| reset.limit.is_empty() && same(reset).0 == own);
        if fits((true, true)).next().is_some() {
            fits((true, true)).for_each(&mut read);
        } else if shared(true).next().is_some() {
            shared(true).for_each(&mut read);
        } else if fits((false, true)).next().is_some() {
            fits((false, true)).for_each(&mut read);
        } else {
            shared(false).for_each(&mut read);
        }
    }
    if limited {
        let counted = |reset: &Field<'_>| lefts().any(|(left, _)| left.limit == reset.limit || reset.limit.is_empty());
        resets().filter(|(reset, _)| !counted(reset)).for_each(&mut read);
    }
    for (field, value) in fields.iter().filter(|(field, _)| field.tells == Tells::Items) {
        for reset in spent_items(value) {
            found.take(field.name, value.as_bytes(), moment::wait(reset, Unit::Seconds, reference));
        }
    }
    found
}

/// Whether a header tells how much is left of the partner's limits, in every spelling: `RateLimit`, `X-RateLimit-Remaining`,
/// `X-Rate-Limit-Reset`, `anthropic-ratelimit-requests-reset`.
pub fn is_a_limit(name: &str) -> bool {
    split(name).is_some()
}

/// The name of a family of limits, and what follows it.
fn split(name: &str) -> Option<(&str, &str)> {
    const FAMILIES: [&str; 4] = ["ratelimit", "rate-limit", "ratelimits", "rate-limits"];
    // Most names have nothing of it; and only whole words count, so that `x-separate-limits` is none.
    if name.len() < "ratelimit".len() || name.starts_with("content-") || !name.contains("limit") {
        return None;
    }
    let mut starts = std::iter::once(0).chain(name.match_indices('-').map(|(at, _)| at + 1));
    starts.find_map(|start| {
        let rest = name.get(start..)?;
        FAMILIES.iter().find_map(|family| {
            let after = rest.strip_prefix(family)?;
            match after.strip_prefix('-') {
                Some(words) => Some((name.get(..start + family.len())?, words)),
                None => after.is_empty().then_some((name, "")),
            }
        })
    })
}

/// What a header of a limit tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tells {
    /// How much is left.
    Left,
    /// When all is there again.
    Reset,
    /// How long to wait.
    RetryAfter,
    /// All of it, as a list or a dictionary.
    Items,
}

struct Field<'a> {
    name: &'a HeaderName,
    tells: Tells,
    family: &'a str,
    /// Which of several limits: `requests`, `minute`; nothing where there is one.
    limit: Vec<&'a str>,
    unit: Unit,
}

fn field(name: &HeaderName) -> Option<Field<'_>> {
    let (family, words) = split(name.as_str())?;
    if words.is_empty() {
        return Some(Field { name, tells: Tells::Items, family, limit: Vec::new(), unit: Unit::Seconds });
    }
    let has = |wanted: &[&str]| words.split('-').any(|word| wanted.contains(&word));
    let tells = match () {
        () if has(&["retry"]) => Tells::RetryAfter,
        () if has(&LEFT) => Tells::Left,
        () if has(&RESET) => Tells::Reset,
        () => return None,
    };
    let noise =
        |word: &&str| LEFT.contains(word) || RESET.contains(word) || NOISE.contains(word) || MILLIS.contains(word);
    let limit = words.split('-').filter(|word| !noise(word)).collect();
    Some(Field { name, tells, family, limit, unit: unit_of(name.as_str()) })
}

const LEFT: [&str; 3] = ["remaining", "remain", "left"];
const RESET: [&str; 4] = ["reset", "resets", "resettime", "resetat"];
const MILLIS: [&str; 3] = ["ms", "millis", "milliseconds"];
/// Words that say how a time is written: the time itself says it better.
const NOISE: [&str; 13] =
    ["after", "at", "in", "time", "date", "utc", "unix", "epoch", "timestamp", "seconds", "secs", "sec", "s"];

/// `x-ms-retry-after-ms` is Microsoft's, so the last word counts.
fn unit_of(name: &str) -> Unit {
    match name.rsplit('-').next().is_some_and(|last| MILLIS.contains(&last)) {
        true => Unit::Milliseconds,
        false => Unit::Seconds,
    }
}

/// What is no text is none that can be read.
fn text_of(value: &HeaderValue) -> &str {
    std::str::from_utf8(value.as_bytes()).unwrap_or_default()
}

/// `0`, `0.0`, `0;w=60`, or less than one.
fn is_nothing(left: &str) -> bool {
    moment::number(without_parameters(left)).is_some_and(|left| left < 1.0)
}

fn without_parameters(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

/// When what is spent is renewed, of each item of a list (`"day";r=0;t=30`, draft-ietf-httpapi-ratelimit-headers-10 §4), or of
/// the one dictionary (`limit=9, remaining=0, reset=30`, its revisions 4 to 6).
fn spent_items(line: &str) -> Vec<&str> {
    let spent = |item: &str| value_of(item, ["r", "remaining"]).is_some_and(is_nothing);
    let whole = line.to_ascii_lowercase().contains("remaining");
    let items = if whole { vec![line] } else { line.split(',').collect() };
    items.into_iter().filter(|item| spent(item)).filter_map(|item| value_of(item, ["t", "reset"])).collect()
}

fn value_of<'a>(item: &'a str, names: [&str; 2]) -> Option<&'a str> {
    let mut words = item.split([';', ',']).filter_map(|word| word.split_once('='));
    words
        .find(|(name, _)| names.iter().any(|other| name.trim().eq_ignore_ascii_case(other)))
        .map(|(_, value)| value.trim())
}
