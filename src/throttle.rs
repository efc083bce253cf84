//! A throttle of failures by network: may somebody try again who failed too often?
//! Given an address and `now`, hands back yes, or when to come back. Holds a bounded number of networks.
//! Never forgets a network that has to wait before its wait is over, however many others fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use parking_lot::Mutex;

use crate::clock::Tick;
use crate::gcra::{Arrivals, ComeBack, Quota};

/// The network that one customer has at least: an address of IPv4, 64 bits of IPv6 (RFC 6177 §2). Loopback stays the
/// address that it is, so that whoever treats this machine apart still knows it; for a throttle it is a key like any other.
pub fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address => address,
    }
}

/// Failures by network.
#[derive(Debug)]
pub struct Throttle {
    quota: Quota,
    /// Networks that are counted apart.
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    networks: HashMap<IpAddr, Failures, ahash::RandomState>,
    /// Those below their limit, least recently failing first: the first of them is forgotten where there is no room.
    below: BTreeMap<u64, IpAddr>,
    /// Those at their limit, by the moment from which they are not.
    at_limit: BTreeSet<(Tick, IpAddr)>,
    /// Counts failures, which orders them.
    count: u64,
    /// Shared by all that are not counted apart: only while every network that is counted is at its limit.
    overflow: Arrivals,
}

/// What is known of one network.
#[derive(Debug, Default)]
struct Failures {
    arrivals: Arrivals,
    /// The number of the last failure.
    last: u64,
    /// Where it stands in `at_limit`.
    until: Option<Tick>,
}

impl Throttle {
    /// Each network may fail by this quota; at most `most` networks are counted apart.
    pub fn new(quota: Quota, most: usize) -> Self {
        Self { quota, most, state: Mutex::default() }
    }

    /// May this address try?
    ///
    /// # Errors
    /// [`ComeBack`] while its network is at its limit.
    pub fn may_try(&self, peer: IpAddr, now: Tick) -> Result<(), ComeBack> {
        let state = self.state.lock();
        let arrivals = match state.networks.get(&network(peer)) {
            Some(failures) => failures.arrivals,
            None if state.is_below(self.most, now) => Arrivals::default(),
            None => state.overflow,
        };
        arrivals.admit(self.quota, now).map(drop)
    }

    /// This address failed once more. What was spent stays spent, though several may have been let through at once.
    ///
    /// # Errors
    /// [`ComeBack`] where its network was at its limit already.
    pub fn failed(&self, peer: IpAddr, now: Tick) -> Result<(), ComeBack> {
        let network = network(peer);
        let mut state = self.state.lock();
        let Some(mut failures) = state.take(network, self.most, now) else {
            state.overflow = state.overflow.admit(self.quota, now)?;
            return Ok(());
        };
        let admitted = failures.arrivals.admit(self.quota, now);
        failures.arrivals = admitted.unwrap_or(failures.arrivals);
        state.put(network, failures, self.quota, now);
        admitted.map(drop)
    }
}

impl State {
    fn is_below(&self, most: usize, now: Tick) -> bool {
        let is_over = |(until, _): &(Tick, IpAddr)| *until <= now;
        self.networks.len() < most || !self.below.is_empty() || self.at_limit.first().is_some_and(is_over)
    }

    /// Takes out what is known of a network, making room for one that is new; `None` where there is none.
    fn take(&mut self, network: IpAddr, most: usize, now: Tick) -> Option<Failures> {
        let Some(failures) = self.networks.remove(&network) else {
            return self.evict_for(most, now).then(Failures::default);
        };
        match failures.until {
            Some(until) => drop(self.at_limit.remove(&(until, network))),
            None => drop(self.below.remove(&failures.last)),
        }
        Some(failures)
    }

    fn put(&mut self, network: IpAddr, mut failures: Failures, quota: Quota, now: Tick) {
        self.count += 1;
        failures.last = self.count;
        failures.until = failures.arrivals.admit(quota, now).err().map(|back| back.at);
        match failures.until {
            Some(until) => drop(self.at_limit.insert((until, network))),
            None => drop(self.below.insert(failures.last, network)),
        }
        self.networks.insert(network, failures);
    }

