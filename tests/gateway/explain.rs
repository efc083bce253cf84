//! Does an explanation say what the request then gets?
//! Given the real binary in many situations, claims that the verdict is the outcome, status and cause of the next request.
//! Never takes the explanation's word: each is followed by the request itself, and nothing may have moved by asking.

use serde_json::{Value, json};

use crate::support::{
    CLIENTS, Connection, Gate, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup, program,
    send_request_to_host, wait_for,
};
use crate::views;

const GOOD: &str = r#"{"client":{"id":"c1"}}"#;

fn at(rest: &str) -> String {
    format!("{CLIENTS}{rest}")
}

/// A request, as it is explained and as it is sent.
pub(crate) struct Asked<'a> {
    pub(crate) token: Option<&'a str>,
    pub(crate) method: &'a str,
    pub(crate) target: String,
    pub(crate) headers: &'a [(&'a str, &'a str)],
}

impl<'a> Asked<'a> {
    fn read(token: &'a str, target: impl Into<String>) -> Self {
        Self { token: Some(token), method: "GET", target: target.into(), headers: &[] }
    }

    fn with(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    pub(crate) fn explained(&self, gateway: &Gateway) -> Value {
        let headers: serde_json::Map<String, Value> =
            self.headers.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let body = json!({"path": self.target, "method": self.method, "headers": headers, "token": self.token});
        let answer = gateway.admin_request("POST", "/admin/v1/explain", &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) fn sent(&self, gateway: &Gateway) -> Response {
        let bearer = self.token.map(|token| format!("Bearer {token}"));
        let mut headers = self.headers.to_vec();
        headers.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
        gateway.send(self.method, &self.target, &headers, b"")
    }

    /// Explains, sends, and compares; hands back the explanation for what else it says.
    fn foretold(&self, gateway: &Gateway, outcome: &str) -> Value {
        let explained = self.explained(gateway);
        let answer = self.sent(gateway);
        self.came_as_told(gateway, &explained, &answer);
        assert_eq!(gateway.log_line(&answer)["outcome"], outcome, "{} {answer:?}", self.target);
        explained
    }

    pub(crate) fn came_as_told(&self, gateway: &Gateway, explained: &Value, answer: &Response) {
        let (verdict, line) = (&explained["verdict"], gateway.log_line(answer));
        let what = format!("{} {}: {explained:#} {line}", self.method, self.target);
        assert_eq!(verdict["outcome"], line["outcome"], "{what}");
        match verdict["status"].as_u64() {
            Some(status) => assert_eq!(u64::from(answer.status), status, "{what}"),
            None => {
                let answered = matches!(answer.status, 200 | 404);
                assert_eq!(verdict["call"] == "first" || verdict["call"] == "joins", answered, "{what}");
            }
        }
        if line["outcome"] == "refused" || line["outcome"] == "stale" {
            assert_eq!(verdict["cause"], line["cause"], "{what}");
        }
        let retry: Option<u64> = answer.header("retry-after").map(|seconds| seconds.parse().unwrap());
        let told = verdict["retry_after"].as_u64();
        assert_eq!(told.is_some(), retry.is_some(), "{what}");
        assert!(told.zip(retry).is_none_or(|(told, retry)| told.abs_diff(retry) <= 1), "{what} {answer:?}");
    }
}

fn soften(gateway: &Gateway, target: &str) {
    let body = json!({"path": target, "soft": true}).to_string();
    assert_eq!(gateway.admin_request("POST", "/admin/v1/cache/purge", &body).json()["purged"], 1);
}

#[test]
fn what_is_held_decides_and_is_told_beforehand() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    for id in ["c1/", "c2/", "c3/"] {
        partner.respond_with(&at(id), [Reply::json(GOOD), Reply::json(GOOD).behind(&gate), Reply::json(GOOD)]);
    }
    partner.respond_with(&at("c4/"), [Reply::json(GOOD).header("cache-control", "no-store")]);
    partner.respond_with(&at("c5/"), [Reply::json("{}").with_status(404)]);
    partner.respond_with(&at("c6/"), [Reply::json(GOOD).header("cache-control", "no-cache")]);
    let gateway = Setup::before(&partner).caller("fresh", &["clients:read", "pii:read", "cache:refresh"], "").start();
    let token = gateway.token(&READING);
    let read = |rest: &str| Asked::read(&token, at(rest));
    let explained = read("c1").foretold(&gateway, "miss");
    assert_eq!(explained["entry"], json!({"state": "absent", "key": at("c1/")}));
    assert_eq!(explained["target"]["asked_as"], at("c1/"), "the slash");
    let explained = read("c1/").foretold(&gateway, "hit");
    assert_eq!(explained["entry"]["state"], "fresh", "{explained:#}");
    assert_eq!(explained["right"]["sight"], "full");
    Asked { method: "HEAD", ..read("c1/") }.foretold(&gateway, "hit");
    for (directives, outcome) in [("no-cache", "hit"), ("max-age=0", "hit"), ("only-if-cached", "hit")] {
        read("c1/").with(&[("cache-control", directives)]).foretold(&gateway, outcome);
    }
    read("c9/").with(&[("cache-control", "only-if-cached")]).foretold(&gateway, "refused");
    read("c1/").with(&[("accept", "text/html")]).foretold(&gateway, "refused");
    soften(&gateway, &at("c1/"));
    let explained = read("c1/").foretold(&gateway, "stale");
    assert_eq!((&explained["verdict"]["call"], &explained["flight"]), (&json!("behind"), &json!(false)));
    partner.wait_for_calls(2);
    let explained = read("c1/").foretold(&gateway, "stale");
    assert_eq!((&explained["verdict"]["call"], &explained["flight"]), (&json!("none"), &json!(true)));
    gate.open();
    wait_for("the refresh", || (read("c1/").explained(&gateway)["verdict"]["outcome"] == "hit").then_some(()));
    read("c4/").foretold(&gateway, "miss");
    let explained = read("c4/").foretold(&gateway, "miss");
    assert_eq!(explained["entry"]["state"], "uncacheable");
    gateway.read(&token, &at("c5/"));
    assert_eq!(read("c5/").foretold(&gateway, "hit")["verdict"]["status"], 404);
    read("c6/").foretold(&gateway, "miss");
    assert_eq!(read("c6/").foretold(&gateway, "revalidated")["entry"]["state"], "expired");
    let issued = gateway.issue("fresh", &["clients:read", "pii:read", "cache:refresh"], &[]);
    let forcing = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    Asked::read(&forcing, at("c1/")).with(&[("cache-control", "no-cache")]).foretold(&gateway, "miss");
}

#[test]
fn a_fetch_that_is_under_way_is_joined_as_told() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(&at("c1/"), [Reply::json(GOOD).behind(&gate)]);
    let gateway = Setup::before(&partner).caller("two", &READING, "[limits]\nconcurrent = 9").start();
    let token = String::from_utf8(gateway.issue("two", &[], &[]).stdout).unwrap();
    let token = gateway.keep_secret(token.trim());
    let first = gateway.call(&token, &at("c1/"));
    partner.wait_for_calls(1);
    let asked = Asked::read(&token, at("c1/"));
    let explained = asked.explained(&gateway);
    assert_eq!((&explained["verdict"]["call"], &explained["flight"]), (&json!("joins"), &json!(true)));
    let second = gateway.call(&token, &at("c1/"));
    wait_for("the second to be let in", || {
        let left = asked.explained(&gateway)["caller"]["limits"]["left"].clone();
        (left == r#""concurrent";r=7"#).then_some(())
    });
    gate.open();
    let answers = [first, second].map(|caller: Connection| gateway.seen(caller.read_response(false)));
    asked.came_as_told(&gateway, &explained, &answers[1]);
}

#[test]
fn who_may_not_is_told_why() {
    let partner = views::partner();
    let gateway = Setup::before(&partner).caller("gone", &READING, "").any_shape().start();
    let token = gateway.token(&READING);
    let narrow = |to: &[&str]| {
        let issued = gateway.issue("app", &["clients:read", "providers:read", "projects:read", "resources:read"], to);
        gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim())
    };
    let [by_client, by_provider, impersonal] =
        [narrow(&["--client", "c1"]), narrow(&["--provider", "p1"]), narrow(&[])];
    let nobody = Asked { token: None, ..Asked::read("", at("c1/")) };
    assert_eq!(nobody.foretold(&gateway, "refused")["verdict"]["cause"], "token-missing");
    Asked::read("eyJhbGciOiJFZERTQSJ9.e30.AAAA", at("c1/")).foretold(&gateway, "refused");
    let scoped = gateway.token(&["providers:read"]);
    let explained = Asked::read(&scoped, at("c1/")).foretold(&gateway, "refused");
    assert_eq!(explained["right"], json!({"granted": false, "has_scope": false, "sight": null, "withheld": []}));
    for (token, target) in [
        (&by_client, at("c2/")),
        (&by_client, "/reseller/account/v1/users/".to_owned()),
        (&by_provider, CLIENTS.to_owned()),
        (&by_provider, at("?provider_id=p2")),
        (&by_provider, at("c1/providers/p2/resources/")),
        (&impersonal, "/reseller/account/v1/users/".to_owned()),
        (&token, "/nowhere".to_owned()),
        (&token, "/reseller/admin/v1/".to_owned()),
        (&token, at("c1//")),
        (&token, at("%2e%2e/")),
        (&token, at("?unknown=1")),
    ] {
        Asked::read(token, target).foretold(&gateway, "refused");
    }
    Asked { method: "DELETE", ..Asked::read(&token, at("c1/")) }.foretold(&gateway, "refused");
    // On which provider a project is, the list says; as long as nobody has it, nobody knows.
    let of_project = Asked::read(&by_provider, at("c1/projects/j1/resources/"));
    assert_eq!(of_project.explained(&gateway)["verdict"]["outcome"], Value::Null);
    assert_eq!(of_project.sent(&gateway).status, 200);
    of_project.foretold(&gateway, "hit");
    Asked::read(&by_provider, at("c1/projects/j2/resources/")).foretold(&gateway, "refused");
    Asked::read(&impersonal, at("c1/")).foretold(&gateway, "miss");
    let explained = Asked::read(&impersonal, at("c1/")).foretold(&gateway, "hit");
    assert_eq!(explained["right"]["sight"], "narrowed");
    assert!(explained["right"]["withheld"].to_string().contains("personal data"), "{explained:#}");
    partner.respond_with(&at("c1/providers/"), [Reply::json(r#"{"providers":7}"#)]);
    Asked::read(&token, at("c1/providers/")).foretold(&gateway, "miss");
    assert_eq!(Asked::read(&by_provider, at("c1/providers/")).foretold(&gateway, "refused")["verdict"]["status"], 502);
    let revoked = gateway.token(&READING);
    assert!(gateway.command(&["token", "revoke", "--caller", "app"]).status.success());
    assert_eq!(Asked::read(&revoked, at("c1/")).foretold(&gateway, "refused")["verdict"]["cause"], "token-revoked");
}

#[test]
fn limits_budget_and_a_closed_gate_are_foreseen() {
    let partner = ScriptedPartner::listen();
    for id in ["c1/", "c2/", "c3/"] {
        partner.respond_with(&at(id), [Reply::json(GOOD)]);
    }
    let setup = Setup::before(&partner)
        .set("routes.client.stale_while_revalidate", "0s")
        .set("upstream.budget.rate", "1/h")
        .set("upstream.budget.burst", 3)
        .set("upstream.budget.max_wait", "20ms")
        .caller("slow", &READING, "[limits]\nrequests = \"1/h\"\nburst = 2\nupstream = \"1/h\"");
    let gateway = setup.start();
    let token = gateway.token(&READING);
    let issued = gateway.issue("slow", &[], &[]);
    let slow = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    let explained = Asked::read(&slow, at("c1/")).foretold(&gateway, "miss");
    assert!(explained["caller"]["limits"]["left"].as_str().unwrap().contains("\"requests\";r=2"), "{explained:#}");
    assert_eq!(Asked::read(&slow, at("c2/")).foretold(&gateway, "refused")["verdict"]["cause"], "caller-upstream");
    assert_eq!(Asked::read(&slow, at("c1/")).foretold(&gateway, "refused")["verdict"]["cause"], "caller-requests");
    Asked::read(&token, at("c2/")).foretold(&gateway, "miss");
    Asked::read(&token, at("c3/")).foretold(&gateway, "miss");
    let explained = Asked::read(&token, at("c4/")).foretold(&gateway, "refused");
    assert_eq!((&explained["verdict"]["cause"], &explained["partner"]["now"]), (&json!("budget"), &json!("queue")));
    // It was two hours: who was sent away waited behind the place it had left.
    let retry = explained["verdict"]["retry_after"].as_u64().unwrap();
    assert!((3590..=3600).contains(&retry), "{explained:#}");
    soften(&gateway, &at("c2/"));
    let explained = Asked::read(&token, at("c2/")).foretold(&gateway, "stale");
    assert_eq!(
        (&explained["verdict"]["cause"], &explained["verdict"]["call"]),
        (&json!("stale-if-error"), &json!("none"))
    );
}

#[test]
fn a_partner_that_wants_to_be_left_alone_is_foreseen() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(&at("c1/"), [Reply::json(GOOD)]);
    partner.respond_with(&at("c2/"), [Reply::status(429).header("retry-after", "30")]);
    partner.respond_with(&at("c3/"), [Reply::json(GOOD)]);
    let gateway = Setup::before(&partner).set("routes.client_projects.stale_while_revalidate", "0s").start();
    let token = gateway.token(&READING);
    partner.respond_with(&at("c1/projects/"), [Reply::json(r#"{"projects":[]}"#)]);
    for target in [at("c1/"), at("c1/projects/")] {
        gateway.get_ok(&token, &target);
        soften(&gateway, &target);
    }
    assert_eq!(gateway.read(&token, &at("c2/")).status, 503);
    let explained = Asked::read(&token, at("c3/")).foretold(&gateway, "refused");
    assert_eq!(explained["verdict"]["cause"], "partner-limit");
    assert_eq!(
        (&explained["partner"]["now"], &explained["partner"]["why"]),
        (&json!("closed"), &json!("paused-by-partner"))
    );
    let seconds = explained["partner"]["for_seconds"].as_u64().unwrap();
    assert!((28..=30).contains(&seconds), "{explained:#}");
    let says = explained["verdict"]["says"].as_str().unwrap();
    assert!(says.starts_with(&format!("503 for {seconds} s: The partner asked to be left alone.")), "{says}");
    let explained = Asked::read(&token, at("c1/")).foretold(&gateway, "stale");
    assert_eq!(
        (&explained["verdict"]["cause"], &explained["verdict"]["call"]),
        (&json!("stale-while-revalidate"), &json!("none"))
    );
    let explained = Asked::read(&token, at("c1/projects/")).foretold(&gateway, "stale");
    assert_eq!(explained["verdict"]["cause"], "stale-if-error");
}

#[test]
fn routes_in_standard_mode_are_foreseen_by_their_own_rules() {
    let partner = ScriptedPartner::listen();
    let fresh = |reply: Reply| reply.header("cache-control", "max-age=600");
    let below = |rest: &str| format!("/reseller/account/v1/{rest}");
    partner.respond_with(&below("a"), [fresh(Reply::json("1"))]);
    partner.respond_with(&below("b"), [fresh(Reply::json("1")).header("vary", "accept-language")]);
    partner
        .respond_with(&below("c"), [Reply::json("1").header("cache-control", "max-age=0, stale-while-revalidate=600")]);
    partner.respond_with(&below("d"), [Reply::json("1").header("cache-control", "no-cache")]);
    partner.respond_with("/plain/a", [fresh(Reply::json("1"))]);
    let plain: toml::Table =
        "[[extra_routes]]\nname = \"plain\"\npath = \"/plain/{*rest}\"\nscope = \"other:read\"\nstore = false"
            .parse()
            .unwrap();
    let gateway = Setup::before(&partner)
        .set("routes.other.store", true)
        .set("routes.client_providers.store", false)
        .set("extra_routes", plain["extra_routes"].clone())
        .start();
    let token = gateway.token(&[READING.as_slice(), &["write"]].concat());
    let read = |rest: &str| Asked::read(&token, below(rest));
    read("a").foretold(&gateway, "miss");
    let explained = read("a").foretold(&gateway, "hit");
    assert_eq!((&explained["entry"]["state"], &explained["route"]["mode"]), (&json!("fresh"), &json!("standard")));
    read("a").with(&[("cache-control", "no-cache")]).foretold(&gateway, "miss");
    read("z").with(&[("cache-control", "only-if-cached")]).foretold(&gateway, "refused");
    Asked { method: "POST", ..read("a") }.foretold(&gateway, "pass");
    let german = [("accept-language", "de")];
    read("b").with(&german).foretold(&gateway, "miss");
    read("b").with(&german).foretold(&gateway, "hit");
    assert_eq!(read("b").foretold(&gateway, "miss")["entry"]["state"], "other-variants");
    read("c").foretold(&gateway, "miss");
    read("c").foretold(&gateway, "stale");
    read("d").foretold(&gateway, "miss");
    read("d").foretold(&gateway, "miss");
    let explained = Asked::read(&token, "/plain/a").foretold(&gateway, "pass");
    assert_eq!(explained["entry"]["state"], "not-stored");
    // One of the seven that is not stored is fetched for each, whatever the right.
    partner.respond_with(&at("c1/providers/"), [Reply::json(r#"{"providers":[]}"#)]);
    let impersonal = gateway.token(&["providers:read"]);
    for token in [&token, &impersonal] {
        let explained = Asked::read(token, at("c1/providers/")).foretold(&gateway, "miss");
        assert_eq!(explained["entry"]["state"], "not-stored");
        Asked::read(token, at("c1/providers/")).with(&[("accept", "text/html")]).foretold(&gateway, "refused");
    }
}

/// What moves by itself.
fn is_still(line: &&str) -> bool {
    !["connections", "key_age_seconds", "\nprocess_"].iter().any(|name| format!("\n{line}").contains(name))
}

#[test]
fn asking_moves_nothing() {
    let partner = ScriptedPartner::listen();
    for id in ["c1/", "c2/"] {
        partner.respond_with(&at(id), [Reply::json(GOOD)]);
    }
    let setup = Setup::before(&partner).set("upstream.budget.rate", "1/h").set("upstream.budget.burst", 5);
    let gateway = setup.caller("slow", &READING, "[limits]\nrequests = \"1/h\"\nburst = 2").start();
    let token = gateway.token(&READING);
    let slow = String::from_utf8(gateway.issue("slow", &[], &[]).stdout).unwrap();
    let slow = gateway.keep_secret(slow.trim());
    gateway.get_ok(&token, &at("c1/"));
    gateway.get_ok(&token, &at("c1/"));
    let state = || {
        let metrics = gateway.metrics();
        let metrics: Vec<String> = metrics.lines().filter(is_still).map(str::to_owned).collect();
        let mut list = gateway.admin_request("GET", "/admin/v1/cache/list", "").json();
        for row in list["entries"].as_array_mut().unwrap() {
            (row["age"], row["ttl"]) = (Value::Null, Value::Null);
        }
        let tokens = gateway.admin_request("GET", "/admin/v1/tokens", "").json();
        (metrics, list, tokens)
    };
    let before = state();
    for _ in 0..3 {
        for target in ["c1/", "c2/", "c1/projects/", "?unknown=1", "../"].map(at) {
            for token in [&token, &slow, &"eyJhbGciOiJFZERTQSJ9.e30.AAAA".to_owned()] {
                Asked::read(token, target.clone()).explained(&gateway);
                Asked { token: None, ..Asked::read("", target.clone()) }.explained(&gateway);
            }
        }
    }
    assert_eq!(state(), before);
    assert_eq!(partner.count(), 1);
    let still = r#""requests";r=2"#;
    assert!(
        Asked::read(&slow, at("c1/")).explained(&gateway)["caller"]["limits"]["left"].as_str().unwrap().contains(still)
    );
}

#[test]
fn the_command_says_it_too_and_takes_a_token_from_a_file_standard_input_or_a_callers_name() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    gateway.write("token", &format!("{token}\n"));
    let file = gateway.file("token");
    let said = |arguments: &[&str]| {
        let output = gateway.command(&[&["explain", CLIENTS], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains(&token));
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let by_file = said(&["--token", file.to_str().unwrap()]);
    assert_eq!((&by_file["caller"]["by"], &by_file["verdict"]["outcome"]), (&json!("token"), &json!("miss")));
    assert_eq!(said(&["--token", &token])["caller"]["name"], "app");
    assert_eq!(said(&["--caller", "app", "--json"])["caller"]["by"], "policy");
    assert_eq!(said(&[])["verdict"]["status"], 401);
    assert_eq!(said(&["--caller", "app", "--header", "accept: text/html"])["verdict"]["status"], 406);
    let config = gateway.file("gateway.toml");
    let mut piped = program();
    piped.args(["explain", CLIENTS, "--token", "-", "--config"]).arg(config).stdin(std::fs::File::open(&file).unwrap());
    let output = piped.output().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["caller"]["by"], "token");
    for (arguments, says) in [
        (&["--caller", "nobody"][..], "no caller of this name"),
        (&["--token", "no-such-file"], "no such file, and no token"),
        (&["--header", "authorization: Bearer x"], "no credentials"),
        (&["--header", "range: bytes=0-1"], "Preconditions and ranges"),
    ] {
        let output = gateway.command(&[&["explain", CLIENTS], arguments].concat());
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(says), "{text}");
    }
}

#[test]
fn over_http_a_token_in_the_url_is_refused_and_none_is_ever_repeated() {
    let gateway = Setup::at("http://127.0.0.1:9").start();
    let token = gateway.token(&READING);
    let get = |query: &str| gateway.admin_request("GET", &format!("/admin/v1/explain?{query}"), "");
    let answer = get("path=%2Freseller%2Faccount%2Fv1%2Fclients%2F%3Fprovider_id%3Dp1&caller=app");
    assert_eq!((answer.status, &answer.json()["entry"]["key"]), (200, &json!(at("?provider_id=p1"))), "{answer:?}");
    for query in ["", "caller=app", "path=/&token=x", "path=/&colour=red", "path=/oauth/token", "path=/&caller=%zz"] {
        assert_eq!(get(query).status, 400, "{query}");
    }
    assert_eq!(get("path=/&caller=nobody").status, 404);
    for body in [
        json!({"path": CLIENTS, "token": token, "caller": "app"}),
        json!({"path": CLIENTS, "token": [token]}),
        json!({"path": CLIENTS, "colour": token}),
        json!({"path": CLIENTS, "headers": {"X-Reseller-Api-Key": token}}),
        json!({"path": "no path", "token": token}),
        json!({"token": token}),
    ] {
        assert_eq!(gateway.admin_request("POST", "/admin/v1/explain", &body.to_string()).status, 400, "{body}");
    }
    assert_eq!(gateway.admin_request("DELETE", "/admin/v1/explain", "").expect_header("allow"), "GET, POST");
    let bare = send_request_to_host("localhost", gateway.admin, "GET", "/admin/v1/explain?path=/", &[], b"");
    assert_eq!(bare.status, 401);
    let lines =
        wait_for("audit lines", || Some(gateway.program.stderr()).filter(|err| err.contains("/admin/v1/explain")));
    assert!(!lines.contains("provider_id"), "no query in the audit line: {lines}");
}
