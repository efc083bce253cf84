//! Is a gateway behind a gateway true to it?
//! Given a partner, a hub before it and a sidecar before that, claims what reaches whom, and what a sidecar still shows.
//! Never lets a caller see the hub's refusal of the sidecar as one of its own.

use std::time::{Duration, Instant};

use crate::exchange::exchange;
use crate::support::{CLIENTS, Gate, Gateway, READING, Reply, Response, ScriptedPartner, Setup, TokenIssuer, wait_for};

const CLUSTER: &str = "https://kubernetes.default.svc";
const SUBJECT: &str = "system:serviceaccount:shop:sidecar";

fn client(nth: usize) -> String {
    format!("{CLIENTS}client-{nth}/")
}

fn document(nth: usize) -> String {
    format!(r#"{{"client":{{"id":"client-{nth}"}}}}"#)
}

fn scripted() -> ScriptedPartner {
    let partner = ScriptedPartner::listen();
    (0..20).for_each(|nth| partner.respond_with(&client(nth), [Reply::json(document(nth))]));
    partner
}

/// A sidecar to this hub as its caller `app`, and a token at each of them.
fn behind(hub: &Gateway, more: impl FnOnce(Setup) -> Setup) -> (Gateway, String) {
    let theirs = hub.token(&READING);
    let sidecar = more(Setup::behind(hub, &theirs)).start();
    sidecar.keep_secret(&theirs);
    let token = sidecar.token(&READING);
    hub.keep_secret(&token);
    (sidecar, token)
}

/// How often the hub answered in this way.
fn counted(hub: &Gateway, labels: &str) -> u64 {
    let metrics = hub.metrics();
    let lines =
        metrics.lines().filter(|line| line.starts_with("reseller_gateway_requests_total{") && line.contains(labels));
    lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
}

/// How often the hub was asked for a client.
fn asked(hub: &Gateway) -> u64 {
    counted(hub, r#"route="client","#)
}

/// Waits until the hub has counted the end of so many.
fn was_asked(hub: &Gateway, times: u64) {
    wait_for("the hub's count", || (asked(hub) >= times).then_some(()));
    assert_eq!(asked(hub), times);
}

fn slug(answer: &Response) -> (u16, String) {
    let kind = answer.json()["type"].as_str().unwrap_or_default().to_owned();
    (answer.status, kind.replace("urn:reseller-gateway:problem:", ""))
}

fn seconds(answer: &Response, name: &str) -> u64 {
    answer.expect_header(name).parse().unwrap()
}

#[test]
fn what_the_sidecar_holds_reaches_nobody_and_is_as_old_as_at_the_hub() {
    let partner = scripted();
    partner
        .respond_with(&client(1), [Reply::json(document(1)).header("cache-control", "max-age=60").header("age", "30")]);
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    let first = sidecar.get_ok(&token, &client(1));
    assert_eq!((sidecar.outcome(&first).as_str(), first.text().as_str()), ("miss", document(1).as_str()));
    assert_eq!(first.expect_header("cache-control"), "private, max-age=60");
    assert!((30..45).contains(&seconds(&first, "age")), "{first:?}");
    let second = sidecar.get_ok(&token, &client(1));
    assert_eq!(sidecar.outcome(&second), "hit");
    assert!(seconds(&second, "age") >= 30 && second.expect_header("etag") == first.expect_header("etag"), "{second:?}");
    assert_eq!(partner.count(), 1);
    was_asked(&hub, 1);
    let call = &partner.calls()[0];
    assert_eq!((call.header("authorization"), call.header("via")), (None, Some("1.1 gw")));
}

#[test]
fn a_fresh_answer_of_the_sidecars_is_confirmed_by_the_hub_without_its_body_and_without_the_partner() {
    let partner = scripted();
    let hub = Setup::before(&partner).set("routes.client.ttl", "1s").start();
    let (sidecar, token) = behind(&hub, |setup| setup.set("routes.client.stale_while_revalidate", "0s"));
    sidecar.get_ok(&token, &client(1));
    let confirmed = wait_for("a confirmation", || {
        let answer = sidecar.get_ok(&token, &client(1));
        (sidecar.outcome(&answer) == "revalidated").then_some(answer)
    });
    assert!(confirmed.expect_header("cache-status").contains("fwd=stale; fwd-status=304"), "{confirmed:?}");
}

#[test]
fn only_a_gateway_is_told_for_how_long_answers_may_be_stale() {
    let partner = scripted();
    let hub = Setup::before(&partner).set("routes.client.stale_if_error", "7m").start();
    let token = hub.token(&READING);
    let plain = hub.get_ok(&token, &client(1));
    assert_eq!(plain.header("reseller-gateway-cache-control"), None);
    let bearer = format!("Bearer {token}");
    let told = hub.get(&client(1), &[("authorization", &bearer), ("via", "1.1 sidecar")]);
    assert_eq!(told.expect_header("reseller-gateway-cache-control"), "stale-while-revalidate=300, stale-if-error=420");
    let (sidecar, token) = behind(&hub, |setup| setup);
    // It says so to a third one, in the lesser of both.
    sidecar.get_ok(&token, &client(1));
    let bearer = format!("Bearer {token}");
    let told = sidecar.get(&client(1), &[("authorization", &bearer), ("via", "1.1 another")]);
    assert_eq!(told.expect_header("reseller-gateway-cache-control"), "stale-while-revalidate=300, stale-if-error=420");
}

#[test]
fn what_the_hub_itself_shows_stale_is_stale_here_and_not_asked_for_by_everybody_who_comes() {
    let partner = scripted();
    let hub = Setup::before(&partner).set("routes.client.ttl", "1s").start();
    hub.get_ok(&hub.token(&READING), &client(1));
    partner.respond_with(&client(1), [Reply::status(500)]);
    let (sidecar, token) = behind(&hub, |setup| setup);
    let first = wait_for("the hub to be stale", || {
        let answer = hub.get_ok(&hub.token(&READING), &client(1));
        (hub.outcome(&answer) == "stale").then_some(())?;
        Some(sidecar.get_ok(&token, &client(1)))
    });
    assert!(seconds(&first, "age") >= 1 && first.expect_header("cache-control").ends_with("max-age=1"), "{first:?}");
    let before = asked(&hub);
    let began = Instant::now();
    let mut many = 0;
    while began.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(sidecar.get_ok(&token, &client(1)).text(), document(1));
        many += 1;
    }
    let calls = asked(&hub) - before;
    assert!(many > 20 && calls <= 3, "{calls} calls of the hub for {many} requests");
}

#[test]
fn while_the_hub_is_away_what_is_held_is_shown_as_long_as_the_hub_would_show_it() {
    let partner = scripted();
    for (window, shown) in [("1h", true), ("0s", false)] {
        let setup = Setup::before(&partner).set("routes.client.ttl", "1s");
        let setup = setup.set("routes.client.stale_while_revalidate", "0s");
        let mut hub = setup.set("routes.client.stale_if_error", window).start();
        let (sidecar, token) = behind(&hub, |setup| setup);
        sidecar.get_ok(&token, &client(1));
        hub.kill();
        let answer = wait_for("its lifetime to end", || {
            let answer = sidecar.read(&token, &client(1));
            (answer.status != 200 || answer.expect_header("cache-status").contains("stale-if-error")).then_some(answer)
        });
        assert_eq!(answer.status == 200, shown, "{window}: {answer:?}");
        let other = sidecar.read(&token, &client(2));
        assert_eq!(slug(&other), (502, "partner-unreachable".to_owned()));
    }
}

#[test]
fn a_token_that_the_hub_takes_back_takes_with_it_what_it_brought() {
    let partner = scripted();
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup.set("upstream.breaker.cool_down", "30s"));
    sidecar.get_ok(&token, &client(1));
    sidecar.get_ok(&token, &client(2));
    assert!(hub.command(&["token", "revoke", "--caller", "app"]).status.success());
    for nth in [3, 1, 2, 4] {
        let answer = sidecar.read(&token, &client(nth));
        assert_eq!(slug(&answer), (502, "hub-token".to_owned()));
        assert_eq!(answer.header("www-authenticate"), None);
    }
    // Heard twice it is believed, and not shown again.
    let heard = counted(&hub, r#"status="401""#);
    assert!((2..=3).contains(&heard), "a refused token was shown {heard} times");
    let metrics = sidecar.metrics();
    for line in [
        "partner_keys_refused 1",
        "partner_gate_closed{why=\"key-refused\",routes=\"documented\"} 1",
        "cache_entries 0",
    ] {
        assert!(metrics.contains(&format!("reseller_gateway_{line}\n")), "no {line} in {metrics}");
    }
    let again = hub.token(&READING);
    sidecar.keep_secret(&again);
    sidecar.write("partner.key", &format!("{again}\n"));
    wait_for("the new token", || (sidecar.read(&token, &client(1)).status == 200).then_some(()));
    assert!(sidecar.metrics().contains("reseller_gateway_partner_keys_refused 0\n"));
}

/// An entry in the hands of the very request that learns of the revocation was shown stale to it.
#[test]
fn not_even_the_request_that_learns_of_it_gets_something_stale() {
    let partner = scripted();
    let hub = Setup::before(&partner).set("routes.client.ttl", "1s").start();
    let (sidecar, token) = behind(&hub, |setup| setup.set("routes.client.stale_while_revalidate", "0s"));
    sidecar.get_ok(&token, &client(1));
    assert!(hub.command(&["token", "revoke", "--caller", "app"]).status.success());
    let answer = wait_for("its lifetime to end", || {
        let answer = sidecar.read(&token, &client(1));
        (answer.status != 200 || sidecar.outcome(&answer) != "hit").then_some(answer)
    });
    assert_eq!(slug(&answer), (502, "hub-token".to_owned()));
}

/// A hub that is a script: what it says of a token by its own words.
fn own_word(detail: &str) -> Reply {
    let challenge = r#"Bearer realm="reseller-gateway", error="invalid_token""#;
    Reply::status(401).header("www-authenticate", challenge).header("cache-status", &format!("hub; detail={detail}"))
}

fn me(clients: &str) -> Reply {
    let details = format!(r#"[{{"type":"reseller_account","clients":{clients}}}]"#);
    Reply::json(format!(
        r#"{{"caller":"app","scopes":["clients:read"],"authorization_details":{details},"routes":[]}}"#
    ))
}

fn given(token: &str, more: &str) -> Reply {
    Reply::json(format!(r#"{{"access_token":"{token}","token_type":"Bearer"{more}}}"#))
}

fn long(nth: usize) -> Reply {
    Reply::json(document(nth)).header("cache-control", "private, max-age=600")
}

/// A sidecar to a script that exchanges what lies in the file `subject` of this folder.
fn exchanging_at(hub: &ScriptedPartner, folder: &tempfile::TempDir) -> (Gateway, String) {
    let file = folder.path().join("subject");
    std::fs::write(&file, "the-subject").unwrap();
    let setup = Setup::sidecar_to(&hub.url()).set("upstream.exchange.subject_token_file", file.to_str().unwrap());
    let sidecar = setup.start();
    let token = sidecar.token(&READING);
    (sidecar, token)
}

/// The next token met a hub that was busy, and so what the one that was taken back had brought was shown once more.
#[test]
fn what_a_revoked_token_brought_is_not_shown_where_the_next_token_finds_the_hub_busy() {
    let hub = ScriptedPartner::listen();
    hub.respond_with("/oauth/token", [given("the-first-token", ""), given("the-second-token", "")]);
    hub.respond_with("/-/me", [Reply::status(404)]);
    let first = Reply::json(document(1))
        .header("cache-control", "private, max-age=3")
        .header("reseller-gateway-cache-control", "stale-while-revalidate=0, stale-if-error=600");
    hub.respond_with(&client(1), [first, own_word("token-revoked"), Reply::status(503)]);
    let folder = tempfile::tempdir().unwrap();
    let (sidecar, token) = exchanging_at(&hub, &folder);
    sidecar.get_ok(&token, &client(1));
    hub.respond_with("/-/me", [own_word("token-revoked")]);
    let answer = wait_for("its lifetime to end", || {
        let answer = sidecar.read(&token, &client(1));
        (answer.status != 200 || sidecar.outcome(&answer) != "hit").then_some(answer)
    });
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_ne!(sidecar.read(&token, &client(1)).status, 200, "nor is it shown later");
}

/// A partner's 401 that a hub passes on, and that of an ingress, were the hub's word on the token: all that was held went.
#[test]
fn a_401_that_is_not_the_hubs_own_word_is_a_failure_and_takes_nothing() {
    let hub = ScriptedPartner::listen();
    hub.respond_with("/oauth/token", [given("a-token", "")]);
    hub.respond_with("/-/me", [me(r#"["*"]"#)]);
    hub.respond_with(&client(1), [long(1)]);
    let other = "/reseller/account/v1/other/";
    let realm = r#"Bearer realm="reseller-gateway", error="invalid_token""#;
    let folder = tempfile::tempdir().unwrap();
    let (sidecar, token) = exchanging_at(&hub, &folder);
    sidecar.get_ok(&token, &client(1));
    for astray in [
        Reply::status(401),
        Reply::status(401).header("www-authenticate", r#"Basic realm="ingress""#),
        Reply::status(401).header("www-authenticate", realm).header("cache-status", "hub; fwd=bypass; fwd-status=401"),
    ] {
        hub.respond_with("/-/me", [astray.clone()]);
        hub.respond_with(&client(2), [astray.clone()]);
        hub.respond_with(other, [astray]);
        for target in [client(2), other.to_owned()] {
            assert_eq!(slug(&sidecar.read(&token, &target)), (502, "partner-failed".to_owned()));
        }
        assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
    }
    // Said once, and not again where it is asked, it is no word either.
    hub.respond_with("/-/me", [me(r#"["*"]"#)]);
    hub.respond_with(&client(3), [own_word("token-revoked"), own_word("token-bad")]);
    for _ in 0..2 {
        sidecar.read(&token, &client(3));
        assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
    }
}

#[test]
fn the_hubs_own_word_is_not_passed_on_from_the_partner() {
    let partner = scripted();
    let target = "/reseller/account/v1/other/";
    let says = own_word("token-revoked").header("cache-status", "cdn; hit, x; detail=token-revoked");
    partner.respond_with(target, [says]);
    let hub = Setup::before(&partner).set("routes.other.forward_authorization", true).start();
    let answer = hub.read(&hub.token(&["other:read", "pii:read"]), target);
    assert_eq!(
        (answer.status, answer.expect_header("cache-status")),
        (401, "cdn; hit, gw; fwd=bypass; fwd-status=401".to_owned())
    );
    let (sidecar, token) = behind(&hub, |setup| setup);
    partner.respond_with(&client(1), [Reply::json(document(1)).header("cache-control", "max-age=600")]);
    sidecar.get_ok(&token, &client(1));
    assert_eq!(slug(&sidecar.read(&token, target)), (502, "partner-failed".to_owned()));
    assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
}

/// A token that had merely expired took all with it where its successor could not be had: the file was gone, or an ingress answered.
#[test]
fn an_expired_token_takes_nothing_with_it_whatever_keeps_its_successor_away() {
    for (status, body, removed) in [
        (404, "<html>no such page</html>", false),
        (403, "", false),
        (400, r#"{"error": "Bad Request"}"#, false),
        (200, "not a token", false),
        (400, r#"{"error": "invalid_request"}"#, true),
    ] {
        let hub = ScriptedPartner::listen();
        hub.respond_with("/oauth/token", [given("a-token", r#","expires_in":30"#), Reply::status(status).body(body)]);
        hub.respond_with("/-/me", [Reply::status(404)]);
        hub.respond_with(&client(1), [long(1)]);
        hub.respond_with(&client(2), [own_word("token-expired")]);
        let folder = tempfile::tempdir().unwrap();
        let (sidecar, token) = exchanging_at(&hub, &folder);
        sidecar.get_ok(&token, &client(1));
        if removed {
            std::fs::remove_file(folder.path().join("subject")).unwrap();
        }
        for _ in 0..3 {
            assert_eq!(sidecar.read(&token, &client(2)).status / 100, 5, "{status} {body}");
            assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit", "{status} {body}");
        }
    }
}

/// A narrower token that came by exchange left what the wider one had brought, as fresh as before.
#[test]
fn a_token_of_another_right_takes_with_it_what_the_one_before_brought() {
    for (before, after, kept) in [
        (r#","scope":"a b""#, r#","scope":"a""#, false),
        (r#","scope":"a b""#, r#","scope":"b a""#, true),
        (
            r#","scope":"a","authorization_details":[{"clients":["1","2"]}]"#,
            r#","scope":"a","authorization_details":[{"clients":["1"]}]"#,
            false,
        ),
        (r#","scope":"a""#, r#","scope":"a","authorization_details":[{"clients":[]}]"#, false),
        ("", "", true),
    ] {
        let hub = ScriptedPartner::listen();
        let soon = r#","expires_in":8"#;
        hub.respond_with(
            "/oauth/token",
            [given("one", &format!("{before}{soon}")), given("two", &format!("{after}{soon}"))],
        );
        hub.respond_with("/-/me", [Reply::status(404)]);
        hub.respond_with(&client(1), [long(1)]);
        let folder = tempfile::tempdir().unwrap();
        let (sidecar, token) = exchanging_at(&hub, &folder);
        sidecar.get_ok(&token, &client(1));
        let exchanges = || hub.calls().iter().filter(|call| call.target == "/oauth/token").count();
        wait_for("the next token", || (exchanges() >= 2).then_some(()));
        // Whoever asks over the next half second sees the one or the other throughout.
        let outcome = || sidecar.outcome(&sidecar.get_ok(&token, &client(1)));
        match kept {
            true => assert_eq!([outcome(), outcome()], ["hit", "hit"], "{before} {after}"),
            false => wait_for("the loss", || (outcome() == "miss").then_some(())),
        }
    }
}

/// What the hub narrowed or took back reached a sidecar when it next had to ask: up to the partner's `max-age`.
#[test]
fn a_right_that_becomes_another_at_the_hub_is_known_within_seconds_though_nobody_asks() {
    let partner = scripted();
    partner.respond_with(&client(1), [Reply::json(document(1)).header("cache-control", "max-age=600")]);
    let mut hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    sidecar.get_ok(&token, &client(1));
    let held = || sidecar.metrics().contains("reseller_gateway_cache_entries 1\n");
    assert!(held());
    // The hub's caller loses a client that is not even held.
    hub.table["callers"][0]["clients"] = toml::Value::from(vec!["client-1", "client-2"]);
    hub.restart();
    let began = Instant::now();
    wait_for("the narrower right", || (!held()).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    sidecar.get_ok(&token, &client(1));
    assert!(hub.command(&["token", "revoke", "--caller", "app"]).status.success());
    let began = Instant::now();
    wait_for("the revocation", || (!held()).then_some(()));
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(slug(&sidecar.read(&token, &client(1))), (502, "hub-token".to_owned()));
}

#[test]
fn a_refusal_for_want_of_a_right_is_followed_by_the_question_what_is_left_before_anybody_is_answered() {
    let hub = ScriptedPartner::listen();
    hub.respond_with("/oauth/token", [given("a-token", "")]);
    hub.respond_with("/-/me", [me(r#"["*"]"#)]);
    hub.respond_with(&client(1), [long(1)]);
    let narrow = r#"Bearer realm="reseller-gateway", error="insufficient_scope""#;
    let beyond = Reply::status(403).header("www-authenticate", narrow).header("cache-status", "hub; detail=bounds");
    hub.respond_with(&client(2), [beyond]);
    let folder = tempfile::tempdir().unwrap();
    let (sidecar, token) = exchanging_at(&hub, &folder);
    let asked = || hub.calls().iter().filter(|call| call.target == "/-/me").count();
    wait_for("the first question", || (asked() > 0).then_some(()));
    sidecar.get_ok(&token, &client(1));
    // A question of a moment ago would not be repeated, and the next that comes by itself is two seconds after the last.
    let mut last = (asked(), Instant::now());
    while last.1.elapsed() < Duration::from_millis(1_100) {
        assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
        if asked() != last.0 {
            last = (asked(), Instant::now());
        }
    }
    hub.respond_with("/-/me", [me("[]")]);
    assert_eq!(slug(&sidecar.read(&token, &client(2))), (403, "hub-rights".to_owned()));
    assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "miss");
}

#[test]
fn a_hub_that_is_away_or_frozen_or_somebody_else_costs_no_fresh_hit() {
    let partner = scripted();
    partner.respond_with(&client(1), [Reply::json(document(1)).header("cache-control", "max-age=600")]);
    let mut hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    sidecar.get_ok(&token, &client(1));
    let hits = |most: Duration| {
        let began = Instant::now();
        while began.elapsed() < most {
            assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
        }
    };
    crate::support::signal(&hub.program, "STOP");
    hits(Duration::from_secs(6));
    crate::support::signal(&hub.program, "CONT");
    hits(Duration::from_secs(1));
    hub.kill();
    hits(Duration::from_secs(3));
    hub.restart();
    hits(Duration::from_secs(4));
    assert_eq!(partner.count(), 1);
}

/// A hub that came back with other keys refused the token that it had given, and that one's memory went with it.
#[test]
fn a_hub_that_comes_back_with_other_keys_costs_an_exchange_and_no_fresh_hit() {
    let partner = scripted();
    partner.respond_with(&client(1), [Reply::json(document(1)).header("cache-control", "max-age=600")]);
    let issuer = TokenIssuer::ec("one");
    let (mut hub, folder) = trusting(&partner, &issuer, "1h");
    let (sidecar, token) = exchanging(&hub, &folder, &issuer.token(CLUSTER, SUBJECT, |_, _| {}));
    sidecar.get_ok(&token, &client(1));
    hub.kill();
    std::fs::remove_dir_all(hub.file("state")).unwrap();
    hub.restart();
    let hits = || assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
    // The first that asks learns of it; a token that is some seconds old is exchanged at once, a younger one when it is.
    sidecar.read(&token, &client(2));
    hits();
    wait_for("another token", || (issued(&hub) > 0).then_some(()));
    hits();
    wait_for("the hub", || (sidecar.read(&token, &client(2)).status == 200).then_some(()));
    hits();
}

/// All who had joined the flight of a caller that pretends to come from the hub then asked the hub one by one.
#[test]
fn who_pretends_to_come_from_the_hub_goes_alone_and_the_others_go_together() {
    let partner = scripted();
    let gate = Gate::default();
    partner.respond_with(&client(1), [Reply::json(document(1)).header("cache-control", "max-age=600").behind(&gate)]);
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    let bearer = format!("Bearer {token}");
    let forged = || sidecar.get(&client(1), &[("authorization", &bearer), ("via", "1.1 gw")]);
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..10).map(|_| scope.spawn(|| sidecar.get_ok(&token, &client(1)).text())).collect();
        partner.wait_for_calls(1);
        // The others' flight is its way too, while there is one.
        let joins = scope.spawn(|| forged().status);
        assert_eq!(
            slug(&sidecar.get(&client(2), &[("authorization", &bearer), ("via", "1.1 gw")])),
            (508, "loop".to_owned())
        );
        gate.open();
        all.into_iter().for_each(|one| assert_eq!(one.join().unwrap(), document(1)));
        joins.join().unwrap();
    });
    // What went round has no route at the hub.
    assert_eq!((partner.count(), asked(&hub)), (1, 1));
}

#[test]
fn a_token_file_that_changes_takes_with_it_what_the_old_one_brought() {
    let partner = scripted();
    let hub = Setup::before(&partner).caller("narrow", &READING, "clients = [\"client-2\"]").start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    sidecar.get_ok(&token, &client(1));
    let issued = hub.issue("narrow", &READING, &[]);
    let narrow = sidecar.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    sidecar.write("partner.key", &narrow);
    let answer = wait_for("the narrower token", || {
        let answer = sidecar.read(&token, &client(1));
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(slug(&answer), (403, "hub-rights".to_owned()));
}

#[test]
fn what_the_hub_refuses_to_the_sidecars_right_is_refused_in_the_sidecars_name_and_dropped() {
    let partner = scripted();
    let mut hub = Setup::before(&partner).set("routes.client.ttl", "1s").start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    sidecar.get_ok(&token, &client(1));
    sidecar.get_ok(&token, &client(2));
    // The hub's caller is bound to one of them from now on.
    hub.table["callers"][0]["clients"] = toml::Value::from(vec!["client-2"]);
    hub.restart();
    let refused = wait_for("the refusal", || {
        let answer = sidecar.read(&token, &client(1));
        (answer.status != 200).then_some(answer)
    });
    assert_eq!(slug(&refused), (403, "hub-rights".to_owned()));
    assert_eq!(refused.header("www-authenticate"), None);
    assert!(!refused.text().contains("ask for a token"), "{refused:?}");
    // The token itself is good, and what it still reaches stays.
    wait_for("the other to be confirmed", || {
        let answer = sidecar.get_ok(&token, &client(2));
        (sidecar.outcome(&answer) == "hit" && asked(&hub) > 0).then_some(())
    });
    assert!(sidecar.metrics().contains("reseller_gateway_partner_keys_refused 0\n"));
    assert_eq!(slug(&sidecar.read(&token, &client(3))), (403, "hub-rights".to_owned()));
}

#[test]
fn the_partners_own_403_is_an_answer_through_both() {
    let partner = scripted();
    partner.respond_with(&client(1), [Reply::json(r#"{"detail":"not yours"}"#).with_status(403)]);
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    let answer = sidecar.read(&token, &client(1));
    assert_eq!((answer.status, answer.text().as_str()), (403, r#"{"detail":"not yours"}"#));
}

#[test]
fn what_the_partner_keeps_from_the_hub_is_not_kept_behind_it() {
    let partner = scripted();
    for (nth, said) in ["no-store", "private, max-age=60"].into_iter().enumerate() {
        partner.respond_with(&client(nth), [Reply::json(document(nth)).header("cache-control", said)]);
    }
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    for nth in [0, 1] {
        for _ in 0..3 {
            let answer = sidecar.get_ok(&token, &client(nth));
            assert_eq!(answer.expect_header("cache-control"), "no-store");
        }
    }
    assert_eq!(partner.count(), 6);
}

#[test]
fn a_hub_that_wants_to_be_left_alone_is_left_alone_and_one_that_fails_is_not_asked_twice() {
    let partner = scripted();
    partner.respond_with(&client(9), [Reply::status(500)]);
    let limits = "[limits]\nrequests = \"2/h\"\nburst = 2";
    let hub = Setup::before(&partner).caller("small", &READING, limits).start();
    let issued = hub.issue("small", &READING, &[]);
    let theirs = String::from_utf8(issued.stdout).unwrap().trim().to_owned();
    let sidecar = Setup::behind(&hub, &theirs).set("upstream.retry.attempts", 2).start();
    sidecar.keep_secret(&theirs);
    let token = sidecar.token(&READING);
    assert_eq!(slug(&sidecar.read(&token, &client(9))), (502, "partner-failed".to_owned()));
    // The hub has tried again as often as it is told to.
    assert_eq!(partner.count(), 1);
    was_asked(&hub, 1);
    sidecar.get_ok(&token, &client(1));
    for nth in 2..6 {
        let answer = sidecar.read(&token, &client(nth));
        assert_eq!(slug(&answer), (503, "partner-limit".to_owned()));
        assert!(seconds(&answer, "retry-after") > 60, "{answer:?}");
    }
    assert!(asked(&hub) <= 3, "{} calls of a hub that said stop", asked(&hub));
    assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "hit");
}

#[test]
fn what_passes_through_passes_through_both_with_each_ones_own_proof() {
    let partner = scripted();
    let other = "/reseller/account/v1/other/";
    partner.respond_with(other, [Reply::json("{}")]);
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup);
    let answer = sidecar.get_ok(&token, other);
    assert!(
        answer.expect_header("cache-status").starts_with("gw; fwd=bypass; fwd-status=200, sidecar; fwd="),
        "{answer:?}"
    );
    assert_eq!(partner.calls()[0].header("authorization"), None);
    assert!(hub.command(&["token", "revoke", "--caller", "app"]).status.success());
    assert_eq!(slug(&sidecar.read(&token, other)), (502, "hub-token".to_owned()));
}

/// A hub that trusts an issuer, and gives the subject's caller tokens that last this long.
fn trusting(partner: &ScriptedPartner, issuer: &TokenIssuer, ttl: &str) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let keys = folder.path().join("jwks.json");
    std::fs::write(&keys, TokenIssuer::set(&[issuer], &[])).unwrap();
    let trust: toml::Table = format!("issuer = {CLUSTER:?}\njwks_file = {:?}", keys.to_str().unwrap()).parse().unwrap();
    let caller = format!("subjects = [{{ issuer = {CLUSTER:?}, sub = {SUBJECT:?} }}]\ntoken_ttl = {ttl:?}");
    let hub = Setup::before(partner)
        .set("trust", vec![toml::Value::Table(trust)])
        .caller("sidecar", &READING, &caller)
        .start();
    (hub, folder)
}

fn exchanging(hub: &Gateway, folder: &tempfile::TempDir, subject: &str) -> (Gateway, String) {
    let file = folder.path().join("subject");
    std::fs::write(&file, format!("{subject}\n")).unwrap();
    let sidecar = Setup::sidecar_to(&format!("http://{}", hub.address))
        .set("upstream.exchange.subject_token_file", file.to_str().unwrap())
        .start();
    sidecar.keep_secret(subject);
    let token = sidecar.token(&READING);
    (sidecar, token)
}

fn issued(hub: &Gateway) -> usize {
    let rows = hub.command(&["token", "list", "--caller", "sidecar"]);
    serde_json::from_slice::<serde_json::Value>(&rows.stdout).unwrap().as_array().unwrap().len()
}

#[test]
fn a_service_accounts_token_is_exchanged_and_the_next_is_there_before_the_last_ends() {
    let partner = scripted();
    let issuer = TokenIssuer::ec("one");
    let (hub, folder) = trusting(&partner, &issuer, "4s");
    let (sidecar, token) = exchanging(&hub, &folder, &issuer.token(CLUSTER, SUBJECT, |_, _| {}));
    let mut nth = 0;
    wait_for("two renewals", || {
        // Each goes to the hub, with a token that is good.
        sidecar.get_ok(&token, &client(nth));
        nth = (nth + 1) % 20;
        (issued(&hub) >= 3).then_some(())
    });
    assert!(!hub.program.stdout().contains("token-expired"), "an expired token was shown");
    assert!(issued(&hub) <= 6, "{} tokens", issued(&hub));
}

#[test]
fn a_revoked_token_is_exchanged_at_once_and_its_callers_see_nothing_of_it() {
    let partner = scripted();
    let issuer = TokenIssuer::ec("one");
    let (hub, folder) = trusting(&partner, &issuer, "8s");
    let (sidecar, token) = exchanging(&hub, &folder, &issuer.token(CLUSTER, SUBJECT, |_, _| {}));
    sidecar.get_ok(&token, &client(1));
    // One that was got just now is not replaced at once, lest a hub that refuses all it gives is asked for ever more.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_100) {
        sidecar.get_ok(&token, &client(1));
    }
    assert!(hub.command(&["token", "revoke", "--caller", "sidecar"]).status.success());
    sidecar.get_ok(&token, &client(2));
    assert_eq!(sidecar.outcome(&sidecar.get_ok(&token, &client(1))), "miss", "what the old one brought is gone");
}

#[test]
fn a_hub_that_gives_no_token_is_not_asked_again_and_again() {
    let partner = scripted();
    let issuer = TokenIssuer::ec("one");
    let (hub, folder) = trusting(&partner, &issuer, "1h");
    let stranger = issuer.token(CLUSTER, "system:serviceaccount:shop:stranger", |_, _| {});
    assert_eq!(exchange(&hub, &stranger, "urn:ietf:params:oauth:token-type:jwt", &[]).status, 400);
    let (sidecar, token) = exchanging(&hub, &folder, &stranger);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(slug(&sidecar.read(&token, &client(1))), (502, "hub-token".to_owned()));
    }
    let tried = hub.program.stdout().matches(r#""method":"POST""#).count();
    assert!((2..=6).contains(&tried), "{tried} exchanges in 2.5 s");
    // A better token in the file is taken when the pause is over.
    let good = issuer.token(CLUSTER, SUBJECT, |_, _| {});
    std::fs::write(folder.path().join("subject"), good).unwrap();
    wait_for("the good one", || (sidecar.read(&token, &client(1)).status == 200).then_some(()));
}

/// Via is whatever a caller sends: that the hub then sees a loop must be that caller's alone.
#[test]
fn a_caller_that_pretends_to_come_from_the_hub_harms_no_other() {
    let partner = scripted();
    let hub = Setup::before(&partner).start();
    let (sidecar, token) = behind(&hub, |setup| setup.set("upstream.breaker.failures", 3));
    let bearer = format!("Bearer {token}");
    for nth in 1..6 {
        let answer = sidecar.get(&client(nth), &[("authorization", &bearer), ("via", "1.1 gw")]);
        assert_eq!(slug(&answer), (508, "loop".to_owned()));
    }
    for nth in 1..7 {
        sidecar.get_ok(&token, &client(nth));
    }
}

#[test]
fn two_gateways_that_point_at_each_other_end_a_request_at_once() {
    let partner = scripted();
    let mut one = Setup::before(&partner).start();
    let theirs = one.token(&READING);
    let two = Setup::behind(&one, &theirs).start();
    let back = two.token(&READING);
    let upstream = one.table["upstream"].as_table_mut().unwrap();
    for (key, value) in [("kind", "hub"), ("token_file", "back"), ("url", &format!("http://{}", two.address))] {
        upstream.insert(key.to_owned(), value.into());
    }
    upstream.remove("api_key_file");
    one.write("back", &back);
    one.restart();
    for (gateway, token) in [(&one, &theirs), (&two, &back)] {
        let began = Instant::now();
        let answer = gateway.read(token, &client(1));
        assert_eq!(slug(&answer), (508, "loop".to_owned()));
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        let passed = gateway.read(token, "/reseller/account/v1/other/");
        assert_eq!(slug(&passed), (508, "loop".to_owned()));
    }
    assert_eq!(partner.count(), 0);
}
