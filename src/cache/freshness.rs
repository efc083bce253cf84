//! How old a stored answer is, and where in its life (RFC 9111 §4.2; RFC 5861).
//! Given a [`Life`] and `now`, hands back its age and its [`Stage`]: fresh, due, stale within a window, or over.
//! Never reads a clock, and never says where a lifetime comes from: that is storability's.

use std::time::Duration;

use crate::clock::Tick;

/// What came together is asked for again somewhere in the last tenth of the lifetime it has left, each of it elsewhere.
const EARLY_PART: u32 = 10;

/// But in its last minute, which is room enough for any crowd.
const MOST_EARLY: Duration = Duration::from_secs(60);

/// When a stored answer is fresh, and how long it is useful after that (RFC 9111 §4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Life {
    /// When it came.
    pub since: Tick,
    /// How old it already was (§4.2.3): by the upstream's `Age`, its date, and the time that the answer took.
    pub initial_age: Duration,
    /// Freshness lifetime (§4.2.1).
    pub lifetime: Duration,
    /// The upstream wants to be asked each time (§5.2.2.4).
    pub ask_first: bool,
    /// So long before its lifetime ends it is asked for again; it is fresh until then all the same.
    pub early: Duration,
    /// What may be done with it beyond its lifetime.
    pub stale: Windows,
}

/// For how long beyond its lifetime an answer may be used (RFC 9111 §4.2.4); all zero where it may not be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Windows {
    /// While a new one is fetched behind (RFC 5861 §3).
    pub while_revalidate: Duration,
    /// When the upstream answers with an error (RFC 5861 §4).
    pub if_error: Duration,
    /// When the upstream cannot be reached at all.
    pub if_unreached: Duration,
    /// When the request takes a stale one (`max-stale`, §5.2.1.2).
    pub if_asked: Duration,
}

impl Windows {
    /// Where both failures, and requests that take something stale, are treated alike.
    pub const fn of_route(while_revalidate: Duration, if_error: Duration) -> Self {
        Self { while_revalidate, if_error, if_unreached: if_error, if_asked: if_error }
    }
}

/// Whether a stored answer may be given when asking about it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fallback {
    /// The upstream could not be reached (RFC 9111 §4.2.4: disconnected).
    pub unreached: bool,
    /// The upstream answered with a server error (RFC 5861 §4).
    pub error: bool,
}

impl Fallback {
    /// Never.
    pub const NONE: Self = Self { unreached: false, error: false };
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

impl Stage {
    /// The fixed word for traces.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Due => "due",
            Self::Stale => "stale",
            Self::OnError | Self::Over => "expired",
        }
    }
}

impl Life {
    /// Its age (RFC 9111 §4.2.3).
    pub fn age(&self, now: Tick) -> Duration {
        self.initial_age + now.since(self.since)
    }

    /// Whether it is within its lifetime.
    pub fn is_fresh(&self, now: Tick) -> bool {
        matches!(self.stage(now), Stage::Fresh | Stage::Due)
    }

    /// Where in its life it is.
    pub fn stage(&self, now: Tick) -> Stage {
        let age = self.age(now);
        let beyond = self.staleness(now);
        match () {
            () if !self.ask_first && age + self.early < self.lifetime => Stage::Fresh,
            () if !self.ask_first && age < self.lifetime => Stage::Due,
            () if !self.ask_first && beyond < self.stale.while_revalidate => Stage::Stale,
            () if beyond < self.stale.if_error.max(self.stale.if_unreached) => Stage::OnError,
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
        let most = match self.stale.while_revalidate {
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
        let may_be_stale = !(self.stale.while_revalidate.is_zero() && self.stale.if_error.is_zero());
        match is_over && may_be_stale {
            true => {
                let while_revalidate = self.stale.while_revalidate.max(beyond + rest);
                Self { stale: Windows { while_revalidate, ..self.stale }, ..self }
            }
            false => self,
        }
    }

    /// The same life, ended now if it has not ended yet; its stale windows count from then. What follows it is spread as
    /// if it were new: many are ended at once.
    #[must_use]
    pub fn ended(self, now: Tick) -> Self {
        Self { lifetime: self.lifetime.min(self.age(now)), early: MOST_EARLY, ..self }
    }

    /// Whether it may be given when asking about it fails.
    pub fn fallback(&self, now: Tick) -> Fallback {
        let stale = self.staleness(now);
        Fallback { unreached: stale < self.stale.if_unreached, error: stale < self.stale.if_error }
    }

    /// For how long its lifetime has been over.
    pub fn staleness(&self, now: Tick) -> Duration {
        self.age(now).saturating_sub(self.lifetime)
    }

    /// For how long it could have been asked for again.
    fn overdue(&self, now: Tick) -> Duration {
        (self.age(now) + self.early).saturating_sub(self.lifetime)
    }
}
