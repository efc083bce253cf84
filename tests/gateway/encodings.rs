//! Do documents come smaller, or in slices, and are they still the same?
//! Given a scripted partner, hands back what callers with and without gzip get of one entry, and what that costs the partner.
//! Never trusts a header alone: what is gzip is unpacked and compared.

use std::io::Read;

use crate::support::{CLIENTS, Gateway, READING, Reply, Response, ScriptedPartner, Setup, wait_for};

const GZIP: (&str, &str) = ("accept-encoding", "gzip, deflate;q=0.5");

fn list() -> String {
    let row = |nth: usize| format!(r#"{{"id":"c{nth}","email":"bill{nth}@example.org","projects":["p{nth}"]}}"#);
    format!(r#"{{"clients":[{}]}}"#, (0..60).map(row).collect::<Vec<_>>().join(","))
}

fn unpacked(answer: &Response) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    text
}

struct House {
    partner: ScriptedPartner,
    gateway: Gateway,
    token: String,
}

impl House {
    fn before(partner: ScriptedPartner) -> Self {
        let gateway = Setup::before(&partner).start();
        let token = gateway.token(&READING);
        Self { partner, gateway, token }
    }

    fn ask(&self, method: &str, headers: &[(&str, &str)]) -> Response {
        let credential = format!("Bearer {}", self.token);
        let headers: Vec<_> = headers.iter().copied().chain([("authorization", credential.as_str())]).collect();
        self.gateway.send(method, CLIENTS, &headers, b"")
    }

    fn get(&self, headers: &[(&str, &str)]) -> Response {
        self.ask("GET", headers)
    }

    /// Asks until the gzip form lies ready.
    fn pressed(&self) -> Response {
        wait_for("the gzip form", || {
            let answer = self.get(&[GZIP]);
            answer.header("content-encoding").map(|_| answer)
        })
    }
}

fn house() -> House {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(list()).header("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")]);
    House::before(partner)
}

#[test]
fn the_first_asker_gets_the_plain_bytes_and_later_ones_gzip() {
    let house = house();
    let first = house.get(&[GZIP]);
    assert_eq!((first.header("content-encoding"), first.text()), (None, list()));
    let pressed = house.pressed();
    assert_eq!((pressed.expect_header("content-encoding").as_str(), unpacked(&pressed)), ("gzip", list()));
    assert!(pressed.body.len() < list().len() / 3, "{}", pressed.body.len());
    for name in ["content-type", "last-modified", "vary", "cache-control"] {
        assert_eq!(pressed.header(name), first.header(name), "{name}");
    }
    assert_ne!(pressed.expect_header("etag"), first.expect_header("etag"));
    for plain in [
        &[][..],
        &[("accept-encoding", "br")],
        &[("accept-encoding", "gzip;q=0, *")],
        &[GZIP, ("cache-control", "no-transform")],
    ] {
        let answer = house.get(plain);
        assert_eq!((answer.header("content-encoding"), answer.text()), (None, list()), "{plain:?}");
        assert_eq!(answer.expect_header("etag"), first.expect_header("etag"), "{plain:?}");
    }
    let head = house.ask("HEAD", &[GZIP]);
    for name in ["content-encoding", "content-length", "etag", "vary"] {
        assert_eq!(head.header(name), pressed.header(name), "{name}");
    }
    assert_eq!(house.partner.calls()[0].header("accept-encoding"), Some("identity"));
    assert_eq!(house.partner.count(), 1);
}

#[test]
fn a_tag_is_answered_in_its_own_coding() {
    let house = house();
    let plain = house.get(&[]).expect_header("etag");
    let gzip = house.pressed().expect_header("etag");
    for tag in [&plain, &gzip] {
        let unchanged = house.get(&[GZIP, ("if-none-match", tag)]);
        assert_eq!((unchanged.status, &unchanged.expect_header("etag")), (304, tag));
        assert_eq!(house.get(&[GZIP, ("if-match", tag)]).expect_header("etag"), *tag);
    }
    // Who cannot unpack it is not told that it has it.
    assert_eq!(house.get(&[("if-none-match", &gzip)]).status, 200);
    assert_eq!(house.get(&[("if-match", &gzip)]).status, 412);
}

