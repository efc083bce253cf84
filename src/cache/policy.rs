//! May it be stored, and for how long is it used?
//! Given a route's terms and what the partner's head says, hands back a [`Life`] or the reason for none.
//! Never reads a clock: moments are handed in. The order is that of RFC 9111: §3 storing, §4.2 freshness, §5.2.2 directives.

use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_LANGUAGE, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, VARY};
use http::{HeaderMap, HeaderName, StatusCode};

use crate::clock::Tick;
use crate::http::{cache_control, date};
use crate::route::Terms;

use super::standard::Detail;

/// What came together is asked for again somewhere in the last tenth of the lifetime it has left, each of it elsewhere.
const EARLY_PART: u32 = 10;

/// But in its last minute, which is room enough for any crowd.
const MOST_EARLY: Duration = Duration::from_secs(60);

/// The headers of an answer that are kept. Nothing else of the partner's head crosses.
pub(super) static KEPT: [HeaderName; 5] = [CONTENT_TYPE, CONTENT_LANGUAGE, DATE, LAST_MODIFIED, ETAG];

/// Why an answer is not stored. The words are the same in `Cache-Status`, log and metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotStored {
    /// `Cache-Control: no-store`.
    NoStore,
    /// `Cache-Control: private`.
    Private,
    /// `Vary: *`, or a header that we send and the partner chooses by.
    Vary,
    /// A status that is no document: 5xx, 429, 206, other 4xx.
    Status,
    /// Larger than `cache.max_object`.
    TooLarge,
    /// Purged while it was under way.
    Purged,
    /// The route says `store = false`.
    Route,
}

impl NotStored {
    /// Whether the partner forbids it, so that the next answer will be no different.
    pub const fn is_the_partners_will(self) -> bool {
        matches!(self, Self::NoStore | Self::Private | Self::Vary)
    }

    /// The fixed word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NoStore => Detail::NoStore.word(),
            Self::Private => Detail::Private.word(),
            Self::Vary => Detail::Vary.word(),
            Self::Status => Detail::Status.word(),
            Self::TooLarge => Detail::TooLarge.word(),
            Self::Purged => Detail::Purged.word(),
            Self::Route => Detail::Route.word(),
        }
    }
}

/// When an entry is fresh, and how long it is useful after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When it came.
    pub since: Tick,
    /// How old it already was (the partner's `Age` and the time the answer took).
    pub initial_age: Duration,
    /// Freshness lifetime.
    pub lifetime: Duration,
    /// Served while a refresh runs behind, beyond the lifetime.
    pub stale_while_revalidate: Duration,
    /// Served when the partner fails, beyond the lifetime.
    pub stale_if_error: Duration,
    /// The partner wants to be asked each time.
    pub ask_first: bool,
    /// So long before its lifetime ends it is asked for again; it is fresh until then all the same.
    pub early: Duration,
}

/// Where in its life an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Serve it.
    Fresh,
    /// Serve it, it is fresh; and refresh behind, since its end is near.
    Due,
    /// Serve it and refresh behind.
    Stale,
    /// Ask first; serve it if that fails.
    OnError,
    /// Ask first; what it still gives is its validators.
    Over,
}

impl Life {
    /// Its age (RFC 9111 §4.2.3).
    pub fn age(&self, now: Tick) -> Duration {
        self.initial_age + now.since(self.since)
    }

    /// Where in its life it is.
    pub fn stage(&self, now: Tick) -> Stage {
        let age = self.age(now);
        let beyond = age.saturating_sub(self.lifetime);
        match () {
            () if !self.ask_first && age + self.early < self.lifetime => Stage::Fresh,
            () if !self.ask_first && age < self.lifetime => Stage::Due,
            () if !self.ask_first && beyond < self.stale_while_revalidate => Stage::Stale,
            () if beyond < self.stale_if_error => Stage::OnError,
            () => Stage::Over,
        }
    }

    /// The same life, to be asked for again a little early: how much is `dice`, any number.
    ///
    /// What follows a life that was asked for on time stays as it is, and what follows one that was late is early by no more
    /// than that was late. So the crowd is spread once, and over any time a resource still costs no more calls than whole
    /// lifetimes fit into it, and one. Where nothing may be refreshed behind, nothing is spread.
    #[must_use]
    pub fn spread(self, before: Option<Self>, asked: Tick, dice: u32) -> Self {
        let most = match self.stale_while_revalidate {
            Duration::ZERO => Duration::ZERO,
            _ => (self.lifetime.saturating_sub(self.initial_age) / EARLY_PART).min(MOST_EARLY),
        };
        let most = before.map_or(most, |before| most.min(before.overdue(asked)));
        Self { early: most.mul_f64(f64::from(dice) / f64::from(u32::MAX)), ..self }
    }

    /// The same life, where it was over when it came: a cache in front of the partner gave what it had, and to ask once more
    /// at once brings the same. It is shown stale for a `rest`, however old it is, before the partner is asked again.
    ///
    /// Where nothing stale may be shown, the partner is asked for each request all the same (RFC 9111 §4.2.4): after
    /// `no-cache`, after `must-revalidate` or `proxy-revalidate`, which leave no window, and on a route without any.
    #[must_use]
    pub fn rested(self, rest: Duration) -> Self {
        let beyond = self.initial_age.saturating_sub(self.lifetime);
        let is_over = !self.ask_first && self.initial_age >= self.lifetime;
        let may_be_stale = !(self.stale_while_revalidate.is_zero() && self.stale_if_error.is_zero());
        match is_over && may_be_stale {
            true => Self { stale_while_revalidate: self.stale_while_revalidate.max(beyond + rest), ..self },
            false => self,
        }
    }

