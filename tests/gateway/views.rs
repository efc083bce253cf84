//! Does every right see its part of one shared entry, and nothing else?
//! Given a scripted partner and callers bound to clients and providers, hands back what each of them gets.
//! Never trusts one answer: what is hidden is changed, and nothing that a caller sees may change with it.

use serde_json::{Value, json};
use toml::Table;

use crate::support::{CLIENTS, Gateway, READING, Reply, Response, ScriptedPartner, Setup, wait_for};

const MINE: &str = "024c2b6d-cbb8-4056-9d3f-8055fa86659c";
const WITHOUT_PERSONAL: [&str; 5] = ["clients:read", "providers:read", "projects:read", "resources:read", "other:read"];

/// A partner with the documents of client `c1`, who has project `j1` on provider `p1` and `j2` on `p2`.
pub(crate) fn partner() -> ScriptedPartner {
    let partner = ScriptedPartner::listen();
    let client = |id: &str| {
        json!({"id": id, "email": format!("{id}@example.org"), "projects": ["j1"], "default_project_id": "j1",
            "client_information": {"first_name": "Bill"}, "is_test_account": true})
    };
    let uses = |id: &str, project: &str| json!({"id": id, "name": id, "projects": [{"id": project, "name": "", "resources": {"servers": [{"id": "s"}]}}]});
    let says = |target: &str, document: Value| partner.respond_with(target, [Reply::json(document.to_string())]);
    let list = json!({"clients": [client("c1"), client("c2")]});
    says(CLIENTS, list.clone());
    says(&format!("{CLIENTS}?provider_id=p1"), list.clone());
    says(&format!("{CLIENTS}?provider_id={MINE}"), list);
    says(&of("c1", ""), json!({"client": client("c1")}));
    says(&of("c1", "providers/"), json!({"providers": [{"id": "p1", "name": "P1", "projects": []}, {"id": "p2"}]}));
    says(&of("c1", "projects/"), json!({"projects": [{"id": "j1", "provider": "p1"}, {"id": "j2", "provider": "p2"}]}));
    says(&of("c1", "resources/"), json!({"providers": [uses("p1", "j1"), uses("p2", "j2")]}));
    says(&of("c1", "providers/p1/resources/"), json!({"provider": uses("p1", "j1")}));
    says(&of("c1", "projects/j1/resources/"), json!({"project": {"id": "j1", "name": "", "resources": {"x": [1]}}}));
    partner
}

pub(crate) fn of(client: &str, rest: &str) -> String {
    format!("{CLIENTS}{client}/{rest}")
}

/// A token of `app`, which may everything, narrowed to these: `--client c1`, `--provider p1`.
fn narrowed(gateway: &Gateway, scopes: &[&str], to: &[&str]) -> String {
    let issued = gateway.issue("app", scopes, to);
    assert!(issued.status.success(), "{}", String::from_utf8_lossy(&issued.stderr));
    gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim())
}

fn refused(answer: &Response, status: u16, slug: &str) {
    assert_eq!(
        (answer.status, answer.expect_header("content-type").as_str()),
        (status, "application/problem+json"),
        "{answer:?}"
    );
    assert_eq!(answer.json()["type"], format!("urn:reseller-gateway:problem:{slug}"), "{answer:?}");
}

