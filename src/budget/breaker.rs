//! A circuit breaker: whether calls to the upstream may start.
//! Given what the upstream answered and `now`, hands back whether it is closed (calls start), half-open (one may try), or
//! open until when, and why.
//! Never sends a probe of its own: the next call that is needed anyway is the probe.

use std::time::Duration;

use crate::clock::Tick;

use super::signal::Pause;
use super::signal::excerpt::HeaderExcerpt;

/// Why no call may start. The words are the same in log, metrics and `/readyz`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The upstream said so: 429, or 403 or 503 with `Retry-After`, or nothing left of its limit.
    PausedByPartner,
    /// `pause` was given by hand.
    PausedByOperator,
    /// It failed over several resources in a row.
    Failing,
    /// It refused every key that we have.
    KeyRefused,
}

impl Reason {
    /// All of them, in the order of their metrics.
    pub const ALL: [Self; 4] = [Self::PausedByPartner, Self::PausedByOperator, Self::Failing, Self::KeyRefused];

    /// The fixed word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PausedByPartner => "paused-by-partner",
            Self::PausedByOperator => "paused-by-operator",
            Self::Failing => "failing",
            Self::KeyRefused => "key-refused",
        }
    }
}

/// Whether a call may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Yes.
    Closed,
    /// Yes, one: its outcome decides for the others.
    HalfOpen,
    /// A probe is under way; its end is the next moment to ask.
    Probing,
    /// Not before then.
    Open {
        /// When the next call may try.
        until: Tick,
        /// Why.
        reason: Reason,
    },
}

/// How failures open the breaker.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// So many resources in a row; 0 = never. At least [`MIN_RESOURCES`] are needed whatever this says.
    pub failures: u32,
    /// For how long at first.
    pub cool_down: Duration,
    /// For how long at most, doubled each time.
    pub cool_down_max: Duration,
}

/// One broken resource, asked for again and again, is not a broken upstream.
pub const MIN_RESOURCES: u32 = 3;

/// The shortest pause after a refusal, whatever the upstream's word says: a `Retry-After` of 0 is no licence to hammer.
pub const MIN_PAUSE: Duration = Duration::from_secs(1);

/// The shortest pause doubles with each refusal in a row up to this, and begins anew after as long without one.
pub const MAX_MIN_PAUSE: Duration = Duration::from_secs(60);

/// A 403 may be about the resource alone: its pause is no longer than this unless the probe hears it again.
pub const MAX_FORBIDDEN_PAUSE: Duration = Duration::from_secs(60);

/// A key that was accepted so lately is hardly gone: refusals of it are probed again after this part of the cool-down.
const RECENT_KEY_SHARE: u32 = 16;

/// An opening, until its probe succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// When a call may try.
    pub until: Tick,
    /// Why.
    pub reason: Reason,
    /// The upstream's own word, as text that is safe to print, and whether `upstream.max_pause` cut it.
    pub excerpt: Option<(HeaderExcerpt, bool)>,
    /// Whether a call of another kind of route opened it.
    inherited: bool,
}

/// The circuit breaker of one kind of route.
#[derive(Debug, Default)]
pub struct Breaker {
    opening: Option<Opening>,
    probing: bool,
    /// Resources that failed since the last success, each with the caller whose request met it.
    failed: Vec<(u64, Option<u64>)>,
    succeeded_at: Option<Tick>,
    /// How often in a row it was opened by failures or refused keys.
    openings: u32,
    /// Counts the openings, so that a call that began before the last one is known by it.
    epoch: u64,
    /// Counts the changes of keys, so that a call that presented an older one is known by it.
    keys: u64,
    /// Refusals in a row, for the shortest pause, and the end of the last pause.
    refusals: (u32, Tick),
    /// Whether the last pause was a 403's.
    forbidden: bool,
    /// The one caller whose requests met all the failures that opened it, or its last probe: what is broken for that one may be
    /// fine for others.
    blamed: Option<u64>,
    /// Callers for whose requests alone every key was refused while others' calls were accepted, and when that was seen: what
    /// they ask for wants another login, so that a refusal there says nothing of the key.
    other_logins: Vec<(u64, Tick)>,
}

