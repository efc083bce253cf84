//! Is a route in standard mode a plain shared cache, seen from outside?
//! Given a scripted partner, hands back what callers get, what `Cache-Status` says of it, and what the partner saw.
//! Never waits for an answer to get old: the partner says how old it is.

use crate::support::{CLIENTS, Connection, Gate, Gateway, Reply, Response, ScriptedPartner, Setup, wait_for};

const THING: &str = "/reseller/account/v1/thing?x=1";
const OTHER: &str = "/reseller/account/v1/other-thing";
const SCOPES: [&str; 3] = ["other:read", "pii:read", "write"];

/// A partner, a gateway whose `other` stores, and a token.
struct Scene {
    partner: ScriptedPartner,
    gateway: Gateway,
    token: String,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(settings: &[(&str, toml::Value)]) -> Self {
        let partner = ScriptedPartner::listen();
        let mut setup = Setup::before(&partner).set("routes.other.store", true).set("upstream.timeout", "3s");
        for (key, value) in settings {
            setup = setup.set(key, value.clone());
        }
        let gateway = setup.start();
        let token = gateway.token(&SCOPES);
        Self { partner, gateway, token }
    }

    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &[u8]) -> Response {
        let mut headers = headers.to_vec();
        headers.push(("x-reseller-api-key", &self.token));
        self.gateway.send(method, target, &headers, body)
    }

    fn get(&self, headers: &[(&str, &str)]) -> Response {
        self.send("GET", THING, headers, b"")
    }

    /// The status line of a cache, its remaining lifetime left out where it is counted down.
    fn cache_status(answer: &Response) -> String {
        let text = answer.expect_header("cache-status");
        let list: sfv::List = sfv::Parser::new(&text).parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(list.len(), 1, "{text}");
        text.strip_prefix("gw; ").unwrap_or(&text).replace("ttl=59", "ttl=60").replace("ttl=-41", "ttl=-40")
    }
}

fn fresh(body: &str) -> Reply {
    Reply::status(200).header("cache-control", "max-age=60").body(body)
}

/// Stored, and stale at once: it says that it is 100 seconds old.
fn old(more: &str) -> Reply {
    fresh("old").header("age", "100").header("etag", "\"a\"").header("cache-control", &format!("max-age=60{more}"))
}

type Asked<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// What it is about, what the partner answers, what is asked, and what the last answer and its log line say.
type Row<'a> = (&'a str, Vec<Reply>, Vec<Asked<'a>>, &'a str, &'a str);

