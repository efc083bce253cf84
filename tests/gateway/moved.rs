//! Does the shield hold over minutes of load?
//! Given the house in this process, callers who ask without end and a partner that limits, dies or changes its keys, counts.
//! Never waits for real: time is moved, so every count is exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::support::moved::{
    Connection, PausedGateway, Reply, Response, by_target, errors, most_within, put, settings, target, zipf,
};

const SECOND: Duration = Duration::from_secs(1);

/// Every key once, one after the other; all must be had.
async fn fill(moved: &PausedGateway, keys: usize) {
    let mut caller = moved.caller(0).await;
    for key in 0..keys {
        let got = caller.ask(key).await.unwrap();
        assert_eq!(got.status, 200, "{got:?}");
    }
}

/// Ten callers who ask without end, each `every` so long, for the keys that `choose` names; hands back all they got.
async fn load(
    moved: &PausedGateway,
    lasts: Duration,
    every: Duration,
    choose: impl Fn(usize, usize) -> usize + Send + Sync + Clone + 'static,
) -> Vec<Response> {
    let until = Instant::now() + lasts;
    let mut crowd = Vec::new();
    for nth in 0..10 {
        let (mut caller, choose): (Connection, _) = (moved.caller(nth).await, choose.clone());
        crowd.push(tokio::spawn(async move {
            let (mut got, mut next) = (Vec::new(), Instant::now() + every * nth as u32 / 10);
            while next < until {
                sleep_until(next).await;
                got.push(caller.ask(choose(nth, got.len())).await.unwrap());
                next = (next + every).max(Instant::now());
            }
            got
        }));
    }
    let mut all = Vec::new();
    for caller in crowd {
        all.extend(caller.await.unwrap());
    }
    all
}

#[tokio::test(start_paused = true)]
async fn five_hundred_stale_keys_and_a_429_of_half_a_minute() {
    let budget = "rate = \"100/s\"\nburst = 10\nmax_in_flight = 8";
    let moved = PausedGateway::new(&settings(budget, "ttl = \"5s\"\nstale_while_revalidate = \"1h\""), &[]);
    fill(&moved, 500).await;
    sleep(6 * SECOND).await;
    let before = moved.partner.count();
    moved.partner.respond_with(|_| Reply::retry_after(429, 30));
    let partner = Arc::clone(&moved.partner);
    tokio::spawn(async move {
        sleep(29 * SECOND).await;
        partner.respond_with(|_| Reply::status(200));
    });
    // 400 requests a second, each key every 1.25 s.
    let got = load(&moved, 45 * SECOND, Duration::from_millis(25), |caller, nth| (nth * 10 + caller) % 500).await;
    assert_eq!(errors(&got).len(), 0);

    let seen = moved.partner.calls().split_off(before);
    let told = seen.iter().filter_map(|call| call.answered.filter(|(_, status)| *status == 429)).min().unwrap().0;
    let refused = seen.iter().filter(|call| call.answered.is_some_and(|(_, status)| status == 429)).count();
    assert!(refused <= 8, "{refused} calls were refused");
    let early = seen.iter().filter(|call| call.at > told && call.at < told + 30 * SECOND).count();
    assert_eq!(early, 0, "calls that started although the partner had said to wait");
    let after: Vec<_> = seen.into_iter().filter(|call| call.at >= told + 30 * SECOND).collect();
    assert!(most_within(&after, SECOND) <= 110, "a burst above the budget");
    // The wait, and 500 keys at 100 a second: while one of them is stale, the budget is never idle.
    let last = by_target(&after).values().map(|calls| calls[0].at).max().unwrap();
    assert_eq!(by_target(&after).len(), 500);
    assert!(last - told <= 35 * SECOND + Duration::from_millis(250), "all fresh after {:?}", last - told);
}

