//! Does it fail where others failed?
//! Given the traps that cost others their partner, their cache or their callers' data, hands back a claim for each.
//! Never waits blindly: partners are held at gates, and what must not happen is looked for while it could.

use std::time::{Duration, Instant, SystemTime};

use crate::support::{
    CLIENTS, Connection, Gate, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup, slow_peer,
    throughout, wait_for,
};

const GOOD: &str = r#"{"clients":[],"is":"good"}"#;
const BETTER: &str = r#"{"clients":[],"is":"better"}"#;

fn scene(settings: &[(&str, &str)]) -> (ScriptedPartner, Gateway, String) {
    let partner = ScriptedPartner::listen();
    let setup = settings.iter().fold(Setup::before(&partner), |setup, (key, value)| setup.set(key, *value));
    let gateway = setup.start();
    let token = gateway.token(&READING);
    (partner, gateway, token)
}

fn client(nth: usize) -> String {
    format!("{CLIENTS}client-{nth}/")
}

/// Reads until the answer is stale, and hands that back.
fn stale(gateway: &Gateway, token: &str) -> Response {
    wait_for("a stale answer", || {
        let answer = gateway.get_ok(token, CLIENTS);
        (gateway.outcome(&answer) == "stale").then_some(answer)
    })
}

#[test]
fn two_hundred_cold_requests_are_one_call() {
    let (partner, gateway, token) = scene(&[]);
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(GOOD).behind(&gate)]);
    let callers: Vec<Connection> = (0..200).map(|_| gateway.call(&token, CLIENTS)).collect();
    partner.wait_for_calls(1);
    gate.open();
    let answers: Vec<Response> = callers.into_iter().map(|caller| gateway.seen(caller.read_response(false))).collect();
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.text() == GOOD));
    assert_eq!(partner.count(), 1);
    let misses = answers.iter().filter(|answer| gateway.outcome(answer) == "miss").count();
    assert_eq!(misses, 1);
}

