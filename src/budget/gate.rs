//! Does the partner want to be left alone?
//! Given what it said and did, and `now`, hands back whether a call may start, may only try, or has to wait until when.
//! Never sends a probe of its own: the next call that is needed anyway is the probe.

use std::time::Duration;

use crate::clock::Tick;

/// Why nobody may call. The words are the same in log, metrics and `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The partner said so: 429 or 503 with `Retry-After`, or nothing left of its limit.
    Told,
    /// It failed over several resources in a row.
    Failing,
    /// It refused every key that we have.
    Key,
}

impl Why {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 3] = [Self::Told, Self::Failing, Self::Key];

    /// The fixed word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Failing => "failing",
            Self::Key => "key-refused",
        }
    }
}

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// Yes.
    Open,
    /// Yes, one: its outcome decides for the others.
    Probe,
    /// A probe is under way; its end is the next moment to ask.
    Probing,
    /// Not before then.
    Closed {
        /// When the next call may try.
        until: Tick,
        /// Why.
        why: Why,
    },
}

/// How failures close the gate.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// So many resources in a row; 0 = never. At least [`FEWEST_KEYS`] are needed whatever this says.
    pub failures: u32,
    /// For how long at first.
    pub cool_down: Duration,
    /// For how long at most, doubled each time.
    pub cool_down_max: Duration,
}

/// One broken resource, asked for again and again, is not a broken partner.
pub const FEWEST_KEYS: u32 = 3;

/// The gate.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Option<(Tick, Why)>,
    probing: bool,
    /// Resources that failed since the last success, each counted once.
    failing: Vec<u64>,
    /// How often in a row it was closed by failures.
    times: u32,
    /// Counts the closings, so that a call that began before the last one is known by it.
    era: u64,
    /// Counts the changes of keys, so that a call that was shown an older one is known by it.
    keys: u64,
}

impl Gate {
    /// May a call start at `now`?
    pub fn passage(&self, now: Tick) -> Passage {
        match self.closed {
            None => Passage::Open,
            Some((until, why)) if now < until => Passage::Closed { until, why },
            Some(_) if self.probing => Passage::Probing,
            Some(_) => Passage::Probe,
        }
    }

    /// A call starts: the evidence of when, to be handed back with its outcome.
    pub fn start(&mut self, now: Tick) -> Started {
        let probe = self.passage(now) == Passage::Probe;
        self.probing |= probe;
        Started { probe, era: self.era, keys: self.keys }
    }

    /// The partner wants to be left alone until then; what it said last counts only if it is later.
    pub fn told(&mut self, until: Tick) {
        // A later word of a call that began before the closing may lengthen it, and never opens or shortens it.
        let until = self.closed.map_or(until, |(before, _)| before.max(until));
        self.close(until, Why::Told);
    }

    /// Every key was refused: nobody tries again for a while, longer each time in a row.
    pub fn key_refused(&mut self, started: Started, now: Tick, settings: &Settings, dice: u32) {
        // What a partner says of an older key is no word on those there are now.
        if started.keys != self.keys {
            return self.vanished(started);
        }
        // Of many calls that were refused together, one closing is enough.
        if started.era == self.era {
            self.cool_down(now, settings, dice, Why::Key);
        }
    }

    /// A key is there that was not there before: what was closed for want of one may try at once.
    pub fn key_changed(&mut self, now: Tick) {
        self.keys += 1;
        if let Some((_, Why::Key)) = self.closed {
            self.close(now, Why::Key);
            self.times = 0;
        }
    }

    /// A call succeeded.
    pub fn succeeded(&mut self, started: Started) {
        // What began before the last closing tells nothing about now, be it a probe or not.
        if started.era == self.era && (started.probe || self.closed.is_none()) {
            (self.closed, self.times, self.probing) = (None, 0, false);
            self.failing.clear();
        }
    }

    /// A call over this resource failed: no whole answer, or 5xx. `dice` is any number, for the jitter.
    pub fn failed(&mut self, resource: u64, started: Started, now: Tick, settings: &Settings, dice: u32) {
        if started.era != self.era {
            return;
        }
        if started.probe {
            return self.cool_down(now, settings, dice, Why::Failing);
        }
        if settings.failures == 0 || self.closed.is_some() {
            return;
        }
        let enough = settings.failures.max(FEWEST_KEYS) as usize;
        if self.failing.len() < enough && !self.failing.contains(&resource) {
            self.failing.push(resource);
        }
        if self.failing.len() >= enough {
            self.cool_down(now, settings, dice, Why::Failing);
        }
    }