#[test]
fn cache_status_has_a_row_for_everything_that_happens() {
    let scene =
        Scene::with(&[("cache.max_object", "1KiB".into()), ("routes.other.forward_authorization", true.into())]);
    let get: Asked<'_> = ("GET", &[]);
    let with = |headers| -> Asked<'_> { ("GET", headers) };
    let cc = |text: &str| fresh("x").header("cache-control", text);
    let gone = Reply::status(304);
    let big = || fresh(&"x".repeat(2000));
    let rows: Vec<Row<'_>> = vec![
        ("first", vec![fresh("x")], vec![get], "fwd=uri-miss; fwd-status=200; stored; ttl=60", "miss"),
        ("again", vec![fresh("x")], vec![get, get], "hit; ttl=60", "hit"),
        ("HEAD of it", vec![fresh("x")], vec![get, ("HEAD", &[])], "hit; ttl=60", "hit"),
        ("404", vec![fresh("x").with_status(404)], vec![get, get], "hit; ttl=60", "hit"),
        (
            "another variant",
            vec![fresh("x").header("vary", "foo")],
            vec![with(&[("foo", "1")]), with(&[("foo", "2")])],
            "fwd=vary-miss; fwd-status=200; stored; ttl=60",
            "miss",
        ),
        (
            "another variant with the same tag",
            vec![fresh("x").header("vary", "foo").header("etag", "\"a\""), gone.clone()],
            vec![with(&[("foo", "1")]), with(&[("foo", "2")])],
            "fwd=vary-miss; fwd-status=304; stored; ttl=60",
            "revalidated",
        ),
        (
            "old",
            vec![old(""), gone.clone()],
            vec![get, get],
            "fwd=stale; fwd-status=304; stored; ttl=60",
            "revalidated",
        ),
        ("replaced", vec![old(""), fresh("y")], vec![get, get], "fwd=stale; fwd-status=200; stored; ttl=60", "miss"),
        (
            "asked for each time",
            vec![cc("no-cache").header("etag", "\"a\""), gone.clone()],
            vec![get, get],
            "fwd=stale; fwd-status=304; stored; ttl=0",
            "revalidated",
        ),
        (
            "forced",
            vec![fresh("x"), fresh("y")],
            vec![get, with(&[("cache-control", "no-cache")])],
            "fwd=request; fwd-status=200; stored; ttl=60",
            "miss",
        ),
        (
            "behind",
            vec![old(", stale-while-revalidate=1000"), fresh("y")],
            vec![get, get],
            "hit; ttl=-40; detail=stale-while-revalidate",
            "stale",
        ),
        (
            "an error",
            vec![old(", stale-if-error=1000"), Reply::status(500)],
            vec![get, get],
            "hit; ttl=-40; detail=stale-if-error",
            "stale",
        ),
        (
            "an error that nothing hides",
            vec![old(""), Reply::status(500)],
            vec![get, get],
            "fwd=stale; fwd-status=500; detail=status",
            "miss",
        ),
        (
            "gone away",
            vec![old(""), fresh("broken").reset_at(3)],
            vec![get, get],
            "hit; ttl=-40; detail=stale-if-error",
            "stale",
        ),
        (
            "patient",
            vec![old("")],
            vec![get, with(&[("cache-control", "max-stale=50")])],
            "hit; ttl=-40; detail=max-stale",
            "stale",
        ),
        ("no-store", vec![cc("no-store")], vec![get], "fwd=uri-miss; fwd-status=200; detail=no-store", "miss"),
        ("private", vec![cc("private")], vec![get], "fwd=uri-miss; fwd-status=200; detail=private", "miss"),
        ("no lifetime", vec![cc("x")], vec![get], "fwd=uri-miss; fwd-status=200; detail=no-lifetime", "miss"),
        (
            "Vary *",
            vec![fresh("x").header("vary", "*")],
            vec![get],
            "fwd=uri-miss; fwd-status=200; detail=vary",
            "miss",
        ),
        ("500", vec![Reply::status(500)], vec![get], "fwd=uri-miss; fwd-status=500; detail=status", "miss"),
        (
            "a part",
            vec![fresh("x").with_status(206)],
            vec![with(&[("range", "bytes=0-0")])],
            "fwd=uri-miss; fwd-status=206; detail=partial",
            "miss",
        ),
        (
            "authorized",
            vec![fresh("x")],
            vec![with(&[("authorization", "Basic eDp5")])],
            "fwd=uri-miss; fwd-status=200; detail=authorization",
            "miss",
        ),
        (
            "not to be stored",
            vec![fresh("x")],
            vec![with(&[("cache-control", "no-store")])],
            "fwd=uri-miss; fwd-status=200; detail=request-no-store",
            "miss",
        ),
        ("too large", vec![big()], vec![get], "fwd=uri-miss; fwd-status=200; detail=too-large", "miss"),
        ("a change", vec![fresh("x")], vec![("POST", &[])], "fwd=method; fwd-status=200", "pass"),
        ("a method nobody knows", vec![fresh("x")], vec![("M-SEARCH", &[])], "fwd=method; fwd-status=200", "pass"),
        (
            "for the partner to judge",
            vec![fresh("x"), Reply::status(412)],
            vec![get, with(&[("if-match", "\"b\"")])],
            "fwd=bypass; fwd-status=412",
            "pass",
        ),
        ("HEAD", vec![fresh("").without_length()], vec![("HEAD", &[])], "fwd=uri-miss; fwd-status=200", "miss"),
    ];
    for (nth, (name, replies, requests, told, outcome)) in rows.into_iter().enumerate() {
        let target = format!("/reseller/account/v1/thing-{nth}");
        match <[Reply; 2]>::try_from(replies) {
            Ok(two) => scene.partner.respond_with(&target, two),
            Err(one) => scene.partner.respond_with(&target, <[Reply; 1]>::try_from(one).ok().unwrap()),
        }
        let answers: Vec<Response> =
            requests.iter().map(|(method, headers)| scene.send(method, &target, headers, b"")).collect();
        let last = answers.last().unwrap();
        assert_eq!(Scene::cache_status(last), told, "{name}");
        assert_eq!(scene.gateway.outcome(last), outcome, "{name}");
        let detail = told.split("detail=").nth(1).unwrap_or_default();
        assert_eq!(scene.gateway.log_line(last)["cause"].as_str().unwrap_or_default(), detail, "{name}");
        if !detail.is_empty() {
            let counted = format!("cache_details_total{{detail=\"{detail}\"}}");
            assert!(scene.gateway.metrics().contains(&counted), "{name}: {counted}");
        }
    }
    // What was asked for behind has come meanwhile, and was scripted.
    let answer = scene.send("GET", THING, &[("cache-control", "only-if-cached")], b"");
    assert_eq!((answer.status, Scene::cache_status(&answer).as_str()), (504, "detail=only-if-cached"));
}

