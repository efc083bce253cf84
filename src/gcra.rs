//! How often may something happen?
//! Given the old state, a quota and `now`, hands back the new state or the exact moment to come back.
//! Never reads a clock, waits, or knows what is being counted.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::clock::Tick;

/// So many events in so much time, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// No limit at all.
    Unlimited,
    /// One event each `every`, on average.
    Every(Duration),
}

impl Rate {
    /// The mean distance between two events; zero when unlimited.
    pub const fn interval(self) -> Duration {
        match self {
            Self::Unlimited => Duration::ZERO,
            Self::Every(interval) => interval,
        }
    }
}

impl Rate {
    /// How many whole events come in a second on average, but at least one: the burst of a rate that names none.
    /// Where there is no limit it does not matter.
    pub fn in_a_second(self) -> u32 {
        match self {
            Self::Unlimited => 1,
            // Half a nanosecond may be lost to rounding, and must not cost an event.
            Self::Every(interval) => (1.0 / interval.as_secs_f64() + 0.001).clamp(1.0, f64::from(u32::MAX)) as u32,
        }
    }
}

/// A rate that is not written as `10/s`, `600/m`, `5000/h` or `unlimited`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a rate is written as \"10/s\", \"600/m\", \"5000/h\" or \"unlimited\"; a count from 0.001 to 1000000")]
pub struct NotARate;

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let (count, unit) = text.split_once('/').ok_or(NotARate)?;
        let count: f64 = count.trim().parse().map_err(|_| NotARate)?;
        let seconds = match unit.trim() {
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(NotARate),
        };
        if !(0.001..=1_000_000.0).contains(&count) {
            return Err(NotARate);
        }
        Ok(Self::Every(Duration::from_secs_f64(seconds / count)))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlimited => f.write_str("unlimited"),
            Self::Every(interval) => {
                let per_second = 1.0 / interval.as_secs_f64();
                let (count, unit) = match per_second {
                    s if s >= 1.0 => (s, "s"),
                    s if s * 60.0 >= 1.0 => (s * 60.0, "m"),
                    s => (s * 3600.0, "h"),
                };
                write!(f, "{}/{unit}", (count * 1000.0).round() / 1000.0)
            }
        }
    }
}

/// A rate and how many events may come at once after a rest (at least one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The mean rate.
    pub rate: Rate,
    /// How many may come at once.
    pub burst: u32,
}

/// The theoretical arrival time of the next event (ITU-T I.371, the generic cell rate algorithm).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Arrivals(Tick);

/// Too early: come back at this moment, not before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComeBack {
    /// The exact moment at which the same question would be granted.
    pub at: Tick,
}

impl Arrivals {
    /// One more event at `now`?
    ///
    /// # Errors
    /// [`ComeBack`] with the exact moment, the state being unchanged.
    pub fn admit(self, quota: Quota, now: Tick) -> Result<Self, ComeBack> {
        let interval = quota.rate.interval();
        if interval.is_zero() {
            // The state may be of a time when there was a limit.
            return Ok(Self(now));
        }
        let tolerance = interval.saturating_mul(quota.burst.max(1) - 1);
        let expected = self.0.max(now);
        if expected.since(now) <= tolerance {
            Ok(Self(expected.plus(interval)))
        } else {
            Err(ComeBack { at: now.plus(expected.since(now) - tolerance) })
        }
    }

    /// The same events counted under another quota: what was spent stays spent, up to all that may be spent there.
    #[must_use]
    pub fn rescaled(self, from: Quota, to: Quota, now: Tick) -> Self {
        let (old, new) = (from.rate.interval(), to.rate.interval());
        if old.is_zero() || new.is_zero() {
            return Self(now);
        }
        let spent = self.0.since(now).as_nanos().div_ceil(old.as_nanos()).min(u128::from(to.burst.max(1)));
        Self(now.plus(new.saturating_mul(u32::try_from(spent).unwrap_or(u32::MAX))))
    }

    /// When one more event than at `now` would be granted; `now` itself where none is missing.
    pub fn more_at(self, quota: Quota, now: Tick) -> Tick {
        let interval = quota.rate.interval();
        if interval.is_zero() {
            return now;
        }
        let ahead = self.0.since(now);
        let used = ahead.as_nanos().div_ceil(interval.as_nanos());
        let then = used.saturating_sub(1).min(u128::from(quota.burst.max(1) - 1));
        now.plus(ahead.saturating_sub(interval.saturating_mul(u32::try_from(then).unwrap_or(u32::MAX))))
    }

