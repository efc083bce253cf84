//! Is the partner left alone when it should be?
//! Given partners that limit, fail and refuse keys, holds the gateway to the fewest calls and callers to answers.
//! Never counts by eye: what must not reach the partner is looked for in its own record.

use std::time::{Duration, Instant};

use crate::support::{CLIENTS, Connection, Gate, Gateway, READING, Reply, Response, ScriptedPartner, Setup, wait_for};

const GOOD: &str = r#"{"client":{}}"#;
const MANY: usize = 40;

fn client(nth: usize) -> String {
    format!("{CLIENTS}client-{nth}/")
}

fn limited(seconds: u64) -> Reply {
    Reply::status(429).header("retry-after", &seconds.to_string())
}

fn everywhere(partner: &ScriptedPartner, reply: &Reply) {
    (0..MANY).for_each(|nth| partner.respond_with(&client(nth), [reply.clone()]));
}

/// Every client asked for once, all at the same time.
fn rush(gateway: &Gateway, token: &str) -> Vec<Response> {
    let callers: Vec<Connection> = (0..MANY).map(|nth| gateway.call(token, &client(nth))).collect();
    callers.into_iter().map(|caller| gateway.seen(caller.read_response(false))).collect()
}

/// A gateway that holds every client, stale.
fn stale(partner: &ScriptedPartner) -> (Gateway, String) {
    everywhere(partner, &Reply::json(GOOD));
    let setup = Setup::before(partner)
        .set("upstream.budget.max_in_flight", 8)
        .set("routes.client.ttl", "300ms")
        .set("routes.client.stale_while_revalidate", "1h");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    assert!(rush(&gateway, &token).iter().all(|answer| answer.status == 200));
    let all = r#"{"all": true, "soft": true}"#;
    assert_eq!(gateway.admin_request("POST", "/admin/v1/cache/purge", all).json()["purged"], MANY);
    (gateway, token)
}

/// nginx in its stale mode sent 449 requests in 5 s, for one key, to a partner that had answered 429 with `Retry-After: 30`.
#[test]
fn a_limited_partner_is_left_alone_while_stale_answers_are_given_and_one_probe_ends_it() {
    let partner = ScriptedPartner::listen();
    let (gateway, token) = stale(&partner);
    everywhere(&partner, &limited(2));
    let before = partner.count();
    let told = Instant::now();
    while told.elapsed() < Duration::from_millis(1_500) {
        let answers = rush(&gateway, &token);
        assert!(
            answers.iter().all(|answer| answer.status == 200 && answer.text() == GOOD),
            "an error reached a caller"
        );
    }
    assert!(partner.count() - before <= 8, "{} calls to a partner that said stop", partner.count() - before);
    let last = partner.calls().last().unwrap().at;

    let gate = Gate::default();
    everywhere(&partner, &Reply::json(GOOD).behind(&gate));
    let closed = partner.count();
    let probe = wait_for("the probe", || {
        rush(&gateway, &token);
        (partner.count() > closed).then(|| partner.calls().last().unwrap().at)
    });
    assert!(probe - last >= Duration::from_millis(1_900), "back after {:?}", probe - last);
    rush(&gateway, &token);
    assert_eq!(partner.count(), closed + 1, "a second call while the probe is under way");
    gate.open();
    wait_for("all to be fresh again", || {
        rush(&gateway, &token);
        let fetched: std::collections::HashSet<_> =
            partner.calls().iter().skip(closed).map(|call| call.target.clone()).collect();
        (fetched.len() == MANY).then_some(())
    });
}

#[test]
fn a_429_to_the_probe_closes_again() {
    let partner = ScriptedPartner::listen();
    let (gateway, token) = stale(&partner);
    everywhere(&partner, &limited(1));
    let before = partner.count();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(3_500) {
        assert!(rush(&gateway, &token).iter().all(|answer| answer.status == 200));
    }
    let calls = partner.calls();
    let calls = &calls[before..];
    // The first closes the gate; what was under way then may still arrive. After that one call each second.
    let after = calls.iter().filter(|call| call.at - calls[0].at > Duration::from_millis(500)).count();
    assert!((2..=4).contains(&after), "{after} probes in 3 s");
}

