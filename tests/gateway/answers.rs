//! Are the partner's answers read as its other clients read them, and is only what is a document one?
//! Given a partner that answers as real ones do, holds against it what callers get and what is held afterwards.
//! Never a partner that keeps to the letter: the other files have that.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::quota::counted;
use crate::support::{Gateway, READING, Reply, Response, ScriptedPartner, Setup, wait_for};
use crate::views::of;

const DOC: &str = r#"{"client":{"id":"c1"}}"#;
const OPAQUE: &str = "/reseller/account/v1/things/1";

/// Held, and confirmed before each use.
fn good() -> Reply {
    Reply::json(DOC).header("cache-control", "no-cache")
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

fn page(status: u16) -> Reply {
    Reply::status(status).header("content-type", "text/html").body("<h1>default backend")
}

struct Scene {
    partner: ScriptedPartner,
    gateway: Gateway,
    token: String,
}

impl Scene {
    fn new(settings: &[(&str, &str)]) -> Self {
        let partner = ScriptedPartner::listen();
        let setup = settings.iter().fold(Setup::before(&partner), |setup, (key, value)| setup.set(key, *value));
        let gateway = setup.set("upstream.retry.attempts", 0).start();
        let token = gateway.token(&READING);
        Self { partner, gateway, token }
    }

    fn when<const N: usize>(&self, target: &str, replies: [Reply; N]) -> Response {
        self.partner.respond_with(target, replies);
        self.gateway.read(&self.token, target)
    }
}

/// `{"error": …}`, `[]` and `null` are JSON, and replaced what was good for everybody.
#[test]
fn what_is_no_document_replaces_none() {
    let scene = Scene::new(&[]);
    let bad = [
        Reply::json(r#"{"error":"database unavailable"}"#),
        Reply::json("[]"),
        Reply::json("null"),
        Reply::json("{}"),
        Reply::json(r#"{"client":null}"#),
        Reply::json(r#"{"client":"down"}"#),
        Reply::json(r#"{"clients":[]}"#),
        Reply::json(""),
        Reply::json("<html>maintenance</html>"),
        Reply::json(format!("{DOC}\n<!-- 0.02s -->")),
        page(200),
    ];
    for (nth, reply) in bad.into_iter().enumerate() {
        let target = of(&format!("c{nth}"), "");
        assert_eq!(scene.when(&target, [good()]).text(), DOC);
        let answer = scene.when(&target, [reply]);
        assert_eq!((answer.status, answer.text().as_str()), (200, DOC), "{nth}");
        assert!(answer.expect_header("cache-status").contains("detail=stale-if-error"), "{answer:?}");
    }
    let unfit = |why: &str| counted(&scene.gateway, &format!("partner_answers_unfit_total{{why=\"{why}\"}}"));
    assert_eq!((unfit("not-a-document"), unfit("not-json")), (7, 4));
    let cold = scene.when(&of("cold", ""), [Reply::json(r#"{"error":"x"}"#)]);
    assert_eq!(cold.status, 502);
    assert_eq!(scene.gateway.log_line(&cold)["cause"], "not-a-document");
}

#[test]
fn any_json_is_a_document_where_the_route_says_so() {
    let scene = Scene::new(&[("routes.client.shape", "any")]);
    let target = of("c1", "");
    for body in [DOC, r#"{"error":"x"}"#, "[]"] {
        let answer = scene.when(&target, [Reply::json(body).header("cache-control", "no-cache")]);
        assert_eq!((answer.status, answer.text().as_str()), (200, body));
    }
    assert_eq!(scene.when(&of("c2", ""), [page(200)]).status, 502);
}

/// What a project's document looks like is our reading of the API.
#[test]
fn of_a_projects_documents_the_first_shows_what_the_others_look_like() {
    let scene = Scene::new(&[]);
    let of_project = |project: &str| of("c1", &format!("projects/{project}/resources/"));
    assert_eq!(scene.when(&of_project("p0"), [Reply::json("{}")]).status, 502, "an empty one shows nothing");
    let first = r#"{"used":[],"id":"p1"}"#;
    assert_eq!(scene.when(&of_project("p1"), [Reply::json(first)]).text(), first);
    assert_eq!(scene.when(&of_project("p2"), [Reply::json(r#"{"error":"x"}"#)]).status, 502);
    assert_eq!(scene.when(&of_project("p3"), [Reply::json(r#"{"id":"p3","used":[1]}"#)]).status, 200);
    assert_eq!(scene.when(&of_project("p4"), [Reply::json(r#"{"project":{}}"#)]).status, 200);
}

/// An ingress answers 404 with a page of its own during a roll-out: it took the place of what was good.
#[test]
fn a_404_that_is_a_page_does_not_take_the_place_of_what_is_held() {
    let scene = Scene::new(&[]);
    let text = Reply::status(404).header("content-type", "text/plain").body("default backend - 404");
    for (nth, reply) in [page(404), text, Reply::status(410)].into_iter().enumerate() {
        let target = of(&format!("c{nth}"), "");
        scene.when(&target, [good()]);
        let answer = scene.when(&target, [reply]);
        assert_eq!((answer.status, answer.text().as_str()), (200, DOC));
        assert!(answer.expect_header("cache-status").contains("detail=stale-if-error"), "{answer:?}");
    }
    assert_eq!(scene.when(&of("cold", ""), [page(404)]).status, 404, "where nothing is held, at once");
    let gone = Reply::status(404).header("content-type", "application/json").body(r#"{"detail":"no such client"}"#);
    let target = of("gone", "");
    scene.when(&target, [good()]);
    assert_eq!(scene.when(&target, [gone]).status, 404, "the API's own word, at once");
}

#[test]
fn what_other_clients_read_is_read() {
    let scene = Scene::new(&[]);
    let named = |content_type: &str| Reply::status(200).header("content-type", content_type).body(DOC);
    let coded = |coding: &str, body: Vec<u8>| Reply::json(body).header("content-encoding", coding);
    let replies = [
        coded("gzip", gzip(DOC.as_bytes())),
        coded("UTF-8", DOC.into()),
        coded("none", DOC.into()),
        coded("", DOC.into()),
        Reply::json([b"\xef\xbb\xbf", DOC.as_bytes()].concat()),
        named("text/json"),
        named("application/json, application/json"),
        named("application/x-json"),
        named("text/html; charset=utf-8"),
        Reply::status(200).body(DOC),
        Reply::json(DOC).header("set-cookie", "a=b\u{1}c; path=/"),
        Reply::json(DOC).header("x-folded", "one,\r\n\ttwo"),
        Reply::json(DOC).header("x-powered-by ", "PHP/5"),
        Reply::json(DOC).header("x\r\nno colon in this line\r\ny", "1"),
        (0..200).fold(Reply::json(DOC), |reply, nth| reply.header(&format!("x-{nth}"), "1")),
        Reply::json(DOC).without_length().header("transfer-encoding", "identity").header("content-length", "22"),
        Reply::json(DOC).without_length().header("content-length", "22, 22"),
    ];
    for (nth, reply) in replies.into_iter().enumerate() {
        let answer = scene.when(&of(&format!("c{nth}"), ""), [reply]);
        assert_eq!((answer.status, answer.text().as_str()), (200, DOC), "{nth}: {answer:?}");
        let content_type = answer.expect_header("content-type");
        assert!(["application/json", "text/json", "application/x-json"].contains(&&*content_type), "{content_type}");
        assert_eq!(scene.partner.count(), nth + 1, "one call for each");
    }
}

#[test]
fn a_bomb_is_too_large_and_what_cannot_be_decoded_is_no_json() {
    let scene = Scene::new(&[("upstream.max_response", "1MiB")]);
    let coded = |body: Vec<u8>| Reply::json(body).header("content-encoding", "gzip");
    let bomb = format!(r#"{{"client":{{"a":"{}"}}}}"#, " ".repeat(8 << 20));
    for (target, reply, cause) in [
        (of("c1", ""), coded(gzip(bomb.as_bytes())), "response-too-large"),
        (of("c2", ""), coded(gzip(DOC.as_bytes())[..20].to_vec()), "not-json"),
        (of("c3", ""), Reply::json(DOC).header("content-encoding", "br"), "not-json"),
    ] {
        let answer = scene.when(&target, [reply]);
        assert_eq!((answer.status, &scene.gateway.log_line(&answer)["cause"]), (502, &cause.into()));
    }
}

/// One accented name took the whole list from callers with a narrower right.
#[test]
fn a_document_in_latin_1_is_shown_as_it_is_and_its_views_in_utf_8() {
    let scene = Scene::new(&[]);
    let narrow = scene.gateway.token(&["clients:read", "projects:read"]);
    let target = of("c1", "projects/");
    let body = b"{\"projects\":[{\"id\":\"p1\",\"provider\":\"a\",\"name\":\"caf\xe9\"}]}";
    let latin = "application/json; charset=ISO-8859-1";
    let whole = scene.when(&target, [Reply::json(body.to_vec()).header("content-type", latin)]);
    assert_eq!(
        (whole.status, whole.body.as_slice(), whole.expect_header("content-type").as_str()),
        (200, &body[..], latin)
    );
    let view = scene.gateway.read(&narrow, &target);
    assert_eq!(view.status, 200, "{view:?}");
}

/// One resource was asked for 69 times in 5 s.
#[test]
fn what_is_stale_on_arrival_is_not_asked_for_with_each_request() {
    const DEFAULT: Option<(&str, &str)> = None;
    // The age, what the partner says, the two windows, and how many of 21 requests come to the partner.
    let rows = [
        ("61", "max-age=60", DEFAULT, 1),
        ("300", "max-age=60", DEFAULT, 1),
        ("5000", "max-age=60", DEFAULT, 1),
        ("500000", "max-age=60", DEFAULT, 1),
        ("5000", "s-maxage=60", DEFAULT, 1),
        ("61", "max-age=60", Some(("0s", "1h")), 1),
        ("5000", "max-age=60", Some(("10s", "0s")), 1),
        // RFC 9111 §4.2.4: nothing stale may be given.
        ("5000", "max-age=60", Some(("0s", "0s")), 21),
        ("5000", "max-age=60, must-revalidate", DEFAULT, 21),
        ("5000", "max-age=60, proxy-revalidate", DEFAULT, 21),
        ("5000", "max-age=60, no-cache", DEFAULT, 21),
    ];
    for (age, directives, windows, calls) in rows {
        let set = windows.map(|(behind, on_error)| {
            [("routes.client.stale_while_revalidate", behind), ("routes.client.stale_if_error", on_error)]
        });
        let scene = Scene::new(set.as_ref().map_or(&[], |set| set.as_slice()));
        let target = of("c1", "");
        scene.when(&target, [Reply::json(DOC).header("cache-control", directives).header("age", age)]);
        for _ in 0..20 {
            let answer = scene.gateway.read(&scene.token, &target);
            assert_eq!(answer.text(), DOC);
            let is_stale = answer.expect_header("cache-status").contains("detail=stale-while-revalidate");
            assert_eq!(is_stale, calls == 1, "Age: {age}, {directives}: {answer:?}");
        }
        assert_eq!(scene.partner.count(), calls, "Age: {age}, {directives}, {windows:?}");
    }
}

#[test]
fn lifetimes_that_need_no_date_of_the_partners_are_obeyed() {
    let scene = Scene::new(&[]);
    let fields = "max-age=60, no-cache=\"Set-Cookie\", private=\"Set-Cookie\"";
    let expires = |date: Option<&str>| {
        let reply = Reply::json(DOC).header("expires", "Fri, 01 Jan 2100 00:00:00 GMT");
        date.map_or_else(|| reply.clone(), |date| reply.clone().header("date", date))
    };
    let replies =
        [Reply::json(DOC).header("cache-control", fields), expires(None), expires(Some("2026-11-30T21:00:00Z"))];
    for (nth, reply) in replies.into_iter().enumerate() {
        let target = of(&format!("c{nth}"), "");
        scene.when(&target, [reply]);
        let again = scene.gateway.read(&scene.token, &target);
        assert!(again.expect_header("cache-status").contains("; hit"), "{nth}: {again:?}");
    }
}

#[test]
fn a_status_beyond_the_classes_or_one_that_ends_nothing_is_a_failure() {
    let scene = Scene::new(&[]);
    for (nth, status) in [600, 999, 101].into_iter().enumerate() {
        let document = scene.when(&of(&format!("c{nth}"), ""), [Reply::status(status)]);
        assert_eq!(document.status, 502, "{status}");
        let other = scene.when(&format!("{OPAQUE}{nth}"), [Reply::status(status).header("upgrade", "h2c")]);
        assert_eq!(other.status, 502, "{status}");
        assert_eq!(other.header("upgrade"), None);
    }
}

#[test]
fn an_answer_that_passes_through_says_its_length_once() {
    let scene = Scene::new(&[]);
    let answer = scene.when(OPAQUE, [Reply::json(DOC).without_length().header("content-length", "22, 22")]);
    assert_eq!((answer.text().as_str(), answer.expect_header("content-length").as_str()), (DOC, "22"));
}

/// hyper reads such a body to the end of the connection: the answer was whole, and its permit was held until the deadline.
#[test]
fn an_identity_coding_with_a_length_ends_with_the_length() {
    let scene = Scene::new(&[]);
    let token = scene.gateway.token(&["other:read", "pii:read"]);
    let free = || {
        let metrics = scene.gateway.metrics();
        metrics.contains("reseller_gateway_partner_calls_in_flight 0\n").then_some(())
    };
    for size in [100, 3 << 20] {
        scene.partner.respond_with(OPAQUE, [Reply::json(vec![b'x'; size]).header("transfer-encoding", "identity")]);
        let answer = scene.gateway.read(&token, OPAQUE);
        assert_eq!((answer.status, answer.body.len()), (200, size));
        assert_eq!(answer.expect_header("content-length"), size.to_string());
        wait_for("the permit", free);
    }
    // Who reads nothing yet does not end the call by having it all.
    let calls = scene.partner.count();
    let began = std::time::Instant::now();
    scene.partner.respond_with(OPAQUE, [Reply::json(vec![b'x'; 8 << 20]).header("transfer-encoding", "identity")]);
    let reader = scene.gateway.call(&token, OPAQUE);
    wait_for("the permit of a slow reader", || (scene.partner.count() > calls).then(free).flatten());
    assert!(began.elapsed().as_secs() < 8, "upstream.timeout is 10s");
    assert!(reader.read_response(false).whole);
}

/// A partner behind a load balancer names itself otherwise than `upstream.url` does.
#[test]
fn who_follows_a_link_stays_here_and_a_circle_is_said() {
    let scene = Scene::new(&[]);
    let host = scene.partner.url().replace("http://", "");
    for place in [format!("HTTP://{host}/a"), format!("//{host}/a"), format!("https://{host}/a")] {
        let answer = scene.when(OPAQUE, [Reply::status(301).header("location", &place)]);
        assert_eq!(answer.expect_header("location"), "/a", "{place}");
    }
    let circle = Reply::status(301).header("location", &format!("https://{host}{OPAQUE}"));
    let answer = scene.when(OPAQUE, [circle]);
    assert_eq!(answer.status, 502);
    assert!(answer.text().contains("upstream.url"), "{answer:?}");
}
