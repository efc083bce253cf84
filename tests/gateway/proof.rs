//! Does the shield hold under load on real sockets?
//! Given the real binary between threads that ask without end and a partner that limits, dies or changes its keys, counts.
//! Never measures speed: percentiles, and half a minute of load, are for `benches/shield`; exact counts for `moved`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::simulator::{KEY, Simulator};
use crate::support::{CLIENTS, Gateway, Partner, READING, Reply, Setup, wait_for};

const GOOD: &str = r#"{"client":{}}"#;

fn client(nth: usize) -> String {
    format!("{CLIENTS}client-{nth}/")
}

fn everywhere(partner: &Partner, keys: usize, reply: &Reply) {
    (0..keys).for_each(|nth| partner.answers(&client(nth), [reply.clone()]));
}

/// Eight threads that ask for one of `keys` clients after the other until `done`; every answer must be a 200. Hands back
/// how many there were.
fn load(gateway: &Gateway, token: &str, keys: usize, done: impl FnMut() -> bool) -> usize {
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut done = done;
    std::thread::scope(|scope| {
        let work = || {
            while !over.load(Ordering::Relaxed) {
                let nth = sent.fetch_add(1, Ordering::Relaxed);
                let answer = gateway.read(token, &client(nth % keys));
                if answer.status != 200 {
                    over.store(true, Ordering::Relaxed);
                    panic!("an error reached a caller: {answer:?}");
                }
            }
        };
        (0..8).for_each(|_| drop(scope.spawn(work)));
        let began = Instant::now();
        while !done() && !over.load(Ordering::Relaxed) {
            if began.elapsed() > Duration::from_secs(60) {
                over.store(true, Ordering::Relaxed);
                panic!("no end of the load within a minute");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        over.store(true, Ordering::Relaxed);
    });
    sent.load(Ordering::Relaxed)
}

fn lasts(time: Duration) -> impl FnMut() -> bool {
    let began = Instant::now();
    move || began.elapsed() >= time
}

fn most_within(moments: &[Instant], window: Duration) -> usize {
    let within = |from: &Instant| moments.iter().filter(|at| **at >= *from && **at < *from + window).count();
    moments.iter().map(within).max().unwrap_or_default()
}

#[test]
fn five_hundred_stale_keys_leave_a_limited_partner_alone_and_are_all_fresh_soon_after() {
    const KEYS: usize = 500;
    let partner = Partner::listen();
    everywhere(&partner, KEYS, &Reply::json(GOOD));
    let setup = Setup::before(&partner)
        .set("upstream.budget.rate", "250/s")
        .set("upstream.budget.max_in_flight", 16)
        .set("telemetry.access_log", "off")
        .set("routes.client.ttl", "2s")
        .set("routes.client.stale_while_revalidate", "1h");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    load(&gateway, &token, KEYS, || partner.count() >= KEYS);
    std::thread::sleep(Duration::from_secs(2));

    let pause = Duration::from_secs(4);
    everywhere(&partner, KEYS, &Reply::status(429).header("retry-after", "4"));
    let before = partner.count();
    load(&gateway, &token, KEYS, lasts(pause * 3 / 4));
    everywhere(&partner, KEYS, &Reply::json(GOOD));
    let refused = partner.calls().split_off(before);
    assert!((1..=16).contains(&refused.len()), "{} calls to a partner that said stop", refused.len());
    let told = refused[0].at;

    let after = before + refused.len();
    let fetched = || {
        let calls = partner.calls().split_off(after);
        calls.iter().map(|call| call.target.as_str()).collect::<std::collections::HashSet<_>>().len() == KEYS
    };
    load(&gateway, &token, KEYS, fetched);
    let calls = partner.calls().split_off(after);
    // The partner's word counts from when its answer was read, a little after the call came.
    let early = calls.iter().filter(|call| call.at < told + pause).count();
    assert_eq!(early, 0, "calls before the time was over");
    let moments: Vec<_> = calls.iter().map(|call| call.at).collect();
    let most = most_within(&moments, Duration::from_secs(1));
    assert!(most <= 250 + 20 + 5, "{most} calls in a second when it was over");
}

#[test]
fn a_resource_costs_as_many_calls_as_lifetimes_fit_and_one_however_many_ask() {
    let partner = Partner::listen();
    everywhere(&partner, 50, &Reply::json(GOOD));
    let setup = Setup::before(&partner)
        .set("telemetry.access_log", "off")
        .set("routes.client.ttl", "1s")
        .set("routes.client.stale_while_revalidate", "10s");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    let began = Instant::now();
    let sent = load(&gateway, &token, 50, lasts(Duration::from_secs(5)));
    let mut by_target: HashMap<String, usize> = HashMap::new();
    for call in partner.calls().iter().filter(|call| call.at < began + Duration::from_secs(5)) {
        *by_target.entry(call.target.clone()).or_default() += 1;
    }
    let most = by_target.values().max().unwrap();
    assert!(*most <= 5 + 1, "{most} calls for one resource, {sent} requests");
}

#[test]
fn a_budget_below_the_demand_holds_and_nobody_sees_it() {
    let partner = Partner::listen();
    everywhere(&partner, 100, &Reply::json(GOOD));
    let setup = Setup::before(&partner)
        .set("telemetry.access_log", "off")
        .set("upstream.budget.rate", "40/s")
        .set("upstream.budget.burst", 10)
        .set("routes.client.ttl", "500ms")
        .set("routes.client.stale_while_revalidate", "1h");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    (0..100).for_each(|nth| drop(gateway.gives(&token, &client(nth))));
    load(&gateway, &token, 100, lasts(Duration::from_secs(5)));
    let moments: Vec<_> = partner.calls().iter().map(|call| call.at).collect();
    for seconds in [1, 3] {
        let most = most_within(&moments, Duration::from_secs(seconds));
        // A call may come to the partner a little after it was let through.
        assert!(most <= 40 * seconds as usize + 10 + 2, "{most} calls within {seconds} s");
    }
}

#[test]
fn a_partner_that_breaks_off_for_seconds_costs_no_request_and_is_tried_again_in_time() {
    let partner = Partner::listen();
    everywhere(&partner, 40, &Reply::json(GOOD));
    let setup = Setup::before(&partner)
        .set("telemetry.access_log", "off")
        .set("upstream.budget.rate", "100/s")
        .set("upstream.breaker.cool_down", "200ms")
        .set("upstream.breaker.cool_down_max", "1s")
        .set("routes.client.ttl", "300ms")
        .set("routes.client.stale_while_revalidate", "500ms");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    load(&gateway, &token, 40, || partner.count() >= 80);
    everywhere(&partner, 40, &Reply::json(GOOD).reset_at(0));
    load(&gateway, &token, 40, lasts(Duration::from_secs(4)));
    assert!(gateway.metrics().contains(r#"reseller_gateway_partner_gate_closed{why="failing",routes="documented"} 1"#));
    everywhere(&partner, 40, &Reply::json(GOOD));
    let (before, back) = (partner.count(), Instant::now());
    load(&gateway, &token, 40, || partner.count() >= before + 40);
    let calls = partner.calls().split_off(before);
    let first = calls[0].at - back;
    assert!(first <= Duration::from_millis(1_500), "the first probe came after {first:?}");
    let moments: Vec<_> = calls.iter().map(|call| call.at).collect();
    let most = most_within(&moments, Duration::from_millis(100));
    assert!(most <= 10 + 20 + 2, "{most} calls in 100 ms when it was back");
}

/// Eight threads of misses while the partner's key changes; every answer must be a 200.
fn rotated(second_slot: bool) {
    let simulator = Simulator::start(&[]);
    let mut setup = Setup::at(&format!("http://{}", simulator.address));
    if second_slot {
        setup = setup.set("upstream.api_key_file_next", "next.key");
    }
    let gateway = setup.start();
    let token = gateway.token(&READING);
    for key in ["the-second-key", "the-third-key"] {
        gateway.keep_secret(key);
    }
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let work = || {
            while !over.load(Ordering::Relaxed) {
                let nth = sent.fetch_add(1, Ordering::Relaxed);
                let answer = gateway.read(&token, &format!("{CLIENTS}?provider_id=p{nth}"));
                if answer.status != 200 {
                    over.store(true, Ordering::Relaxed);
                    panic!("an error reached a caller: {answer:?}");
                }
            }
        };
        (0..8).for_each(|_| drop(scope.spawn(work)));
        let more = |many: usize| {
            let until = sent.load(Ordering::Relaxed) + many;
            let enough = || sent.load(Ordering::Relaxed) >= until || over.load(Ordering::Relaxed);
            wait_for("requests", || enough().then_some(()));
        };
        more(50);
        // As partners rotate: both are good, the new one is put into its file, then the old one is good no more.
        simulator.order("PUT", "keys", &json!({ "initial": KEY, "second": "the-second-key" }));
        gateway.write(if second_slot { "next.key" } else { "partner.key" }, "the-second-key");
        simulator.order("PUT", "keys", &json!({ "second": "the-second-key" }));
        more(200);
        match second_slot {
            false => {
                simulator.order("PUT", "keys", &json!({ "second": "the-second-key", "third": "the-third-key" }));
                gateway.write("partner.key", "the-third-key");
            }
            // With a second slot a key may lie there before its time, be refused, and become good later.
            true => {
                gateway.write("partner.key", "the-third-key");
                wait_for("the early key to be refused", || {
                    more(10);
                    gateway.metrics().contains("reseller_gateway_partner_keys_refused 1").then_some(())
                });
            }
        }
        simulator.order("PUT", "keys", &json!({ "third": "the-third-key" }));
        more(200);
        over.store(true, Ordering::Relaxed);
    });
    let keys = simulator.order("GET", "stats", &json!({}))["keys"].clone();
    assert!(["initial", "second", "third"].iter().all(|name| keys[*name].as_u64() > Some(0)), "{keys}");
    let changes = if second_slot { 3 } else { 2 };
    assert!(
        keys["refused"].as_u64().unwrap_or_default() <= changes * 8,
        "a refused key was shown again and again: {keys}"
    );
}

#[test]
fn a_key_that_is_replaced_in_its_file_costs_no_caller_an_error() {
    rotated(false);
}

#[test]
fn a_key_that_moves_to_the_other_slot_costs_no_caller_an_error() {
    rotated(true);
}

#[test]
fn a_caller_with_forty_misses_waiting_lets_another_one_pass() {
    let partner = Partner::listen();
    everywhere(&partner, 100, &Reply::json(GOOD));
    let setup = Setup::before(&partner)
        .caller("greedy", &["clients:read", "pii:read"], "")
        .set("upstream.budget.rate", "20/s")
        .set("upstream.budget.burst", 1)
        .set("upstream.budget.max_wait", "10s");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    let issued = gateway.issue("greedy", &[], &[]);
    let greedy = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    let waiting: Vec<_> = (0..40).map(|nth| gateway.call(&greedy, &client(nth))).collect();
    wait_for("a queue", || {
        let metrics = gateway.metrics();
        let queued = metrics.lines().find_map(|line| line.strip_prefix("reseller_gateway_partner_calls_queued "))?;
        (queued.parse::<usize>().ok()? >= 30).then_some(())
    });
    for nth in 90..95 {
        let before = partner.count();
        gateway.gives(&token, &client(nth));
        let calls = partner.calls();
        let place = calls.iter().position(|call| call.target == client(nth)).unwrap();
        // Its own turn is the next but one at most; one more may go while it is on its way.
        assert!(place <= before + 2, "{} calls of the other's went before", place - before);
    }
    assert!(waiting.into_iter().all(|caller| caller.hear(false).status == 200));
}
