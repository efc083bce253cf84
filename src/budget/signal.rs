//! What does the partner say about its limits?
//! Given an answer's status and head, hands back until when it wants to be left alone, if it does.
//! Never trusts a time beyond a day, nor one that it cannot read.

use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, StatusCode};

use crate::clock::{Now, Tick};

/// What is asked for longer than this is taken for a mistake and cut.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// A number of seconds beyond this is a date, counted since 1970, as some partners send it.
const YEAR_2001: u64 = 1_000_000_000;

/// That the partner wants to be left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Until when, by its own word.
    pub until: Tick,
    /// Whether it refused the call; else it answered, and nothing is left of its limit.
    pub refused: bool,
    /// Whether it refused with 403, which may be about the resource alone.
    pub forbidden: bool,
    /// The text that this rests on, safe to print.
    pub word: Option<std::sync::Arc<str>>,
    /// Whether the text asked for longer than is granted.
    pub capped: bool,
}

/// Until when the partner wants to be left alone.
///
/// `Retry-After` of a 429 or 503, in either form (RFC 9110 §10.2.3), is obeyed as it stands. Without it, and on any other
/// answer, a limit of which nothing is left closes until its reset: `RateLimit` as a list of items
/// (draft-ietf-httpapi-ratelimit-headers-10 §4) or a dictionary (its revisions 4 to 6), and `RateLimit-Remaining` with
/// `RateLimit-Reset` in their three common spellings.
pub fn pause_until(status: StatusCode, head: &HeaderMap, now: Now) -> Option<Pause> {
    let limited = status == StatusCode::TOO_MANY_REQUESTS;
    let told = (limited || status == StatusCode::SERVICE_UNAVAILABLE).then(|| retry_after(head, now)).flatten();
    let spent = || nothing_left(head, now).filter(|_| limited || !status.is_server_error());
    // A 429 that does not say for how long still means: not now.
    let pause = told.or_else(spent).or(limited.then_some(Duration::from_secs(1)))?;
    let refused = limited || told.is_some();
    let (until, capped) = (now.tick.plus(pause.min(LONGEST_PAUSE)), pause > LONGEST_PAUSE);
    Some(Pause { until, refused, forbidden: false, word: None, capped })
}

fn retry_after(head: &HeaderMap, now: Now) -> Option<Duration> {
    let told = head.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match seconds(told) {
        Some(seconds) => Some(seconds),
        None => httpdate::parse_http_date(told).ok().map(|at| at.duration_since(now.wall()).unwrap_or_default()),
    }
}

/// What is left and when that is renewed, in the three common spellings.
static PAIRS: [(HeaderName, HeaderName); 3] = [
    (HeaderName::from_static("ratelimit-remaining"), HeaderName::from_static("ratelimit-reset")),
    (HeaderName::from_static("x-ratelimit-remaining"), HeaderName::from_static("x-ratelimit-reset")),
    (HeaderName::from_static("x-rate-limit-remaining"), HeaderName::from_static("x-rate-limit-reset")),
];

/// How long until a spent limit is renewed; the longest, where several are spent.
fn nothing_left(head: &HeaderMap, now: Now) -> Option<Duration> {
    // Most answers say nothing of limits: one look at the names is all they cost.
    if !head.keys().any(|name| is_a_limit(name.as_str())) {
        return None;
    }
    let pairs = PAIRS.iter().filter_map(|(remaining, renewed)| {
        let value = |name: &HeaderName| head.get(name)?.to_str().ok().map(str::trim);
        let left = seconds(value(remaining)?)?;
        (left == Duration::ZERO).then(|| reset(value(renewed)?, now)).flatten()
    });
    let lines = head.get_all("ratelimit").iter().filter_map(|line| line.to_str().ok());
    let lists = lines.flat_map(policies).filter_map(|(left, reset)| (left == 0).then_some(Duration::from_secs(reset)));
    pairs.chain(lists).filter(|pause| !pause.is_zero()).max()
}

/// Whether a header tells how much is left of the partner's limits, in every common spelling.
pub fn is_a_limit(name: &str) -> bool {
    name.strip_prefix("x-").unwrap_or(name).starts_with("rate") && LIMITS.iter().any(|start| name.starts_with(start))
}

const LIMITS: [&str; 3] = ["ratelimit", "x-ratelimit", "x-rate-limit"];

/// What is left and the seconds until its renewal, of each item of a list (`"day";r=0;t=30`), or of the one dictionary
/// (`limit=9, remaining=0, reset=30`).
fn policies(line: &str) -> Vec<(u64, u64)> {
    let of = |text: &str, names: [&str; 2]| {
        let mut words = text.split([';', ',']).filter_map(|word| word.trim().split_once('='));
        words.find(|(name, _)| names.contains(&name.trim())).and_then(|(_, value)| value.trim().parse::<u64>().ok())
    };
    let both = |text: &str| of(text, ["r", "remaining"]).zip(of(text, ["t", "reset"]));
    if line.contains("remaining") {
        both(line).into_iter().collect()
    } else {
        line.split(',').filter_map(both).collect()
    }
}

/// A reset as seconds from now or since 1970.
fn reset(text: &str, now: Now) -> Option<Duration> {
    let told = seconds(text)?;
    match told.as_secs() >= YEAR_2001 {
        true => Some(told.saturating_sub(Duration::from_millis(now.unix_ms))),
        false => Some(told),
    }
}

