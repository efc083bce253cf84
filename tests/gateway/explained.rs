//! What is said of some ninety requests, to the letter.
//! Given the real binary in the situations that decide differently, holds all explanations to `tests/golden/explain.txt`.
//! Never compares what moves by itself: seconds, ids and sizes in memory are replaced by `#`.

use serde_json::{Value, json};

use crate::support::{CLIENTS, Gate, Gateway, READING, Reply, ScriptedPartner, Setup, wait_for};
use crate::views::{self, of};

const GOOD: &str = r#"{"client":{"id":"c1"}}"#;
const OTHER: &str = "/reseller/account/v1/";

/// The explanations, one below the other.
#[derive(Default)]
struct Page(String);

/// A gateway and whose requests are explained.
struct Scene<'a> {
    gateway: &'a Gateway,
    /// As the page calls it.
    who: &'a str,
    token: Option<&'a str>,
}

impl Scene<'_> {
    /// Explains a request in this situation, which gives the paragraph its title.
    fn explain(&self, page: &mut Page, title: &str, request: &str) {
        self.explain_with(page, title, request, &[]);
    }

    fn explain_with(&self, page: &mut Page, title: &str, request: &str, headers: &[(&str, &str)]) {
        let (method, path) = request.split_once(' ').unwrap();
        let fields: serde_json::Map<String, Value> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let body = json!({"method": method, "path": path, "headers": fields, "token": self.token}).to_string();
        let answer = self.gateway.admin_request("POST", "/admin/v1/explain", &body);
        let headers: String = headers.iter().map(|(name, value)| format!(", {name}: {value}")).collect();
        page.0 += &format!("== {title}\n{request}{headers}, {}\n", self.who);
        let mut said = answer.json();
        if answer.status != 200 {
            page.0 += &format!("{} {said}\n\n", answer.status);
            return;
        }
        hide_what_moves(&mut said);
        for part in ["verdict", "target", "route", "caller", "right", "entry", "flight", "partner"] {
            page.0 += &format!("{part}: {}\n", said.as_object_mut().unwrap().remove(part).unwrap());
        }
        assert_eq!(said, json!({}), "a part that is not on the page");
        page.0.push('\n');
    }

    /// Asks the partner for it, and waits until nothing of that is under way.
    fn fetch(&self, target: &str) {
        self.gateway.read(self.token.unwrap(), target);
        self.is_idle();
    }

    fn is_idle(&self) {
        wait_for("the end of all calls", || {
            let metrics = self.gateway.metrics();
            let none = ["partner_calls_in_flight 0", "flights 0"].iter().all(|line| {
                metrics.lines().any(|other| other.strip_prefix("reseller_gateway_").is_some_and(|other| other == *line))
            });
            none.then_some(())
        });
    }

    fn soften(&self, target: &str) {
        let body = json!({"path": target, "soft": true}).to_string();
        assert_eq!(self.gateway.admin_request("POST", "/admin/v1/cache/purge", &body).json()["purged"], 1);
    }
}

