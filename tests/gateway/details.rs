//! Are bounds granted over HTTP as they are asked for, and never wider?
//! Given callers bound to clients and providers, hands back what `authorization_details` (RFC 9396) get them, and what not.
//! Never trusts the echo alone: each granted token is also tried on what is inside and outside.

use serde_json::{Value, json};

use crate::authority::secret;
use crate::exchange::{ACCESS, exchange};
use crate::support::{CLIENTS, Gateway, READING, Response, ScriptedPartner, Setup};
use crate::views::{of, partner};

/// `billing` may reach the clients `c1` and `c2`, `app2` all of them; with the secrets of both.
fn bounded(partner: &ScriptedPartner) -> (Gateway, [String; 2]) {
    let ((one, stored_one), (two, stored_two)) = (secret(), secret());
    let gateway = Setup::before(partner)
        .caller("billing", &READING, &format!("clients = [\"c1\", \"c2\"]\nsecrets = [{stored_one:?}]"))
        .caller("app2", &READING, &format!("secrets = [{stored_two:?}]\n[limits]\nrequests = \"100/m\"\nburst = 100"))
        .start();
    (gateway, [one, two])
}

fn granted(gateway: &Gateway, secrets: &[String; 2], name: &str, details: &str) -> Response {
    let secret = &*secrets[usize::from(name == "app2")];
    let mut form = vec![("grant_type", "client_credentials"), ("client_id", name), ("client_secret", secret)];
    form.push(("authorization_details", details));
    gateway.post("/oauth/token", &[], &form)
}

fn to(clients: &[&str], providers: &[&str]) -> Value {
    json!([{"type": "account-api", "clients": clients, "providers": providers}])
}

fn token_in(gateway: &Gateway, answer: &Response) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    gateway.keep_secret(answer.json()["access_token"].as_str().unwrap())
}

