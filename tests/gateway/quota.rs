//! Does every caller get its share, and no more, as seen from outside?
//! Given the real binary with limits per caller, hands back claims on refusals, fields and calls that hold or fail.
//! Never waits for a rate to recover where a minute's rate shows the same.

use toml::{Table, Value};

use crate::support::{CLIENTS, Gate, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup, wait_for};

const CLIENT: &str = "/reseller/account/v1/clients/c1/";
const OTHER: &str = "/reseller/account/v1/something/else";

/// `app` with these lines below its table, and `free` with none.
fn callers(app: &str) -> Value {
    let caller = |name: &str, more: &str| {
        let scopes = READING.map(|scope| format!("{scope:?}")).join(", ");
        format!("[[callers]]\nname = {name:?}\nscopes = [{scopes}]\nclients = [\"*\"]\nproviders = [\"*\"]\n{more}\n")
    };
    let table: Table = (caller("app", app) + &caller("free", "")).parse().unwrap();
    table["callers"].clone()
}

pub(crate) fn limited(limits: &str) -> Value {
    callers(&format!("[callers.limits]\n{limits}"))
}

fn token_of(gateway: &Gateway, caller: &str) -> String {
    let issued = gateway.issue(caller, &[], &[]);
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim())
}

/// A refusal by this limit, with the time to come back in this range.
fn refused(answer: &Response, word: &str, seconds: std::ops::RangeInclusive<u64>) {
    assert_eq!(answer.status, 429, "{answer:?}");
    assert_eq!(answer.json()["type"], format!("urn:reseller-gateway:problem:{word}"));
    let retry: u64 = answer.expect_header("retry-after").parse().unwrap();
    assert!(seconds.contains(&retry), "{retry}");
}

/// The value of a metric, its labels included.
pub(crate) fn counted(gateway: &Gateway, metric: &str) -> u64 {
    let name = format!("reseller_gateway_{metric} ");
    let metrics = gateway.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix(&name));
    line.unwrap_or_else(|| panic!("no {metric} in {metrics}")).parse().unwrap()
}