#[test]
fn an_answer_is_given_with_all_its_headers_but_a_connections_own() {
    let scene = Scene::new();
    let said = fresh("0123456789")
        .header("content-type", "text/plain")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("x-kept", "yes")
        .header("set-cookie", "session=1")
        .header("cache-status", "other; hit")
        .header("etag", "\"a\"");
    scene.partner.respond_with(THING, [said]);
    for _ in 0..2 {
        let answer = scene.get(&[]);
        assert_eq!((answer.status, answer.text().as_str()), (200, "0123456789"));
        for (name, value) in [
            ("content-type", Some("text/plain")),
            ("x-kept", Some("yes")),
            ("x-hop", None),
            // A session of the gateway's own at the partner is nobody else's.
            ("set-cookie", None),
            ("etag", Some("\"a\"")),
            ("cache-control", Some("max-age=60")),
            ("via", Some("1.1 gw")),
            ("content-length", Some("10")),
        ] {
            assert_eq!(answer.header(name).as_deref(), value, "{name}");
        }
        assert!(answer.expect_header("cache-status").starts_with("other; hit, gw; "));
    }
    let answer = scene.get(&[("if-none-match", "\"a\"")]);
    assert_eq!((answer.status, answer.header("etag").as_deref(), answer.body.len()), (304, Some("\"a\""), 0));
    assert_eq!((answer.header("x-kept"), answer.header("content-type")), (None, None));
    let answer = scene.get(&[("range", "bytes=2-4")]);
    assert_eq!((answer.status, answer.text().as_str()), (206, "234"));
    assert_eq!(answer.expect_header("content-range"), "bytes 2-4/10");
    let answer = scene.get(&[("range", "bytes=10-")]);
    assert_eq!(
        (answer.status, answer.expect_header("content-range").as_str(), answer.body.len()),
        (416, "bytes */10", 0)
    );
    let answer = scene.send("HEAD", THING, &[], b"");
    assert_eq!((answer.status, answer.expect_header("content-length").as_str(), answer.body.len()), (200, "10", 0));
    assert_eq!(scene.partner.count(), 1);
}

#[test]
fn a_change_makes_the_next_reader_ask_and_so_does_one_under_a_name_it_gives() {
    let scene = Scene::new();
    let place = format!("{}{OTHER}", scene.partner.url());
    scene.partner.respond_with(THING, [fresh("one")]);
    scene.partner.respond_with(OTHER, [fresh("two")]);
    let changes = "/reseller/account/v1/changes";
    let said = Reply::status(201).header("location", &place).header("content-location", THING);
    scene.partner.respond_with(changes, [said.clone(), said.with_status(500)]);
    let read = |target: &str| Scene::cache_status(&scene.send("GET", target, &[], b""));
    let (missed, hit) = ("fwd=uri-miss; fwd-status=200; stored; ttl=60", "hit; ttl=60");
    for target in [THING, OTHER] {
        assert_eq!((read(target).as_str(), read(target).as_str()), (missed, hit));
    }
    let answer = scene.send("PUT", changes, &[], b"new");
    assert_eq!((answer.status, answer.expect_header("location").as_str()), (201, OTHER));
    for target in [THING, OTHER] {
        assert_eq!((read(target).as_str(), read(target).as_str()), (missed, hit));
    }
    assert_eq!(scene.send("PUT", changes, &[], b"new").status, 500);
    assert_eq!(read(THING), hit, "a failed change is none");
    scene.partner.respond_with(THING, [Reply::status(204), fresh("three")]);
    assert_eq!(scene.send("DELETE", THING, &[], b"").status, 204);
    assert_eq!(scene.get(&[]).text(), "three");
}

#[test]
fn what_was_asked_for_before_a_change_is_not_stored_after_it() {
    let scene = Scene::new();
    let gate = Gate::default();
    scene.partner.respond_with(THING, [fresh("before").behind(&gate), Reply::status(204), fresh("after")]);
    let reader = scene.gateway.call(&scene.token, THING);
    scene.partner.wait_for_calls(1);
    assert_eq!(scene.send("PUT", THING, &[], b"new").status, 204);
    gate.open();
    let answer = scene.gateway.seen(reader.read_response(false));
    assert_eq!(answer.text(), "before");
    assert_eq!(Scene::cache_status(&answer), "fwd=uri-miss; fwd-status=200; detail=superseded");
    assert_eq!(scene.get(&[]).text(), "after");
}