/// Digits alone; more of them than a number holds are the longest pause.
fn seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_or(Duration::MAX, Duration::from_secs))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Now = Now { tick: Tick::from_nanos(5_000_000_000), unix_ms: NOON_MS };

    fn paused(status: u16, lines: &[(&str, &str)]) -> Option<u64> {
        let mut head = HeaderMap::new();
        for (name, value) in lines {
            head.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        let until = pause_until(StatusCode::from_u16(status).unwrap(), &head, NOW);
        until.map(|pause| pause.until.since(NOW.tick).as_secs())
    }

    const NOON_MS: u64 = 784_111_777_000;
    const NOON: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

    fn waits(status: u16, told: Option<&[u8]>) -> Option<Duration> {
        let mut head = HeaderMap::new();
        if let Some(told) = told {
            head.insert(RETRY_AFTER, http::HeaderValue::from_bytes(told).unwrap());
        }
        pause_until(StatusCode::from_u16(status).unwrap(), &head, NOW).map(|pause| pause.until.since(NOW.tick))
    }

    #[test]
    fn the_partners_word_on_waiting_is_read_in_both_forms() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        const DAY: u64 = 86_400;
        type Told = Option<&'static [u8]>;
        let rows: [(u16, Told, Option<Duration>); 23] = [
            (429, Some(b"30"), seconds(30)),
            (503, Some(b"30"), seconds(30)),
            (503, Some(b" 30 "), seconds(30)),
            (429, Some(b"0"), seconds(0)),
            (503, Some(b"Sun, 06 Nov 1994 08:50:37 GMT"), seconds(60)),
            (503, Some(b"Sunday, 06-Nov-94 08:50:37 GMT"), seconds(60)),
            (429, Some(NOON.as_bytes()), seconds(0)),
            (429, Some(b"Sun, 06 Nov 1994 08:00:00 GMT"), seconds(0)),
            (503, Some(b"Mon, 06 Nov 2034 08:49:37 GMT"), seconds(DAY)),
            (503, Some(b"86400"), seconds(DAY)),
            (503, Some(b"86401"), seconds(DAY)),
            (503, Some(b"18446744073709551615"), seconds(DAY)),
            (503, Some(b"18446744073709551616"), seconds(DAY)),
            (429, Some(b"99999999999999999999999999999999"), seconds(DAY)),
            (429, None, seconds(1)),
            (429, Some(b"soon"), seconds(1)),
            (429, Some(b""), seconds(1)),
            (429, Some(b"-5"), seconds(1)),
            (429, Some(b"1.5"), seconds(1)),
            (429, Some(b"\xff"), seconds(1)),
            (503, None, None),
            (503, Some(b"soon"), None),
            (200, Some(b"30"), None),
        ];
        for (status, told, expected) in rows {
            assert_eq!(waits(status, told), expected, "{status} {:?}", told.map(String::from_utf8_lossy));
        }
        for status in [301, 401, 403, 404, 500, 502, 504] {
            assert_eq!(waits(status, Some(b"30")), None, "{status}");
        }
    }

    #[test]
    fn a_pause_counts_from_the_wall_clock_to_the_millisecond() {
        let now = Now { tick: Tick::from_nanos(0), unix_ms: NOON_MS + 400 };
        let head =
            HeaderMap::from_iter([(RETRY_AFTER, http::HeaderValue::from_static("Sun, 06 Nov 1994 08:49:38 GMT"))]);
        let until = pause_until(StatusCode::SERVICE_UNAVAILABLE, &head, now);
        assert_eq!(until.map(|pause| pause.until), Some(Tick::from_nanos(600_000_000)));
    }

    #[test]
    fn a_spent_limit_closes_until_its_reset_in_every_spelling() {
        type Row = (&'static [(&'static str, &'static str)], Option<u64>);
        let rows: [Row; 15] = [
            (&[("ratelimit", "\"default\";r=0;t=30")], Some(30)),
            (&[("ratelimit", "\"a\";r=5;t=60, \"b\";r=0;t=9")], Some(9)),
            (&[("ratelimit", "\"a\";r=0;t=60"), ("ratelimit", "\"b\";r=0;t=90")], Some(90)),
            (&[("ratelimit", "\"default\";r=50;t=30")], None),
            (&[("ratelimit", "\"default\";r=0")], None),
            (&[("ratelimit", "limit=100, remaining=0, reset=12")], Some(12)),
            (&[("ratelimit", "limit=100, remaining=3, reset=12")], None),
            (&[("ratelimit-remaining", "0"), ("ratelimit-reset", "8")], Some(8)),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "8")], Some(8)),
            (&[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "8")], Some(8)),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1000000000")], Some(86_400)),
            (&[("x-ratelimit-remaining", "0")], None),
            (&[("x-ratelimit-remaining", "1"), ("x-ratelimit-reset", "8")], None),
            (&[("x-ratelimit-remaining", "-1"), ("x-ratelimit-reset", "8")], None),
            (&[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "0")], None),
        ];
        for (lines, expected) in rows {
            assert_eq!(paused(200, lines), expected, "{lines:?}");
        }
        let both = [("retry-after", "5"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "50")];
        assert_eq!(paused(429, &both), Some(5), "the plainer word stands");
        assert_eq!(paused(429, &both[1..]), Some(50));
        assert_eq!(paused(500, &both[1..]), None);
    }

    #[test]
    fn a_reset_may_be_a_date_in_seconds() {
        let now = Now { unix_ms: 1_800_000_000_000, ..NOW };
        let mut head = HeaderMap::new();
        head.insert("x-ratelimit-remaining", "0".parse().unwrap());
        head.insert("x-ratelimit-reset", "1800000040".parse().unwrap());
        let until = pause_until(StatusCode::OK, &head, now).unwrap();
        assert_eq!(until.until.since(now.tick), Duration::from_secs(40));
    }
}