    /// How many events would be granted at `now`, one after the other.
    pub fn left(self, quota: Quota, now: Tick) -> u32 {
        let interval = quota.rate.interval().as_nanos();
        if interval == 0 {
            return u32::MAX;
        }
        let burst = quota.burst.max(1);
        let ahead = self.0.max(now).since(now).as_nanos().div_ceil(interval);
        burst.saturating_sub(u32::try_from(ahead).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_read_as_they_are_written() {
        for (text, millis) in [("10/s", 100), ("600/m", 100), ("36000/h", 100), ("0.5/s", 2000)] {
            assert_eq!(text.parse(), Ok(Rate::Every(Duration::from_millis(millis))), "{text}");
        }
        for text in ["", "10", "10/d", "-1/s", "0/s", "x/s", "nan/s", "1e9/s"] {
            assert_eq!(text.parse::<Rate>(), Err(NotARate), "{text}");
        }
        assert_eq!("10/s".parse::<Rate>().unwrap().to_string(), "10/s");
        assert_eq!("30/m".parse::<Rate>().unwrap().to_string(), "30/m");
        for (text, burst) in
            [("2/s", 2), ("7/s", 7), ("300/s", 300), ("30/m", 1), ("100/h", 1), ("119/m", 1), ("120/m", 2)]
        {
            assert_eq!(text.parse::<Rate>().unwrap().in_a_second(), burst, "{text}");
        }
    }

    #[test]
    fn what_was_spent_stays_spent_under_another_quota_and_no_longer_than_that_one_says() {
        let quota = |seconds, burst| Quota { rate: Rate::Every(Duration::from_secs(seconds)), burst };
        let now = Tick::from_nanos(5);
        let (hourly, quick) = (quota(3600, 100), quota(1, 3));
        let spent =
            |many, quota| (0..many).fold(Arrivals::default(), |arrivals, _| arrivals.admit(quota, now).unwrap());
        // A hundred hours ahead there are three seconds here.
        let carried = spent(100, hourly).rescaled(hourly, quick, now);
        assert_eq!(carried.admit(quick, now), Err(ComeBack { at: now.plus(Duration::from_secs(1)) }));
        assert_eq!(spent(2, hourly).rescaled(hourly, quick, now).left(quick, now), 1);
        assert_eq!(spent(3, quick).rescaled(quick, hourly, now).left(hourly, now), 97);
        let unlimited = Quota { rate: Rate::Unlimited, burst: 1 };
        assert_eq!(spent(9, unlimited).rescaled(unlimited, quick, now).left(quick, now), 3);
        assert_eq!(spent(3, quick).rescaled(quick, quick, now), spent(3, quick));
    }

    #[test]
    fn a_limit_that_is_lifted_is_lifted_at_once() {
        let quota = Quota { rate: Rate::Every(Duration::from_secs(60)), burst: 1 };
        let spent = Arrivals::default().admit(quota, Tick::from_nanos(1)).unwrap();
        assert!(spent.admit(quota, Tick::from_nanos(2)).is_err());
        assert!(spent.admit(Quota { rate: Rate::Unlimited, burst: 1 }, Tick::from_nanos(2)).is_ok());
    }

    proptest! {
        #[test]
        fn no_schedule_exceeds_rate_times_window_plus_burst(
            gaps in proptest::collection::vec(0u64..300_000_000, 1..300),
            burst in 1u32..20,
            interval_ms in 1u64..200,
        ) {
            let interval = Duration::from_millis(interval_ms);
            let quota = Quota { rate: Rate::Every(interval), burst };
            let (mut state, mut at, mut granted) = (Arrivals::default(), 0u64, Vec::new());
            for gap in gaps {
                at += gap;
                if let Ok(next) = state.admit(quota, Tick::from_nanos(at)) {
                    state = next;
                    granted.push(at);
                }
            }
            for (i, from) in granted.iter().enumerate() {
                for (j, to) in granted.iter().enumerate().skip(i) {
                    let most = (to - from) as u128 / interval.as_nanos() + u128::from(burst);
                    prop_assert!((j - i + 1) as u128 <= most);
                }
            }
        }

        #[test]
        fn the_time_to_come_back_is_exact(
            taken in 1u32..50, burst in 1u32..10, interval_ms in 1u64..1000, late in 0u64..1_000_000_000,
        ) {
            let quota = Quota { rate: Rate::Every(Duration::from_millis(interval_ms)), burst };
            let mut state = Arrivals::default();
            let now = Tick::from_nanos(late);
            for _ in 0..taken {
                if let Ok(next) = state.admit(quota, now) { state = next; }
            }
            let (left, more) = (state.left(quota, now), state.more_at(quota, now));
            if left < burst {
                prop_assert_eq!(state.left(quota, more), left + 1);
                prop_assert_eq!(state.left(quota, Tick::from_nanos(more.as_nanos() - 1)), left);
            } else {
                prop_assert_eq!(more, now);
            }
            if let Err(ComeBack { at }) = state.admit(quota, now) {
                prop_assert_eq!(at, more);
                prop_assert!(state.admit(quota, at).is_ok());
                prop_assert!(state.admit(quota, Tick::from_nanos(at.as_nanos() - 1)).is_err());
                prop_assert_eq!(state.left(quota, now), 0);
            } else {
                prop_assert!(state.left(quota, now) > 0);
            }
        }
    }
}