/// For so long a caller whose requests want another login is taken for one.
const OTHER_LOGIN_FOR: Duration = Duration::from_secs(60);

/// So many such callers are known; one more takes the place of the first.
const MAX_OTHER_LOGINS: usize = 64;

impl Breaker {
    /// May a call start at `now`?
    pub fn state(&self, now: Tick) -> State {
        match &self.opening {
            None => State::Closed,
            Some(Opening { until, reason, .. }) if now < *until => State::Open { until: *until, reason: *reason },
            Some(_) if self.probing => State::Probing,
            Some(_) => State::HalfOpen,
        }
    }

    /// The same for a call of this caller: where all failures were another caller's, it may be the probe at once.
    pub fn state_for(&self, caller: Option<u64>, now: Tick) -> State {
        match self.state(now) {
            State::Open { reason: Reason::Failing | Reason::KeyRefused, .. }
                if self.blamed.is_some() && caller != self.blamed =>
            {
                if self.probing {
                    State::Probing
                } else {
                    State::HalfOpen
                }
            }
            state => state,
        }
    }

    /// A call starts: the evidence of when, to be handed back with its outcome.
    pub fn start(&mut self, caller: Option<u64>, now: Tick) -> Started {
        let probe = self.state_for(caller, now) == State::HalfOpen;
        self.probing |= probe;
        Started { probe, epoch: self.epoch, keys: self.keys, caller }
    }

    /// The upstream wants to be left alone. A word of a call that began before the breaker opened may lengthen the pause; it
    /// never shortens it, and does not count as another refusal. `refused` is whether the call was not answered for it.
    pub fn pause(&mut self, pause: &Pause, refused: bool, started: Started, now: Tick) {
        let counts = started.epoch == self.epoch;
        let mut until = pause.until;
        if pause.forbidden && !(counts && started.probe && self.forbidden) {
            until = until.min(now.plus(MAX_FORBIDDEN_PAUSE));
        }
        if refused && counts {
            let (before, ended) = self.refusals;
            let before = if now >= ended.plus(MAX_MIN_PAUSE) { 0 } else { before };
            // What names no time is believed to mean more each time it is said.
            let growth = if pause.named { 1 } else { 3 };
            let least = MIN_PAUSE.saturating_mul(1 << (before * growth).min(6)).min(MAX_MIN_PAUSE);
            until = until.max(now.plus(least));
            self.refusals = (before.saturating_add(1), until);
        }
        if let Some(opening) = &self.opening {
            until = until.max(opening.until);
        }
        self.refusals.1 = self.refusals.1.max(until);
        self.forbidden = pause.forbidden;
        let excerpt = pause.excerpt.map(|excerpt| (excerpt, pause.capped));
        self.open(Opening { until, reason: Reason::PausedByPartner, excerpt, inherited: false });
    }

    /// Every key was refused: no call tries again for a while, longer each time in a row. `recent` says that one of them was
    /// accepted within the last minute.
    pub fn key_refused(&mut self, started: Started, now: Tick, settings: &Settings, dice: u32, recent: bool) {
        // What an upstream says of an older key is no word on those there are now.
        if started.keys != self.keys {
            return self.abandoned(started);
        }
        // Of many calls that were refused together, one opening is enough.
        if started.epoch == self.epoch {
            let share = if recent { RECENT_KEY_SHARE } else { 1 };
            let blamed = self.blamed_by(started);
            self.same_opening(started);
            self.cool_down(now, settings.cool_down / share, settings.cool_down_max, dice, Reason::KeyRefused);
            self.blamed = blamed;
        }
    }

    /// A probe that another caller made at once, since the opening was one caller's, belongs to that opening: it is no further
    /// time in a row.
    fn same_opening(&mut self, started: Started) {
        if self.blamed.is_some() && self.blamed != started.caller {
            self.openings = self.openings.saturating_sub(1);
        }
    }

    /// The key was refused for this caller's requests, and accepted for others meanwhile.
    pub fn note_other_login(&mut self, caller: u64, now: Tick) {
        self.other_logins.retain(|(other, at)| *other != caller && now.since(*at) < OTHER_LOGIN_FOR);
        if self.other_logins.len() >= MAX_OTHER_LOGINS {
            self.other_logins.remove(0);
        }
        self.other_logins.push((caller, now));
    }