#[test]
fn a_caller_beyond_its_rate_is_told_when_to_come_back_and_others_are_not_touched() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).set("callers", limited("requests = \"1/m\"\nburst = 3")).start();
    let (app, free) = (token_of(&gateway, "app"), token_of(&gateway, "free"));
    let first = gateway.get_ok(&app, CLIENTS);
    assert_eq!(first.expect_header("ratelimit-policy"), r#""requests";q=3;w=180"#);
    assert_eq!(first.expect_header("ratelimit"), r#""requests";r=2;t=60"#);
    assert_eq!(gateway.read(&app, "/nowhere").status, 404);
    let third = gateway.get_ok(&app, CLIENTS).expect_header("ratelimit");
    assert!(third.starts_with(r#""requests";r=0;t="#), "a 404 has paid too: {third}");
    // The caller's turn comes before its route is looked for.
    for target in [CLIENTS, "/nowhere"] {
        let beyond = gateway.read(&app, target);
        refused(&beyond, "caller-requests", 55..=60);
        assert_eq!(beyond.expect_header("ratelimit-policy"), r#""requests";q=3;w=180"#);
        // Told a moment later, so by a second less at most.
        let retry: u64 = beyond.expect_header("retry-after").parse().unwrap();
        let standing = [retry, retry - 1].map(|seconds| format!(r#""requests";r=0;t={seconds}"#));
        assert!(standing.contains(&beyond.expect_header("ratelimit")), "{beyond:?}");
        let line = gateway.log_line(&beyond);
        assert_eq!((&line["caller"], &line["cause"]), (&"app".into(), &"caller-requests".into()));
    }
    let unlimited = gateway.get_ok(&free, CLIENTS);
    assert_eq!((unlimited.header("ratelimit"), unlimited.header("ratelimit-policy")), (None, None));
    assert_eq!(counted(&gateway, r#"limited_total{caller="app",limit="requests"}"#), 2);
    assert!(!gateway.metrics().contains(r#"limited_total{caller="free""#));
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_caller_that_hangs_up_gives_its_place_back() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    partner.respond_with(CLIENT, [Reply::json(r#"{"client":{}}"#).behind(&gate)]);
    // More than the sockets between them take in.
    partner.respond_with(OTHER, [Reply::json(vec![b' '; 30 << 20])]);
    let gateway = Setup::before(&partner).set("callers", limited("concurrent = 1")).start();
    let app = token_of(&gateway, "app");
    let first = gateway.get_ok(&app, CLIENTS);
    assert_eq!(first.expect_header("ratelimit-policy"), r#""concurrent";q=1;qu="concurrent-requests""#);
    assert_eq!(first.expect_header("ratelimit"), r#""concurrent";r=0"#);

    let is_free = || (gateway.read(&app, CLIENTS).status == 200).then_some(());
    wait_for("the place of an answer that is out", is_free);
    let waits = gateway.call(&app, CLIENT);
    partner.wait_for_calls(2);
    refused(&gateway.read(&app, CLIENTS), "caller-concurrent", 1..=1);
    waits.reset();
    wait_for("the place of a caller that left while it waited", is_free);

    let mut reads = gateway.call(&app, OTHER);
    assert!(reads.read_some(100) > 0);
    refused(&gateway.read(&app, CLIENTS), "caller-concurrent", 1..=1);
    reads.reset();
    wait_for("the place of a caller that left in the middle of its answer", is_free);
    assert!(counted(&gateway, r#"limited_total{caller="app",limit="concurrent"}"#) >= 2);
    gate.open();
}

#[test]
fn starting_partner_calls_is_paid_for_and_all_else_is_free() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    partner.respond_with(CLIENT, [Reply::json(r#"{"client":{}}"#).behind(&gate)]);
    let gateway = Setup::before(&partner)
        .set("callers", limited("concurrent = 9\nupstream = \"1/m\""))
        .set("routes.clients.ttl", "50ms")
        .set("routes.client.ttl", "1h")
        .start();
    let (app, free) = (token_of(&gateway, "app"), token_of(&gateway, "free"));
    assert_eq!(gateway.get_ok(&app, CLIENTS).expect_header("ratelimit"), r#""concurrent";r=8, "upstream";r=0;t=60"#);
    for target in [CLIENT, OTHER] {
        let beyond = gateway.read(&app, target);
        refused(&beyond, "caller-upstream", 55..=60);
        let policy = r#""concurrent";q=9;qu="concurrent-requests", "upstream";q=1;w=60"#;
        assert_eq!(beyond.expect_header("ratelimit-policy"), policy);
    }
    assert_eq!(partner.count(), 1);
    // From memory, and refreshed behind: nobody pays for that.
    wait_for("a refresh behind", || {
        gateway.get_ok(&app, CLIENTS);
        (partner.count() >= 2).then_some(())
    });
    // Another's call.
    let starter = gateway.call(&free, CLIENT);
    wait_for("the call", || partner.calls().iter().any(|call| call.target == CLIENT).then_some(()));
    let joins = gateway.call(&app, CLIENT);
    // It waits, where it would have been refused at once: its place is taken.
    wait_for("the one who joins", || {
        let told = gateway.get_ok(&app, CLIENTS).expect_header("ratelimit");
        told.starts_with(r#""concurrent";r=7,"#).then_some(())
    });
    gate.open();
    assert_eq!(starter.read_response(false).status, 200);
    let joined = joins.read_response(false);
    assert_eq!((joined.status, gateway.outcome(&joined)), (200, "collapsed".to_owned()));
    assert_eq!(gateway.outcome(&gateway.get_ok(&app, CLIENT)), "hit");
    assert_eq!(partner.calls().iter().filter(|call| call.target == CLIENT).count(), 1);
    assert_eq!(counted(&gateway, r#"limited_total{caller="app",limit="upstream"}"#), 2);
}

#[test]
fn a_caller_without_partner_calls_gets_what_is_held_if_it_may_be_stale() {
    let partner = ScriptedPartner::listen();
    let ask_first = |body: &str| Reply::json(body).header("cache-control", "no-cache");
    partner.respond_with(CLIENTS, [ask_first(NO_CLIENTS)]);
    partner.respond_with(CLIENT, [ask_first(r#"{"client":{}}"#)]);
    let gateway = Setup::before(&partner)
        .set("callers", limited("upstream = \"1/m\""))
        .set("routes.client.stale_if_error", "0s")
        .start();
    let (app, free) = (token_of(&gateway, "app"), token_of(&gateway, "free"));
    gateway.get_ok(&app, CLIENTS);
    gateway.get_ok(&free, CLIENT);
    let stale = gateway.get_ok(&app, CLIENTS);
    assert_eq!(gateway.outcome(&stale), "stale");
    assert!(stale.expect_header("cache-status").ends_with("detail=stale-if-error"), "{stale:?}");
    refused(&gateway.read(&app, CLIENT), "caller-upstream", 55..=60);
    assert_eq!(gateway.outcome(&gateway.get_ok(&free, CLIENTS)), "revalidated", "another has it confirmed");
}

#[test]
fn a_flood_of_bad_tokens_is_not_examined_and_remembered_tokens_pass_through_it() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).start();
    let known = gateway.token(&READING);
    gateway.get_ok(&known, CLIENTS);
    let (head, signature) = known.rsplit_once('.').unwrap();
    let bad = format!("{head}.{}", signature.chars().rev().collect::<String>());
    let flood = || {
        let answers = (0..5_000).map(|_| gateway.read(&bad, CLIENTS));
        let mut examined = 0;
        let over = answers.inspect(|_| examined += 1).find(|answer| answer.status != 401);
        (examined - 1, over.expect("an end of patience"))
    };
    let (examined, over) = flood();
    assert!(examined >= 50, "{examined}");
    refused(&over, "bad-tokens", 1..=1);
    assert_eq!((over.header("www-authenticate"), over.header("ratelimit")), (None, None));
    // One that was never seen may come while a place has just become free: then it is good, and another is tried.
    let turned_away = (0..10).find_map(|_| {
        let fresh = gateway.token(&READING);
        flood();
        gateway.get_ok(&known, CLIENTS);
        (gateway.read(&fresh, CLIENTS).status == 429).then_some(fresh)
    });
    let fresh = turned_away.expect("a token that has to wait");
    assert_eq!(gateway.get(CLIENTS, &[]).status, 401, "no token is nothing to examine");
    assert_eq!(gateway.log_line(&over)["cause"], "bad-tokens");
    wait_for("its turn", || (gateway.read(&fresh, CLIENTS).status == 200).then_some(()));
    assert!(counted(&gateway, "bad_tokens_total") >= 50);
    assert!(counted(&gateway, "unexamined_tokens_total") >= 2);
}

#[test]
fn interactive_callers_go_before_batch_callers() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    let target = |client: &str| format!("/reseller/account/v1/clients/{client}/");
    for client in ["held", "batch", "free"] {
        partner.respond_with(&target(client), [Reply::json(r#"{"client":{}}"#).behind(&gate)]);
    }
    let gateway = Setup::before(&partner)
        .set("callers", callers("priority = \"batch\""))
        .set("upstream.budget.max_in_flight", 1)
        .set("upstream.budget.max_wait", "10s")
        .start();
    let (app, free) = (token_of(&gateway, "app"), token_of(&gateway, "free"));
    let held = gateway.call(&free, &target("held"));
    partner.wait_for_calls(1);
    let queued =
        |many: u64| wait_for("the queue", || (counted(&gateway, "partner_calls_queued") == many).then_some(()));
    let batch = gateway.call(&app, &target("batch"));
    queued(1);
    let interactive = gateway.call(&free, &target("free"));
    queued(2);
    gate.open();
    for caller in [held, batch, interactive] {
        assert_eq!(caller.read_response(false).status, 200);
    }
    let order: Vec<_> = partner.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(order, ["held", "free", "batch"].map(target));
}