#[tokio::test(start_paused = true)]
async fn who_has_nothing_stored_is_told_the_partners_time_to_the_second() {
    let moved = PausedGateway::new(&settings("rate = \"unlimited\"", "ttl = \"5s\""), &[]);
    moved.partner.respond_with(|_| Reply::retry_after(429, 30));
    let mut caller = moved.caller(0).await;
    let first = caller.ask(0).await.unwrap();
    assert_eq!((first.status, first.retry_after), (503, Some(30)));
    let told = Instant::now();
    for key in 1..100 {
        sleep(Duration::from_millis(299)).await;
        let left = (30 * SECOND).saturating_sub(told.elapsed());
        let got = caller.ask(key).await.unwrap();
        assert_eq!((got.status, got.retry_after), (503, Some(left.as_nanos().div_ceil(1_000_000_000) as u64)));
    }
    assert_eq!(moved.partner.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn ten_callers_cost_no_more_calls_than_lifetimes_fit_and_one() {
    let route = "ttl = \"5s\"\nstale_while_revalidate = \"10s\"";
    let moved = PausedGateway::new(&settings("rate = \"unlimited\"\nmax_in_flight = 64", route), &[]);
    let got = load(&moved, 20 * SECOND, Duration::from_millis(10), zipf(200)).await;
    assert_eq!(errors(&got).len(), 0);
    let seen = moved.partner.calls();
    for (target, calls) in by_target(&seen) {
        assert!(calls.len() <= 20 / 5 + 1, "{} calls for {target}", calls.len());
    }
    let older = |seconds| got.iter().filter(|got| got.age.unwrap() > seconds).count();
    assert_eq!(older(5 + 10), 0, "older than lifetime and window");
    assert!(older(6) * 100 <= got.len(), "{} of {} answers older than 1.3 lifetimes", older(6), got.len());
}

#[tokio::test(start_paused = true)]
async fn what_came_at_one_moment_is_refreshed_over_a_tenth_of_its_lifetime() {
    let moved = PausedGateway::new(&settings("rate = \"unlimited\"\nmax_in_flight = 500", "ttl = \"10s\""), &[]);
    let mut crowd = Vec::new();
    for key in 0..300 {
        let mut caller = moved.caller(key).await;
        crowd.push(tokio::spawn(async move { caller.ask(key).await.unwrap() }));
    }
    for caller in crowd {
        assert_eq!(caller.await.unwrap().status, 200);
    }
    let came = moved.partner.calls();
    assert!(came.last().unwrap().at - came[0].at < Duration::from_millis(100));
    sleep(8 * SECOND).await;
    // Each key every 100 ms: without a spread all would be asked for again within that.
    let got = load(&moved, 4 * SECOND, Duration::from_millis(3), |caller, nth| (nth * 10 + caller) % 300).await;
    assert_eq!(errors(&got).len(), 0);
    let again = moved.partner.calls().split_off(300);
    assert_eq!(again.len(), 300);
    let most = most_within(&again, Duration::from_millis(100));
    assert!(most <= 80, "{most} of 300 within 100 ms");
}

#[tokio::test(start_paused = true)]
async fn a_budget_below_the_demand_holds_in_every_second_and_age_grows_in_its_place() {
    let budget = "rate = \"10/s\"\nburst = 5";
    let moved = PausedGateway::new(&settings(budget, "ttl = \"5s\"\nstale_while_revalidate = \"1h\""), &[]);
    fill(&moved, 200).await;
    let got = load(&moved, 30 * SECOND, Duration::from_millis(20), zipf(200)).await;
    assert_eq!(errors(&got).len(), 0);
    let seen = moved.partner.calls();
    for seconds in [1, 3, 10] {
        let most = most_within(&seen, seconds * SECOND);
        assert!(most <= 10 * seconds as usize + 5, "{most} calls within {seconds} s");
    }
    // 200 keys at 10 a second are 20 s for a round of all.
    let oldest = got.iter().filter_map(|got| got.age).max().unwrap();
    assert!((10..=60).contains(&oldest), "the oldest answer was {oldest} s old");
}

#[tokio::test(start_paused = true)]
async fn a_partner_that_dies_for_half_a_minute_costs_no_request_and_gets_no_burst_when_it_is_back() {
    let budget = "rate = \"50/s\"\nburst = 10";
    // Beyond the short window each request asks first, and falls back to what is held.
    let moved = PausedGateway::new(&settings(budget, "ttl = \"2s\"\nstale_while_revalidate = \"3s\""), &[]);
    fill(&moved, 100).await;
    let partner = Arc::clone(&moved.partner);
    let began = Instant::now();
    tokio::spawn(async move {
        sleep_until(began + 5 * SECOND).await;
        partner.stop();
        sleep_until(began + 35 * SECOND).await;
        partner.respond_with(|_| Reply::status(200));
    });
    let got = load(&moved, 75 * SECOND, Duration::from_millis(50), |caller, nth| (nth * 10 + caller) % 100).await;
    let failed = errors(&got);
    assert!(failed.is_empty(), "{} of {} failed, as {:?}", failed.len(), got.len(), failed[0]);
    let seen = moved.partner.calls();
    let back: Vec<_> = seen.iter().filter(|call| call.at >= began + 35 * SECOND).cloned().collect();
    let first = back[0].at - (began + 35 * SECOND);
    assert!(first <= 30 * SECOND, "the first probe came after {first:?}");
    for seconds in [1, 5] {
        let most = most_within(&seen, seconds * SECOND);
        assert!(most <= 50 * seconds as usize + 10, "{most} calls within {seconds} s");
    }
    let fresh = got.iter().rev().take(100).filter(|got| got.age.is_some_and(|age| age <= 5)).count();
    assert_eq!(fresh, 100, "not all is fresh at the end");
}

/// Load on keys that are missed every time, while the partner's key changes.
async fn rotated(slots: usize) -> (PausedGateway, Vec<Response>) {
    let folder = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..slots).map(|nth| folder.path().join(format!("key-{nth}"))).collect();
    files.iter().enumerate().for_each(|(nth, file)| put(file, &format!("key-{nth}")).unwrap());
    let moved = PausedGateway::new(&settings("rate = \"unlimited\"\nmax_in_flight = 64", "ttl = \"1s\""), &files);
    let good = Arc::new(AtomicU32::new(0));
    let now_good = Arc::clone(&good);
    moved.partner.respond_with(move |call| {
        let good = call.key == format!("key-{}", now_good.load(Ordering::Relaxed));
        Reply::status(if good { 200 } else { 401 })
    });
    tokio::spawn(async move {
        for next in 1..5 {
            sleep(2 * SECOND).await;
            // With two slots the other one already has what is good next; the slot that is refused gets the one after.
            if let [only] = files.as_slice() {
                put(only, &format!("key-{next}")).unwrap();
            }
            good.store(next, Ordering::Relaxed);
            if let [_, _] = files.as_slice() {
                sleep(SECOND).await;
                put(&files[(next as usize + 1) % 2], &format!("key-{}", next + 1)).unwrap();
            }
        }
    });
    // Every client is another one: each request is a miss.
    let got = load(&moved, 15 * SECOND, Duration::from_millis(40), |caller, nth| nth * 10 + caller).await;
    drop(folder);
    (moved, got)
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_replaced_under_load_costs_no_caller_an_error() {
    for slots in [1, 2] {
        let (moved, got) = rotated(slots).await;
        let failed = errors(&got);
        assert!(failed.is_empty(), "{slots} slots: {} of {} failed, as {:?}", failed.len(), got.len(), failed[0]);
        let shown: std::collections::HashSet<_> = moved.partner.calls().into_iter().map(|call| call.key).collect();
        assert_eq!(shown.len(), 5, "{shown:?}");
        let refused = moved.partner.calls().iter().filter(|call| matches!(call.answered, Some((_, 401)))).count();
        assert!(refused <= 4 * 10, "{refused} calls with a refused key");
    }
}

/// How long callers 1 to 9 wait for a miss, each with one at a time, while caller 0 has so many.
async fn waits(outstanding: usize) -> Vec<Duration> {
    let budget = "rate = \"20/s\"\nburst = 1\nmax_in_flight = 16";
    let moved = PausedGateway::new(&settings(budget, "ttl = \"1h\""), &[]);
    let until = Instant::now() + 30 * SECOND;
    let mut crowd = Vec::new();
    for nth in (0..outstanding).map(|_| 0).chain(1..10) {
        let mut caller = moved.caller(nth).await;
        let place = crowd.len();
        crowd.push((
            nth,
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while Instant::now() < until {
                    let got = caller.ask(place * 1_000_000 + waits.len()).await.unwrap();
                    waits.push(got.took());
                    // Whoever was sent away comes back a little later.
                    if got.status != 200 {
                        sleep(SECOND / 10).await;
                    }
                }
                waits
            }),
        ));
    }
    let mut all = Vec::new();
    for (nth, caller) in crowd {
        let waited = caller.await.unwrap();
        all.extend(waited.into_iter().filter(|_| nth != 0));
    }
    all
}