    /// Whether a refusal of the key over this caller's requests says nothing of the key.
    pub fn has_other_login(&self, caller: Option<u64>, now: Tick) -> bool {
        self.other_logins.iter().any(|(other, at)| caller == Some(*other) && now.since(*at) < OTHER_LOGIN_FOR)
    }

    /// Whom an opening is blamed on: the caller of the call that decided, unless another one is blamed already, so that it
    /// fails for two.
    fn blamed_by(&self, started: Started) -> Option<u64> {
        let others = self.blamed.is_some() && self.blamed != started.caller;
        started.caller.filter(|_| !others)
    }

    /// A key is there that was not there before: what was opened for want of one may try at once.
    pub fn key_changed(&mut self, now: Tick) {
        self.keys += 1;
        if self.opening.as_ref().is_some_and(|opening| opening.reason == Reason::KeyRefused) {
            self.half_open(now);
            self.openings = 0;
        }
    }

    /// A call succeeded. Hands back whether that closed the breaker.
    pub fn succeeded(&mut self, started: Started, now: Tick) -> bool {
        // What began before the last opening tells nothing about now, be it a probe or not.
        if started.epoch != self.epoch || !(started.probe || self.opening.is_none()) {
            return false;
        }
        let closed = self.opening.take();
        if let (Some(caller), Some(Opening { reason: Reason::KeyRefused, .. })) = (self.blamed.take(), &closed)
            && started.caller != Some(caller)
        {
            self.note_other_login(caller, now);
        }
        (self.openings, self.probing, self.succeeded_at) = (0, false, Some(now));
        self.failed.clear();
        closed.is_some()
    }

    /// A call over this resource failed: no whole answer, or 5xx. `caller` is who waited for it, if anybody did. `dice` is any
    /// number, for the jitter.
    pub fn failed(&mut self, failure: Failure, started: Started, now: Tick, settings: &Settings, dice: u32) {
        if started.epoch != self.epoch {
            return;
        }
        if started.probe {
            // Whose probe fails is not the next to probe, or one caller with broken resources keeps it open for all.
            let blamed = self.blamed_by(started);
            self.same_opening(started);
            self.cool_down(now, settings.cool_down, settings.cool_down_max, dice, Reason::Failing);
            self.blamed = blamed;
            return;
        }
        if settings.failures == 0 || self.opening.is_some() {
            return;
        }
        let enough = settings.failures.max(MIN_RESOURCES) as usize;
        // No caller's failures leave the others' without a place.
        let of_caller = self.failed.iter().filter(|(_, caller)| *caller == failure.caller).count();
        let known = self.failed.iter().any(|(resource, _)| *resource == failure.resource);
        if !known && of_caller < enough && self.failed.len() < MAX_FAILED {
            self.failed.push((failure.resource, failure.caller));
        }
        if self.failed.len() >= enough && self.weight(now, settings) >= enough {
            let first = self.failed.first().and_then(|(_, caller)| *caller);
            let blamed = first.filter(|first| self.failed.iter().all(|(_, caller)| *caller == Some(*first)));
            self.cool_down(now, settings.cool_down, settings.cool_down_max, dice, Reason::Failing);
            self.blamed = blamed;
        }
    }

    /// How many failures there are: those that one caller's requests met count as one, so that no caller opens the breaker
    /// for the others with resources that are broken for it alone. Where nothing succeeded for `cool_down_max`, each counts.
    fn weight(&self, now: Tick, settings: &Settings) -> usize {
        let lately = self.succeeded_at.is_some_and(|at| now.since(at) < settings.cool_down_max);
        if !lately {
            return self.failed.len();
        }
        let first = |nth: usize, caller: &Option<u64>| {
            caller.is_none() || !self.failed.iter().take(nth).any(|(_, other)| other == caller)
        };
        self.failed.iter().enumerate().filter(|(nth, (_, caller))| first(*nth, caller)).count()
    }