    /// A call ended without an outcome: its caller is gone, or nothing was sent.
    pub fn vanished(&mut self, started: Started) {
        if started.probe && started.era == self.era {
            self.probing = false;
        }
    }

    /// Closed until when, and why; also while a probe is under way.
    pub fn closed(&self) -> Option<(Tick, Why)> {
        self.closed
    }

    /// As it was before a restart.
    pub fn restore(&mut self, until: Tick, why: Why) {
        self.close(until, why);
    }

    fn close(&mut self, until: Tick, why: Why) {
        self.closed = Some((until, why));
        self.failing.clear();
        self.probing = false;
        self.era += 1;
    }

    /// Doubles with each time in a row, and spreads over half of it, so that many gateways do not come back together.
    fn cool_down(&mut self, now: Tick, settings: &Settings, dice: u32, why: Why) {
        let doubled = settings.cool_down.saturating_mul(1 << self.times.min(16)).min(settings.cool_down_max);
        let jitter = (doubled / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX));
        self.times = self.times.saturating_add(1);
        self.close(now.plus(doubled - jitter), why);
    }
}

/// That a call started, and under which state of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    probe: bool,
    era: u64,
    keys: u64,
}

impl Started {
    /// Whether its outcome decides for the others.
    pub fn is_probe(self) -> bool {
        self.probe
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SETTINGS: Settings =
        Settings { failures: 5, cool_down: Duration::from_secs(2), cool_down_max: Duration::from_secs(30) };

    fn at(seconds: u64) -> Tick {
        Tick::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn closed_until_told_then_one_probe_and_only_its_success_opens() {
        let mut gate = Gate::default();
        let before = gate.start(at(0));
        gate.told(at(30));
        assert_eq!(gate.passage(at(29)), Passage::Closed { until: at(30), why: Why::Told });
        gate.succeeded(before);
        assert_eq!(gate.passage(at(30)), Passage::Probe, "what began before the closing does not open");
        let probe = gate.start(at(30));
        assert_eq!(gate.passage(at(31)), Passage::Probing);
        gate.succeeded(probe);
        assert_eq!(gate.passage(at(31)), Passage::Open);
    }

    #[test]
    fn a_429_to_the_probe_closes_again_for_as_long_as_it_says() {
        let mut gate = Gate::default();
        gate.told(at(30));
        let probe = gate.start(at(30));
        gate.told(at(90));
        gate.succeeded(probe);
        assert_eq!(gate.passage(at(89)), Passage::Closed { until: at(90), why: Why::Told });
    }

    #[test]
    fn an_earlier_word_does_not_shorten_a_later_one() {
        let mut gate = Gate::default();
        gate.told(at(30));
        gate.told(at(10));
        assert_eq!(gate.passage(at(29)), Passage::Closed { until: at(30), why: Why::Told });
    }

    #[test]
    fn a_probe_that_vanishes_lets_the_next_one_try() {
        let mut gate = Gate::default();
        gate.told(at(30));
        let probe = gate.start(at(30));
        gate.vanished(probe);
        assert_eq!(gate.passage(at(30)), Passage::Probe);
    }

    #[test]
    fn five_failing_resources_close_and_one_that_fails_for_ever_does_not() {
        let mut gate = Gate::default();
        for _ in 0..100 {
            let call = gate.start(at(0));
            gate.failed(1, call, at(0), &SETTINGS, 0);
        }
        for resource in 2..5 {
            let call = gate.start(at(0));
            gate.failed(resource, call, at(0), &SETTINGS, 0);
            assert_eq!(gate.passage(at(0)), Passage::Open);
        }
        let call = gate.start(at(0));
        gate.failed(5, call, at(0), &SETTINGS, 0);
        assert_eq!(gate.passage(at(1)), Passage::Closed { until: at(2), why: Why::Failing });
    }

    #[test]
    fn a_success_between_makes_failures_begin_anew_and_few_resources_never_suffice() {
        let mut gate = Gate::default();
        let settings = Settings { failures: 1, ..SETTINGS };
        for resource in [1, 2] {
            let call = gate.start(at(0));
            gate.failed(resource, call, at(0), &settings, 0);
        }
        let fine = gate.start(at(0));
        gate.succeeded(fine);
        for resource in [3, 4] {
            let call = gate.start(at(0));
            gate.failed(resource, call, at(0), &settings, 0);
        }
        assert_eq!(gate.passage(at(0)), Passage::Open);
        let off = Settings { failures: 0, ..SETTINGS };
        for resource in 5..50 {
            let call = gate.start(at(0));
            gate.failed(resource, call, at(0), &off, 0);
        }
        assert_eq!(gate.passage(at(0)), Passage::Open);
    }

    #[test]
    fn refused_keys_close_once_and_a_new_key_opens_for_a_probe_at_once() {
        let mut gate = Gate::default();
        let calls = [gate.start(at(0)), gate.start(at(0))];
        for call in calls {
            gate.key_refused(call, at(0), &SETTINGS, 0);
        }
        assert_eq!(gate.passage(at(1)), Passage::Closed { until: at(2), why: Why::Key });
        gate.key_changed(at(1));
        assert_eq!(gate.passage(at(1)), Passage::Probe);
        gate.told(at(9));
        gate.key_changed(at(2));
        assert!(matches!(gate.passage(at(8)), Passage::Closed { .. }), "a key is no answer to a limit");
    }

    /// After a change of keys, who was shown the old one closed the gate for all who have the new one.
    #[test]
    fn a_word_on_an_older_key_closes_nothing_and_a_probe_with_it_leaves_its_place() {
        let mut gate = Gate::default();
        let old = gate.start(at(0));
        gate.key_changed(at(1));
        gate.key_refused(old, at(2), &SETTINGS, 0);
        assert_eq!(gate.passage(at(2)), Passage::Open);
        let new = gate.start(at(2));
        gate.key_refused(new, at(3), &SETTINGS, 0);
        let Passage::Closed { until, why: Why::Key } = gate.passage(at(3)) else { panic!("open") };
        assert!(gate.start(until).is_probe());
        gate.told(at(9));
        let probe = gate.start(at(9));
        gate.key_changed(at(9));
        assert_eq!(gate.passage(at(9)), Passage::Probing, "a key is no answer to a limit");
        gate.key_refused(probe, at(9), &SETTINGS, 0);
        assert_eq!(gate.passage(at(9)), Passage::Probe, "another may probe");
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut gate = Gate::default();
        for resource in 0..5 {
            let call = gate.start(at(0));
            gate.failed(resource, call, at(0), &SETTINGS, 0);
        }
        let mut now = at(0);
        for pause in [2, 4, 8, 16, 30, 30] {
            let Passage::Closed { until, .. } = gate.passage(now) else { panic!("open") };
            assert_eq!(until.since(now), Duration::from_secs(pause));
            now = until;
            let probe = gate.start(now);
            assert!(probe.is_probe());
            gate.failed(9, probe, now, &SETTINGS, 0);
        }
        let Passage::Closed { until, .. } = gate.passage(now) else { panic!("open") };
        let probe = gate.start(until);
        gate.failed(9, probe, until, &SETTINGS, u32::MAX);
        let Passage::Closed { until: again, .. } = gate.passage(until) else { panic!("open") };
        assert_eq!(again.since(until), Duration::from_secs(15), "at most half of it is jitter");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u64),
        Start,
        Succeed,
        Fail(u64),
        Tell(u64),
        Vanish,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_u64).prop_map(Step::Wait),
            Just(Step::Start),
            Just(Step::Succeed),
            (0..9_u64).prop_map(Step::Fail),
            (0..40_u64).prop_map(Step::Tell),
            Just(Step::Vanish),
        ]
    }

    proptest! {
        #[test]
        fn nothing_starts_while_closed_and_at_most_one_probe_is_under_way(steps in prop::collection::vec(step(), 0..80)) {
            let (mut gate, mut now) = (Gate::default(), 0);
            let mut under_way: Vec<Started> = Vec::new();
            let mut told = at(0);
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::Start => {
                        if matches!(gate.passage(at(now)), Passage::Open | Passage::Probe) {
                            prop_assert!(at(now) >= told, "started before the time the partner named");
                            under_way.push(gate.start(at(now)));
                        }
                    }
                    Step::Succeed => if let Some(call) = under_way.pop() { gate.succeeded(call) },
                    Step::Fail(resource) => if let Some(call) = under_way.pop() {
                        gate.failed(resource, call, at(now), &SETTINGS, 7);
                    },
                    Step::Tell(pause) => {
                        under_way.pop();
                        told = told.max(at(now + pause));
                        gate.told(at(now + pause));
                    }
                    Step::Vanish => if let Some(call) = under_way.pop() { gate.vanished(call) },
                }
                let probes = under_way.iter().filter(|call| call.is_probe() && call.era == gate.era).count();
                prop_assert!(probes <= 1);
                if gate.closed().is_some() && probes == 0 {
                    prop_assert!(gate.passage(at(now)) != Passage::Probing, "nobody is left to open it");
                }
            }
        }
    }
}