#[tokio::test(start_paused = true)]
async fn one_caller_at_a_hundred_times_its_share_makes_nobody_wait_twice_as_long() {
    let (quiet, pressed) = (waits(1).await, waits(100).await);
    let (longest, under_pressure) = (quiet.iter().max().unwrap(), pressed.iter().max().unwrap());
    assert!(*under_pressure <= *longest * 2, "{under_pressure:?}, in the quiet case {longest:?}");
    assert!(pressed.len() * 10 >= quiet.len() * 9, "{} calls, in the quiet case {}", pressed.len(), quiet.len());
}

#[tokio::test(start_paused = true)]
async fn a_soft_purge_of_everything_is_paid_from_the_budget_and_seen_by_nobody() {
    let budget = "rate = \"50/s\"\nburst = 10";
    let moved = PausedGateway::new(&settings(budget, "ttl = \"1h\"\nstale_while_revalidate = \"1h\""), &[]);
    fill(&moved, 300).await;
    sleep(SECOND).await;
    let before = moved.partner.count();
    use reseller_gateway::cache::{key::named::Which, purge::How};
    moved.house.store().purge(&Which::All, How::Soft, false, moved.house.clock().now());
    // What is asked for at the very moment of a purge counts as asked for before it.
    sleep(Duration::from_millis(1)).await;
    let got = load(&moved, 10 * SECOND, Duration::from_millis(20), |caller, nth| (nth * 10 + caller) % 300).await;
    assert_eq!(errors(&got).len(), 0);
    let seen = moved.partner.calls().split_off(before);
    assert_eq!((seen.len(), by_target(&seen).len()), (300, 300), "each is asked for once");
    assert!(most_within(&seen, SECOND) <= 60, "a burst above the budget");
    assert!(seen.last().unwrap().target.starts_with(target(0).trim_end_matches("0/")));
}