#[test]
fn who_has_nothing_stored_is_told_how_long_the_partner_asked_for() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [limited(30)]);
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    for _ in 0..3 {
        let answer = gateway.read(&token, CLIENTS);
        assert_eq!(answer.status, 503);
        let told: u64 = answer.expect_header("retry-after").parse().unwrap();
        assert!((28..=30).contains(&told), "{told}");
    }
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_limit_of_which_nothing_is_left_closes_before_the_partner_has_to_refuse() {
    let partner = ScriptedPartner::listen();
    let spent = Reply::json(r#"{"clients":[]}"#).header("ratelimit", "\"default\";r=0;t=40");
    partner.respond_with(CLIENTS, [spent]);
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    gateway.get_ok(&token, CLIENTS);
    assert_eq!(gateway.read(&token, &client(1)).status, 503);
    assert_eq!(gateway.outcome(&gateway.get_ok(&token, CLIENTS)), "hit");
    assert_eq!(partner.count(), 1);
    assert!(
        gateway
            .metrics()
            .contains(r#"reseller_gateway_partner_gate_closed{why="paused-by-partner",routes="documented"} 1"#)
    );
}

#[test]
fn a_partner_that_fails_over_several_resources_is_given_a_pause_and_one_broken_resource_is_not() {
    let partner = ScriptedPartner::listen();
    everywhere(&partner, &Reply::status(500));
    let setup = Setup::before(&partner)
        .set("upstream.breaker.failures", 3)
        .set("upstream.breaker.cool_down", "1s")
        .set("upstream.breaker.cool_down_max", "1s");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    for _ in 0..5 {
        assert_eq!(gateway.read(&token, &client(0)).status, 502);
    }
    assert_eq!(partner.count(), 5, "one resource closed the gate");
    assert_eq!(gateway.read(&token, &client(1)).status, 502);
    assert_eq!(gateway.read(&token, &client(2)).status, 502);
    let answer = gateway.read(&token, &client(3));
    assert_eq!((answer.status, answer.expect_header("retry-after").as_str()), (503, "1"));
    assert_eq!(partner.count(), 7);
    assert!(gateway.metrics().contains(r#"reseller_gateway_partner_gate_closed{why="failing",routes="documented"} 1"#));
    everywhere(&partner, &Reply::json(GOOD));
    wait_for("the partner to be tried again", || (gateway.read(&token, &client(3)).status == 200).then_some(()));
    assert_eq!(gateway.read(&token, &client(4)).status, 200);
}

fn keys_shown(partner: &ScriptedPartner) -> Vec<String> {
    partner.calls().iter().map(|call| call.header("x-reseller-api-key").unwrap_or_default().to_owned()).collect()
}

#[test]
fn with_two_slots_a_refused_key_costs_no_caller_an_error() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::status(401), Reply::json(r#"{"clients":[]}"#)]);
    let gateway = Setup::before(&partner).set("upstream.api_key_file_next", "next.key").start();
    gateway.write("next.key", "the-next-key\n");
    let token = gateway.token(&READING);
    gateway.keep_secret("the-next-key");
    gateway.get_ok(&token, CLIENTS);
    partner.respond_with(&client(1), [Reply::json(GOOD)]);
    gateway.get_ok(&token, &client(1));
    let shown = keys_shown(&partner);
    assert_ne!(shown[0], "the-next-key");
    assert_eq!(shown[1..], ["the-next-key", "the-next-key"]);
}

/// A dead credential flooded a partner with refused calls (vault#25712).
#[test]
fn a_key_that_is_refused_is_not_shown_again_and_again_and_a_new_file_is_used_at_once() {
    let partner = ScriptedPartner::listen();
    everywhere(&partner, &Reply::status(401));
    let gateway = Setup::before(&partner).set("upstream.breaker.cool_down", "30s").start();
    let token = gateway.token(&READING);
    for nth in 0..10 {
        let answer = gateway.read(&token, &client(nth));
        assert_eq!(
            (answer.status, answer.json()["type"].as_str().unwrap()),
            (502, "urn:reseller-gateway:problem:partner-key")
        );
    }
    assert_eq!(partner.count(), 2, "a key that was refused twice was presented again");
    assert!(gateway.metrics().contains("reseller_gateway_partner_keys_refused 1"));
    everywhere(&partner, &Reply::json(GOOD));
    gateway.write("partner.key", "the-new-key\n");
    gateway.keep_secret("the-new-key");
    wait_for("the new key", || (gateway.read(&token, &client(0)).status == 200).then_some(()));
    assert_eq!(keys_shown(&partner).last().unwrap(), "the-new-key");
    assert!(gateway.metrics().contains("reseller_gateway_partner_keys_refused 0"));
}

/// A probe that found the partner failing cleared the alarm, although nothing had been said about the key.
#[test]
fn a_failing_partner_says_nothing_about_a_key_that_it_refused() {
    let partner = ScriptedPartner::listen();
    everywhere(&partner, &Reply::status(401));
    let setup = Setup::before(&partner).set("upstream.breaker.cool_down", "100ms");
    let gateway = setup.set("upstream.breaker.cool_down_max", "100ms").start();
    let token = gateway.token(&READING);
    assert_eq!(gateway.read(&token, &client(0)).status, 502);
    let refused = || gateway.metrics().contains("reseller_gateway_partner_keys_refused 1");
    assert!(refused());
    for failing in [Reply::status(500), Reply::json(GOOD).reset_at(3)] {
        everywhere(&partner, &failing);
        let before = partner.count();
        wait_for("a probe", || {
            gateway.read(&token, &client(1));
            (partner.count() > before).then_some(())
        });
        assert!(refused(), "the alarm ended without a word of the partner's");
    }
    everywhere(&partner, &Reply::json(GOOD));
    wait_for("the partner to take it", || (gateway.read(&token, &client(2)).status == 200).then_some(()));
    assert!(!refused());
}

#[test]
fn a_key_file_that_is_replaced_is_used_without_a_restart_and_nonsense_in_it_is_not() {
    let partner = ScriptedPartner::listen();
    everywhere(&partner, &Reply::json(GOOD));
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    gateway.write("partner.key", "two\nlines\n");
    wait_for("a warning", || gateway.program.stderr().contains("the last good key is kept").then_some(()));
    gateway.get_ok(&token, &client(0));
    gateway.write("partner.key", "the-new-key");
    gateway.keep_secret("the-new-key");
    wait_for("word of the new key", || gateway.program.stderr().contains("a new key").then_some(()));
    gateway.get_ok(&token, &client(1));
    let shown = keys_shown(&partner);
    assert_ne!(shown[0], "the-new-key");
    assert_eq!(shown[1], "the-new-key");
}

#[test]
fn under_load_a_failing_refresh_of_any_kind_replaces_nothing_and_reaches_nobody() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(r#"{"clients":[],"is":"good"}"#)]);
    let setup = Setup::before(&partner)
        .set("upstream.timeout", "300ms")
        .set("upstream.breaker.failures", 0)
        .set("upstream.breaker.cool_down", "100ms")
        .set("upstream.breaker.cool_down_max", "100ms")
        .set("routes.clients.ttl", "50ms")
        .set("routes.clients.stale_while_revalidate", "1h");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    gateway.get_ok(&token, CLIENTS);
    let good = Reply::json(r#"{"clients":[],"is":"good"}"#);
    let failures = [
        Reply::status(500),
        Reply::status(502).body("<html>"),
        Reply::status(401),
        Reply::no_response(),
        good.clone().reset_at(9),
        good.clone().truncated_at(9),
        good.clone().header("content-type", "text/html"),
        Reply::json(r#"{"clients":["#),
        Reply::status(304),
        Reply::status(301).header("location", "/elsewhere"),
        limited(1),
    ];
    for failing in failures {
        partner.respond_with(CLIENTS, [failing]);
        let (before, began) = (partner.count(), Instant::now());
        // An entry rests for a second after each failure: load goes on until the next refresh has failed too.
        while partner.count() == before || began.elapsed() < Duration::from_millis(300) {
            assert!(began.elapsed() < Duration::from_secs(20), "no refresh was tried");
            let callers: Vec<Connection> = (0..16).map(|_| gateway.call(&token, CLIENTS)).collect();
            for caller in callers {
                let answer = gateway.seen(caller.read_response(false));
                assert_eq!((answer.status, answer.text()), (200, r#"{"clients":[],"is":"good"}"#.to_owned()));
            }
        }
    }
    partner.respond_with(CLIENTS, [Reply::json(r#"{"clients":[],"is":"better"}"#)]);
    wait_for("the partner's next word", || gateway.get_ok(&token, CLIENTS).text().contains("better").then_some(()));
}