#[test]
fn the_answer_to_a_post_that_names_its_target_answers_the_next_get() {
    let scene = Scene::new();
    scene.partner.respond_with(THING, [fresh("old"), fresh("posted").header("content-location", THING)]);
    assert_eq!(scene.get(&[]).text(), "old");
    assert_eq!(
        Scene::cache_status(&scene.send("POST", THING, &[], b"x")),
        "fwd=method; fwd-status=200; stored; ttl=60"
    );
    let answer = scene.get(&[]);
    assert_eq!((answer.text().as_str(), Scene::cache_status(&answer).as_str()), ("posted", "hit; ttl=60"));
    assert_eq!(scene.partner.count(), 2);
}

#[test]
fn many_who_ask_the_same_at_once_are_one_call_and_what_may_not_be_stored_is_shared_with_nobody() {
    let scene = Scene::new();
    let gate = Gate::default();
    scene.partner.respond_with(THING, [fresh("shared").behind(&gate)]);
    let callers: Vec<Connection> = (0..20).map(|_| scene.gateway.call(&scene.token, THING)).collect();
    scene.partner.wait_for_calls(1);
    gate.open();
    let answers: Vec<Response> =
        callers.into_iter().map(|caller| scene.gateway.seen(caller.read_response(false))).collect();
    assert!(answers.iter().all(|answer| answer.text() == "shared"));
    assert_eq!(scene.partner.count(), 1);
    let collapsed = answers.iter().filter(|answer| Scene::cache_status(answer).contains("; collapsed")).count();
    let hits = answers.iter().filter(|answer| Scene::cache_status(answer).starts_with("hit")).count();
    assert_eq!(collapsed + hits, 19, "{answers:?}");

    let gate = Gate::default();
    scene.partner.respond_with(OTHER, [fresh("mine").header("cache-control", "private").behind(&gate)]);
    let callers: Vec<Connection> = (0..5).map(|_| scene.gateway.call(&scene.token, OTHER)).collect();
    scene.partner.wait_for_calls(2);
    gate.open();
    for caller in callers {
        let answer = scene.gateway.seen(caller.read_response(false));
        assert_eq!(Scene::cache_status(&answer), "fwd=uri-miss; fwd-status=200; detail=private");
    }
    assert_eq!(scene.partner.count(), 6, "each asked for itself");
}

#[test]
fn what_is_larger_than_is_stored_passes_whole_and_what_breaks_off_never_looks_whole() {
    let scene = Scene::with(&[("cache.max_object", "64KiB".into())]);
    let large: String = "0123456789".repeat(50_000);
    scene.partner.respond_with(THING, [fresh(&large)]);
    for calls in 1..=2 {
        let answer = scene.get(&[]);
        assert!(answer.whole && answer.text() == large);
        assert_eq!(scene.partner.count(), calls);
    }
    scene.partner.respond_with(THING, [fresh(&large).truncated_at(300_000)]);
    assert!(!scene.get(&[]).whole);
    scene.partner.respond_with(OTHER, [fresh("0123456789").truncated_at(5), fresh("whole")]);
    let answer = scene.send("GET", OTHER, &[], b"");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str().unwrap()),
        (502, "urn:reseller-gateway:problem:partner-failed")
    );
    assert_eq!(scene.send("GET", OTHER, &[], b"").text(), "whole");
}

#[test]
fn a_caller_that_leaves_changes_nothing_for_what_is_being_stored() {
    let scene = Scene::new();
    let gate = Gate::default();
    scene.partner.respond_with(THING, [fresh("stored").behind(&gate)]);
    let caller = scene.gateway.call(&scene.token, THING);
    scene.partner.wait_for_calls(1);
    caller.reset();
    gate.open();
    wait_for("the answer in the store", || {
        let answer = scene.get(&[("cache-control", "only-if-cached")]);
        (answer.status == 200).then_some(())
    });
    assert_eq!(scene.partner.count(), 1);
}