#[test]
fn each_cell_of_the_table_of_rights_is_what_a_caller_sees() {
    let partner = partner();
    let gateway = Setup::before(&partner).start();
    let by_client = narrowed(&gateway, &READING, &["--client", "c1"]);
    let by_provider = narrowed(&gateway, &READING, &["--provider", "p1"]);
    let impersonal = gateway.token(&WITHOUT_PERSONAL);
    let blank: serde_json::Map<String, Value> = [
        "first_name",
        "last_name",
        "company",
        "address_1",
        "address_2",
        "city",
        "state",
        "country",
        "zip_code",
        "phone",
        "phone_extension",
        "language",
    ]
    .map(|name| (name.to_owned(), json!("")))
    .into_iter()
    .collect();
    let whole = |id: &str| {
        json!({"id": id, "email": format!("{id}@example.org"), "projects": ["j1"], "default_project_id": "j1",
            "client_information": {"first_name": "Bill"}})
    };
    let placeless = |id: &str| {
        json!({"id": id, "email": format!("{id}@example.org"), "projects": [], "default_project_id": "",
            "client_information": {"first_name": "Bill"}})
    };
    let nameless = |id: &str| {
        json!({"id": id, "email": "", "signup_ip_address": "", "projects": ["j1"], "default_project_id": "j1",
            "client_information": blank})
    };
    let used = json!({"id": "p1", "name": "p1", "projects":
        [{"id": "j1", "name": "", "resources": {"servers": [{"id": "s"}]}}]});
    let project = json!({"project": {"id": "j1", "name": "", "resources": {}}});
    let rows = [
        (&by_client, CLIENTS.to_owned(), json!({"clients": [whole("c1")]})),
        (&by_client, of("c1", ""), json!({"client": whole("c1")})),
        (
            &by_client,
            of("c1", "providers/"),
            json!({"providers": [{"id": "p1", "name": "P1", "projects": []}, {"id": "p2"}]}),
        ),
        (&by_client, of("c1", "projects/j1/resources/"), project.clone()),
        (&by_provider, format!("{CLIENTS}?provider_id=p1"), json!({"clients": [placeless("c1"), placeless("c2")]})),
        (&by_provider, of("c1", ""), json!({"client": placeless("c1")})),
        (&by_provider, of("c1", "providers/"), json!({"providers": [{"id": "p1", "name": "P1", "projects": []}]})),
        (&by_provider, of("c1", "resources/"), json!({"providers": [used]})),
        (&by_provider, of("c1", "providers/p1/resources/"), json!({"provider": used})),
        (&by_provider, of("c1", "projects/"), json!({"projects": [{"id": "j1", "provider": "p1"}]})),
        (&by_provider, of("c1", "projects/j1/resources/"), project),
        (&impersonal, CLIENTS.to_owned(), json!({"clients": [nameless("c1"), nameless("c2")]})),
        (&impersonal, of("c1", ""), json!({"client": nameless("c1")})),
    ];
    for (token, target, expected) in &rows {
        assert_eq!(gateway.get_ok(token, target).json(), *expected, "{target}");
        let hit = gateway.get_ok(token, target);
        assert_eq!((hit.json(), gateway.outcome(&hit).as_str()), (expected.clone(), "hit"), "{target}");
    }
    let calls = partner.count();
    for rest in ["", "providers/", "projects/", "resources/", "providers/p1/resources/", "projects/j1/resources/"] {
        refused(&gateway.read(&by_client, &of("c2", rest)), 403, "bounds");
    }
    refused(&gateway.read(&by_provider, CLIENTS), 403, "bounds");
    refused(&gateway.read(&by_provider, &format!("{CLIENTS}?provider_id=p2")), 403, "bounds");
    refused(&gateway.read(&by_provider, &of("c1", "providers/p2/resources/")), 403, "bounds");
    let [foreign, absent] =
        ["j2", "j9"].map(|project| gateway.read(&by_provider, &of("c1", &format!("projects/{project}/resources/"))));
    refused(&foreign, 403, "bounds");
    assert_eq!((foreign.status, foreign.body), (absent.status, absent.body));
    for (token, slug) in [(&by_client, "bounds"), (&by_provider, "bounds"), (&impersonal, "scope")] {
        refused(&gateway.read(token, "/reseller/account/v1/else"), 403, slug);
    }
    assert_eq!(partner.count(), calls, "what is refused costs nothing");
    // The whole right still gets the partner's bytes.
    let everything = gateway.get_ok(&gateway.token(&READING), &of("c1", "projects/j1/resources/"));
    assert_eq!(everything.json()["project"]["resources"], json!({"x": [1]}));
    assert_eq!(partner.count(), calls);
}