#[test]
fn callers_of_different_rights_share_one_call_and_see_what_is_theirs() {
    let (partner, gateway, token) = scene(&[]);
    let gate = Gate::default();
    let document = r#"{"clients":[{"id":"a","email":"a@b.test","unknown":"x"}]}"#;
    partner.respond_with(CLIENTS, [Reply::json(document).behind(&gate)]);
    let narrowed = gateway.token(&["clients:read"]);
    let (full, blank) = (gateway.call(&token, CLIENTS), gateway.call(&narrowed, CLIENTS));
    partner.wait_for_calls(1);
    gate.open();
    assert_eq!(full.read_response(false).text(), document);
    let blank = blank.read_response(false);
    assert!(!blank.head_and_body().contains("a@b.test") && !blank.text().contains("unknown"), "{blank:?}");
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_caller_that_leaves_before_the_partner_answers_changes_nothing() {
    let (partner, gateway, token) = scene(&[]);
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(GOOD).behind(&gate)]);
    let (first, second) = (gateway.call(&token, CLIENTS), gateway.call(&token, CLIENTS));
    partner.wait_for_calls(1);
    let third = gateway.call(&token, CLIENTS);
    drop(first);
    second.reset();
    wait_for("the door to notice", || (joined(&gateway) <= 2).then_some(()));
    gate.open();
    assert_eq!(third.read_response(false).text(), GOOD);
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_call_that_was_sent_lands_in_memory_even_if_everybody_left() {
    let (partner, gateway, token) = scene(&[]);
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(GOOD).behind(&gate)]);
    let alone = gateway.call(&token, CLIENTS);
    partner.wait_for_calls(1);
    alone.reset();
    wait_for("the line of who left", || gateway.program.stdout().contains(r#""cause":"caller-left""#).then_some(()));
    gate.open();
    assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_caller_that_leaves_in_the_middle_of_its_head_or_its_answer_changes_nothing() {
    let (partner, gateway, token) = scene(&[]);
    let large = format!(r#"{{"clients":[],"is":"{}"}}"#, "large ".repeat(500_000));
    partner.respond_with(CLIENTS, [Reply::json(large.clone())]);
    let mut half = Connection::connect(gateway.address);
    half.say(format!("GET {CLIENTS} HTTP/1.1\r\nhost: gw\r\nauthoriz"));
    drop(half);
    let mut sipping = gateway.call(&token, CLIENTS);
    assert!(sipping.read_some(1000) > 0);
    drop(sipping);
    for _ in 0..2 {
        let answer = gateway.get_ok(&token, CLIENTS);
        assert!(answer.whole && answer.body == large.as_bytes());
    }
    assert_eq!(partner.count(), 1);
}

#[test]
fn stale_is_served_while_one_refresh_runs_and_its_successor_after_that() {
    let (partner, gateway, token) = scene(&[("routes.clients.ttl", "1s")]);
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(GOOD), Reply::json(BETTER).behind(&gate)]);
    assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
    assert_eq!(stale(&gateway, &token).text(), GOOD);
    partner.wait_for_calls(2);
    for _ in 0..5 {
        let answer = gateway.get_ok(&token, CLIENTS);
        assert_eq!((answer.text().as_str(), gateway.outcome(&answer).as_str()), (GOOD, "stale"));
        assert!(answer.expect_header("cache-status").contains("stale-while-revalidate"));
    }
    assert_eq!(partner.count(), 2);
    gate.open();
    wait_for("the successor", || (gateway.get_ok(&token, CLIENTS).text() == BETTER).then_some(()));
}

/// While the successor of something stale was on its way, a request that came after the stale window was shown the old answer
/// as if the partner had failed.
#[test]
fn a_refresh_under_way_is_no_failure_that_something_stale_stands_in_for() {
    for mode in ["api", "standard"] {
        let settings = [
            ("routes.clients.mode", mode),
            ("routes.clients.ttl", "1s"),
            ("routes.clients.stale_while_revalidate", "1s"),
            ("routes.clients.stale_if_error", "1h"),
        ];
        let (partner, gateway, token) = scene(&settings);
        let gate = Gate::default();
        let control = "max-age=1, stale-while-revalidate=1, stale-if-error=3600";
        let reply = |body| Reply::json(body).header("cache-control", control);
        partner.respond_with(CLIENTS, [reply(GOOD), reply(BETTER).behind(&gate)]);
        assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
        assert_eq!(stale(&gateway, &token).text(), GOOD);
        partner.wait_for_calls(2);
        let authorization = format!("Bearer {token}");
        let cached = [("authorization", authorization.as_str()), ("cache-control", "only-if-cached")];
        wait_for("the end of the window", || (gateway.get(CLIENTS, &cached).status == 504).then_some(()));
        let waiting = gateway.call(&token, CLIENTS);
        gate.open();
        assert_eq!(waiting.read_response(false).text(), BETTER, "{mode}");
    }
}

/// A refresh that was answered with something that is not stored kept the next one away until `upstream.timeout`.
#[test]
fn a_refresh_that_stores_nothing_leaves_the_next_one_to_the_next_request() {
    for mode in ["api", "standard"] {
        let settings = [
            ("routes.clients.mode", mode),
            ("routes.clients.ttl", "1s"),
            ("routes.clients.stale_while_revalidate", "1h"),
            ("upstream.timeout", "60s"),
        ];
        let (partner, gateway, token) = scene(&settings);
        let reply = |body| Reply::json(body).header("cache-control", "max-age=1, stale-while-revalidate=3600");
        let forbidden = Reply::status(403).header("cache-control", "no-store");
        partner.respond_with(CLIENTS, [reply(GOOD), forbidden, reply(BETTER)]);
        assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
        wait_for("the successor", || (gateway.get_ok(&token, CLIENTS).text() == BETTER).then_some(()));
    }
}

#[test]
fn a_confirmed_entry_lives_on_without_a_transfer() {
    let (partner, gateway, token) =
        scene(&[("routes.clients.ttl", "1s"), ("routes.clients.stale_while_revalidate", "0s")]);
    partner.respond_with(CLIENTS, [Reply::json(GOOD).header("etag", "\"v1\""), Reply::status(304)]);
    gateway.get_ok(&token, CLIENTS);
    let confirmed = wait_for("a confirmation", || {
        let answer = gateway.get_ok(&token, CLIENTS);
        (gateway.outcome(&answer) == "revalidated").then_some(answer)
    });
    assert_eq!(confirmed.text(), GOOD);
    assert_eq!(partner.calls()[1].header("if-none-match"), Some("\"v1\""));
    assert_eq!(gateway.outcome(&gateway.get_ok(&token, CLIENTS)), "hit");
    assert_eq!(partner.count(), 2);
}

/// A refresh that ends so must leave what is good.
fn a_failing_refresh_keeps_the_good_entry(failing: Reply) {
    let (partner, gateway, token) = scene(&[("routes.clients.ttl", "1s"), ("upstream.timeout", "1s")]);
    partner.respond_with(CLIENTS, [Reply::json(GOOD), failing]);
    gateway.get_ok(&token, CLIENTS);
    stale(&gateway, &token);
    partner.wait_for_calls(2);
    throughout(Instant::now() + Duration::from_millis(1300), || {
        assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
    });
    // After a failure the entry rests: the failing partner is not asked by every request.
    assert!(partner.count() <= 4, "{} calls", partner.count());
    partner.respond_with(CLIENTS, [Reply::json(BETTER)]);
    wait_for("the better one", || (gateway.get_ok(&token, CLIENTS).text() == BETTER).then_some(()));
}

#[test]
fn a_500_does_not_replace_the_good_entry() {
    a_failing_refresh_keeps_the_good_entry(Reply::status(500));
}

#[test]
fn a_reset_does_not_replace_the_good_entry() {
    a_failing_refresh_keeps_the_good_entry(Reply::json(BETTER).reset_at(4));
}

#[test]
fn a_truncated_body_does_not_replace_the_good_entry() {
    a_failing_refresh_keeps_the_good_entry(Reply::json(BETTER).truncated_at(4));
}

#[test]
fn a_429_does_not_replace_the_good_entry() {
    a_failing_refresh_keeps_the_good_entry(Reply::status(429).header("retry-after", "1"));
}

#[test]
fn html_with_a_200_does_not_replace_the_good_entry() {
    a_failing_refresh_keeps_the_good_entry(Reply::status(200).header("content-type", "text/html").body("<p>login"));
}

#[test]
fn a_silent_partner_does_not_replace_the_good_entry() {
    a_failing_refresh_keeps_the_good_entry(Reply::no_response());
}

/// Nothing starts before the partner's `Retry-After` is over, and what is stale is served meanwhile.
fn the_partner_is_left_alone(retry_after: &str, until: impl FnOnce(Instant) -> Instant) {
    let (partner, gateway, token) = scene(&[("routes.clients.ttl", "1s")]);
    let limited = Reply::status(429).header("retry-after", retry_after);
    partner.respond_with(CLIENTS, [Reply::json(GOOD), limited, Reply::json(BETTER)]);
    partner.respond_with(&client(1), [Reply::json(r#"{"client":{"id":"client-1"}}"#)]);
    gateway.get_ok(&token, CLIENTS);
    stale(&gateway, &token);
    partner.wait_for_calls(2);
    let refused_at = partner.calls()[1].at;
    let until = until(refused_at);
    // Until the 429 is read, another call may still start.
    wait_for("the closed gate", || {
        let ready = crate::support::ask(gateway.health, "GET", "/readyz", &[], b"");
        assert_eq!(ready.status, 200, "readiness does not depend on the partner");
        ready.text().contains("degraded").then_some(())
    });
    throughout(until - Duration::from_millis(150), || {
        assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
        let cold = gateway.read(&token, &client(1));
        assert_eq!(cold.json()["type"], "urn:reseller-gateway:problem:partner-limit");
        assert!(cold.expect_header("retry-after").parse::<u64>().unwrap() >= 1);
    });
    wait_for("the gate to open", || (gateway.get_ok(&token, CLIENTS).text() == BETTER).then_some(()));
    for call in &partner.calls()[2..] {
        assert!(call.at + Duration::from_millis(5) >= until, "{:?} too early", until - call.at);
    }
}

#[test]
fn retry_after_in_seconds_is_obeyed() {
    the_partner_is_left_alone("2", |refused| refused + Duration::from_secs(2));
}

#[test]
fn retry_after_as_a_date_is_obeyed() {
    // The test needs about a second before the partner says it, and dates have whole seconds.
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(5));
    let at = httpdate::parse_http_date(&date).unwrap();
    the_partner_is_left_alone(&date, |_| {
        Instant::now() + at.duration_since(SystemTime::now()).expect("slower than five seconds")
    });
}

#[test]
fn what_may_not_be_stored_is_shared_by_those_who_wait_and_serialises_nobody_after() {
    let partner = ScriptedPartner::listen();
    let gateway = Setup::before(&partner).caller("counted", &READING, "[limits]\nconcurrent = 99").start();
    let issued = gateway.issue("counted", &[], &[]);
    let token = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    let (first, rest) = (Gate::default(), Gate::default());
    let reply = Reply::json(GOOD).header("cache-control", "no-store");
    partner.respond_with(CLIENTS, [reply.clone().behind(&first), reply.behind(&rest)]);
    let leader = gateway.call(&token, CLIENTS);
    partner.wait_for_calls(1);
    let waiting: Vec<Connection> = (0..10).map(|_| gateway.call(&token, CLIENTS)).collect();
    wait_for("the callers to wait", || (waiting_of(&gateway, "counted") == 11).then_some(()));
    first.open();
    for caller in waiting.into_iter().chain([leader]) {
        let answer = gateway.seen(caller.read_response(false));
        assert_eq!((answer.status, answer.text().as_str()), (200, GOOD));
        assert!(answer.expect_header("cache-status").contains("no-store"), "{answer:?}");
    }
    assert_eq!(partner.count(), 1);
    let alone: Vec<Connection> = (0..10).map(|_| gateway.call(&token, CLIENTS)).collect();
    // All ten are at the partner at once: nobody waits for nobody.
    partner.wait_for_calls(11);
    rest.open();
    assert!(alone.into_iter().all(|caller| caller.read_response(false).text() == GOOD));
    assert_eq!(partner.count(), 11);
}

/// Requests under way of a caller that may have 99.
fn waiting_of(gateway: &Gateway, caller: &str) -> u64 {
    let explained =
        gateway.admin_request("GET", &format!("/admin/v1/explain?path={CLIENTS}&caller={caller}"), "").json();
    let left = explained["caller"]["limits"]["left"].as_str().unwrap().to_owned();
    99 - left.strip_prefix("\"concurrent\";r=").unwrap().parse::<u64>().unwrap()
}

/// Connections that are open at the public door.
fn joined(gateway: &Gateway) -> usize {
    let metrics = gateway.metrics();
    let line = metrics.lines().find(|line| !line.starts_with('#') && line.contains("connections"));
    line.and_then(|line| line.split(' ').next_back()).and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[test]
fn the_partners_household_is_never_replayed() {
    let (partner, gateway, token) = scene(&[]);
    let said = Reply::json(GOOD)
        .header("set-cookie", "session=of-the-first")
        .header("x-ratelimit-remaining", "3")
        .header("ratelimit", "\"default\";r=3")
        .header("access-control-allow-origin", "*")
        .header("server", "partner/1")
        .header("connection", "keep-alive, x-hop")
        .header("x-hop", "1");
    partner.respond_with(CLIENTS, [said]);
    for _ in 0..2 {
        let answer = gateway.get_ok(&token, CLIENTS);
        for name in
            ["set-cookie", "x-ratelimit-remaining", "ratelimit", "access-control-allow-origin", "server", "x-hop"]
        {
            assert_eq!(answer.header(name), None, "{answer:?}");
        }
    }
    assert_eq!(partner.count(), 1);
}

#[test]
fn absence_is_stored_for_a_while_and_failure_never() {
    let (partner, gateway, token) = scene(&[]);
    partner.respond_with(&client(1), [Reply::json(r#"{"detail":"no"}"#).with_status(404)]);
    for _ in 0..3 {
        assert_eq!(gateway.read(&token, &client(1)).status, 404);
    }
    assert_eq!(partner.count(), 1);
    partner.respond_with(&client(2), [Reply::status(500), Reply::json(r#"{"client":{}}"#)]);
    assert_eq!(gateway.read(&token, &client(2)).status, 502);
    assert_eq!(gateway.read(&token, &client(2)).status, 200);
    assert_eq!(partner.count(), 3);
}

#[test]
fn a_failed_call_is_tried_again_within_its_attempts_and_each_is_counted() {
    let partner = ScriptedPartner::listen();
    let setup = Setup::before(&partner).set("upstream.retry.attempts", 2).set("upstream.retry.backoff", "20ms");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    partner.respond_with(CLIENTS, [Reply::status(500), Reply::json(GOOD).reset_at(3), Reply::json(GOOD)]);
    assert_eq!(gateway.get_ok(&token, CLIENTS).text(), GOOD);
    assert_eq!(partner.count(), 3);
    partner.respond_with(&client(1), [Reply::status(500)]);
    assert_eq!(gateway.read(&token, &client(1)).status, 502);
    assert_eq!(partner.count(), 6);
    partner.respond_with(&client(2), [Reply::status(403).header("content-type", "application/json").body("{}")]);
    assert_eq!(gateway.read(&token, &client(2)).status, 403);
    assert_eq!(partner.count(), 7);
}

#[test]
fn a_media_type_with_parameters_is_json_all_the_same() {
    let (partner, gateway, token) = scene(&[]);
    let types = ["application/json; charset=utf-8", "Application/JSON;charset=UTF-8", "application/hal+json"];
    for (nth, media) in types.into_iter().enumerate() {
        partner.respond_with(&client(nth), [Reply::json(r#"{"client":{}}"#).header("content-type", media)]);
        gateway.get_ok(&token, &client(nth));
        let second = gateway.get_ok(&token, &client(nth));
        assert_eq!((gateway.outcome(&second).as_str(), second.expect_header("content-type").as_str()), ("hit", media));
    }
    assert_eq!(partner.count(), types.len());
}

#[test]
fn white_space_after_the_key_in_its_file_is_not_part_of_it() {
    for text in ["the-real-key-of-the-partner-4711\n", "the-real-key-of-the-partner-4711\r\n\n"] {
        let partner = ScriptedPartner::listen();
        partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
        let gateway = Setup::before(&partner).key_file(text).start();
        gateway.get_ok(&gateway.token(&READING), CLIENTS);
        assert_eq!(partner.calls()[0].header("x-reseller-api-key"), Some("the-real-key-of-the-partner-4711"));
    }
}

#[test]
fn the_budget_is_never_exceeded_and_who_finds_it_spent_is_told_when_to_come_back() {
    let partner = ScriptedPartner::listen();
    let (rate, burst) = (10.0, 3);
    let setup = Setup::before(&partner)
        .set("upstream.budget.rate", "10/s")
        .set("upstream.budget.burst", burst)
        .set("upstream.budget.max_wait", "500ms");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    for nth in 0..30 {
        partner.respond_with(&client(nth), [Reply::json(r#"{"client":{}}"#)]);
    }
    let callers: Vec<Connection> = (0..30).map(|nth| gateway.call(&token, &client(nth))).collect();
    let answers: Vec<Response> = callers.into_iter().map(|caller| gateway.seen(caller.read_response(false))).collect();
    let refused: Vec<&Response> = answers.iter().filter(|answer| answer.status != 200).collect();
    assert!(refused.len() >= 10, "{} refused", refused.len());
    for answer in &refused {
        assert_eq!((answer.status, &answer.json()["type"]), (503, &"urn:reseller-gateway:problem:budget".into()));
        assert!(answer.expect_header("retry-after").parse::<u64>().unwrap() >= 1);
    }
    let calls = partner.calls();
    assert_eq!(calls.len(), 30 - refused.len());
    for (first, earlier) in calls.iter().enumerate() {
        for (last, later) in calls.iter().enumerate().skip(first) {
            // Arrivals at the partner are later than starts by what the machine takes: a fifth of a second at most.
            let most = f64::from(burst) + rate * ((later.at - earlier.at).as_secs_f64() + 0.2);
            assert!(
                (last - first + 1) as f64 <= most.ceil(),
                "{} calls in {:?}",
                last - first + 1,
                later.at - earlier.at
            );
        }
    }
}

#[test]
fn a_head_that_drips_is_cut_after_its_time() {
    let (_partner, gateway, _) = scene(&[("server.header_timeout", "500ms")]);
    let mut caller = Connection::connect(gateway.address);
    let began = Instant::now();
    caller.say("GET / HTTP/1.1\r\nx-drip: ");
    while !caller.is_closed() {
        assert!(began.elapsed() < Duration::from_secs(5), "still open");
        caller.say("a");
        slow_peer(Duration::from_millis(50));
    }
    assert!(began.elapsed() >= Duration::from_millis(400), "cut after {:?}", began.elapsed());
}