    /// A call ended without an outcome: its caller is gone, or nothing was sent.
    pub fn abandoned(&mut self, started: Started) {
        if started.probe && started.epoch == self.epoch {
            self.probing = false;
        }
    }

    /// Whether it is open for one caller's failures alone.
    pub fn is_for_one(&self) -> bool {
        self.blamed.is_some()
    }

    /// The opening, also while a probe is under way.
    pub fn opening(&self) -> Option<&Opening> {
        self.opening.as_ref()
    }

    /// As it was before a restart.
    pub fn restore(&mut self, until: Tick, reason: Reason) {
        self.open(Opening { until, reason, excerpt: None, inherited: false });
    }

    /// Another breaker opened: so does this one, until `until` or until that one closes, unless it is open for longer.
    pub fn inherit(&mut self, other: &Opening, until: Tick) {
        if self.opening.as_ref().is_none_or(|opening| opening.until < until) {
            self.open(Opening { until, inherited: true, ..*other });
        }
    }

    /// The breaker closed that this one was opened by.
    pub fn release_inherited(&mut self) {
        if self.opening.as_ref().is_some_and(|opening| opening.inherited) {
            (self.opening, self.probing, self.openings) = (None, false, 0);
        }
    }

    /// The next call is the probe, whatever it was open for.
    pub fn half_open(&mut self, now: Tick) {
        if let Some(opening) = self.opening {
            self.open(Opening { until: now, ..opening });
        }
    }

    fn open(&mut self, opening: Opening) {
        self.opening = Some(opening);
        self.failed.clear();
        (self.probing, self.blamed) = (false, None);
        self.epoch += 1;
    }

    /// Doubles with each time in a row, and spreads over half of it, so that many gateways do not come back together.
    fn cool_down(&mut self, now: Tick, first: Duration, most: Duration, dice: u32, reason: Reason) {
        let doubled = first.saturating_mul(1 << self.openings.min(16)).min(most);
        let jitter = (doubled / 2).mul_f64(f64::from(dice) / f64::from(u32::MAX));
        self.openings = self.openings.saturating_add(1);
        self.open(Opening { until: now.plus(doubled - jitter), reason, excerpt: None, inherited: false });
    }
}

/// Failed resources that are remembered; more say nothing more.
const MAX_FAILED: usize = 256;

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The resource, as any number that stands for it.
    pub resource: u64,
    /// Whose request met it; `None` for a refresh, which nobody waits for.
    pub caller: Option<u64>,
}

