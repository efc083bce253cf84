//! May a token that nobody has seen be examined?
//! Given the address it came from and `now`, hands back yes, or when to come back; remembers whose tokens turned out bad.
//! Never keeps anybody out whose token is remembered, and never grows beyond its bound.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Tick;
use crate::gcra::{ComeBack, Quota, Rate};
use crate::throttle::Throttle;

/// A signature costs some 50 µs: ten a second are a two-thousandth of a core for each peer, and fifty at once are a caller
/// whose whole fleet was given the wrong token.
const PATIENCE: Quota = Quota { rate: Rate::Every(Duration::from_millis(100)), burst: 50 };

/// Peers that fail at one time and are told apart.
const PEERS: usize = 4096;

/// Who sent bad tokens lately.
#[derive(Debug)]
pub struct Strangers {
    throttle: Throttle,
    bad: AtomicU64,
    unexamined: AtomicU64,
}

/// For the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Tokens that were examined and found bad.
    pub bad: u64,
    /// Tokens that were not examined, since too many of that peer had been bad.
    pub unexamined: u64,
}

impl Default for Strangers {
    fn default() -> Self {
        Self { throttle: Throttle::new(PATIENCE, PEERS), bad: AtomicU64::default(), unexamined: AtomicU64::default() }
    }
}

impl Strangers {
    /// May a token of this peer be examined?
    ///
    /// # Errors
    /// [`ComeBack`] while too many were bad.
    pub fn may_try(&self, peer: IpAddr, now: Tick) -> Result<(), ComeBack> {
        self.throttle.may_try(peer, now).inspect_err(|_| {
            self.unexamined.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// A token of this peer was examined and found bad.
    pub fn failed(&self, peer: IpAddr, now: Tick) {
        self.bad.fetch_add(1, Ordering::Relaxed);
        // Several may have been let through at once; that one had to wait already changes nothing for them.
        let _ = self.throttle.failed(peer, now);
    }

    /// For the metrics.
    pub fn figures(&self) -> Figures {
        Figures { bad: self.bad.load(Ordering::Relaxed), unexamined: self.unexamined.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_nanos(millis * 1_000_000)
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    /// Sends bad tokens until no more are examined.
    fn exhaust(strangers: &Strangers, peer: IpAddr, now: Tick) -> u32 {
        let mut tried = 0;
        while strangers.may_try(peer, now).is_ok() {
            strangers.failed(peer, now);
            tried += 1;
            assert!(tried <= 10_000, "no end");
        }
        tried
    }

    #[test]
    fn a_peer_has_its_own_patience_and_gets_it_back() {
        let strangers = Strangers::default();
        assert_eq!(exhaust(&strangers, v4(1), at(5)), PATIENCE.burst);
        assert_eq!(strangers.may_try(v4(1), at(5)), Err(ComeBack { at: at(105) }));
        assert_eq!(strangers.may_try(v4(2), at(5)), Ok(()), "another peer");
        assert_eq!(exhaust(&strangers, v4(1), at(105)), 1);
        assert_eq!(exhaust(&strangers, v4(1), at(60_000)), PATIENCE.burst);
        let bad = u64::from(2 * PATIENCE.burst + 1);
        assert_eq!(strangers.figures(), Figures { bad, unexamined: 4 });
    }

    #[test]
    fn good_tokens_spend_nothing() {
        let strangers = Strangers::default();
        assert!((0..1000).all(|_| strangers.may_try(v4(1), at(0)).is_ok()));
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer_and_a_mapped_address_is_the_one_it_stands_for() {
        let strangers = Strangers::default();
        let v6 = |text: &str| IpAddr::V6(text.parse::<Ipv6Addr>().unwrap());
        exhaust(&strangers, v6("2001:db8:0:1::1"), at(0));
        assert!(strangers.may_try(v6("2001:db8:0:1:ffff::2"), at(0)).is_err());
        assert!(strangers.may_try(v6("2001:db8:0:2::1"), at(0)).is_ok());
        exhaust(&strangers, v6("::ffff:10.0.0.1"), at(0));
        assert!(strangers.may_try("10.0.0.1".parse().unwrap(), at(0)).is_err());
        assert!(strangers.may_try("10.0.0.2".parse().unwrap(), at(0)).is_ok());
    }

    proptest! {
        #[test]
        fn no_schedule_of_bad_tokens_exceeds_what_a_peer_may_fail(
            gaps in proptest::collection::vec(0u64..40, 1..600),
        ) {
            let (strangers, mut now, mut tried) = (Strangers::default(), 0, Vec::new());
            for gap in gaps {
                now += gap;
                match strangers.may_try(v4(1), at(now)) {
                    Ok(()) => {
                        strangers.failed(v4(1), at(now));
                        tried.push(now);
                    }
                    Err(back) => prop_assert!(strangers.may_try(v4(1), back.at).is_ok()),
                }
            }
            for (i, from) in tried.iter().enumerate() {
                for (j, to) in tried.iter().enumerate().skip(i) {
                    prop_assert!((j - i + 1) as u64 <= (to - from) / 100 + u64::from(PATIENCE.burst));
                }
            }
        }
    }
}
