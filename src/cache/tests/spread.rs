//! Does what came together end together?
//! Given lives and moments, claims when each is asked for again, and that spreading them costs no more calls.
//! Never waits: every moment is handed in.

use super::*;

const TEN: Duration = Duration::from_secs(10);

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

/// Came at `millis`, for ten seconds.
fn life(millis: u64) -> Life {
    Life { since: at(millis), ..judged(false, 200, &head(&[(CACHE_CONTROL, "max-age=10")])).unwrap() }
}

#[test]
fn what_is_near_its_end_is_fresh_and_due_and_its_lifetime_stays_whole() {
    let life = life(0).spread(None, at(0), u32::MAX);
    assert_eq!((life.lifetime, life.early), (TEN, TEN / 10));
    assert_eq!(life.stage(at(8_999)), Stage::Fresh);
    assert_eq!(life.stage(at(9_000)), Stage::Due);
    assert_eq!(life.stage(at(9_999)), Stage::Due);
    assert_eq!(life.stage(at(10_000)), Stage::Stale);
}

#[test]
fn five_hundred_that_came_at_once_are_asked_for_again_over_a_whole_tenth() {
    let step = u32::MAX / 500;
    let due: Vec<u64> = (0..500)
        .map(|nth| life(0).spread(None, at(0), nth * step))
        .map(|life| (9_000..=10_000).find(|&millis| life.stage(at(millis)) != Stage::Fresh).unwrap())
        .collect();
    for tenth in (9_000..10_000).step_by(100) {
        let many = due.iter().filter(|due| (tenth..tenth + 100).contains(*due)).count();
        assert!((49..=51).contains(&many), "{many} in the 100 ms from {tenth}");
    }
}

#[test]
fn a_long_life_is_due_in_its_last_minute_and_a_part_that_is_over_already_does_not_count() {
    let day = Life { lifetime: Duration::from_secs(86_400), ..life(0) };
    assert_eq!(day.spread(None, at(0), u32::MAX).early, Duration::from_secs(60));
    let nearly_over = Life { initial_age: Duration::from_millis(9_900), ..life(0) };
    assert_eq!(nearly_over.spread(None, at(0), u32::MAX).early, Duration::from_millis(10));
    let never_stale = Life { stale: Windows::default(), ..life(0) };
    assert_eq!(never_stale.spread(None, at(0), u32::MAX).early, Duration::ZERO, "nothing is refreshed behind it");
    let asked_each_time = Life { lifetime: Duration::ZERO, ask_first: true, ..life(0) };
    assert_eq!(asked_each_time.spread(None, at(0), u32::MAX).stage(at(0)), Stage::OnError);
}

#[test]
fn what_follows_in_time_is_whole_and_what_follows_late_is_early_by_no_more_than_that() {
    let first = life(0).spread(None, at(0), u32::MAX);
    for (asked, early) in [(9_000, 0), (9_300, 300), (10_500, 1_000), (90_000, 1_000)] {
        let next = life(asked).spread(Some(first), at(asked), u32::MAX);
        assert_eq!(next.early, Duration::from_millis(early), "asked for at {asked}");
    }
    // Somebody with the right to it wanted it sooner.
    assert_eq!(life(5_000).spread(Some(first), at(5_000), u32::MAX).early, Duration::ZERO);
}

#[test]
fn what_was_ended_all_at_once_is_spread_as_if_it_were_new() {
    let ended = life(0).spread(None, at(0), 0).ended(at(4_000));
    assert_eq!((ended.lifetime, ended.stage(at(4_000))), (Duration::from_secs(4), Stage::Stale));
    assert_eq!(life(4_001).spread(Some(ended), at(4_001), u32::MAX).early, TEN / 10);
}

#[test]
fn an_entry_keeps_when_it_is_due() {
    let (store, key) = (store(1 << 20, 1 << 16), key_of("/clients/c1/"));
    let life = Life { since: now(0).tick, ..life(0) }.spread(None, now(0).tick, u32::MAX);
    let entry = Entry::new(StatusCode::OK, &head(&[]), b"{}", Ok(life));
    store.keep(key.clone(), Arc::new(entry), now(0).tick).unwrap();
    assert_eq!(stage(&store, &key, now(8)), Some(Stage::Fresh));
    assert_eq!(stage(&store, &key, now(9)), Some(Stage::Due));
    assert_eq!(stage(&store, &key, now(10)), Some(Stage::Stale));
}

proptest! {
    #[test]
    fn spreading_costs_no_call_that_the_lifetimes_alone_would_not(
        asks in proptest::collection::vec((0u64..6_000, any::<u32>()), 1..200),
    ) {
        let (mut held, mut now, mut calls) = (None::<Life>, 0, Vec::new());
        for (gap, dice) in asks {
            now += gap;
            if held.is_none_or(|held| held.stage(at(now)) != Stage::Fresh) {
                held = Some(life(now).spread(held, at(now), dice));
                calls.push(at(now));
            }
        }
        for (nth, from) in calls.iter().enumerate() {
            for (further, to) in calls.iter().skip(nth).enumerate() {
                let least = (TEN * u32::try_from(further).unwrap()).saturating_sub(TEN / 10);
                prop_assert!(to.since(*from) >= least, "{further} calls further after {:?}", to.since(*from));
            }
        }
    }
}