#[test]
fn credentials_go_no_further_than_they_may() {
    let basic =
        [("authorization", "Basic eDp5"), ("cookie", "a=b"), ("x-forwarded-for", "10.0.0.1"), ("accept", "x/y")];
    for (forwards, expected) in [(false, None), (true, Some("Basic eDp5"))] {
        let scene = Scene::with(&[("routes.other.forward_authorization", forwards.into())]);
        scene
            .partner
            .respond_with(THING, [fresh("x").header("set-cookie", "a=b").header("x-reseller-api-key", "echo")]);
        let answer = scene.get(&basic);
        let call = &scene.partner.calls()[0];
        assert_eq!(call.header("authorization"), expected);
        assert_eq!(call.header("x-reseller-api-key"), Some("the-real-key-of-the-partner-4711"));
        assert_eq!(
            (call.header("cookie"), call.header("x-forwarded-for"), call.header("accept")),
            (None, None, Some("x/y"))
        );
        assert_eq!(answer.header("set-cookie").is_some(), forwards);
        assert_eq!(answer.header("x-reseller-api-key"), None);
        scene.partner.respond_with(OTHER, [Reply::status(407)]);
        assert_eq!(scene.send("GET", OTHER, &[], b"").status, 502);
        // Who says Bearer speaks to us.
        let bearer = format!("Bearer {}", scene.token);
        scene.partner.respond_with(OTHER, [fresh("x")]);
        assert_eq!(scene.gateway.get(OTHER, &[("authorization", &bearer)]).status, 200);
        assert_eq!(scene.partner.calls().last().unwrap().header("authorization"), None);
        // A 401 speaks of our key, unless callers bring credentials of their own.
        let place = format!("{OTHER}guarded");
        scene.partner.respond_with(&place, [Reply::status(401).header("www-authenticate", "Basic")]);
        let answer = scene.send("GET", &place, &[], b"");
        assert_eq!(answer.status, if forwards { 401 } else { 502 });
        assert_eq!(answer.header("www-authenticate").is_some(), forwards);
    }
}

#[test]
fn a_partner_that_wants_to_be_left_alone_is_and_its_answer_passes() {
    let scene = Scene::new();
    let limited = Reply::status(429).header("retry-after", "30").body("slow down");
    scene.partner.respond_with(THING, [old(""), limited]);
    scene.get(&[]);
    let answer = scene.get(&[]);
    assert_eq!(
        (answer.status, answer.expect_header("retry-after").as_str(), answer.text().as_str()),
        (429, "30", "slow down")
    );
    let answer = scene.get(&[]);
    assert_eq!((answer.status, Scene::cache_status(&answer).as_str()), (200, "hit; ttl=-40; detail=stale-if-error"));
    let answer = scene.send("GET", OTHER, &[], b"");
    assert_eq!(
        (answer.status, answer.json()["type"].as_str().unwrap()),
        (503, "urn:reseller-gateway:problem:partner-limit")
    );
    assert_eq!(scene.partner.count(), 2);
}

#[test]
fn a_head_updates_what_is_stored_of_the_get() {
    let scene = Scene::new();
    scene
        .partner
        .respond_with(THING, [old("").header("x-seen", "1"), fresh("").without_length().header("x-seen", "2")]);
    scene.get(&[]);
    assert_eq!(Scene::cache_status(&scene.send("HEAD", THING, &[], b"")), "fwd=stale; fwd-status=200");
    let answer = scene.get(&[]);
    assert_eq!((answer.expect_header("x-seen").as_str(), answer.text().as_str()), ("2", "old"));
    assert_eq!(Scene::cache_status(&answer), "hit; ttl=60");
}

#[test]
fn a_304_for_a_variant_that_is_not_held_is_asked_for_again_without_a_condition() {
    let scene = Scene::new();
    let variant = |tag: &str| fresh(tag).header("vary", "foo").header("etag", &format!("\"{tag}\""));
    scene
        .partner
        .respond_with(THING, [variant("a"), variant("b"), Reply::status(304).header("etag", "\"c\""), variant("c")]);
    assert_eq!(scene.get(&[("foo", "1")]).text(), "a");
    assert_eq!(scene.get(&[("foo", "2")]).text(), "b");
    assert_eq!(scene.get(&[("foo", "3")]).text(), "c");
    let calls = scene.partner.calls();
    let asked: Vec<Option<&str>> = calls.iter().map(|call| call.header("if-none-match")).collect();
    assert_eq!(asked, [None, Some("\"a\""), Some("\"b\", \"a\""), None]);
    assert_eq!(Scene::cache_status(&scene.get(&[("foo", "1")])), "hit; ttl=60");
}