    /// The same life, ended now if it has not ended yet; its stale windows count from then. What follows it is spread as
    /// if it were new: many are ended at once.
    #[must_use]
    pub fn ended(self, now: Tick) -> Self {
        Self { lifetime: self.lifetime.min(self.age(now)), early: MOST_EARLY, ..self }
    }

    /// For how long it could have been asked for again.
    fn overdue(&self, now: Tick) -> Duration {
        (self.age(now) + self.early).saturating_sub(self.lifetime)
    }
}

/// What the partner said about storing.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Said {
    no_store: bool,
    private: bool,
    no_cache: bool,
    must_revalidate: bool,
    lifetime: Option<Duration>,
}

/// Judges an answer asked for at `asked` and come at `came`.
///
/// # Errors
/// [`NotStored`] with the first reason.
pub fn judge(terms: &Terms, status: StatusCode, head: &HeaderMap, asked: Tick, came: Tick) -> Result<Life, NotStored> {
    judge_as(terms, status, head, asked, came, false)
}

/// The same where we are the one that `private` is for.
pub(super) fn judge_privately(
    terms: &Terms,
    status: StatusCode,
    head: &HeaderMap,
    asked: Tick,
    came: Tick,
) -> Result<Life, NotStored> {
    judge_as(terms, status, head, asked, came, true)
}

fn judge_as(
    terms: &Terms,
    status: StatusCode,
    head: &HeaderMap,
    asked: Tick,
    came: Tick,
    for_us: bool,
) -> Result<Life, NotStored> {
    let said = read(head);
    let negative = matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE);
    if status != StatusCode::OK && !negative {
        return Err(NotStored::Status);
    }
    // A negative answer has its own short life, and nobody gains from its staleness.
    if negative {
        return match terms.negative_ttl {
            Duration::ZERO => Err(NotStored::Status),
            lifetime => Ok(Life { since: came, lifetime, ..UNUSED }),
        };
    }
    let windows = Life {
        since: came,
        lifetime: terms.ttl,
        stale_while_revalidate: terms.stale_while_revalidate,
        stale_if_error: terms.stale_if_error,
        ..UNUSED
    };
    if terms.overrides {
        return Ok(windows);
    }
    if said.no_store {
        return Err(NotStored::NoStore);
    }
    if said.private && !for_us {
        return Err(NotStored::Private);
    }
    if varies(head) {
        return Err(NotStored::Vary);
    }
    let told = said.lifetime;
    if said.no_cache || told == Some(Duration::ZERO) {
        let stale_if_error = if said.must_revalidate { Duration::ZERO } else { terms.stale_if_error };
        return Ok(Life { lifetime: Duration::ZERO, ask_first: true, stale_if_error, ..windows });
    }
    // Without a lifetime of the partner's its Age has nothing to be held against: the route's ttl counts from the arrival.
    let (lifetime, initial_age) = match told {
        Some(lifetime) => (lifetime, Duration::from_secs(cache_control::age(head)) + came.since(asked)),
        None => (terms.ttl, Duration::ZERO),
    };
    let life = Life { lifetime, initial_age, ..windows };
    Ok(match said.must_revalidate {
        true => Life { stale_while_revalidate: Duration::ZERO, stale_if_error: Duration::ZERO, ..life },
        false => life,
    })
}

const UNUSED: Life = Life {
    since: Tick::from_nanos(0),
    initial_age: Duration::ZERO,
    lifetime: Duration::ZERO,
    stale_while_revalidate: Duration::ZERO,
    stale_if_error: Duration::ZERO,
    ask_first: false,
    early: Duration::ZERO,
};

/// Whether the answer was chosen by something other than what every one of our requests says alike.
/// `Accept`, `Accept-Encoding`, `User-Agent` and the key are the same in all of them, so varying on those is no variance.
fn varies(head: &HeaderMap) -> bool {
    head.get_all(VARY).iter().any(|value| value.as_bytes().contains(&b'*'))
}

fn read(head: &HeaderMap) -> Said {
    let told = cache_control::Said::of_field(head, &CACHE_CONTROL);
    // Of fields that nothing is kept of, such as `Set-Cookie`, there is nothing to withhold (RFC 9111 §5.2.2.4, §5.2.2.7).
    let any_kept = |names: &[HeaderName]| names.iter().any(|name| KEPT.contains(name));
    Said {
        no_store: told.no_store,
        private: told.private || any_kept(&told.private_fields),
        no_cache: told.no_cache || any_kept(&told.no_cache_fields),
        must_revalidate: told.must_revalidate || told.proxy_revalidate,
        lifetime: told.s_maxage.or(told.max_age).map(Duration::from_secs).or_else(|| expires(head)),
    }
}

/// RFC 9111 §5.3: `Expires` less `Date`; an invalid one is in the past.
fn expires(head: &HeaderMap) -> Option<Duration> {
    head.get(EXPIRES)?;
    let lifetime = date::of(head, &EXPIRES).zip(date::of(head, &DATE)).map(|(until, from)| until.duration_since(from));
    Some(lifetime.and_then(Result::ok).unwrap_or(Duration::ZERO))
}
