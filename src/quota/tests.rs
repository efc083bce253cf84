//! Does every caller get its share, and no more?
//! Given schedules of requests and calls, holds the accounts to rates, places and the fields they tell.
//! Never waits: time is moved by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const FREE: Quota = Quota { rate: Rate::Unlimited, burst: 1 };
const NONE: Limits = Limits { requests: FREE, concurrent: None, upstream: FREE };

fn quota(interval_ms: u64, burst: u32) -> Quota {
    Quota { rate: Rate::Every(Duration::from_millis(interval_ms)), burst }
}

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

fn turns(limits: Limits) -> CallerLimits {
    CallerLimits::new([
        ("first".to_owned(), None),
        ("app".to_owned(), Some(limits)),
        ("other".to_owned(), Some(limits)),
    ])
}

/// Of `app`.
const APP: usize = 1;

fn told(turns: &CallerLimits, now: Tick) -> [String; 2] {
    let told = turns.account(APP).unwrap().tell(now);
    [told.policy, told.standing].map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn a_caller_without_limits_has_no_account() {
    let turns = turns(Limits { concurrent: Some(1), ..NONE });
    let held: Vec<_> = (0..1000).map(|_| turns.admit_at(0, at(0)).unwrap()).collect();
    assert!(held.iter().all(|admitted| admitted.0.is_none() && admitted.start(at(0)).is_ok()));
    assert!(turns.account(0).is_none());
    assert!(CallerLimits::new([("app".to_owned(), Some(NONE))]).account(0).is_none(), "a table that limits nothing");
}

#[test]
fn a_place_is_taken_until_the_turn_is_over() {
    let turns = turns(Limits { concurrent: Some(2), ..NONE });
    let [first, _second] = [(); 2].map(|()| turns.admit_at(APP, at(0)).unwrap());
    assert_eq!(turns.admit_at(APP, at(0)).unwrap_err(), ComeBack { limit: Limit::Concurrent, at: at(1000) });
    assert!(turns.admit_at(2, at(0)).is_ok(), "another caller's places are its own");
    drop(first);
    assert!(turns.admit_at(APP, at(0)).is_ok());
}

#[test]
fn a_refused_request_spends_nothing() {
    let turns = turns(Limits { requests: quota(1000, 1), concurrent: Some(1), upstream: quota(1000, 1) });
    let turn = turns.admit_at(APP, at(0)).unwrap();
    assert!(turn.start(at(0)).is_ok());
    for _ in 0..10 {
        assert_eq!(turns.admit_at(APP, at(1)).unwrap_err().limit, Limit::Concurrent);
        assert_eq!(turn.start(at(1)).unwrap_err(), ComeBack { limit: Limit::Upstream, at: at(1000) });
    }
    drop(turn);
    for _ in 0..10 {
        assert_eq!(turns.admit_at(APP, at(999)).unwrap_err(), ComeBack { limit: Limit::Requests, at: at(1000) });
    }
    assert!(turns.admit_at(APP, at(1000)).unwrap().start(at(1000)).is_ok());
    let app = Refused { caller: "app".into(), times: [10, 10, 10] };
    assert_eq!(turns.refused(), [app, Refused { caller: "other".into(), times: [0; 3] }]);
}

#[test]
fn a_reload_keeps_what_was_spent_and_what_is_under_way() {
    let limits = Limits { requests: quota(1000, 3), concurrent: Some(2), upstream: quota(1000, 1) };
    let before = turns(limits);
    let [first, second] = [(); 2].map(|()| before.admit_at(APP, at(0)).unwrap());
    first.start(at(0)).unwrap();
    // In another order, and with one place more.
    let wider = Limits { concurrent: Some(3), ..limits };
    let after = before.reconfigured([("app".to_owned(), Some(wider)), ("new".to_owned(), Some(wider))]);
    let third = after.admit_at(0, at(0)).unwrap();
    assert!(third.start(at(0)).is_err(), "its call was spent before");
    assert_eq!(after.admit_at(0, at(0)).unwrap_err().limit, Limit::Concurrent);
    drop((first, second));
    assert_eq!(after.admit_at(0, at(0)).unwrap_err().limit, Limit::Requests, "both places are free here too");
    assert!(after.admit_at(1, at(0)).unwrap().start(at(0)).is_ok(), "a new caller has spent nothing");
    let lifted = after.reconfigured([("app".to_owned(), Some(Limits { requests: FREE, ..limits }))]);
    assert!(lifted.admit_at(0, at(0)).is_ok(), "a limit that is lifted is lifted at once");
}

/// The arithmetic counts in time: a slow limit's debt was hours under a quick one.
#[test]
fn a_reload_counts_what_was_spent_by_the_new_limits_whichever_house_looks_first() {
    let slow = Limits { requests: quota(3_600_000, 50), concurrent: None, upstream: FREE };
    let before = turns(slow);
    while before.admit_at(APP, at(0)).is_ok() {}
    let quick = Limits { requests: quota(1000, 5), ..slow };
    let after = before.reconfigured([("app".to_owned(), Some(quick))]);
    assert_eq!(after.admit_at(0, at(0)).unwrap_err().at, at(1000));
    // A request of the house before, still on its way, costs no more than a whole burst.
    let late = before.admit_at(APP, at(1)).unwrap();
    assert_eq!(after.admit_at(0, at(8000)).unwrap_err().at, at(9000));
    assert!(after.admit_at(0, at(9000)).is_ok());
    drop(late);
}

#[test]
fn the_fields_tell_the_policy_and_the_standing() {
    let rate = |text: &str, burst| Quota { rate: text.parse().unwrap(), burst };
    let rows = [
        (rate("200/s", 400), r#""requests";q=400;w=2"#),
        (rate("200/s", 1), r#""requests";q=200;w=1"#),
        (rate("3/s", 3), r#""requests";q=3;w=1"#),
        (rate("7/s", 7), r#""requests";q=7;w=1"#),
        (rate("7/s", 8), r#""requests";q=14;w=2"#),
        (rate("30/m", 1), r#""requests";q=1;w=2"#),
        (rate("100/h", 100), r#""requests";q=100;w=3600"#),
        (rate("1000000/s", 1_000_000), r#""requests";q=1000000;w=1"#),
    ];
    for (requests, policy) in rows {
        assert_eq!(told(&turns(Limits { requests, ..NONE }), at(0))[0], policy);
    }
    let turns = turns(Limits { requests: quota(500, 4), concurrent: Some(3), upstream: quota(2000, 1) });
    let policy = r#""requests";q=4;w=2, "concurrent";q=3;qu="concurrent-requests", "upstream";q=1;w=2"#;
    assert_eq!(told(&turns, at(0)), [policy, r#""requests";r=4;t=0, "concurrent";r=3, "upstream";r=1;t=0"#]);
    let turn = turns.admit_at(APP, at(0)).unwrap();
    turn.start(at(0)).unwrap();
    assert_eq!(told(&turns, at(0))[1], r#""requests";r=3;t=1, "concurrent";r=2, "upstream";r=0;t=2"#);
    assert_eq!(told(&turns, at(999))[1], r#""requests";r=4;t=0, "concurrent";r=2, "upstream";r=0;t=2"#);
    assert_eq!(told(&turns, at(1000))[1], r#""requests";r=4;t=0, "concurrent";r=2, "upstream";r=0;t=1"#);
}

#[test]
fn the_fields_are_lists_of_strings_with_parameters() {
    let turns = turns(Limits { requests: quota(7, 100), concurrent: Some(1_000_000), upstream: quota(60_000, 3) });
    for text in told(&turns, at(0)) {
        let list = sfv::Parser::new(&text).parse::<sfv::List>().unwrap();
        assert_eq!(list.len(), 3, "{text}");
        for entry in list {
            let sfv::ListEntry::Item(item) = entry else { panic!("an inner list in {text}") };
            assert!(item.bare_item.as_string().is_some() && !item.params.is_empty(), "{text}");
        }
    }
}

/// What may happen: so many milliseconds later a request comes, may want a call, and one of those under way may end.
type Step = (u64, bool, bool);

proptest! {
    #[test]
    fn no_schedule_exceeds_rate_times_window_plus_burst_or_the_places(
        steps in proptest::collection::vec((0u64..400, any::<bool>(), any::<bool>()), 1..200),
        (requests_ms, requests_burst) in (1u64..300, 1u32..9),
        (upstream_ms, upstream_burst) in (1u64..900, 1u32..5),
        places in 1u32..6,
    ) {
        let (requests, upstream) = (quota(requests_ms, requests_burst), quota(upstream_ms, upstream_burst));
        let turns = turns(Limits { requests, concurrent: Some(places), upstream });
        let (mut now, mut held, mut admitted, mut started) = (0, Vec::new(), Vec::new(), Vec::new());
        for step in steps {
            let (gap, calls, ends): Step = step;
            now += gap;
            if ends && !held.is_empty() {
                drop(held.remove(0));
            }
            let foreseen = turns.account(APP).unwrap().foresee(at(now));
            let came = turns.admit_at(APP, at(now));
            prop_assert_eq!(foreseen.err(), came.as_ref().err().copied(), "asking has spent nothing");
            match came {
                Ok(turn) => {
                    admitted.push(now);
                    if calls {
                        let may = turn.start(at(now));
                        prop_assert_eq!(foreseen, Ok(may));
                        match may {
                            Ok(()) => started.push(now),
                            Err(back) => {
                                let soonest = at(started.last().copied().unwrap_or_default() + upstream_ms);
                                prop_assert_eq!(back.limit, Limit::Upstream);
                                prop_assert!(back.at > at(now) && back.at <= soonest.max(at(now + requests_ms)));
                                prop_assert!(turn.start(back.at).is_ok());
                                started.push(now.max(back.at.as_nanos() / 1_000_000));
                                now = *started.last().unwrap();
                            }
                        }
                    }
                    held.push(turn);
                }
                Err(ComeBack { limit: Limit::Concurrent, .. }) => prop_assert_eq!(held.len() as u32, places),
                Err(back) => prop_assert!(is_exact(requests_ms, &admitted, now, back)),
            }
            prop_assert!(held.len() as u32 <= places);
        }
        for (times, interval, burst) in [(admitted, requests_ms, requests_burst), (started, upstream_ms, upstream_burst)] {
            for (i, from) in times.iter().enumerate() {
                for (j, to) in times.iter().enumerate().skip(i) {
                    prop_assert!((j - i + 1) as u64 <= (to - from) / interval + u64::from(burst));
                }
            }
        }
    }

    #[test]
    fn the_time_to_come_back_is_exact_and_rounded_up_where_it_is_told(
        interval_ms in 1u64..5000, burst in 1u32..6, late in 0u64..10_000, later in 0u64..3000,
    ) {
        let limits = Limits { requests: quota(interval_ms, burst), concurrent: None, upstream: FREE };
        let turns = turns(limits);
        while turns.admit_at(APP, at(late)).is_ok() {}
        let now = at(late + later);
        if let Err(back) = turns.admit_at(APP, now) {
            let told = told(&turns, now)[1].clone();
            let seconds = back.at.since(now).as_nanos().div_ceil(1_000_000_000);
            prop_assert_eq!(told, format!(r#""requests";r=0;t={seconds}"#));
            prop_assert!(turns.admit_at(APP, Tick::from_nanos(back.at.as_nanos() - 1)).is_err());
            prop_assert!(turns.admit_at(APP, back.at).is_ok());
        }
    }
}

/// Whether a refusal lies in the future, and not beyond the interval after the last that was granted.
fn is_exact(interval_ms: u64, granted: &[u64], now: u64, back: ComeBack) -> bool {
    let last = granted.last().copied().unwrap_or_default();
    back.limit == Limit::Requests && back.at > at(now) && back.at <= at(last + interval_ms)
}
