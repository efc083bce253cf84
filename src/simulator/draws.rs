//! What comes next, when nothing may be left to chance?
//! Given a seed and what the draws are for, hands back numbers, choices, UUIDs and dates that look drawn.
//! Never touches a source of randomness: the same seed and purpose draw the same sequence for ever.

use jiff::Timestamp;

const SECOND: u64 = 1_000_000;
const DAY: u64 = 86_400 * SECOND;

/// A sequence of draws (SplitMix64: one addition and one mix a draw, and any seed is a good one).
#[derive(Debug, Clone)]
pub(super) struct Draws(u64);

impl Draws {
    /// The sequence for one purpose, named by numbers.
    pub(super) fn new(seed: u64, purpose: &[u64]) -> Self {
        Self(purpose.iter().fold(mix(seed), |state, part| mix(state ^ mix(*part))))
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number from `from` up to, not including, `to`.
    pub(super) fn between(&mut self, from: u64, to: u64) -> u64 {
        let width = u128::from(to.saturating_sub(from));
        let share = u128::from(self.number()) * width;
        from + u64::try_from(share >> 64).unwrap_or(0)
    }

    /// Yes, in `percent` of a hundred cases.
    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 100) < percent
    }

    /// Yes, in a share of cases from 0 to 1.
    pub(super) fn share(&mut self, share: f64) -> bool {
        // 53 bits are what an f64 holds exactly; a share of 1 is then always, one of 0 never.
        let drawn = (self.number() >> 11) as f64 / (1u64 << 53) as f64;
        drawn < share
    }

    /// One of these.
    pub(super) fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let index = self.between(0, from.len() as u64);
        usize::try_from(index).ok().and_then(|index| from.get(index)).copied().unwrap_or_default()
    }

    /// A version 4 UUID.
    pub(super) fn uuid(&mut self) -> String {
        let node = self.number();
        self.uuid_ending_in(node)
    }

    /// A version 4 UUID whose last 48 bits are those of `node`.
    pub(super) fn uuid_ending_in(&mut self, node: u64) -> String {
        let (high, low) = (self.number(), self.number());
        let (version, variant) = ((high & 0x0fff) | 0x4000, (low & 0x3fff) | 0x8000);
        let node = node & 0xffff_ffff_ffff;
        format!("{:08x}-{:04x}-{version:04x}-{variant:04x}-{node:012x}", high >> 32, (high >> 16) & 0xffff)
    }

    /// A moment within so many days after `start`, in microseconds since 1970, on a whole millisecond.
    pub(super) fn within_days(&mut self, start: u64, days: u64) -> u64 {
        start + self.between(1, (days * DAY) / 1000) * 1000
    }
}

/// A moment as the API writes dates: six digits of a second, or none where it is a whole one.
pub(super) fn date(micros: u64) -> String {
    let moment = i64::try_from(micros).ok().and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let format = if micros.is_multiple_of(SECOND) { "%Y-%m-%dT%H:%M:%S+00:00" } else { "%Y-%m-%dT%H:%M:%S%.6f+00:00" };
    moment.map(|moment| moment.strftime(format).to_string()).unwrap_or_default()
}

/// The same moment on a whole second.
pub(super) const fn whole_second(micros: u64) -> u64 {
    micros - micros % SECOND
}

/// Hides a number of 48 bits among all such numbers; [`unscramble`] finds it again.
///
/// A Feistel network of four rounds: a bijection whatever the round function is.
pub(super) fn scramble(seed: u64, plain: u64) -> u64 {
    let (mut left, mut right) = (plain >> 24 & HALF, plain & HALF);
    for round in 0..4 {
        (left, right) = (right, left ^ half_of(seed, round, right));
    }
    left << 24 | right
}

/// What was scrambled to this.
pub(super) fn unscramble(seed: u64, scrambled: u64) -> u64 {
    let (mut left, mut right) = (scrambled >> 24 & HALF, scrambled & HALF);
    for round in (0..4).rev() {
        (left, right) = (right ^ half_of(seed, round, left), left);
    }
    left << 24 | right
}

const HALF: u64 = 0xff_ffff;

fn half_of(seed: u64, round: u64, half: u64) -> u64 {
    mix(mix(seed) ^ (round << 32) ^ half) & HALF
}

const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_scrambled_is_found_again(seed: u64, plain in 0u64..1 << 48) {
            let scrambled = scramble(seed, plain);
            prop_assert!(scrambled < 1 << 48);
            prop_assert_eq!(unscramble(seed, scrambled), plain);
        }

        #[test]
        fn draws_stay_between_their_ends(seed: u64, from in 0u64..1000, width in 1u64..1000) {
            let drawn = Draws::new(seed, &[]).between(from, from + width);
            prop_assert!((from..from + width).contains(&drawn));
        }
    }

    #[test]
    fn dates_are_written_as_the_api_writes_them() {
        assert_eq!(date(1_506_854_352_548_264), "2017-10-01T10:39:12.548264+00:00");
        assert_eq!(date(whole_second(1_506_854_352_548_264)), "2017-10-01T10:39:12+00:00");
    }

    #[test]
    fn uuids_are_of_version_four() {
        let uuid = Draws::new(1, &[2]).uuid_ending_in(0xabc);
        assert_eq!((uuid.len(), &uuid[14..15], &uuid[24..]), (36, "4", "000000000abc"));
        assert!("89ab".contains(&uuid[19..20]));
    }
}
