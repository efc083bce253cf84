//! Does the sampling keep its word?
//! Given shares and a clock moved by hand, claims what is traced and what becomes of it.
//! Never opens a socket.

use std::time::Duration;

use http::HeaderMap;
use proptest::prelude::*;

use super::tracer::TRACE_CAPACITY;
use super::*;

const NOW: Now = Now { tick: Tick::from_nanos(5_000), unix_ms: 1_700_000_000_000 };

fn sampled(tracer: &Tracer) -> Traced {
    tracer.sample(&HeaderMap::new(), NOW)
}

fn end() -> End {
    End { name: "GET clients".to_owned(), served: true, at: NOW.tick, facts: Facts::new(), failed: false }
}

#[test]
fn all_are_sampled_or_none_at_the_ends_and_about_the_share_between() {
    let count = |share: f64| (0..10_000).filter(|_| sampled(&Tracer::new(share)).is_sampled()).count();
    assert_eq!((count(0.0), count(1.0)), (0, 10_000));
    // Six standard deviations: one failure in a billion runs.
    let tenth = count(0.1);
    assert!((820..=1_180).contains(&tenth), "{tenth}");
}

#[test]
fn what_is_not_sampled_is_nothing_and_stays_nothing() {
    let never = || -> Tick { panic!("no clock is read") };
    let mut traced = sampled(&Tracer::new(0.0));
    traced.reached(Stage::Identify, never);
    traced.resume_at(never);
    assert!(traced.last().is_none() && traced.context().is_none() && traced.coming().is_none());
    assert!(!traced.start(|| panic!("no clock is read")).is_sampled());
    Tracer::new(1.0).finish(traced, || panic!("nothing ends"));
    assert_eq!(size_of::<Traced>(), size_of::<usize>());
}

#[test]
fn beyond_the_room_traces_are_dropped_and_counted_and_nobody_waits() {
    let tracer = Tracer::new(1.0);
    for _ in 0..TRACE_CAPACITY + 7 {
        tracer.finish(sampled(&tracer), end);
    }
    assert_eq!(tracer.figures(), (0, 7));
}

#[test]
fn a_step_lasts_from_the_one_before_and_a_pause_belongs_to_none() {
    let tracer = Tracer::new(1.0);
    let mut traced = sampled(&tracer);
    let at = |millis: u64| NOW.tick.plus(Duration::from_millis(millis));
    traced.reached(Stage::Budget, || at(2));
    traced.reached(Stage::Partner, || at(5));
    traced.resume_at(|| at(9));
    let coming = traced.coming().unwrap();
    traced.reached(Stage::Budget, || at(11));
    let trace = traced.0.as_ref().unwrap();
    let times: Vec<_> = trace.steps.iter().map(|step| (step.from, step.to)).collect();
    assert_eq!(times, [(at(0), at(2)), (at(2), at(5)), (at(9), at(11))]);
    assert_eq!(coming.span, numbered(trace.context.span, 2), "what was foretold is what it got");
}

#[test]
fn a_flight_that_is_asked_again_and_again_has_no_more_steps_than_there_may_be() {
    let mut traced = sampled(&Tracer::new(1.0));
    for _ in 0..10 * MOST_STEPS {
        traced.reached(Stage::Partner, || NOW.tick);
    }
    assert_eq!(traced.0.unwrap().steps.len(), MOST_STEPS);
}

proptest! {
    #[test]
    fn the_numbers_of_steps_are_never_zero_and_never_the_same(
        span in prop_oneof![1u64.., u64::MAX - MOST_STEPS as u64..=u64::MAX],
        a in 0usize..MOST_STEPS,
        b in 0usize..MOST_STEPS,
    ) {
        prop_assert_ne!(numbered(span, a), 0);
        prop_assert_ne!(numbered(span, a), span);
        prop_assert!(a == b || numbered(span, a) != numbered(span, b));
    }
}