/// Every number before a unit of seconds, in whatever text.
fn without_seconds(text: &str) -> String {
    let mut kept: Vec<String> = Vec::new();
    let mut words = text.split(' ').peekable();
    while let Some(word) = words.next() {
        let is_time = word.chars().all(|c| c.is_ascii_digit() || c == '.')
            && words.peek().is_some_and(|next| next.trim_end_matches([':', ',', '.']) == "s");
        kept.push(if is_time { "#".to_owned() } else { word.to_owned() });
    }
    let text = kept.join(" ");
    let mut parts = text.split(";t=");
    let first = parts.next().unwrap().to_owned();
    parts.fold(first, |text, part| text + ";t=#" + part.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Times and ids, and how many bytes of memory something takes.
const MOVING: [&str; 9] =
    ["expires_in", "jti", "for_seconds", "retry_after", "age", "ttl", "while_revalidate_left", "if_error_left", "size"];

fn hide_what_moves(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                let is_past = value.as_i64().is_some_and(|number| number < 0);
                match MOVING.contains(&name.as_str()) && !value.is_null() {
                    true => *value = Value::from(if is_past { "-#" } else { "#" }),
                    false => hide_what_moves(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_what_moves),
        Value::String(text) => *text = without_seconds(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn issued(gateway: &Gateway, caller: &str, scopes: &[&str], more: &[&str]) -> String {
    let output = gateway.issue(caller, scopes, more);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    gateway.keep_secret(String::from_utf8(output.stdout).unwrap().trim())
}

fn absent_on_every_route(page: &mut Page) {
    let partner = ScriptedPartner::listen();
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&[READING.as_slice(), &["write"]].concat());
    let app = Scene { gateway: &gateway, who: "full", token: Some(&token) };
    let documents = ["", "?provider_id=p1", "c1", "c1/providers/", "c1/projects/", "c1/resources/"];
    for rest in documents.into_iter().chain(["c1/providers/p1/resources/", "c1/projects/j1/resources/"]) {
        app.explain(page, "nothing held", &format!("GET {CLIENTS}{rest}"));
    }
    app.explain(page, "HEAD, nothing held", &format!("HEAD {CLIENTS}c1/"));
    app.explain(page, "another path of the API, not stored", &format!("GET {OTHER}users/"));
    app.explain(page, "an unsafe method is passed through", &format!("POST {OTHER}users/"));
    let wrong = [
        ("no route", "GET /nowhere".to_owned()),
        ("the partner's administration", "GET /reseller/admin/v1/".to_owned()),
        ("a method that the route has not", format!("DELETE {CLIENTS}c1/")),
        ("a query that the route has not", format!("GET {CLIENTS}?page=2")),
        ("a parameter twice", format!("GET {CLIENTS}?provider_id=a&provider_id=b")),
        ("a bad identifier", format!("GET {CLIENTS}a%20b/")),
        ("a dot segment", format!("GET {CLIENTS}%2e%2e/")),
        ("an empty segment", format!("GET {CLIENTS}c1//")),
    ];
    for (title, request) in wrong {
        app.explain(page, title, &request);
    }
    let one = format!("GET {CLIENTS}c1/");
    app.explain_with(page, "only-if-cached, nothing held", &one, &[("cache-control", "only-if-cached")]);
    app.explain_with(page, "no JSON wanted", &one, &[("accept", "text/html")]);
    app.explain_with(page, "it has been here before", &one, &[("via", "1.1 gw")]);
    app.explain_with(page, "a range is not judged", &one, &[("range", "bytes=0-1")]);
    app.explain_with(page, "a condition is not judged", &one, &[("if-none-match", "\"a\"")]);
}

fn whoever_asks(page: &mut Page) {
    let partner = views::partner();
    let gateway = Setup::before(&partner).start();
    let nobody = Scene { gateway: &gateway, who: "nobody", token: None };
    let one = format!("GET {}", of("c1", ""));
    nobody.explain(page, "no token", &one);
    Scene { who: "a bad token", token: Some("eyJhbGciOiJFZERTQSJ9.e30.AAAA"), ..nobody }.explain(page, "bad", &one);
    let revoked = gateway.token(&READING);
    assert!(gateway.command(&["token", "revoke", "--caller", "app"]).status.success());
    Scene { who: "a revoked token", token: Some(&revoked), ..nobody }.explain(page, "revoked", &one);
    let scoped = gateway.token(&["providers:read"]);
    Scene { who: "providers:read", token: Some(&scoped), ..nobody }.explain(page, "another scope", &one);
    let full = gateway.token(&READING);
    let app = Scene { who: "full", token: Some(&full), ..nobody };
    app.fetch(&of("c1", ""));
    let impersonal = gateway.token(&READING[..5]);
    Scene { who: "no pii:read", token: Some(&impersonal), ..nobody }.explain(page, "held, narrowed", &one);
    let by_client = issued(&gateway, "app", &READING, &["--client", "c1"]);
    let by_client = Scene { who: "client c1", token: Some(&by_client), ..nobody };
    by_client.explain(page, "within the bounds", &one);
    by_client.explain(page, "another client", &format!("GET {}", of("c2", "")));
    by_client.explain(page, "nothing narrows this route", &format!("GET {OTHER}users/"));
    let by_provider = issued(&gateway, "app", &READING, &["--provider", "p1"]);
    let by_provider = Scene { who: "provider p1", token: Some(&by_provider), ..nobody };
    by_provider.explain(page, "a list for one provider only", &format!("GET {CLIENTS}"));
    by_provider.explain(page, "another provider", &format!("GET {}", of("c1", "providers/p2/resources/")));
    let project = of("c1", "projects/j1/resources/");
    by_provider.explain(page, "whose project it is, the list says first", &format!("GET {project}"));
    by_provider.fetch(&project);
    by_provider.explain(page, "the list is held", &format!("GET {project}"));
}

fn what_is_held(page: &mut Page) {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    let one = |id: &str| format!("{CLIENTS}{id}/");
    partner.respond_with(&one("c1"), [Reply::json(GOOD), Reply::json(GOOD).behind(&gate)]);
    partner.respond_with(&one("c4"), [Reply::json(GOOD).header("cache-control", "no-store")]);
    partner.respond_with(&one("c5"), [Reply::json("{}").with_status(404)]);
    partner.respond_with(&one("c6"), [Reply::json(GOOD).header("cache-control", "no-cache")]);
    partner.respond_with(&one("c7"), [Reply::json(GOOD).behind(&gate)]);
    let forcing = &["clients:read", "pii:read", "cache:refresh"];
    let gateway = Setup::before(&partner).caller("fresh", forcing, "").start();
    let token = gateway.token(&READING);
    let app = Scene { gateway: &gateway, who: "full", token: Some(&token) };
    ["c1", "c4", "c5", "c6"].iter().for_each(|id| app.fetch(&one(id)));
    let get = |id: &str| format!("GET {}", one(id));
    app.explain(page, "held, fresh", &get("c1"));
    app.explain(page, "held, fresh, asked for without the slash", &format!("GET {CLIENTS}c1"));
    for directives in ["no-cache", "max-age=0", "no-store", "min-fresh=1000000", "max-stale", "only-if-cached"] {
        let title = format!("held, fresh, {directives}");
        app.explain_with(page, &title, &get("c1"), &[("cache-control", directives)]);
    }
    app.explain_with(page, "held, fresh, gzip welcome", &get("c1"), &[("accept-encoding", "gzip")]);
    for method in ["HEAD", "OPTIONS"] {
        app.explain(page, &format!("held, fresh, {method}"), &format!("{method} {}", one("c1")));
    }
    let fresh = issued(&gateway, "fresh", forcing, &[]);
    let fresh = Scene { who: "cache:refresh", token: Some(&fresh), ..app };
    fresh.explain_with(page, "held, no-cache of one who may force it", &get("c1"), &[("cache-control", "no-cache")]);
    app.explain(page, "the partner forbade storing it", &get("c4"));
    app.explain(page, "an absence is held", &get("c5"));
    app.explain(page, "to be confirmed each time", &get("c6"));
    app.explain_with(page, "to be confirmed, max-stale", &get("c6"), &[("cache-control", "max-stale")]);
    app.soften(&one("c1"));
    app.explain(page, "stale", &get("c1"));
    app.explain_with(page, "stale, only-if-cached", &get("c1"), &[("cache-control", "only-if-cached")]);
    gateway.get_ok(&token, &one("c1"));
    let waiting = gateway.call(&token, &one("c7"));
    partner.wait_for_calls(6);
    app.explain(page, "stale, a refresh is under way", &get("c1"));
    app.explain(page, "nothing held, a fetch is under way", &get("c7"));
    gate.open();
    assert_eq!(gateway.seen(waiting.read_response(false)).status, 200);
}

fn limits_and_the_budget(page: &mut Page) {
    let partner = ScriptedPartner::listen();
    let one = |id: &str| format!("{CLIENTS}{id}/");
    ["c1", "c2"].iter().for_each(|id| partner.respond_with(&one(id), [Reply::json(GOOD)]));
    let gateway = Setup::before(&partner)
        .set("routes.client.stale_while_revalidate", "0s")
        .set("upstream.budget.rate", "1/h")
        .set("upstream.budget.burst", 2)
        .set("upstream.budget.max_wait", "20ms")
        .caller("slow", &READING, "[limits]\nrequests = \"1/h\"\nburst = 2\nupstream = \"1/h\"")
        .start();
    let token = issued(&gateway, "slow", &[], &[]);
    let slow = Scene { gateway: &gateway, who: "slow", token: Some(&token) };
    slow.explain(page, "limits, nothing spent", &format!("GET {}", one("c1")));
    slow.fetch(&one("c1"));
    slow.explain(page, "its calls are spent", &format!("GET {}", one("c2")));
    slow.explain(page, "its calls are spent, held", &format!("GET {}", one("c1")));
    slow.fetch(&one("c1"));
    slow.explain(page, "its requests are spent", &format!("GET {}", one("c1")));
    let token = gateway.token(&READING);
    let app = Scene { who: "full", token: Some(&token), ..slow };
    app.fetch(&one("c2"));
    app.explain(page, "the budget is spent", &format!("GET {}", one("c3")));
    app.soften(&one("c2"));
    app.explain(page, "the budget is spent, stale", &format!("GET {}", one("c2")));
}

/// What an open breaker leaves of requests; `c1` and its projects are held, and softly purged, before it opens.
fn closed(page: &mut Page, why: &str, close: impl FnOnce(&ScriptedPartner, &Scene<'_>)) {
    let partner = ScriptedPartner::listen();
    let (one, projects) = (format!("{CLIENTS}c1/"), format!("{CLIENTS}c1/projects/"));
    partner.respond_with(&one, [Reply::json(GOOD)]);
    partner.respond_with(&projects, [Reply::json(r#"{"projects":[]}"#)]);
    let setup = Setup::before(&partner).set("upstream.breaker.cool_down", "10m");
    let setup = setup.set("upstream.breaker.cool_down_max", "10m");
    let gateway = setup.set("routes.client_projects.stale_while_revalidate", "0s").start();
    let token = gateway.token(&READING);
    let app = Scene { gateway: &gateway, who: "full", token: Some(&token) };
    for target in [&one, &projects] {
        app.fetch(target);
        app.soften(target);
    }
    close(&partner, &app);
    app.is_idle();
    app.explain(page, &format!("{why}, nothing held"), &format!("GET {CLIENTS}"));
    app.explain(page, &format!("{why}, stale while revalidating"), &format!("GET {one}"));
    app.explain(page, &format!("{why}, stale if error"), &format!("GET {projects}"));
    app.explain(page, &format!("{why}, passed through"), &format!("GET {OTHER}users/"));
}

fn closed_for_each_reason(page: &mut Page) {
    closed(page, "paused by an operator", |_, app| {
        let body = json!({"seconds": 600, "reason": "tests"}).to_string();
        assert_eq!(app.gateway.admin_request("POST", "/admin/v1/pause", &body).status, 200);
    });
    closed(page, "paused by the partner", |partner, app| {
        partner.respond_with(CLIENTS, [Reply::status(429).header("retry-after", "30")]);
        app.fetch(CLIENTS);
    });
    closed(page, "the key is refused", |partner, app| {
        partner.respond_with(CLIENTS, [Reply::status(401)]);
        app.fetch(CLIENTS);
    });
}

fn routes_in_standard_mode(page: &mut Page) {
    let partner = ScriptedPartner::listen();
    let below = |rest: &str| format!("{OTHER}{rest}");
    let fresh = |reply: Reply| reply.header("cache-control", "max-age=600");
    partner.respond_with(&below("a"), [fresh(Reply::json("1"))]);
    partner.respond_with(&below("b"), [fresh(Reply::json("1")).header("vary", "accept-language")]);
    let useful = |beyond: &str| Reply::json("1").header("cache-control", &format!("max-age=600, {beyond}=600"));
    partner.respond_with(&below("c"), [useful("stale-while-revalidate")]);
    partner.respond_with(&below("f"), [useful("stale-if-error")]);
    partner.respond_with(&below("d"), [Reply::json("1").header("cache-control", "no-cache").header("etag", "\"1\"")]);
    partner.respond_with(&below("e"), [Reply::json("1").header("cache-control", "no-store")]);
    let plain = "[[routes]]\nname = \"plain\"\npath = \"/plain/{*rest}\"\nscope = \"other:read\"\nstore = false";
    let plain: toml::Table = plain.parse().unwrap();
    let gateway = Setup::before(&partner)
        .set("routes.other.store", true)
        .set("routes.client_providers.store", false)
        .set("extra_routes", plain["routes"].clone())
        .start();
    let token = gateway.token(&[READING.as_slice(), &["write"]].concat());
    let app = Scene { gateway: &gateway, who: "full", token: Some(&token) };
    let get = |rest: &str| format!("GET {}", below(rest));
    app.explain(page, "standard, nothing held", &get("a"));
    ["a", "c", "d", "e", "f"].iter().for_each(|rest| app.fetch(&below(rest)));
    let bearer = format!("Bearer {token}");
    gateway.get(&below("b"), &[("authorization", &bearer), ("accept-language", "de")]);
    app.is_idle();
    app.explain(page, "standard, held, fresh", &get("a"));
    for directives in ["no-cache", "no-store", "max-age=0", "max-stale", "only-if-cached"] {
        let title = format!("standard, held, fresh, {directives}");
        app.explain_with(page, &title, &get("a"), &[("cache-control", directives)]);
    }
    app.explain_with(page, "standard, nothing held, only-if-cached", &get("z"), &[("cache-control", "only-if-cached")]);
    for method in ["POST", "HEAD", "DELETE", "OPTIONS"] {
        app.explain(page, &format!("standard, held, fresh, {method}"), &format!("{method} {}", below("a")));
    }
    app.explain(page, "standard, another variant is held", &get("b"));
    app.explain_with(page, "standard, this variant is held", &get("b"), &[("accept-language", "de")]);
    ["c", "f"].iter().for_each(|rest| app.soften(&below(rest)));
    app.explain(page, "standard, stale while revalidating", &get("c"));
    app.explain(page, "standard, stale, to be confirmed", &get("f"));
    app.explain_with(page, "standard, stale, max-stale", &get("c"), &[("cache-control", "max-stale")]);
    app.explain(page, "standard, to be confirmed each time", &get("d"));
    app.explain(page, "standard, the partner forbade storing it", &get("e"));
    app.explain(page, "a route that stores nothing", "GET /plain/a");
    app.explain(page, "a document that is not stored", &format!("GET {CLIENTS}c1/providers/"));
}

#[test]
fn some_ninety_requests_are_explained_in_the_same_words_as_ever() {
    let mut page = Page::default();
    absent_on_every_route(&mut page);
    whoever_asks(&mut page);
    what_is_held(&mut page);
    limits_and_the_budget(&mut page);
    closed_for_each_reason(&mut page);
    routes_in_standard_mode(&mut page);
    crate::golden::is_unchanged("explain.txt", &page.0);
}