fn error(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

fn no_details() -> (u16, String) {
    (400, "invalid_authorization_details".to_owned())
}

#[test]
fn what_is_granted_is_echoed_and_holds() {
    let partner = partner();
    let (gateway, secret) = bounded(&partner);
    let asked = to(&["c1"], &["*"]);
    let answer = granted(&gateway, &secret, "billing", &asked.to_string());
    assert_eq!(answer.json()["authorization_details"], asked);
    let token = token_in(&gateway, &answer);
    gateway.get_ok(&token, &of("c1", ""));
    assert_eq!(gateway.read(&token, &of("c2", "")).status, 403);
    assert_eq!(gateway.get_ok(&token, CLIENTS).json()["clients"].as_array().unwrap().len(), 1);
    // Who asks for nothing is told what it has.
    let own = granted(&gateway, &secret, "billing", "");
    assert_eq!(own.json()["authorization_details"], to(&["c1", "c2"], &["*"]));
    // Who has no bounds and asks for all of them is told so; who does not ask is not.
    let all = granted(&gateway, &secret, "app2", &to(&["*"], &["*"]).to_string());
    assert_eq!(all.json()["authorization_details"], to(&["*"], &["*"]));
    assert_eq!(granted(&gateway, &secret, "app2", "").json().get("authorization_details"), None);
    // The same is said wherever a token is explained.
    let bearer = format!("Bearer {token}");
    let told = gateway.post("/oauth/introspect", &[("authorization", &bearer)], &[("token", &token)]);
    assert_eq!(told.json()["authorization_details"], asked);
    assert_eq!(gateway.get_ok(&token, "/-/me").json()["authorization_details"], asked);
    let rows: Value = serde_json::from_slice(&gateway.command(&["token", "list"]).stdout).unwrap();
    assert!(rows.as_array().unwrap().iter().any(|row| row["bounds"] == asked), "{rows}");
    let inspected: Value = serde_json::from_slice(&gateway.command(&["token", "inspect", &token]).stdout).unwrap();
    assert_eq!(inspected["opens"]["authorization_details"], asked);
    let metadata = gateway.get("/.well-known/oauth-authorization-server", &[]).json();
    assert_eq!(metadata["authorization_details_types_supported"], json!(["account-api"]));
}

#[test]
fn details_beyond_the_callers_or_not_understood_are_refused() {
    let partner = partner();
    let (gateway, secret) = bounded(&partner);
    let refused = |details: &str| error(&granted(&gateway, &secret, "billing", details));
    assert_eq!(refused(&to(&["c9"], &["*"]).to_string()), no_details(), "another's client");
    assert_eq!(refused(&to(&["c1", "c9"], &["*"]).to_string()), no_details(), "one of its own beside it");
    for details in [
        r#"[{"type": "account-api", "regions": ["*"]}]"#,
        r#"[{"type": "account-api", "clients": ["c1"], "clients": ["c2"]}]"#,
        r#"[{"type": "payment", "clients": ["c1"]}]"#,
        r#"[{"clients": ["c1"]}]"#,
        r#"[{"type": "account-api", "clients": ["*", "c1"]}]"#,
        r#"[{"type": "account-api", "clients": ["../c1"]}]"#,
        r#"[{"type": "account-api", "clients": "c1"}]"#,
        r#"[{"type": "account-api"}, {"type": "account-api"}]"#,
        r#"{"type": "account-api"}"#,
        "[]",
        "null",
        "c1",
    ] {
        assert_eq!(refused(details), no_details(), "{details}");
    }
}

#[test]
fn an_exchange_keeps_the_bounds_of_its_token_and_never_widens_them() {
    let partner = partner();
    let (gateway, secret) = bounded(&partner);
    for (name, outside) in [("billing", "c2"), ("app2", "c9")] {
        let answer = granted(&gateway, &secret, name, &to(&["c1"], &["*"]).to_string());
        let narrow = token_in(&gateway, &answer);
        let more = |details: &str| exchange(&gateway, &narrow, ACCESS, &[("authorization_details", details)]);
        // Its caller may reach more, the token may not: neither by asking nor by not asking.
        assert_eq!(error(&more(&to(&[outside], &["*"]).to_string())), no_details());
        assert_eq!(error(&more(r#"[{"type": "account-api", "regions": ["*"]}]"#)), no_details());
        let whole = r#"[{"type": "account-api", "clients": ["*"], "providers": ["*"]}]"#;
        for asked in ["", whole] {
            let answer = more(asked);
            assert_eq!(answer.json()["authorization_details"], to(&["c1"], &["*"]), "{asked}");
            let token = token_in(&gateway, &answer);
            gateway.get_ok(&token, &of("c1", ""));
            assert_eq!(gateway.read(&token, &of(outside, "")).status, 403, "{asked}");
        }
        // Narrower by another kind: what is in both.
        let answer = more(&to(&["*"], &["p1"]).to_string());
        assert_eq!(answer.json()["authorization_details"], to(&["c1"], &["p1"]));
        let token = token_in(&gateway, &answer);
        assert_eq!(gateway.read(&token, &of("c1", "providers/p2/resources/")).status, 403);
        gateway.get_ok(&token, &of("c1", "providers/p1/resources/"));
        let wider = exchange(&gateway, &token, ACCESS, &[("authorization_details", &to(&["c1"], &["p2"]).to_string())]);
        assert_eq!(error(&wider), no_details());
    }
}

#[test]
fn a_bounded_caller_learns_what_opens_and_what_is_left() {
    let partner = partner();
    let (gateway, secret) = bounded(&partner);
    let answer = granted(&gateway, &secret, "app2", &to(&["c1"], &["p1"]).to_string());
    let token = token_in(&gateway, &answer);
    let me = gateway.get_ok(&token, "/-/me").json();
    assert!(me["ratelimit_policy"].as_str().unwrap().starts_with("\"requests\";q=100;"), "{me}");
    assert!(me["ratelimit"].as_str().unwrap().starts_with("\"requests\";r=100;"), "{me}");
    let open = |me: &Value, name: &str| {
        let route = me["routes"].as_array().unwrap().iter().find(|route| route["name"] == name).unwrap().clone();
        (route["open"].clone(), route["missing"].clone())
    };
    for name in ["client", "client_providers", "client_projects", "client_resources", "provider_resources"] {
        assert_eq!(open(&me, name), (json!(true), Value::Null), "{name}");
    }
    assert_eq!(open(&me, "project_resources").0, true, "it hangs on the project");
    assert_eq!(open(&me, "other"), (json!(false), json!("bounds")));
    // With no provider at all, nothing of a provider's is open.
    let none = granted(&gateway, &secret, "app2", &to(&["c1"], &[]).to_string());
    let none = gateway.get_ok(&token_in(&gateway, &none), "/-/me").json();
    assert_eq!(open(&none, "provider_resources"), (json!(false), json!("bounds")));
    let free = granted(&gateway, &secret, "billing", "");
    let free = gateway.get_ok(&token_in(&gateway, &free), "/-/me").json();
    assert_eq!((free.get("ratelimit"), &free["authorization_details"]), (None, &to(&["c1", "c2"], &["*"])));
}