    fn evict_for(&mut self, most: usize, now: Tick) -> bool {
        if self.networks.len() < most {
            return true;
        }
        while let Some((until, network)) = self.at_limit.first().copied().filter(|(until, _)| *until <= now) {
            self.at_limit.remove(&(until, network));
            if let Some(failures) = self.networks.get_mut(&network) {
                failures.until = None;
                self.below.insert(failures.last, network);
            }
        }
        let forgotten = self.below.pop_first();
        forgotten.is_some_and(|(_, network)| self.networks.remove(&network).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::gcra::Rate;

    const QUOTA: Quota = Quota { rate: Rate::Every(Duration::from_secs(6)), burst: 20 };

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    fn v4(number: u32) -> IpAddr {
        IpAddr::V4(Ipv4Addr::from(number))
    }

    /// Fails until the network has to wait; how often that was.
    fn exhaust(throttle: &Throttle, peer: IpAddr, now: Tick) -> u32 {
        let mut tried = 0;
        while throttle.may_try(peer, now).is_ok() {
            assert_eq!(throttle.failed(peer, now), Ok(()));
            tried += 1;
            assert!(tried <= 10_000, "no end");
        }
        assert!(throttle.failed(peer, now).is_err());
        tried
    }

    fn counted(throttle: &Throttle) -> usize {
        let state = throttle.state.lock();
        assert_eq!(state.networks.len(), state.below.len() + state.at_limit.len());
        state.networks.len()
    }

    /// Once 4,097 networks had failed, everybody was forgotten, and whoever had to wait could go on at once.
    #[test]
    fn who_has_to_wait_is_not_forgotten_however_many_others_fail() {
        let throttle = Throttle::new(QUOTA, 100);
        let guesser = v4(7);
        assert_eq!(exhaust(&throttle, guesser, at(0)), QUOTA.burst);
        for other in 1000..50_000 {
            assert_eq!(throttle.failed(v4(other), at(1)), Ok(()));
            assert!(throttle.may_try(guesser, at(1)).is_err());
        }
        assert_eq!(counted(&throttle), 100);
        assert_eq!(exhaust(&throttle, guesser, at(6)), 1, "one is back after six seconds, and no more");
        assert_eq!(throttle.may_try(guesser, at(11)), Err(ComeBack { at: at(12) }));
    }

    #[test]
    fn where_there_is_no_room_the_least_recently_failing_below_its_limit_is_forgotten() {
        let throttle = Throttle::new(QUOTA, 3);
        exhaust(&throttle, v4(1), at(0));
        for peer in [2, 3, 2, 4] {
            assert_eq!(throttle.failed(v4(peer), at(1)), Ok(()));
        }
        let known: BTreeSet<IpAddr> = throttle.state.lock().networks.keys().copied().collect();
        assert_eq!(known, [1, 2, 4].map(v4).into(), "3 failed before 2 failed again");
        // Whose wait is over is like any other: its last failure came first.
        assert_eq!(throttle.failed(v4(5), at(6)), Ok(()));
        assert!(!throttle.state.lock().networks.contains_key(&v4(1)));
    }

    #[test]
    fn where_all_have_to_wait_the_others_share_one_quota() {
        let throttle = Throttle::new(QUOTA, 50);
        (0..50).for_each(|peer| assert_eq!(exhaust(&throttle, v4(peer), at(0)), QUOTA.burst));
        let shared: u32 = (100..200).map(|peer| exhaust(&throttle, v4(peer), at(0))).sum();
        assert_eq!(shared, QUOTA.burst);
        assert_eq!(counted(&throttle), 50);
        assert!(throttle.may_try(v4(3), at(5)).is_err());
        assert_eq!(exhaust(&throttle, v4(100), at(6)), QUOTA.burst, "there is room for it again");
    }

    #[test]
    fn a_network_of_ipv6_is_one_and_a_mapped_address_is_the_one_it_stands_for() {
        let rows = [
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8::1", "2001:db8:0:1::1", false),
            ("::ffff:192.0.2.1", "192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("::1", "::2", false),
            ("127.0.0.1", "127.0.0.2", false),
        ];
        for (one, other, same) in rows {
            let [left, right] = [one, other].map(|text| network(text.parse().unwrap()));
            assert_eq!(left == right, same, "{one} {other}");
        }
        assert!(network(Ipv6Addr::LOCALHOST.into()).is_loopback());
    }

    proptest! {
        /// However many networks fail and in whatever order: none fails more often than its quota lets it, as long as
        /// it is not forgotten; and one that has to wait never is.
        #[test]
        fn memory_is_bounded_and_no_wait_is_cut_short(
            steps in prop::collection::vec((0u32..12, 0u64..8), 1..400),
        ) {
            let throttle = Throttle::new(Quota { burst: 3, ..QUOTA }, 5);
            let (mut now, mut waits) = (0, HashMap::new());
            for (peer, gap) in steps {
                now += gap;
                let may = throttle.may_try(v4(peer), at(now));
                if let Some(until) = waits.get(&peer).copied().filter(|until| *until > at(now)) {
                    prop_assert_eq!(may, Err(ComeBack { at: until }));
                }
                let failed = throttle.failed(v4(peer), at(now));
                prop_assert_eq!(failed, may);
                if throttle.state.lock().networks.contains_key(&v4(peer))
                    && let Err(back) = throttle.may_try(v4(peer), at(now))
                {
                    waits.insert(peer, back.at);
                }
                prop_assert!(counted(&throttle) <= 5);
            }
        }
    }
}