#[test]
fn ten_callers_with_ten_rights_cost_one_call() {
    let partner = partner();
    let callers: Vec<Table> = (0..10)
        .map(|nth| {
            let clients = if nth == 0 { "*".to_owned() } else { format!("c{nth}") };
            let text = format!(
                "name = \"caller-{nth}\"\nscopes = [\"clients:read\"{}]\nclients = [\"{clients}\"]\nproviders = [\"*\"]",
                if nth % 2 == 0 { ", \"pii:read\"" } else { "" }
            );
            text.parse().unwrap()
        })
        .collect();
    let gateway = Setup::before(&partner).set("callers", callers).start();
    let bytes = || {
        let metrics = gateway.metrics();
        let line =
            metrics.lines().find_map(|line| line.strip_prefix("reseller_gateway_cache_bytes ")).map(str::to_owned);
        line.unwrap().parse::<u64>().unwrap()
    };
    let mut seen = Vec::new();
    let mut held = Vec::new();
    for nth in 0..10 {
        let issued = gateway.issue(&format!("caller-{nth}"), &[], &[]);
        let token = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
        let first = gateway.get_ok(&token, CLIENTS);
        assert_eq!(gateway.get_ok(&token, CLIENTS).body, first.body);
        held.push(bytes());
        seen.push((first.json()["clients"].as_array().unwrap().len(), first.expect_header("etag"), first.body));
    }
    assert_eq!(partner.count(), 1);
    assert!(held.is_sorted_by(|one, other| one < other), "each view is weighed: {held:?}");
    assert_eq!(seen.iter().map(|(rows, ..)| *rows).collect::<Vec<_>>(), [2, 1, 1, 0, 0, 0, 0, 0, 0, 0]);
    for (one, (_, tag, body)) in seen.iter().enumerate() {
        for (_, other_tag, other_body) in seen.iter().skip(one + 1) {
            assert_eq!(tag == other_tag, body == other_body);
        }
    }
}

/// What a caller can compare: status, head without what is of the moment, body.
fn comparable(answer: &Response) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let of_the_moment = ["date", "x-request-id", "age"];
    let mut head: Vec<_> =
        answer.headers.iter().filter(|(name, _)| !of_the_moment.contains(&name.as_str())).cloned().collect();
    for (name, value) in &mut head {
        if name == "cache-status" {
            *value = value.split("; ttl=").next().unwrap().to_owned();
        }
    }
    (answer.status, head, answer.body.clone())
}

