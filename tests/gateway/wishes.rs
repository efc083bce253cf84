//! What do a request's own directives do on the seven?
//! Given stored documents of every age and callers with and without `cache:refresh`, holds each cell of the table.
//! Never waits for a document to get old: the partner says how old it is.

use crate::support::{CLIENTS, Gateway, NO_CLIENTS, Reply, Response, ScriptedPartner, Setup};

struct Scene {
    partner: ScriptedPartner,
    gateway: Gateway,
    plain: String,
    mighty: String,
}

impl Scene {
    fn new() -> Self {
        let partner = ScriptedPartner::listen();
        let scopes = vec!["clients:read", "pii:read", "cache:refresh"];
        let caller = toml::Table::from_iter([
            ("name".to_owned(), "app".into()),
            ("scopes".to_owned(), scopes.into()),
            ("clients".to_owned(), vec!["*"].into()),
            ("providers".to_owned(), vec!["*"].into()),
        ]);
        let gateway = Setup::before(&partner).set("callers", vec![caller]).any_shape().start();
        let plain = gateway.token(&["clients:read", "pii:read"]);
        let mighty = gateway.token(&["clients:read", "pii:read", "cache:refresh"]);
        Self { partner, gateway, plain, mighty }
    }

    fn ask(&self, token: &str, target: &str, wish: &str) -> Response {
        let bearer = format!("Bearer {token}");
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend((!wish.is_empty()).then_some(("cache-control", wish)));
        self.gateway.get(target, &headers)
    }
}

/// A document that says it is so many seconds old.
fn aged(age: u32) -> Reply {
    Reply::json(NO_CLIENTS).header("cache-control", "max-age=60").header("age", &age.to_string())
}

#[test]
fn every_wish_has_its_row() {
    const FRESH: u32 = 30;
    // Within stale-while-revalidate (5m).
    const STALE: u32 = 200;
    let scene = Scene::new();
    // Age, wish, what everybody is told, what `cache:refresh` is told.
    let rows = [
        (FRESH, "nothing-known", "hit", "hit"),
        (FRESH, "no-store", "hit", "hit"),
        (FRESH, "max-age=100", "hit", "hit"),
        (FRESH, "max-age=10", "hit clamped", "request"),
        (FRESH, "max-age=0", "hit clamped", "request"),
        (FRESH, "no-cache", "hit clamped", "request"),
        (FRESH, "min-fresh=10", "hit", "hit"),
        (FRESH, "min-fresh=50", "hit clamped", "request"),
        (FRESH, "only-if-cached", "hit", "hit"),
        (FRESH, "only-if-cached, no-cache", "hit clamped", "hit clamped"),
        (STALE, "max-stale=1000", "hit stale-while-revalidate", "hit stale-while-revalidate"),
        (STALE, "max-stale=1", "hit stale-while-revalidate", "hit stale-while-revalidate"),
        (STALE, "max-age=1000", "hit clamped", "request"),
        (STALE, "max-age=1000, max-stale", "hit stale-while-revalidate", "hit stale-while-revalidate"),
        (STALE, "no-cache", "hit clamped", "request"),
        (STALE, "min-fresh=1", "hit clamped", "request"),
        (STALE, "only-if-cached", "hit stale-while-revalidate", "hit stale-while-revalidate"),
    ];
    for (nth, (age, wish, everybody, with_scope)) in rows.into_iter().enumerate() {
        for (token, expected) in [(&scene.plain, everybody), (&scene.mighty, with_scope)] {
            let name = if expected == everybody { "a" } else { "b" };
            let target = format!("{CLIENTS}{name}-{nth}-{}/", token.len());
            scene.partner.respond_with(&target, [aged(age), aged(0)]);
            assert_eq!(scene.ask(token, &target, "").status, 200);
            let answer = scene.ask(token, &target, wish);
            let text = answer.expect_header("cache-status");
            let word =
                |start: &str| text.split(start).nth(1).and_then(|rest| rest.split(';').next()).map(str::to_owned);
            let told = match (answer.status, text.contains("; hit"), word("fwd=")) {
                (504, ..) => "refused".to_owned(),
                (_, true, _) => ["hit".to_owned()].into_iter().chain(word("detail=")).collect::<Vec<_>>().join(" "),
                (_, false, why) => why.unwrap(),
            };
            assert_eq!(told, expected, "{age} s old, {wish}, {text}");
        }
    }
}

#[test]
fn a_forced_refresh_that_fails_says_so_and_leaves_the_good_document() {
    let scene = Scene::new();
    scene.partner.respond_with(CLIENTS, [aged(0), Reply::status(500), aged(0)]);
    assert_eq!(scene.ask(&scene.mighty, CLIENTS, "").status, 200);
    assert_eq!(scene.ask(&scene.mighty, CLIENTS, "no-cache").status, 502);
    let answer = scene.ask(&scene.plain, CLIENTS, "");
    assert!(answer.expect_header("cache-status").contains("; hit"));
    assert_eq!(scene.partner.count(), 2);
}

#[test]
fn what_must_be_revalidated_is_never_given_stale_whatever_a_request_takes() {
    let scene = Scene::new();
    for (nth, said) in ["max-age=1, must-revalidate", "no-cache"].into_iter().enumerate() {
        let target = format!("{CLIENTS}must-{nth}/");
        scene.partner.respond_with(&target, [aged(50).header("cache-control", said)]);
        for calls in 1..=2 {
            scene.ask(&scene.plain, &target, "max-stale");
            assert_eq!(scene.partner.count(), 2 * nth + calls, "{said}");
        }
    }
}