/// That a call started, and under which state of the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    probe: bool,
    epoch: u64,
    keys: u64,
    caller: Option<u64>,
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

    /// A limit of which nothing is left until then.
    fn pause(breaker: &mut Breaker, until: Tick) {
        let started = Started { probe: false, epoch: breaker.epoch, keys: breaker.keys, caller: None };
        breaker.pause(&refusal(until), false, started, at(0));
    }

    fn refusal(until: Tick) -> Pause {
        Pause { until, named: true, forbidden: false, excerpt: None, capped: false }
    }

    /// A refusal of the call; until when the breaker is open then.
    fn refused(breaker: &mut Breaker, pause: &Pause, started: Started, now: Tick) -> Tick {
        breaker.pause(pause, true, started, now);
        breaker.opening().unwrap().until
    }

    fn failure(resource: u64) -> Failure {
        Failure { resource, caller: None }
    }

    #[test]
    fn closed_until_told_then_one_probe_and_only_its_success_opens() {
        let mut breaker = Breaker::default();
        let before = breaker.start(None, at(0));
        pause(&mut breaker, at(30));
        assert_eq!(breaker.state(at(29)), State::Open { until: at(30), reason: Reason::PausedByPartner });
        breaker.succeeded(before, at(0));
        assert_eq!(breaker.state(at(30)), State::HalfOpen, "what began before the closing does not open");
        let probe = breaker.start(None, at(30));
        assert_eq!(breaker.state(at(31)), State::Probing);
        breaker.succeeded(probe, at(0));
        assert_eq!(breaker.state(at(31)), State::Closed);
    }

    #[test]
    fn a_429_to_the_probe_closes_again_for_as_long_as_it_says() {
        let mut breaker = Breaker::default();
        pause(&mut breaker, at(30));
        let probe = breaker.start(None, at(30));
        pause(&mut breaker, at(90));
        breaker.succeeded(probe, at(0));
        assert_eq!(breaker.state(at(89)), State::Open { until: at(90), reason: Reason::PausedByPartner });
    }

    #[test]
    fn an_earlier_word_does_not_shorten_a_later_one() {
        let mut breaker = Breaker::default();
        pause(&mut breaker, at(30));
        pause(&mut breaker, at(10));
        assert_eq!(breaker.state(at(29)), State::Open { until: at(30), reason: Reason::PausedByPartner });
    }

    #[test]
    fn a_probe_that_vanishes_lets_the_next_one_try() {
        let mut breaker = Breaker::default();
        pause(&mut breaker, at(30));
        let probe = breaker.start(None, at(30));
        breaker.abandoned(probe);
        assert_eq!(breaker.state(at(30)), State::HalfOpen);
    }

    #[test]
    fn five_failing_resources_close_and_one_that_fails_for_ever_does_not() {
        let mut breaker = Breaker::default();
        for _ in 0..100 {
            let call = breaker.start(None, at(0));
            breaker.failed(failure(1), call, at(0), &SETTINGS, 0);
        }
        for resource in 2..5 {
            let call = breaker.start(None, at(0));
            breaker.failed(failure(resource), call, at(0), &SETTINGS, 0);
            assert_eq!(breaker.state(at(0)), State::Closed);
        }
        let call = breaker.start(None, at(0));
        breaker.failed(failure(5), call, at(0), &SETTINGS, 0);
        assert_eq!(breaker.state(at(1)), State::Open { until: at(2), reason: Reason::Failing });
    }

    #[test]
    fn a_success_between_makes_failures_begin_anew_and_few_resources_never_suffice() {
        let mut breaker = Breaker::default();
        let settings = Settings { failures: 1, ..SETTINGS };
        for resource in [1, 2] {
            let call = breaker.start(None, at(0));
            breaker.failed(failure(resource), call, at(0), &settings, 0);
        }
        let fine = breaker.start(None, at(0));
        breaker.succeeded(fine, at(0));
        for resource in [3, 4] {
            let call = breaker.start(None, at(0));
            breaker.failed(failure(resource), call, at(0), &settings, 0);
        }
        assert_eq!(breaker.state(at(0)), State::Closed);
        let off = Settings { failures: 0, ..SETTINGS };
        for resource in 5..50 {
            let call = breaker.start(None, at(0));
            breaker.failed(failure(resource), call, at(0), &off, 0);
        }
        assert_eq!(breaker.state(at(0)), State::Closed);
    }

    #[test]
    fn refused_keys_close_once_and_a_new_key_opens_for_a_probe_at_once() {
        let mut breaker = Breaker::default();
        let calls = [breaker.start(None, at(0)), breaker.start(None, at(0))];
        for call in calls {
            breaker.key_refused(call, at(0), &SETTINGS, 0, false);
        }
        assert_eq!(breaker.state(at(1)), State::Open { until: at(2), reason: Reason::KeyRefused });
        breaker.key_changed(at(1));
        assert_eq!(breaker.state(at(1)), State::HalfOpen);
        pause(&mut breaker, at(9));
        breaker.key_changed(at(2));
        assert!(matches!(breaker.state(at(8)), State::Open { .. }), "a key is no answer to a limit");
    }

    /// After a change of keys, who was shown the old one closed the gate for all who have the new one.
    #[test]
    fn a_word_on_an_older_key_closes_nothing_and_a_probe_with_it_leaves_its_place() {
        let mut breaker = Breaker::default();
        let old = breaker.start(None, at(0));
        breaker.key_changed(at(1));
        breaker.key_refused(old, at(2), &SETTINGS, 0, false);
        assert_eq!(breaker.state(at(2)), State::Closed);
        let new = breaker.start(None, at(2));
        breaker.key_refused(new, at(3), &SETTINGS, 0, false);
        let State::Open { until, reason: Reason::KeyRefused } = breaker.state(at(3)) else { panic!("open") };
        assert!(breaker.start(None, until).is_probe());
        pause(&mut breaker, at(9));
        let probe = breaker.start(None, at(9));
        breaker.key_changed(at(9));
        assert_eq!(breaker.state(at(9)), State::Probing, "a key is no answer to a limit");
        breaker.key_refused(probe, at(9), &SETTINGS, 0, false);
        assert_eq!(breaker.state(at(9)), State::HalfOpen, "another may probe");
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_the_longest() {
        let mut breaker = Breaker::default();
        for resource in 0..5 {
            let call = breaker.start(None, at(0));
            breaker.failed(failure(resource), call, at(0), &SETTINGS, 0);
        }
        let mut now = at(0);
        for pause in [2, 4, 8, 16, 30, 30] {
            let State::Open { until, .. } = breaker.state(now) else { panic!("open") };
            assert_eq!(until.since(now), Duration::from_secs(pause));
            now = until;
            let probe = breaker.start(None, now);
            assert!(probe.is_probe());
            breaker.failed(failure(9), probe, now, &SETTINGS, 0);
        }
        let State::Open { until, .. } = breaker.state(now) else { panic!("open") };
        let probe = breaker.start(None, until);
        breaker.failed(failure(9), probe, until, &SETTINGS, u32::MAX);
        let State::Open { until: again, .. } = breaker.state(until) else { panic!("open") };
        assert_eq!(again.since(until), Duration::from_secs(15), "at most half of it is jitter");
    }

    /// `Retry-After: 0`, and a 429 that names nothing, let a call through every second or faster for as long as they lasted.
    #[test]
    fn the_shortest_pause_doubles_with_each_refusal_in_a_row_up_to_a_minute_and_begins_anew_after_one_without() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            let call = breaker.start(None, now);
            let others = breaker.start(None, now);
            let until = refused(&mut breaker, &refusal(now), call, now);
            assert_eq!(until.since(now), Duration::from_secs(pause));
            assert_eq!(refused(&mut breaker, &refusal(now), others, now), until, "it began before the pause");
            now = until;
        }
        let call = breaker.start(None, now.plus(Duration::from_secs(59)));
        let late = now.plus(Duration::from_secs(59));
        assert_eq!(refused(&mut breaker, &refusal(late), call, late).since(late), MAX_MIN_PAUSE);
        let rested = late.plus(MAX_MIN_PAUSE + MAX_MIN_PAUSE);
        let call = breaker.start(None, rested);
        assert_eq!(refused(&mut breaker, &refusal(rested), call, rested).since(rested), MIN_PAUSE);
        let longer = rested.plus(Duration::from_secs(300));
        let call = breaker.start(None, rested.plus(MIN_PAUSE));
        assert_eq!(
            refused(&mut breaker, &refusal(longer), call, rested.plus(MIN_PAUSE)),
            longer,
            "a longer word stands"
        );
    }

    /// A 429 without any time let a call through each second for as long as it lasted.
    #[test]
    fn a_refusal_that_names_no_time_means_more_each_time() {
        let mut breaker = Breaker::default();
        let mut now = at(0);
        for pause in [1, 8, 60, 60] {
            let call = breaker.start(None, now);
            let nameless = Pause { named: false, ..refusal(now) };
            let until = refused(&mut breaker, &nameless, call, now);
            assert_eq!(until.since(now), Duration::from_secs(pause));
            now = until;
        }
    }

    #[test]
    fn a_403_pauses_for_a_minute_at_most_and_longer_only_if_the_probe_hears_it_again() {
        let mut breaker = Breaker::default();
        let forbidden = |until| Pause { forbidden: true, ..refusal(until) };
        let call = breaker.start(None, at(0));
        assert_eq!(refused(&mut breaker, &forbidden(at(600)), call, at(0)), at(60));
        let probe = breaker.start(None, at(60));
        assert_eq!(refused(&mut breaker, &forbidden(at(660)), probe, at(60)), at(660));
        let mut other = Breaker::default();
        let call = other.start(None, at(0));
        refused(&mut other, &refusal(at(10)), call, at(0));
        let probe = other.start(None, at(10));
        assert_eq!(refused(&mut other, &forbidden(at(600)), probe, at(10)), at(70), "the first 403");
    }

    /// A caller that asked for ids on which the upstream answered 500 opened the breaker for everybody.
    #[test]
    fn the_failures_of_one_caller_count_as_one_while_anything_succeeds() {
        let mut breaker = Breaker::default();
        let of = |resource, caller| Failure { resource, caller: Some(caller) };
        let fine = breaker.start(None, at(0));
        breaker.succeeded(fine, at(0));
        for resource in 0..1000 {
            let call = breaker.start(None, at(1));
            breaker.failed(of(resource, 1), call, at(1), &SETTINGS, 0);
        }
        for caller in 2..5 {
            let call = breaker.start(None, at(1));
            breaker.failed(of(1000 + caller, caller), call, at(1), &SETTINGS, 0);
            assert_eq!(breaker.state(at(1)), State::Closed, "{caller}");
        }
        let call = breaker.start(None, at(1));
        breaker.failed(of(2000, 9), call, at(1), &SETTINGS, 0);
        assert!(matches!(breaker.state(at(1)), State::Open { reason: Reason::Failing, .. }), "five callers");
    }

    #[test]
    fn the_failures_of_one_caller_count_each_where_nothing_succeeded_for_the_longest_cool_down() {
        let mut breaker = Breaker::default();
        let fine = breaker.start(None, at(0));
        breaker.succeeded(fine, at(0));
        for resource in 0..5 {
            let call = breaker.start(None, at(29));
            breaker.failed(Failure { resource, caller: Some(1) }, call, at(29), &SETTINGS, 0);
        }
        assert_eq!(breaker.state(at(29)), State::Closed);
        let call = breaker.start(None, at(30));
        breaker.failed(Failure { resource: 9, caller: Some(1) }, call, at(30), &SETTINGS, 0);
        assert!(matches!(breaker.state(at(30)), State::Open { .. }));
    }

    /// A caller whose documents failed, at a time when nobody else asked, kept the breaker open for everybody: its own failures
    /// were the probes.
    #[test]
    fn what_one_caller_opened_alone_another_one_may_probe_at_once() {
        let mut breaker = Breaker::default();
        let of = |resource, caller| Failure { resource, caller: Some(caller) };
        for resource in 0..5 {
            let call = breaker.start(Some(1), at(0));
            breaker.failed(of(resource, 1), call, at(0), &SETTINGS, 0);
        }
        assert!(matches!(breaker.state_for(Some(1), at(1)), State::Open { .. }));
        let own = breaker.start(Some(1), at(2));
        breaker.failed(of(9, 1), own, at(2), &SETTINGS, 0);
        assert_eq!(breaker.state_for(Some(2), at(3)), State::HalfOpen, "a probe of the same caller says nothing new");
        let other = breaker.start(Some(2), at(3));
        assert!(other.is_probe());
        assert_eq!(breaker.state_for(Some(3), at(3)), State::Probing);
        breaker.failed(of(10, 2), other, at(3), &SETTINGS, 0);
        assert!(matches!(breaker.state_for(Some(3), at(4)), State::Open { .. }), "it fails for both");
    }

    /// After a short pause of the upstream's a caller whose documents fail was the probe each time, and nobody else ever was.
    #[test]
    fn whose_probe_failed_is_not_the_next_to_probe_where_another_one_asks() {
        let mut breaker = Breaker::default();
        pause(&mut breaker, at(2));
        let of = |resource, caller| Failure { resource, caller: Some(caller) };
        let probe = breaker.start(Some(1), at(2));
        assert!(probe.is_probe());
        breaker.failed(of(9, 1), probe, at(2), &SETTINGS, 0);
        assert!(matches!(breaker.state_for(Some(1), at(3)), State::Open { .. }));
        let probe = breaker.start(Some(2), at(3));
        assert!(probe.is_probe());
        breaker.succeeded(probe, at(3));
        assert_eq!(breaker.state_for(Some(1), at(3)), State::Closed);
        pause(&mut breaker, at(5));
        for caller in [1, 2] {
            let probe = breaker.start(Some(caller), at(5));
            breaker.failed(of(9, caller), probe, at(5), &SETTINGS, 0);
        }
        assert!(matches!(breaker.state_for(Some(3), at(6)), State::Open { .. }), "it failed for two");
        let mut opened = at(5);
        for pause in [2, 4, 8] {
            let State::Open { until, .. } = breaker.state_for(Some(3), opened) else { panic!("open") };
            assert_eq!(until.since(opened), Duration::from_secs(pause), "two probes are one time in a row");
            opened = until;
            for caller in [1, 2] {
                let probe = breaker.start(Some(caller), opened);
                breaker.failed(of(9, caller), probe, opened, &SETTINGS, 0);
            }
        }
    }

    /// A caller that asked for documents with another login closed the upstream for everybody.
    #[test]
    fn a_key_that_is_refused_for_one_caller_and_accepted_for_the_next_is_good() {
        let mut breaker = Breaker::default();
        let refused = breaker.start(Some(1), at(0));
        breaker.key_refused(refused, at(0), &SETTINGS, 0, true);
        assert!(matches!(breaker.state_for(Some(1), at(0)), State::Open { reason: Reason::KeyRefused, .. }));
        assert!(!breaker.has_other_login(Some(1), at(0)));
        let probe = breaker.start(Some(2), at(0));
        assert!(probe.is_probe());
        breaker.succeeded(probe, at(0));
        assert_eq!(breaker.state(at(0)), State::Closed);
        assert!(breaker.has_other_login(Some(1), at(59)) && !breaker.has_other_login(Some(1), at(60)));
        assert!(!breaker.has_other_login(Some(2), at(0)) && !breaker.has_other_login(None, at(0)));
        for caller in [1, 2] {
            let refused = breaker.start(Some(caller), at(61));
            breaker.key_refused(refused, at(61), &SETTINGS, 0, true);
        }
        assert!(matches!(breaker.state_for(Some(3), at(61)), State::Open { .. }), "it was refused for two");
        assert!(!breaker.has_other_login(Some(2), at(61)));
    }

    #[test]
    fn an_opening_that_was_inherited_closes_with_its_origin_and_one_of_its_own_stays() {
        let (mut documented, mut opaque) = (Breaker::default(), Breaker::default());
        pause(&mut documented, at(30));
        let opening = *documented.opening().unwrap();
        opaque.inherit(&opening, at(31));
        assert_eq!(opaque.state(at(30)), State::Open { until: at(31), reason: Reason::PausedByPartner });
        opaque.release_inherited();
        assert_eq!(opaque.state(at(0)), State::Closed);
        pause(&mut opaque, at(60));
        opaque.inherit(&opening, at(31));
        opaque.release_inherited();
        assert_eq!(opaque.state(at(59)), State::Open { until: at(60), reason: Reason::PausedByPartner });
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
            let (mut breaker, mut now) = (Breaker::default(), 0);
            let mut under_way: Vec<Started> = Vec::new();
            let mut told = at(0);
            for step in steps {
                match step {
                    Step::Wait(seconds) => now += seconds,
                    Step::Start => {
                        if matches!(breaker.state(at(now)), State::Closed | State::HalfOpen) {
                            prop_assert!(at(now) >= told, "started before the time the partner named");
                            under_way.push(breaker.start(None, at(now)));
                        }
                    }
                    Step::Succeed => if let Some(call) = under_way.pop() { breaker.succeeded(call, at(now)); },
                    Step::Fail(resource) => if let Some(call) = under_way.pop() {
                        breaker.failed(failure(resource), call, at(now), &SETTINGS, 7);
                    },
                    Step::Tell(wait) => {
                        under_way.pop();
                        told = told.max(at(now + wait));
                        pause(&mut breaker, at(now + wait));
                    }
                    Step::Vanish => if let Some(call) = under_way.pop() { breaker.abandoned(call) },
                }
                let probes = under_way.iter().filter(|call| call.is_probe() && call.epoch == breaker.epoch).count();
                prop_assert!(probes <= 1);
                if breaker.opening().is_some() && probes == 0 {
                    prop_assert!(breaker.state(at(now)) != State::Probing, "nobody is left to open it");
                }
            }
        }
    }
}