#[test]
fn two_partners_that_are_equal_inside_a_right_cannot_be_told_apart() {
    let row = |id: &str, email: &str| format!(r#"{{"id":"{id}","email":{email},"projects":["x"]}}"#);
    let one = Reply::json(format!(r#"{{"clients":[{}]}}"#, row("c1", "\"a\"")))
        .header("etag", "\"one\"")
        .header("last-modified", "Mon, 01 Jan 2024 00:00:00 GMT")
        .header("content-type", "application/json; charset=utf-8; rows=1")
        .header("x-total", "1")
        .header("cache-control", "max-age=3");
    let body = format!(
        r#" {{"clients":[{}, {{"email":"x","projects":["x"],"email":[1],"id":"c1","secret":{{}}}}, null], "total":3}}"#,
        row("c2", "{}")
    );
    let two =
        Reply::json(body).header("content-language", "fr").header("x-total", "3").header("cache-control", "max-age=3");
    let answers = [(one, Reply::status(304)), (two.clone(), two)].map(|(first, second)| {
        let partner = ScriptedPartner::listen();
        partner.respond_with(CLIENTS, [first, second.header("cache-control", "max-age=60")]);
        let gateway = Setup::before(&partner).set("routes.clients.stale_while_revalidate", "0s").start();
        let token = narrowed(&gateway, &["clients:read"], &["--client", "c1"]);
        let bearer = format!("Bearer {token}");
        let mut seen = vec![comparable(&gateway.get_ok(&token, CLIENTS)), comparable(&gateway.get_ok(&token, CLIENTS))];
        // Then the partner is asked again: one says "not modified", the other says it anew.
        wait_for("a second call", || {
            seen.push(comparable(&gateway.get_ok(&token, CLIENTS)));
            (partner.count() > 1).then_some(())
        });
        let last = seen.pop().unwrap();
        seen.truncate(2);
        seen.push(last);
        seen.push(comparable(&gateway.send("HEAD", CLIENTS, &[("authorization", &bearer)], b"")));
        let tag = gateway.get_ok(&token, CLIENTS).expect_header("etag");
        for (name, value) in [("if-none-match", tag.as_str()), ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT")] {
            seen.push(comparable(&gateway.get(CLIENTS, &[("authorization", &bearer), (name, value)])));
        }
        seen
    });
    let [one, two] = answers;
    assert_eq!(one, two);
    let text = format!("{one:?}");
    assert!(!text.contains("last-modified") && !text.contains("charset") && !text.contains("x-total"), "{text}");
}

#[test]
fn a_project_is_found_on_its_provider_through_the_cache_and_the_partner_s_failure_is_said() {
    let partner = partner();
    let gateway = Setup::before(&partner).set("routes.client_projects.shape", "any").start();
    let token = narrowed(&gateway, &["resources:read"], &["--provider", "p1"]);
    let target = of("c1", "projects/j1/resources/");
    gateway.get_ok(&token, &target);
    let calls: Vec<String> = partner.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(calls, [of("c1", "projects/"), target.clone()], "the list is asked for first");
    gateway.get_ok(&token, &target);
    refused(&gateway.read(&token, &of("c1", "projects/j2/resources/")), 403, "bounds");
    assert_eq!(partner.count(), 2);
    let metrics = gateway.metrics();
    assert!(metrics.contains(r#"partner_calls_total{route="client_projects",cause="miss"} 1"#), "{metrics}");

    // A document of another project may be one of another provider.
    let other = r#"{"project":{"id":"j2","name":"","resources":{}}}"#;
    partner.respond_with(&of("c8", "projects/"), [Reply::json(r#"{"projects":[{"id":"j3","provider":"p1"}]}"#)]);
    partner.respond_with(&of("c8", "projects/j3/resources/"), [Reply::json(other)]);
    refused(&gateway.read(&token, &of("c8", "projects/j3/resources/")), 502, "shape");

    // Who lacks projects:read learns nothing of the list itself.
    refused(&gateway.read(&token, &of("c1", "projects/")), 403, "scope");
    partner.respond_with(&of("c3", "projects/"), [Reply::status(404).body("no such client")]);
    refused(&gateway.read(&token, &of("c3", "projects/j1/resources/")), 403, "bounds");
    partner.respond_with(&of("c4", "projects/"), [Reply::status(500)]);
    refused(&gateway.read(&token, &of("c4", "projects/j1/resources/")), 502, "partner-failed");
    partner.respond_with(&of("c5", "projects/"), [Reply::json(r#"{"projects":{}}"#)]);
    refused(&gateway.read(&token, &of("c5", "projects/j1/resources/")), 502, "shape");
    let bearer = format!("Bearer {token}");
    let cold = gateway
        .get(&of("c6", "projects/j1/resources/"), &[("authorization", &bearer), ("cache-control", "only-if-cached")]);
    refused(&cold, 504, "only-if-cached");
    partner.respond_with(&of("c7", "projects/"), [Reply::status(429).header("retry-after", "30")]);
    let closed = gateway.read(&token, &of("c7", "projects/j1/resources/"));
    refused(&closed, 503, "partner-limit");
    assert!(closed.header("retry-after").is_some());
}

#[test]
fn bounds_cannot_be_stepped_over_by_writing_things_differently() {
    let partner = partner();
    let gateway = Setup::before(&partner).start();
    let upper = MINE.to_ascii_uppercase();
    let token = narrowed(&gateway, &READING, &["--provider", "p1", "--provider", &upper]);
    for (query, status, slug) in [
        ("provider_id=p1&provider_id=p2", 400, "malformed"),
        ("provider_id=p2&provider_id=p1", 400, "malformed"),
        ("provider_id=p1&provider%5Fid=p2", 400, "malformed"),
        ("provider_id=p1&PROVIDER_ID=p2", 400, "malformed"),
        ("provider_id[]=p1", 400, "malformed"),
        ("provider_id=", 403, "bounds"),
        ("provider_id=p1,p2", 400, "malformed"),
        ("provider_id=p1%00", 400, "malformed"),
        ("provider_id=P1", 403, "bounds"),
        ("provider_id=%70%32", 403, "bounds"),
        ("provider_id=*", 400, "malformed"),
    ] {
        refused(&gateway.read(&token, &format!("{CLIENTS}?{query}")), status, slug);
    }
    assert_eq!(partner.count(), 0);
    gateway.get_ok(&token, &format!("{CLIENTS}?provider_id={MINE}"));
    gateway.get_ok(&token, &format!("{CLIENTS}?provider%5Fid={upper}"));
    assert_eq!(partner.count(), 1);
    let by_client = narrowed(&gateway, &READING, &["--client", &upper]);
    for other in ["/reseller/account/v1/clients/c1/servers/", "/reseller/account/v1/", "/reseller/account/v1/clientz"] {
        refused(&gateway.read(&by_client, other), 403, "bounds");
    }
    refused(&gateway.send("POST", CLIENTS, &[("authorization", &format!("Bearer {by_client}"))], b""), 405, "method");
    assert_eq!(partner.count(), 1);
}

#[test]
fn what_cannot_be_narrowed_is_not_shown_to_a_narrowed_right() {
    let partner = partner();
    let gateway = Setup::before(&partner).set("cache.max_object", "1KiB").set("routes.client.store", false).start();
    let (full, token) = (gateway.token(&READING), gateway.token(&WITHOUT_PERSONAL));
    // A status that is not 2xx: our words, its number.
    partner.respond_with(&of("c9", ""), [Reply::status(404).header("content-type", "text/plain").body("Bill is gone")]);
    let gone = gateway.read(&token, &of("c9", ""));
    refused(&gone, 404, "partner-status");
    assert!(!gone.text().contains("Bill"));
    assert_eq!(gateway.read(&full, &of("c9", "")).text(), "Bill is gone");
    // A route that stores nothing is passed through for the full right, and narrowed for the other.
    let seen = gateway.get_ok(&token, &of("c1", ""));
    assert_eq!((&seen.json()["client"]["email"], seen.json()["client"].get("is_test_account")), (&json!(""), None));
    assert!(
        seen.expect_header("cache-status").contains("fwd=bypass; detail=route"),
        "{}",
        seen.expect_header("cache-status")
    );
    assert_eq!(gateway.get_ok(&full, &of("c1", "")).json()["client"]["is_test_account"], json!(true));
    // Larger than what is stored.
    let filler = "x".repeat(2 << 10);
    partner.respond_with(CLIENTS, [Reply::json(format!(r#"{{"clients":[{{"id":"{filler}"}}]}}"#))]);
    refused(&gateway.read(&token, CLIENTS), 502, "too-large-to-narrow");
    assert!(gateway.get_ok(&full, CLIENTS).text().contains(&filler));
    // Another shape.
    partner.respond_with(CLIENTS, [Reply::json(r#"{"clients":["Bill"]}"#)]);
    let odd = gateway.read(&token, CLIENTS);
    refused(&odd, 502, "shape");
    assert!(!odd.text().contains("Bill"));
}

#[test]
fn unknown_fields_are_counted_and_shown_only_where_they_are_allowed() {
    let partner = partner();
    let allow = vec!["clients[].is_test_account".to_owned()];
    let gateway = Setup::before(&partner).set("views.allow", allow).start();
    let token = narrowed(&gateway, &READING, &["--client", "c1"]);
    let list = gateway.get_ok(&token, CLIENTS).json();
    assert_eq!((&list["clients"][0]["is_test_account"], list["clients"].as_array().unwrap().len()), (&json!(true), 1));
    assert!(gateway.get_ok(&token, &of("c1", "")).json()["client"].get("is_test_account").is_none());
    gateway.get_ok(&token, &of("c1", ""));
    wait_for("the count", || gateway.metrics().contains("schema_drift_total 1\n").then_some(()));
}

#[test]
fn many_who_wait_for_one_large_list_get_their_views_of_it_at_once() {
    let partner = ScriptedPartner::listen();
    let gate = crate::support::Gate::default();
    let rows: Vec<String> = (0..1000)
        .map(|nth| format!(r#"{{"id":"c{nth}","email":"e{nth}@example.org","projects":["{}"]}}"#, "p".repeat(60)))
        .collect();
    partner.respond_with(CLIENTS, [Reply::json(format!(r#"{{"clients":[{}]}}"#, rows.join(","))).behind(&gate)]);
    let gateway = Setup::before(&partner).start();
    let tokens = [["--client", "c7"], ["--client", "c8"]].map(|to| narrowed(&gateway, &READING, &to));
    let callers: Vec<_> = (0..60).map(|nth| (nth % 2, gateway.call(&tokens[nth % 2], CLIENTS))).collect();
    partner.wait_for_calls(1);
    gate.open();
    for (which, caller) in callers {
        let answer = gateway.seen(caller.read_response(false));
        assert_eq!(answer.status, 200, "{answer:?}");
        let clients = answer.json()["clients"].clone();
        assert_eq!(clients.as_array().unwrap().len(), 1);
        assert_eq!(clients[0]["email"], format!("e{}@example.org", 7 + which));
    }
    assert_eq!(partner.count(), 1);
}

#[test]
fn a_token_is_narrowed_but_never_widened_when_it_is_issued() {
    let partner = partner();
    let caller =
        "name = \"app\"\nscopes = [\"clients:read\", \"pii:read\"]\nclients = [\"c1\", \"c2\"]\nproviders = [\"*\"]";
    let gateway = Setup::before(&partner).set("callers", vec![caller.parse::<Table>().unwrap()]).start();
    let own = narrowed(&gateway, &[], &[]);
    assert_eq!(gateway.get_ok(&own, CLIENTS).json()["clients"].as_array().unwrap().len(), 2);
    let less = narrowed(&gateway, &[], &["--client", "c2"]);
    assert_eq!(gateway.get_ok(&less, CLIENTS).json()["clients"][0]["id"], "c2");
    refused(&gateway.read(&less, &of("c1", "")), 403, "bounds");
    for (more, says) in [
        (["--client", "c3"], "the client \"c3\" is not among those of \"app\""),
        (["--client", "a/b"], "is no identifier"),
        (["--provider", ""], "is no identifier"),
    ] {
        let issued = gateway.issue("app", &[], &more);
        let told = String::from_utf8_lossy(&issued.stderr).into_owned();
        assert!(!issued.status.success() && issued.stdout.is_empty() && told.contains(says), "{more:?}: {told}");
    }
    let many: Vec<String> = (0..200).flat_map(|nth| ["--provider".to_owned(), format!("provider-{nth:040}")]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let issued = gateway.issue("app", &[], &many);
    assert!(String::from_utf8_lossy(&issued.stderr).contains("longer than 4 KiB"));
}
