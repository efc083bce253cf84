//! What are the seven like where nothing of them is stored?
//! Given a partner that forbids storing, or a route that stores nothing, hands back what reaches both sides.
//! Never less than the rules of stored documents: what crosses is the same.

use crate::support::{CLIENTS, READING, Reply, ScriptedPartner, Setup, wait_for};
use crate::views::of;

const SEES_NOTHING_PERSONAL: [&str; 4] = ["clients:read", "providers:read", "projects:read", "resources:read"];

fn answering(reply: Reply) -> ScriptedPartner {
    let partner = ScriptedPartner::listen();
    for rest in ["", "providers/", "projects/", "resources/"] {
        partner.respond_with(&of("c1", rest), [reply.clone()]);
    }
    partner
}

fn document(body: &str) -> Reply {
    Reply::json(body)
        .header("x-household", "1")
        .header("set-cookie", "session=1")
        .header("cache-control", "public, max-age=60")
        .header("etag", "\"theirs\"")
}

/// A route without a store let the caller's head through to the partner and the partner's to the caller.
#[test]
fn a_route_that_stores_nothing_lets_no_more_across_than_one_that_does() {
    let partner = answering(document(r#"{"client":{"id":"c1"}}"#));
    let gateway = Setup::before(&partner).set("routes.client.store", false).start();
    let token = format!("Bearer {}", gateway.token(&READING));
    let sent = [
        ("authorization", token.as_str()),
        ("x-secret-of-the-caller", "1"),
        ("user-agent", "theirs"),
        ("if-none-match", "\"theirs\""),
        ("range", "bytes=0-1"),
    ];
    let answer = gateway.get(&of("c1", ""), &sent);
    assert_eq!((answer.status, answer.text().as_str()), (206, "{\""), "a range is cut here");
    let call = partner.calls().pop().unwrap();
    for (name, value) in [("x-secret-of-the-caller", "1"), ("user-agent", "theirs"), ("range", "bytes=0-1")] {
        assert_ne!(call.header(name), Some(value), "{name}");
    }
    assert_eq!(call.header("if-none-match"), None);
    let answer = gateway.get(&of("c1", ""), &sent[..1]);
    assert_eq!(answer.header("x-household").or(answer.header("set-cookie")), None);
    assert_eq!(answer.expect_header("cache-control"), "private, no-cache");
    assert_eq!(answer.expect_header("vary"), "Authorization, X-Reseller-Api-Key, Accept-Encoding");
    assert_eq!(partner.count(), 2, "nothing is stored");
    let html = [sent[0], ("accept", "text/html")];
    assert_eq!(gateway.get(&of("c1", ""), &html).status, 406);
    let posted = gateway.send("POST", &of("c1", ""), &sent[..1], b"{}");
    assert_eq!((posted.status, posted.expect_header("allow").as_str()), (405, "GET, HEAD"));
    assert_eq!(partner.count(), 2);
}

#[test]
fn a_redirect_or_a_page_is_no_document_where_nothing_is_stored_either() {
    let elsewhere = Reply::status(302).header("location", "http://evil.example/");
    let page = Reply::status(200).header("content-type", "text/html").body("<p>");
    for (reply, cause) in [(elsewhere, "partner-redirect"), (page, "partner-not-json")] {
        let partner = answering(reply);
        let gateway = Setup::before(&partner).set("routes.client.store", false).start();
        let answer = gateway.read(&gateway.token(&READING), &of("c1", ""));
        assert_eq!(answer.status, 502, "{cause}: {answer:?}");
        assert_eq!(answer.header("location"), None);
    }
}

/// An answer that may not be stored said as its age how long the gateway had been running.
#[test]
fn the_age_of_an_answer_that_is_not_stored_counts_from_its_coming() {
    for setting in ["no-store", "private"] {
        let partner = answering(Reply::json(r#"{"client":{"id":"c1"}}"#).header("cache-control", setting));
        let gateway = Setup::before(&partner).start();
        let token = gateway.token(&READING);
        partner.respond_with(CLIENTS, [Reply::json(r#"{"clients":[]}"#)]);
        let grown = || (gateway.read(&token, CLIENTS).expect_header("age") != "0").then_some(());
        wait_for("the gateway to grow old", grown);
        assert_eq!(gateway.read(&token, &of("c1", "")).expect_header("age"), "0", "{setting}");
    }
}

/// Without bounds, but without `pii:read`, whatever the partner added to projects and resources was shown.
#[test]
fn a_right_without_personal_data_sees_only_what_is_documented_everywhere() {
    let body = r#"{"projects":[{"id":"j1","owner_email":"a@b"}],"providers":[{"id":"p1","owner_email":"a@b"}]}"#;
    let partner = answering(document(body).header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT"));
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&SEES_NOTHING_PERSONAL);
    for rest in ["providers/", "projects/", "resources/"] {
        let answer = gateway.get_ok(&token, &of("c1", rest));
        assert!(!answer.text().contains("a@b"), "{rest}: {answer:?}");
        assert_eq!(answer.header("last-modified"), None, "{rest}");
    }
    partner.respond_with(&of("c2", "projects/"), [Reply::status(403).body("the partner's own words")]);
    let refused = gateway.read(&token, &of("c2", "projects/"));
    assert_eq!(refused.status, 403);
    assert!(!refused.text().contains("own words"), "{refused:?}");
    assert!(gateway.read(&gateway.token(&READING), &of("c1", "projects/")).text().contains("a@b"), "the full right");
}

/// A shared cache in front would have shown to one what another's token opened.
#[test]
fn what_passes_through_says_that_it_was_opened_by_a_token() {
    let partner = ScriptedPartner::listen();
    let target = "/reseller/account/v1/else";
    partner.respond_with(
        target,
        [Reply::json("{}").header("cache-control", "public, max-age=60").header("vary", "Accept")],
    );
    let gateway = Setup::before(&partner).start();
    let answer = gateway.read(&gateway.token(&READING), target);
    assert_eq!(answer.expect_header("vary"), "Accept, Authorization, X-Reseller-Api-Key");
}
