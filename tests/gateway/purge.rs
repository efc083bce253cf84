//! What becomes of what is held when an operator gives it up?
//! Given the real binary before a scripted partner, claims what callers get after each form of purge, and during one.
//! Never waits for a lifetime: what is fresh stays fresh for the whole test.

use serde_json::{Value, json};

use crate::support::{CLIENTS, Gate, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup, wait_for};

const OLD: &str = r#"{"client":{"id":"old"}}"#;
const NEW: &str = r#"{"client":{"id":"new"}}"#;

struct Scene {
    partner: ScriptedPartner,
    gateway: Gateway,
    token: String,
}

fn scene(set: impl FnOnce(Setup) -> Setup) -> Scene {
    let partner = ScriptedPartner::listen();
    let gateway = set(Setup::before(&partner).any_shape()).start();
    let token = gateway.token(&READING);
    Scene { partner, gateway, token }
}

impl Scene {
    fn purge(&self, body: &Value) -> Value {
        let answer = self.gateway.admin_request("POST", "/admin/v1/cache/purge", &body.to_string());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    fn get(&self, target: &str) -> Response {
        self.gateway.get_ok(&self.token, target)
    }

    /// Where an answer came from: `hit` or `fwd`, with what follows.
    fn came(&self, target: &str) -> String {
        let status = self.get(target).expect_header("cache-status");
        status.split("; ").nth(1).unwrap().to_owned()
    }
}

fn at(rest: &str) -> String {
    format!("{CLIENTS}{rest}")
}

#[test]
fn each_form_of_purge_takes_what_it_names_and_leaves_the_rest() {
    let scene = scene(|setup| setup);
    let targets = ["", "?provider_id=p1", "c1/", "c1/projects/", "c1/providers/p1/resources/", "c2/"].map(at);
    for target in &targets {
        scene.partner.respond_with(target, [Reply::json(NO_CLIENTS)]);
    }
    for (body, taken) in [
        (json!({"path": format!("{CLIENTS}c1")}), &[2][..]),
        (json!({"path": targets[1], "soft": false}), &[1]),
        (json!({"route": "clients"}), &[0, 1]),
        (json!({"client": "c1"}), &[0, 1, 2, 3, 4]),
        (json!({"all": true}), &[0, 1, 2, 3, 4, 5]),
        (json!({"client": "nobody"}), &[0, 1]),
    ] {
        targets.iter().for_each(|target| drop(scene.get(target)));
        assert!(targets.iter().all(|target| scene.came(target) == "hit"));
        assert_eq!(scene.purge(&body)["purged"], taken.len(), "{body}");
        for (nth, target) in targets.iter().enumerate() {
            let wanted = if taken.contains(&nth) { "fwd=uri-miss" } else { "hit" };
            assert_eq!(scene.came(target), wanted, "{body} {target}");
        }
    }
    assert_eq!(scene.purge(&json!({"path": at("c3/")}))["purged"], 0);
}

#[test]
fn a_soft_purge_is_answered_stale_once_more_and_refreshed_behind() {
    let scene = scene(|setup| setup);
    let client = at("c1/");
    scene.partner.respond_with(&client, [Reply::json(OLD), Reply::json(NEW)]);
    scene.get(&client);
    assert_eq!(scene.purge(&json!({"path": client, "soft": true}))["purged"], 1);
    let stale = scene.get(&client);
    assert_eq!(stale.text(), OLD);
    assert!(stale.expect_header("cache-status").contains("detail=stale-while-revalidate"), "{stale:?}");
    wait_for("the refresh", || (scene.get(&client).text() == NEW).then_some(()));
    assert_eq!((scene.came(&client).as_str(), scene.partner.count()), ("hit", 2));
}

#[test]
fn where_staleness_has_no_window_a_soft_purge_asks_again_first() {
    let scene = scene(|setup| setup.set("routes.client.stale_while_revalidate", "0s"));
    let client = at("c1/");
    let old = Reply::json(OLD).header("etag", "\"1\"");
    scene.partner.respond_with(&client, [old, Reply::status(304), Reply::json(NEW), Reply::status(500)]);
    scene.get(&client);
    for (wanted, cause) in [(OLD, "fwd=stale"), (NEW, "fwd=stale"), (NEW, "hit")] {
        scene.purge(&json!({"all": true, "soft": true}));
        let answer = scene.get(&client);
        assert_eq!(answer.text(), wanted);
        assert_eq!(answer.expect_header("cache-status").split("; ").nth(1), Some(cause), "{answer:?}");
    }
    assert_eq!(scene.partner.calls()[1].header("if-none-match"), Some("\"1\""));
}

#[test]
fn a_purge_during_a_flight_keeps_the_older_answer_out_and_starts_another() {
    for soft in [false, true] {
        let scene = scene(|setup| setup);
        let (client, gate) = (at("c1/"), Gate::default());
        scene.partner.respond_with(&client, [Reply::json(OLD).behind(&gate), Reply::json(NEW)]);
        let first = scene.gateway.call(&scene.token, &client);
        scene.partner.wait_for_calls(1);
        let said = scene.purge(&json!({"client": "c1", "soft": soft}));
        assert_eq!((&said["purged"], &said["flights_left_behind"]), (&json!(0), &json!(1)));
        // Who asks after the purge does not wait for the older flight.
        let second = scene.get(&client);
        assert_eq!((second.text().as_str(), scene.partner.count()), (NEW, 2));
        gate.open();
        let first = scene.gateway.seen(first.read_response(false));
        assert_eq!(first.text(), OLD, "who waited gets what came");
        assert!(first.expect_header("cache-status").contains("detail=purged"), "{first:?}");
        assert!(!first.expect_header("cache-status").contains("stored"), "{first:?}");
        let third = scene.get(&client);
        assert_eq!((third.text().as_str(), scene.partner.count()), (NEW, 2), "the older answer did not come back in");
    }
}

#[test]
fn a_purge_during_a_refresh_keeps_even_its_confirmation_out() {
    let scene = scene(|setup| setup.set("routes.client.ttl", "1ms").set("routes.client.stale_while_revalidate", "1h"));
    let (client, gate) = (at("c1/"), Gate::default());
    let old = Reply::json(OLD).header("etag", "\"1\"");
    scene.partner.respond_with(&client, [old, Reply::status(304).behind(&gate), Reply::json(NEW)]);
    scene.get(&client);
    wait_for("the refresh", || {
        scene.get(&client);
        (scene.partner.count() == 2).then_some(())
    });
    assert_eq!(scene.purge(&json!({"path": client}))["purged"], 1);
    gate.open();
    let answer = scene.get(&client);
    assert_eq!((answer.text().as_str(), scene.partner.count()), (NEW, 3));
    assert_eq!(scene.partner.calls()[2].header("if-none-match"), None, "what was purged is not confirmed");
}

#[test]
fn a_body_that_cannot_be_understood_says_what_to_write() {
    let scene = scene(|setup| setup);
    for (body, said) in [
        ("", "no JSON object"),
        ("[]", "no JSON object"),
        ("{}", "Send one of"),
        (r#"{"soft":true}"#, "Send one of"),
        (r#"{"all":true,"route":"clients"}"#, "Send one of"),
        (r#"{"all":false}"#, "`all` is true"),
        (r#"{"pth":"/"}"#, "\"pth\" is not known here"),
        (r#"{"path":7}"#, "`path` is a text"),
        (r#"{"all":true,"soft":"yes"}"#, "`soft` is true or false"),
        (r#"{"route":"clientz"}"#, "there are: clients, client,"),
        (r#"{"client":"../x"}"#, "`client` is an id"),
        (r#"{"path":"/clients/"}"#, "No route leads"),
        (r#"{"path":"clients"}"#, "begins with a slash"),
        (r#"{"path":"/reseller/admin/x"}"#, "No route leads"),
        (r#"{"path":"/reseller/account/v1/clients/?a=b"}"#, "\"a\" is not known"),
        (r#"{"path":"/reseller/account/v1/clients/../x"}"#, "dot segment"),
    ] {
        let answer = scene.gateway.admin_request("POST", "/admin/v1/cache/purge", body);
        assert_eq!(answer.status, 400, "{body} {answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(said), "{body} {answer:?}");
    }
    assert_eq!(scene.gateway.admin_request("GET", "/admin/v1/cache/purge", "").status, 405);
    for query in ["route=clientz", "limit=0", "limit=1001", "limit=x", "after=*", "what=1"] {
        let answer = scene.gateway.admin_request("GET", &format!("/admin/v1/cache/list?{query}"), "");
        assert_eq!(answer.status, 400, "{query} {answer:?}");
    }
}

#[test]
fn the_list_and_the_statistics_say_what_is_held_and_show_no_document() {
    let scene = scene(|setup| setup.set("routes.client.forward_headers", vec!["Accept-Language"]));
    for target in ["", "?provider_id=p1", "c1/", "c2/"].map(at) {
        scene.partner.respond_with(&target, [Reply::json(OLD)]);
        scene.get(&target);
    }
    let bearer = format!("Bearer {}", scene.token);
    scene.gateway.get(&at("c1/"), &[("authorization", &bearer), ("accept-language", "de")]);
    (0..3).for_each(|_| drop(scene.get(&at("c2/"))));
    let page = |query: &str| {
        let answer = scene.gateway.admin_request("GET", &format!("/admin/v1/cache/list{query}"), "");
        assert!(answer.status == 200 && !answer.text().contains("\"id\""), "{answer:?}");
        answer.json()
    };
    let all = page("");
    let rows = all["entries"].as_array().unwrap();
    assert_eq!((rows.len(), &all["next"]), (5, &Value::Null));
    let row = rows.iter().find(|row| row["key"] == at("c2/")).unwrap();
    assert_eq!(
        (&row["route"], &row["status"], &row["hits"], &row["variants"]),
        (&json!("client"), &json!(200), &json!(3), &json!(1))
    );
    assert!((58..=60).contains(&row["ttl"].as_i64().unwrap()) && row["age"].as_u64().unwrap() <= 2, "{row}");
    assert!((150..1000).contains(&row["size"].as_u64().unwrap()), "{row}");
    let split: Vec<_> = rows.iter().filter(|row| row["key"] == at("c1/")).map(|row| &row["forwarded"]).collect();
    assert!(split.contains(&&Value::Null) && split.contains(&&json!([["accept-language", "de"]])), "{split:?}");
    assert!(rows.iter().any(|row| row["key"] == at("?provider_id=p1")));
    let (mut seen, mut after) = (0, String::new());
    while let Some(next) = {
        let two = page(&format!("?route=client&limit=2{after}"));
        seen += two["entries"].as_array().unwrap().len();
        two["next"].as_str().map(str::to_owned)
    } {
        after = format!("&after={next}");
    }
    assert_eq!(seen, 3);
    let stats = scene.gateway.admin_request("GET", "/admin/v1/cache/stats", "").json();
    assert_eq!((&stats["entries"], &stats["evictions"]), (&json!(5), &json!(0)));
    let of_client = stats["routes"].as_array().unwrap().iter().find(|row| row["route"] == "client").unwrap();
    assert_eq!((&of_client["hit"], &of_client["miss"]), (&json!(3), &json!(3)), "{stats}");
    // Both variants are one resource.
    assert_eq!(scene.purge(&json!({"path": at("c1/")}))["purged"], 2);
}

#[test]
fn the_commands_purge_and_list_and_the_audit_line_says_who_did() {
    let scene = scene(|setup| setup);
    for target in ["", "c1/", "c2/"].map(at) {
        scene.partner.respond_with(&target, [Reply::json(OLD)]);
        scene.get(&target);
    }
    let run = |arguments: &[&str]| {
        let output = scene.gateway.command(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), text)
    };
    let (code, text) = run(&["cache", "list", "--route", "client", "--limit", "1"]);
    assert_eq!(code, Some(0), "{text}");
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert!(listed["entries"][0]["key"] == at("c1/") && listed["next"].is_string(), "{text}");
    let (code, text) = run(&["cache", "purge", "--client", "c1", "--soft", "--json"]);
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()["purged"].clone()), (Some(0), json!(2)));
    let (code, text) = run(&["cache", "purge", "--path", &at("c2/")]);
    assert_eq!((code, serde_json::from_str::<Value>(&text).unwrap()["purged"].clone()), (Some(0), json!(1)));
    wait_for("an audit line", || {
        let log = scene.gateway.program.stderr();
        let said = |line: &str| {
            line.contains("audit:")
                && line.contains("local:uid-")
                && line.contains("soft purge of client c1: 2 entries")
        };
        log.lines().any(said).then_some(())
    });
    let (code, text) = run(&["cache", "purge", "--route", "nothing"]);
    assert!(code == Some(1) && text.contains("No route has this name"), "{text}");
    assert_eq!(run(&["cache", "purge"]).0, Some(2));
    assert_eq!(run(&["cache", "purge", "--all", "--route", "clients"]).0, Some(2));
}