#[test]
fn a_slice_is_one_of_the_coding_that_is_spoken_of() {
    let house = house();
    let plain = house.get(&[]).expect_header("etag");
    let pressed = house.pressed();
    let gzip = pressed.expect_header("etag");
    let part = house.get(&[GZIP, ("range", "bytes=2-8")]);
    assert_eq!((part.status, part.text().as_str(), &part.expect_header("etag")), (206, &list()[2..9], &plain));
    assert_eq!(part.expect_header("content-range"), format!("bytes 2-8/{}", list().len()));
    let rest = house.get(&[GZIP, ("range", "bytes=10-"), ("if-range", &gzip)]);
    assert_eq!((rest.status, rest.expect_header("content-encoding").as_str()), (206, "gzip"));
    assert_eq!(rest.body, pressed.body[10..]);
    let changed = house.get(&[GZIP, ("range", "bytes=10-"), ("if-range", "\"old\"")]);
    assert_eq!((changed.status, changed.text()), (200, list()));
    let beyond = house.get(&[("range", "bytes=99999-")]);
    assert_eq!((beyond.status, beyond.expect_header("content-range")), (416, format!("bytes */{}", list().len())));
    assert_eq!(beyond.json()["type"], "urn:reseller-gateway:problem:range");
    assert_eq!(house.get(&[("range", "bytes=0-1,4-5")]).status, 200);
    assert_eq!(house.partner.count(), 1);
}

#[test]
fn a_narrowed_view_is_pressed_by_itself() {
    let house = house();
    let whole = house.pressed();
    let narrowed = House { token: house.gateway.token(&["clients:read"]), ..house };
    let view = narrowed.get(&[]);
    let pressed = narrowed.pressed();
    assert_eq!(unpacked(&pressed), view.text());
    assert!(!unpacked(&pressed).contains("example.org"));
    assert!(pressed.header("last-modified").is_none() && pressed.expect_header("etag") != whole.expect_header("etag"));
}

#[test]
fn what_is_small_or_not_to_be_transformed_is_left_alone() {
    let small = format!(r#"{{"clients":[],"padding":"{}"}}"#, "x".repeat(900));
    for reply in [Reply::json(small), Reply::json(list()).header("cache-control", "max-age=60, no-transform")] {
        let partner = ScriptedPartner::listen();
        partner.respond_with(CLIENTS, [reply]);
        let house = House::before(partner);
        // Were one made, it would be there long before the twentieth answer.
        for _ in 0..20 {
            assert_eq!(house.get(&[GZIP]).header("content-encoding"), None);
        }
    }
}

#[test]
fn a_refresh_that_changes_nothing_keeps_the_gzip_form_of_the_whole() {
    let asked_each_time = |reply: Reply| reply.header("etag", "\"v1\"").header("cache-control", "no-cache");
    for again in [Reply::status(304), Reply::json(list())] {
        let partner = ScriptedPartner::listen();
        partner.respond_with(CLIENTS, [asked_each_time(Reply::json(list())), asked_each_time(again)]);
        let house = House::before(partner);
        // Every answer is a new entry here: what is pressed is seen only if it is handed on.
        let pressed = house.pressed();
        assert_eq!(unpacked(&pressed), list());
        assert_eq!(house.get(&[GZIP, ("if-none-match", &pressed.expect_header("etag"))]).status, 304);
    }
}

#[test]
fn whether_something_hidden_has_changed_is_not_told_by_the_coding() {
    let asked_each_time = |reply: Reply| reply.header("etag", "\"v1\"").header("cache-control", "no-cache");
    let answers = [Reply::status(304), Reply::json(list().replace("bill", "will"))].map(|again| {
        let partner = ScriptedPartner::listen();
        partner.respond_with(CLIENTS, [asked_each_time(Reply::json(list())), asked_each_time(again)]);
        let house = House::before(partner);
        let narrowed = House { token: house.gateway.token(&["clients:read"]), ..house };
        // Twenty, so that a form handed on would be ready for some of them.
        (0..20)
            .map(|_| narrowed.get(&[GZIP]))
            .map(|answer| (answer.header("content-encoding"), answer.body))
            .collect::<Vec<_>>()
    });
    assert_eq!(answers[0], answers[1]);
}