#[test]
fn any_route_can_be_a_standard_cache_and_what_is_dangerous_stays_out() {
    let mut extra = toml::Table::new();
    for (key, value) in
        [("name", "v2"), ("path", "/reseller/account/v2/{*rest}"), ("mode", "standard"), ("scope", "other:read")]
    {
        extra.insert(key.to_owned(), value.into());
    }
    let scene = Scene::with(&[("routes.clients.mode", "standard".into()), ("extra_routes", vec![extra].into())]);
    let other = "/reseller/account/v2/clients/?anything=goes&anything=twice";
    let clients = format!("{CLIENTS}?unknown=1");
    scene.partner.respond_with(other, [fresh("v2")]);
    scene.partner.respond_with(&clients, [fresh("not json at all")]);
    let token = scene.gateway.token(&["other:read", "clients:read", "pii:read"]);
    for target in [other, &clients] {
        for told in ["fwd=uri-miss; fwd-status=200; stored; ttl=60", "hit; ttl=60"] {
            assert_eq!(Scene::cache_status(&scene.gateway.get_ok(&token, target)), told, "{target}");
        }
    }
    // Nothing narrows such an answer.
    let narrowed = scene.gateway.token(&["clients:read"]);
    assert_eq!(scene.gateway.read(&narrowed, &clients).status, 403);
    let unwritten = scene.gateway.send("POST", other, &[("authorization", &format!("Bearer {token}"))], b"x");
    assert_eq!(unwritten.status, 403);
    for target in ["/reseller/account/v2/../admin/", "/reseller/account/v2/%2e%2e/x", "/reseller/account/v2/a%2fb"] {
        assert_eq!(scene.send("GET", target, &[], b"").status, 400, "{target}");
    }
    assert_eq!(scene.send("GET", "/reseller/admin/v2/x", &[], b"").status, 404);
    assert_eq!(scene.partner.count(), 2);
}

#[test]
fn a_flood_of_variants_and_targets_stays_within_its_bounds() {
    let scene = Scene::with(&[("cache.max_variants", 4.into()), ("cache.max_bytes", "1MiB".into())]);
    scene.partner.respond_with(THING, [fresh(&"x".repeat(5000)).header("vary", "foo")]);
    for nth in 0..40 {
        scene.get(&[("foo", &nth.to_string())]);
    }
    let bytes = |scene: &Scene| -> f64 {
        let metrics = scene.gateway.metrics();
        let line = metrics.lines().find(|line| line.starts_with("reseller_gateway_cache_bytes ")).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    assert!(bytes(&scene) < 24_000.0, "{}", bytes(&scene));
    assert_eq!(Scene::cache_status(&scene.get(&[("foo", "39")])), "hit; ttl=60");
    for nth in 0..300 {
        let target = format!("/reseller/account/v1/flood-{nth}");
        scene.partner.respond_with(&target, [fresh(&"x".repeat(5000))]);
        scene.send("GET", &target, &[], b"");
    }
    assert!(bytes(&scene) <= 1_048_576.0, "{}", bytes(&scene));
}

#[test]
fn a_refresh_behind_is_one_call_and_its_failure_leaves_what_is_held() {
    let scene = Scene::new();
    scene.partner.respond_with(THING, [old(", stale-while-revalidate=1000"), Reply::status(503), fresh("new")]);
    scene.get(&[]);
    // What is stale on arrival rests for a second first.
    wait_for("the first refresh", || {
        assert_eq!(scene.get(&[]).text(), "old");
        (scene.partner.count() == 2).then_some(())
    });
    let new = wait_for("the second refresh", || {
        let answer = scene.get(&[]);
        assert_eq!(answer.status, 200, "an error behind reaches nobody");
        (answer.text() == "new").then_some(answer)
    });
    assert_eq!(Scene::cache_status(&new), "hit; ttl=60");
    assert_eq!(scene.partner.count(), 3);
    assert_eq!(scene.partner.calls()[2].header("if-none-match"), Some("\"a\""));
}

/// Each request had a refresh begun behind it, which brought the same.
#[test]
fn what_is_stale_on_arrival_and_may_be_given_so_rests_before_it_is_refreshed() {
    let scene = Scene::new();
    scene.partner.respond_with(THING, [old(", stale-while-revalidate=1000")]);
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(scene.get(&[]).text(), "old");
    }
    let rests = usize::try_from(began.elapsed().as_secs()).unwrap();
    assert!(scene.partner.count() <= 1 + rests, "{} calls", scene.partner.count());
}
