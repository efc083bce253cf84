//! Does a changed file come into force as a whole, and without harm?
//! Given the real binary and files that change under it, hands back claims on what answers before and after.
//! Never trusts that a reload was fast: it was done when that was answered, or seen.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use toml::{Table, Value};

use crate::authority::{partner, two_callers};
use crate::support::{
    CLIENTS, Gate, Gateway, NO_CLIENTS, READING, Reply, Response, ScriptedPartner, Setup, ask, signal, wait_for,
};

const CLIENT: &str = "/reseller/account/v1/clients/c1/";

/// Puts the gateway's table into its file.
fn write(gateway: &Gateway) {
    gateway.write("gateway.toml", &gateway.table.to_string());
}

/// The same, and waits until it is in force.
fn reload(gateway: &Gateway) -> Response {
    write(gateway);
    let answer = gateway.admin_request("POST", "/admin/v1/reload", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

fn set(gateway: &mut Gateway, section: &str, key: &str, value: impl Into<Value>) {
    let section = gateway.table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    section.as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

fn app(gateway: &mut Gateway) -> &mut Table {
    gateway.table["callers"][0].as_table_mut().unwrap()
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let name = format!("reseller_gateway_{name} ");
    let metrics = gateway.metrics();
    metrics.lines().find_map(|line| line.strip_prefix(&name)).map_or(0, |many| many.parse().unwrap())
}

fn readiness(gateway: &Gateway) -> Response {
    ask(gateway.health, "GET", "/readyz", &[], b"")
}

/// Waits until the gateway signs as this one.
fn is_called(gateway: &Gateway, name: &str) {
    let via = format!("1.1 {name}");
    wait_for(name, || (gateway.get("/nowhere", &[]).expect_header("via") == via).then_some(()));
}

fn clients() -> (ScriptedPartner, Gateway, String) {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    (partner, gateway, token)
}

#[test]
fn a_narrowing_reload_acts_on_every_request_sent_after_its_answer() {
    let (partner, mut gateway, token) = clients();
    partner.respond_with(CLIENT, [Reply::json(r#"{"client":{}}"#)]);
    gateway.get_ok(&token, CLIENT);
    let (wide, all) = (app(&mut gateway)["scopes"].clone(), app(&mut gateway)["clients"].clone());
    // A scope is taken, or the client is outside of the bounds.
    for (key, narrow) in [("scopes", vec!["resources:read"]), ("clients", vec!["c2"])] {
        for _ in 0..4 {
            app(&mut gateway).insert(key.to_owned(), narrow.clone().into());
            let (answered, late, over) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
            let gateway_ = &gateway;
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        let mut refused = 0;
                        while refused < 10 {
                            let after = answered.load(Ordering::SeqCst);
                            match gateway_.read(&token, CLIENT).status {
                                200 if after => drop(late.fetch_add(1, Ordering::Relaxed)),
                                200 => drop(over.fetch_add(1, Ordering::Relaxed)),
                                403 => refused += 1,
                                other => panic!("{other}"),
                            }
                        }
                    });
                }
                wait_for("requests under way", || (over.load(Ordering::Relaxed) > 10).then_some(()));
                reload(gateway_);
                answered.store(true, Ordering::SeqCst);
            });
            assert_eq!(late.load(Ordering::Relaxed), 0);
            app(&mut gateway).insert("scopes".to_owned(), wide.clone());
            app(&mut gateway).insert("clients".to_owned(), all.clone());
            reload(&gateway);
            gateway.get_ok(&token, CLIENT);
        }
    }
}

/// A save that left half of a file for a moment ended the tokens of every caller in the other half, for good.
#[test]
fn a_caller_that_is_back_after_a_moment_has_its_tokens_again_and_somebody_else_of_its_name_has_not() {
    let partner = partner();
    let (mut gateway, _, support) = two_callers(&partner);
    let token = gateway.client_credentials_token("support", &support, "");
    gateway.get_ok(&token, CLIENTS);
    let mut removed = gateway.table["callers"].as_array_mut().unwrap().pop().unwrap();
    reload(&gateway);
    let refused = gateway.read(&token, CLIENTS);
    assert_eq!((refused.status, refused.expect_header("cache-status").as_str()), (401, "gw; detail=token-bad"));
    gateway.wait_for_log("audit: a caller is configured no more");
    let form = [("grant_type", "client_credentials"), ("client_id", "support"), ("client_secret", &*support)];
    assert_eq!(gateway.post("/oauth/token", &[], &form).status, 401);
    // Also after a restart it waits.
    gateway.restart();
    assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    gateway.table["callers"].as_array_mut().unwrap().push(removed.clone());
    reload(&gateway);
    gateway.get_ok(&token, CLIENTS);
    gateway.wait_for_log("audit: a caller is configured again");
    // The next of its name proves itself otherwise.
    gateway.table["callers"].as_array_mut().unwrap().pop();
    reload(&gateway);
    let (other, stored) = crate::authority::secret();
    removed["secrets"] = Value::from(vec![stored]);
    gateway.table["callers"].as_array_mut().unwrap().push(removed);
    reload(&gateway);
    let revoked = |gateway: &Gateway| {
        let refused = gateway.read(&token, CLIENTS);
        assert_eq!((refused.status, refused.json()["title"].as_str()), (401, Some("The token was revoked")));
    };
    revoked(&gateway);
    gateway.get_ok(&gateway.client_credentials_token("support", &other, ""), CLIENTS);
    gateway.restart();
    revoked(&gateway);
}

#[test]
fn the_tokens_of_a_caller_that_left_end_when_its_time_is_over_or_an_operator_says_so() {
    let partner = partner();
    let (mut gateway, _, support) = two_callers(&partner);
    for by_word in [true, false] {
        let token = gateway.client_credentials_token("support", &support, "");
        let removed = gateway.table["callers"].as_array_mut().unwrap().pop().unwrap();
        if !by_word {
            set(&mut gateway, "tokens", "removed_grace", "1s");
        }
        reload(&gateway);
        if by_word {
            let revoked = gateway.command(&["token", "revoke", "--caller", "support"]);
            assert!(revoked.status.success(), "{revoked:?}");
        } else {
            gateway.wait_for_log("audit: the tokens of a caller that is, or was, configured no more are revoked");
        }
        gateway.table["callers"].as_array_mut().unwrap().push(removed);
        reload(&gateway);
        let refused = gateway.read(&token, CLIENTS);
        assert_eq!((refused.status, refused.json()["title"].as_str()), (401, Some("The token was revoked")));
    }
    let nobody = gateway.command(&["token", "revoke", "--caller", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1), "{nobody:?}");
}

#[test]
fn a_reload_says_what_it_changes_and_a_rehearsal_changes_nothing() {
    let partner = partner();
    let (mut gateway, billing, support) = two_callers(&partner);
    let token = gateway.client_credentials_token("support", &support, "");
    gateway.get_ok(&token, CLIENTS);
    let (_, stored) = crate::authority::secret();
    gateway.table["callers"].as_array_mut().unwrap().pop();
    gateway.table["callers"][1]["secrets"] = Value::from(vec![stored.clone()]);
    set(&mut gateway, "server", "request_timeout", "7s");
    set(&mut gateway, "server", "workers", 1);
    let routes: Table = "query = [\"provider_id\", \"page\"]".parse().unwrap();
    set(&mut gateway, "routes", "clients", routes);
    // The rehearsal comes before the file is looked at for the second time.
    write(&gateway);
    let said = gateway.command(&["reload", "--dry-run"]);
    let lines = String::from_utf8(said.stdout).unwrap();
    assert!(said.status.success(), "{lines}");
    for wanted in [
        "server.request_timeout: \"20s\" -> \"7s\"\n",
        "server.workers: 2 -> 1 (waits for a restart)\n",
        "callers[support]: a table -> (not set)\n",
        "callers[billing].secrets: 1 (hidden), 1 of them gone -> 1 (hidden), 1 of them new\n",
        "route clients: its answers mean something else; 1 stored ones are given up\n",
        "caller support leaves: its 1 tokens are refused at once, and end at ",
    ] {
        assert!(lines.contains(wanted), "{wanted:?} is not in\n{lines}");
    }
    assert!(!lines.contains(&stored[7..]) && !lines.contains("sha256"), "{lines}");
    assert!(!gateway.program.stderr().contains("audit: configuration refused"));
    let answer = gateway.admin_request("POST", "/admin/v1/reload", "").json();
    if answer["changes"]["settings"].as_array().unwrap().is_empty() {
        // The file was looked at in between, which logs the same.
        gateway.wait_for_log("reload: caller support leaves: its 1 tokens are refused at once");
    } else {
        let support = &answer["changes"]["tokens"][0];
        assert_eq!((support["caller"].as_str(), support["becomes"].as_str()), (Some("support"), Some("refused")));
    }
    gateway.wait_for_log("reload: server.request_timeout: \\\"20s\\\" -> \\\"7s\\\"");
    assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    assert_eq!(gateway.admin_request("POST", "/admin/v1/reload?dry_run=maybe", "").status, 400);
    let _ = billing;
}

/// The command refused a faulty file by itself, and the gateway never heard of it.
#[test]
fn a_faulty_file_is_refused_by_the_gateway_itself() {
    let (_partner, mut gateway, token) = clients();
    let good = gateway.table.to_string();
    for bad in [
        format!("{good}\n[[callers]\n"),
        format!("nonsense = 1\n{good}"),
        format!("{good}\n[callers"),
        good.replace("[upstream]", "[upstreams]"),
    ] {
        let before = metric(&gateway, r#"reloads_total{result="bad"}"#);
        gateway.write("gateway.toml", &bad);
        for dry in [&["reload", "--dry-run"][..], &["reload"]] {
            let said = gateway.command(dry);
            let told = String::from_utf8_lossy(&said.stderr).into_owned();
            assert_eq!(said.status.code(), Some(2), "{told}");
            assert!(told.contains("gateway.toml:") && !told.contains("no gateway could be asked"), "{told}");
        }
        assert!(metric(&gateway, r#"reloads_total{result="bad"}"#) > before);
        gateway.wait_for_log(r#""actor":"local:uid-"#);
        gateway.get_ok(&token, CLIENTS);
    }
    // Another name in the file is no reason not to be let in: the commands prove themselves by the keys.
    gateway.write("gateway.toml", &good);
    set(&mut gateway, "server", "public_url", "http://127.0.0.1:9");
    write(&gateway);
    let said = gateway.command(&["reload"]);
    assert!(said.status.success(), "{said:?}");
    // Without a gateway the faults are still told.
    gateway.write("gateway.toml", "nonsense = 1\n");
    gateway.kill();
    let said = gateway.command(&["reload"]);
    assert_eq!(said.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no gateway could be asked"));
}

/// A grant that was asked for before its caller was taken out, and answered after, would be good once the name is back.
#[test]
fn no_token_that_was_handed_out_around_a_removal_lives_when_the_name_is_back() {
    let partner = partner();
    let (mut gateway, _, support) = two_callers(&partner);
    set(&mut gateway, "tokens", "removed_grace", "0s");
    reload(&gateway);
    let mut old: Vec<String> = Vec::new();
    for _ in 0..6 {
        let (given, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
        let removed = gateway.table["callers"].as_array_mut().unwrap().pop().unwrap();
        let gateway_ = &gateway;
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let form = [
                            ("grant_type", "client_credentials"),
                            ("client_id", "support"),
                            ("client_secret", &*support),
                        ];
                        let answer = gateway_.post("/oauth/token", &[], &form);
                        match answer.status {
                            200 => {
                                given.lock().unwrap().push(answer.json()["access_token"].as_str().unwrap().to_owned());
                            }
                            401 | 429 => {}
                            other => panic!("{other} {answer:?}"),
                        }
                    }
                });
            }
            wait_for("tokens", || (given.lock().unwrap().len() > 5).then_some(()));
            reload(gateway_);
            over.store(true, Ordering::Relaxed);
        });
        old.extend(given.into_inner().unwrap());
        gateway.table["callers"].as_array_mut().unwrap().push(removed);
        reload(&gateway);
        for token in &old {
            assert!(matches!(gateway.read(token, CLIENTS).status, 401 | 429));
        }
    }
    gateway.restart();
    for token in old.iter().take(40) {
        assert_eq!(gateway.read(token, CLIENTS).status, 401);
    }
}

#[test]
fn a_bad_file_keeps_what_is_in_force_and_shows_everywhere() {
    let (_partner, mut gateway, token) = clients();
    gateway.get_ok(&token, CLIENTS);
    let good = gateway.table.clone();
    set(&mut gateway, "server", "workerz", 3);
    set(&mut gateway, "server", "name", "another");
    set(&mut gateway, "routes", "clients", "many".parse::<String>().unwrap());
    write(&gateway);
    let refused = gateway.admin_request("POST", "/admin/v1/reload", "");
    assert_eq!((refused.status, refused.expect_header("content-type").as_str()), (422, "application/problem+json"));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    let checked = gateway.command(&["check"]);
    assert_eq!(
        String::from_utf8_lossy(&checked.stderr).trim_end(),
        detail.trim_end(),
        "all faults, as `check` has them"
    );
    assert!(detail.contains("did you mean `workers`?") && detail.contains("routes.clients"), "{detail}");
    let asked = gateway.command(&["reload"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&asked.stderr).contains("server.workerz"));
    assert_eq!(gateway.get_ok(&token, CLIENTS).expect_header("via"), "1.1 gw");
    let told = gateway.program.stderr();
    assert!(told.contains("the configuration is refused") && told.contains("server.workerz"), "{told}");
    assert!(told.contains("audit: configuration refused") && told.contains(r#""actor":"local:test""#), "{told}");
    assert_eq!(metric(&gateway, "configuration_refused"), 1);
    let bad = metric(&gateway, r#"reloads_total{result="bad"}"#);
    assert!((1..=2).contains(&bad), "{bad}");
    let ready = readiness(&gateway);
    assert_eq!((ready.status, ready.json()["status"].as_str()), (200, Some("degraded")));
    assert!(ready.text().contains("the configuration file is refused"), "{ready:?}");
    // Refused faults are not for whoever may ask for readiness.
    assert!(!ready.text().contains("workerz"));
    let since = metric(&gateway, "configuration_since_seconds");
    gateway.table = good;
    set(&mut gateway, "server", "name", "mended");
    reload(&gateway);
    assert_eq!(gateway.get_ok(&token, CLIENTS).expect_header("via"), "1.1 mended");
    assert_eq!(
        (metric(&gateway, "configuration_refused"), readiness(&gateway).json()["status"].as_str()),
        (0, Some("ready"))
    );
    assert!(metric(&gateway, "configuration_since_seconds") >= since && since > 1_700_000_000);
    // What the file names and cannot be had is a fault too.
    set(&mut gateway, "upstream", "api_key_file", "gone.key");
    write(&gateway);
    let refused = gateway.admin_request("POST", "/admin/v1/reload", "");
    assert_eq!(refused.status, 422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("gone.key"), "{refused:?}");
    gateway.get_ok(&token, CLIENTS);
}

#[test]
fn twenty_reloads_at_full_load_fail_nobody() {
    let (partner, mut gateway, token) = clients();
    let targets: Vec<String> = (0..40).map(|nth| format!("{CLIENTS}c{nth}/")).collect();
    for target in &targets {
        partner.respond_with(target, [Reply::json(r#"{"client":{}}"#)]);
    }
    let (over, answered, failed) = (AtomicBool::new(false), AtomicUsize::new(0), Mutex::new(Vec::new()));
    let good = gateway.table.clone();
    let (mut goods, mut bads) = (0, 0);
    std::thread::scope(|scope| {
        let (address, token, failed, answered, over, targets) =
            (gateway.address, &token, &failed, &answered, &over, &targets);
        for thread in 0..8 {
            scope.spawn(move || {
                let bearer = format!("Bearer {token}");
                for nth in (thread..).step_by(7) {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let answer = ask(address, "GET", &targets[nth % targets.len()], &[("authorization", &bearer)], b"");
                    if answer.status == 200 && answer.whole {
                        answered.fetch_add(1, Ordering::Relaxed);
                    } else {
                        failed.lock().unwrap().push(format!("{answer:?}"));
                    }
                }
            });
        }
        for nth in 0..20 {
            let before = answered.load(Ordering::Relaxed);
            gateway.table = good.clone();
            match nth % 5 {
                4 => set(&mut gateway, "server", "nonsense", true),
                3 => set(&mut gateway, "upstream", "timeout", "9s"),
                2 => set(&mut gateway, "routes", "client", Value::Table("query = [\"a\"]".parse().unwrap())),
                1 => set(&mut gateway, "views", "allow", vec!["clients[].x"]),
                _ => set(&mut gateway, "server", "name", format!("gw{nth}")),
            }
            write(&gateway);
            match gateway.admin_request("POST", "/admin/v1/reload", "").status {
                200 => goods += 1,
                422 => bads += 1,
                other => panic!("{other}"),
            }
            wait_for("requests", || (answered.load(Ordering::Relaxed) > before + 40).then_some(()));
        }
        over.store(true, Ordering::Relaxed);
    });
    assert_eq!(*failed.lock().unwrap(), Vec::<String>::new());
    assert_eq!((goods, bads), (16, 4));
    assert!(answered.load(Ordering::Relaxed) > 800);
}

#[test]
fn what_was_stored_under_another_meaning_of_a_route_is_out_of_reach() {
    let (partner, mut gateway, token) = clients();
    let of = |query: &str| format!("{CLIENTS}?{query}");
    let list = |name: &str| Reply::json(format!(r#"{{"clients":[{{"name":"{name}"}}]}}"#));
    partner.respond_with(&of("provider_id=p1"), [list("by-provider")]);
    partner.respond_with(&of("region=p1"), [list("by-region")]);
    gateway.get_ok(&token, &of("provider_id=p1"));
    // The parameters are numbered in the key, so that the first of them now is another.
    set(&mut gateway, "routes", "clients", Value::Table("query = [\"region\", \"provider_id\"]".parse().unwrap()));
    reload(&gateway);
    assert!(gateway.get_ok(&token, &of("region=p1")).text().contains("by-region"));
    assert!(gateway.get_ok(&token, &of("provider_id=p1")).text().contains("by-provider"));
    assert_eq!(partner.count(), 3);
    // What it was before is not it again: it may have been purged meanwhile.
    gateway.table.remove("routes");
    reload(&gateway);
    gateway.get_ok(&token, &of("provider_id=p1"));
    assert_eq!(partner.count(), 4);
    let listed = gateway.admin_request("GET", "/admin/v1/cache/list", "").json();
    assert_eq!(listed["entries"].as_array().unwrap().len(), 1, "{listed}");
    // Lifetimes are of what is stored from then on.
    set(&mut gateway, "routes", "clients", Value::Table("ttl = \"1h\"".parse().unwrap()));
    reload(&gateway);
    assert_eq!(gateway.outcome(&gateway.get_ok(&token, &of("provider_id=p1"))), "hit");
    assert_eq!(gateway.get_ok(&token, &of("provider_id=p1")).expect_header("cache-control"), "private, max-age=60");
    assert!(gateway.get_ok(&token, CLIENTS).expect_header("cache-control").ends_with("max-age=3600"));
}

#[test]
fn extra_routes_that_change_places_do_not_change_answers_and_counts_stay_by_name() {
    let (partner, mut gateway, _) = clients();
    let token = gateway.token(&["other:read", "pii:read"]);
    let extra = |name: &str| -> Value {
        let text = format!("name = \"{name}\"\npath = \"/reseller/{name}/{{*rest}}\"\nscope = \"other:read\"");
        Value::Table(text.parse().unwrap())
    };
    let store = |mut route: Value| {
        route.as_table_mut().unwrap().insert("mode".to_owned(), "standard".into());
        route.as_table_mut().unwrap().insert("store".to_owned(), true.into());
        route
    };
    for name in ["one", "two"] {
        let reply = Reply::json(format!("\"{name}\"")).header("cache-control", "max-age=600");
        partner.respond_with(&format!("/reseller/{name}/x"), [reply]);
    }
    let (one, two) = (store(extra("one")), store(extra("two")));
    gateway.table.insert("extra_routes".to_owned(), vec![one.clone(), two.clone()].into());
    reload(&gateway);
    assert_eq!(gateway.get_ok(&token, "/reseller/one/x").text(), "\"one\"");
    gateway.table.insert("extra_routes".to_owned(), vec![two, one].into());
    reload(&gateway);
    for name in ["one", "two"] {
        assert_eq!(gateway.get_ok(&token, &format!("/reseller/{name}/x")).text(), format!("\"{name}\""));
    }
    let counted = |name: &str, cause: &str| {
        metric(&gateway, &format!(r#"partner_calls_total{{route="{name}",cause="{cause}"}}"#))
    };
    assert_eq!((counted("one", "miss"), counted("two", "miss")), (2, 1));
    gateway.table.remove("extra_routes");
    reload(&gateway);
    assert_eq!(gateway.read(&token, "/reseller/one/x").status, 404);
    let counted = metric(&gateway, r#"partner_calls_total{route="one",cause="miss"}"#);
    assert_eq!(counted, 2, "no counter goes back");
}

#[test]
fn another_partner_has_said_nothing_of_what_is_stored_and_its_key_and_pause_are_its_own() {
    let (partner, mut gateway, token) = clients();
    gateway.get_ok(&token, CLIENTS);
    partner.respond_with(CLIENT, [Reply::status(429).header("retry-after", "600")]);
    assert_eq!(gateway.read(&token, CLIENT).status, 503);
    wait_for("the file", || gateway.file("state/gate.json").exists().then_some(()));
    let other = ScriptedPartner::listen();
    other.respond_with(CLIENTS, [Reply::json(r#"{"clients":[{"name":"of the other"}]}"#)]);
    gateway.write("other.key", "another-key-of-another-partner\n");
    gateway.keep_secret("another-key-of-another-partner");
    set(&mut gateway, "upstream", "url", other.url());
    set(&mut gateway, "upstream", "api_key_file", "other.key");
    reload(&gateway);
    assert!(gateway.get_ok(&token, CLIENTS).text().contains("of the other"));
    assert_eq!(other.calls()[0].header("x-reseller-api-key"), Some("another-key-of-another-partner"));
    assert_eq!((partner.count(), other.count()), (2, 1));
    // What is kept for a restart follows the partner in force.
    wait_for("the file to go", || (!gateway.file("state/gate.json").exists()).then_some(()));
    other.respond_with(CLIENT, [Reply::status(429).header("retry-after", "600")]);
    assert_eq!(gateway.read(&token, CLIENT).status, 503);
    wait_for("the other's wish", || {
        let kept = std::fs::read_to_string(gateway.file("state/gate.json")).ok()?;
        kept.contains(other.url().as_str()).then_some(())
    });
    gateway.restart();
    assert_eq!(gateway.read(&token, CLIENT).status, 503);
    assert_eq!(other.count(), 2);
}

#[test]
fn the_account_of_calls_made_and_saved_goes_on_by_the_names_of_callers_and_routes() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = Setup::before(&partner).caller("billing", &["clients:read", "pii:read"], "").start();
    let issued = gateway.issue("billing", &["clients:read", "pii:read"], &[]);
    let billing = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
    let made =
        |gateway: &Gateway, caller| metric(gateway, &format!("partner_calls_by_caller_total{{caller=\"{caller}\"}}"));
    let saved =
        |gateway: &Gateway, caller| metric(gateway, &format!("calls_saved_by_caller_total{{caller=\"{caller}\"}}"));
    gateway.get_ok(&billing, CLIENTS);
    gateway.get_ok(&billing, CLIENTS);
    let app = gateway.token(&READING);
    gateway.get_ok(&app, CLIENTS);
    wait_for("the account", || (saved(&gateway, "app") == 1 && saved(&gateway, "billing") == 1).then_some(()));
    // They change places, and one of them is another.
    let callers = gateway.table["callers"].as_array_mut().unwrap();
    callers.reverse();
    callers[1].as_table_mut().unwrap().insert("name".to_owned(), "next".into());
    reload(&gateway);
    gateway.get_ok(&billing, CLIENTS);
    wait_for("the next hit", || (saved(&gateway, "billing") == 2).then_some(()));
    assert_eq!((saved(&gateway, "app"), saved(&gateway, "next")), (1, 0), "no counter goes back");
    assert_eq!((made(&gateway, "billing"), made(&gateway, "app"), made(&gateway, "next")), (1, 0, 0));
    assert_eq!(metric(&gateway, r#"calls_saved_total{route="clients",kind="hit"}"#), 3);
}

#[test]
fn the_partners_authority_is_read_again_also_where_its_file_has_the_same_name() {
    let (pem, tls) = crate::path::authority();
    let (other, _) = crate::path::authority();
    let partner = ScriptedPartner::listen_with(tls);
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), other).unwrap();
    let gateway = Setup::before(&partner).set("upstream.ca_file", file.path().to_str().unwrap()).start();
    let token = gateway.token(&READING);
    assert_eq!(gateway.read(&token, CLIENTS).status, 502);
    std::fs::write(file.path(), pem).unwrap();
    reload(&gateway);
    gateway.get_ok(&token, CLIENTS);
    std::fs::write(file.path(), "no certificate").unwrap();
    let refused = gateway.admin_request("POST", "/admin/v1/reload", "");
    assert_eq!(refused.status, 422);
    assert!(refused.json()["detail"].as_str().unwrap().contains("upstream.ca_file"), "{refused:?}");
    gateway.get_ok(&token, CLIENTS);
}

#[test]
fn a_pause_that_the_partner_asked_for_outlives_a_reload() {
    let (partner, mut gateway, token) = clients();
    partner.respond_with(CLIENT, [Reply::status(429).header("retry-after", "600")]);
    assert_eq!(gateway.read(&token, CLIENT).status, 503);
    set(&mut gateway, "server", "name", "next");
    gateway.table["upstream"]["budget"].as_table_mut().unwrap().insert("max_in_flight".to_owned(), 5.into());
    reload(&gateway);
    assert_eq!(gateway.read(&token, CLIENTS).status, 503);
    assert_eq!(partner.count(), 1);
}

#[test]
fn what_a_caller_has_spent_stays_spent_and_its_new_limits_count() {
    let (partner, mut gateway, token) = clients();
    let limit = |gateway: &mut Gateway, text: &str| {
        app(gateway).insert("limits".to_owned(), Value::Table(text.parse().unwrap()));
        reload(gateway);
    };
    limit(&mut gateway, "requests = \"1/h\"\nburst = 2");
    gateway.get_ok(&token, CLIENTS);
    gateway.get_ok(&token, CLIENTS);
    assert_eq!(gateway.read(&token, CLIENTS).status, 429);
    set(&mut gateway, "server", "name", "next");
    reload(&gateway);
    assert_eq!(gateway.read(&token, CLIENTS).status, 429);
    // An hour's wait under the old limits is none under these.
    limit(&mut gateway, "requests = \"100/s\"\nburst = 2");
    wait_for("the new limit", || (gateway.read(&token, CLIENTS).status == 200).then_some(()));
    // A place is given back by whoever took it, before or after.
    let gate = Gate::default();
    partner.respond_with(CLIENT, [Reply::json(r#"{"client":{}}"#).behind(&gate)]);
    limit(&mut gateway, "concurrent = 1");
    let calls = partner.count();
    let held = gateway.call(&token, CLIENT);
    partner.wait_for_calls(calls + 1);
    limit(&mut gateway, "concurrent = 1\nupstream = \"50/s\"");
    assert_eq!(gateway.read(&token, CLIENTS).status, 429);
    gate.open();
    assert_eq!(held.read_response(false).status, 200);
    wait_for("the place", || (gateway.read(&token, CLIENTS).status == 200).then_some(()));
    assert_eq!(gateway.read(&token, CLIENTS).status, 200);
}

#[test]
fn a_fetch_that_is_under_way_is_joined_across_a_reload() {
    let (partner, mut gateway, token) = clients();
    let gate = Gate::default();
    partner.respond_with(CLIENT, [Reply::json(r#"{"client":{}}"#).behind(&gate)]);
    let before = gateway.call(&token, CLIENT);
    partner.wait_for_calls(1);
    set(&mut gateway, "server", "name", "next");
    reload(&gateway);
    let after = gateway.call(&token, CLIENT);
    wait_for("the second request", || (metric(&gateway, "connections") == 2).then_some(()));
    gate.open();
    let (before, after) = (before.read_response(false), after.read_response(false));
    assert_eq!((before.expect_header("via"), after.expect_header("via")), ("1.1 gw".to_owned(), "1.1 next".to_owned()));
    assert_eq!((before.status, after.status, partner.count()), (200, 200, 1));
}

#[test]
fn who_was_let_in_before_does_not_queue_behind_strangers_after() {
    let (_partner, mut gateway, token) = clients();
    gateway.get_ok(&token, CLIENTS);
    let fresh = gateway.token(&["clients:read"]);
    let bad = format!("{}x", gateway.token(&["clients:read"]));
    let flood = || {
        wait_for("the patience to end", || (gateway.read(&bad, CLIENTS).status == 429).then_some(()));
    };
    flood();
    set(&mut gateway, "server", "name", "next");
    let (address, stop) = (gateway.address, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (bad, stop) = (&bad, &stop);
        scope.spawn(move || {
            let bearer = format!("Bearer {bad}");
            while !stop.load(Ordering::Relaxed) {
                ask(address, "GET", CLIENTS, &[("authorization", &bearer)], b"");
            }
        });
        reload(&gateway);
        let refused = wait_for("a stranger's turn", || {
            let answer = gateway.read(&fresh, CLIENTS);
            (answer.status == 429).then_some(answer)
        });
        assert_eq!(refused.expect_header("via"), "1.1 next");
        assert_eq!(gateway.read(&token, CLIENTS).status, 200);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_is_applied() {
    let (_partner, mut gateway, token) = clients();
    set(&mut gateway, "server", "workers", 3);
    set(&mut gateway, "server", "name", "next");
    set(&mut gateway, "cache", "max_bytes", "8MiB");
    set(&mut gateway, "state", "dir", "elsewhere");
    set(&mut gateway, "health", "listen", "127.0.0.1:1");
    gateway.table["listeners"].as_array_mut().unwrap().push(Value::Table("address = \"127.0.0.1:2\"".parse().unwrap()));
    let wanted = ["server.workers", "listeners", "health.listen", "cache.max_bytes", "tokens.keys_dir", "state.dir"];
    for _ in 0..2 {
        let answer = reload(&gateway);
        assert_eq!(answer.json()["restart_needed"], serde_json::json!(wanted), "again and again");
    }
    assert_eq!(gateway.get_ok(&token, CLIENTS).expect_header("via"), "1.1 next");
    let told = gateway.program.stderr();
    assert!(told.contains("these settings take effect with a restart") && told.contains("server.workers"), "{told}");
    assert_eq!(readiness(&gateway).status, 200);
}

#[test]
fn an_ambient_caller_comes_and_goes_with_the_file() {
    let (_partner, mut gateway, _) = clients();
    let port = gateway.address.port();
    let anonymous = |gateway: &Gateway| {
        let host = format!("localhost:{port}");
        crate::support::send_request_to_host(&host, gateway.address, "GET", CLIENTS, &[], b"").status
    };
    assert_eq!(anonymous(&gateway), 401);
    gateway.table["listeners"][0].as_table_mut().unwrap().insert("ambient".to_owned(), "app".into());
    assert_eq!(reload(&gateway).json()["restart_needed"], serde_json::json!([]));
    assert_eq!(anonymous(&gateway), 200);
    gateway.table["listeners"][0].as_table_mut().unwrap().remove("ambient");
    reload(&gateway);
    assert_eq!(anonymous(&gateway), 401);
}

#[test]
fn fifty_signals_in_a_row_end_in_the_last_files_state() {
    let (_partner, mut gateway, token) = clients();
    for nth in 0..50 {
        set(&mut gateway, "server", "name", format!("gw{nth}"));
        write(&gateway);
        signal(&gateway.program, "HUP");
    }
    is_called(&gateway, "gw49");
    gateway.get_ok(&token, CLIENTS);
    let told = gateway.program.stderr();
    assert!(told.contains("audit: configuration reloaded") && told.contains(r#""actor":"SIGHUP""#), "{told}");
    assert_eq!(metric(&gateway, r#"reloads_total{result="bad"}"#), 0);
}

#[test]
fn a_file_that_changed_is_put_in_force_by_itself_through_the_links_of_a_mounted_folder_too() {
    let (_partner, mut gateway, token) = clients();
    set(&mut gateway, "server", "name", "second");
    write(&gateway);
    is_called(&gateway, "second");
    gateway.wait_for_log(r#""actor":"file""#);
    // As Kubernetes mounts a ConfigMap: a link to a link to a folder, and a change moves the one in the middle.
    let folder = gateway.file("");
    let version = |gateway: &mut Gateway, name: &str| {
        set(gateway, "server", "name", name);
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("gateway.toml"), gateway.table.to_string()).unwrap();
        std::os::unix::fs::symlink(name, folder.join("..new")).unwrap();
        std::fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    };
    version(&mut gateway, "third");
    std::os::unix::fs::symlink("..data/gateway.toml", folder.join("link")).unwrap();
    std::fs::rename(folder.join("link"), folder.join("gateway.toml")).unwrap();
    is_called(&gateway, "third");
    version(&mut gateway, "fourth");
    is_called(&gateway, "fourth");
    gateway.get_ok(&token, CLIENTS);
    // One that is gone changes nothing, and one with a fault neither.
    std::fs::remove_file(folder.join("gateway.toml")).unwrap();
    std::fs::write(folder.join("gateway.toml"), "[server").unwrap();
    wait_for("the fault to be seen", || (metric(&gateway, "configuration_refused") == 1).then_some(()));
    assert_eq!(gateway.get_ok(&token, CLIENTS).expect_header("via"), "1.1 fourth");
}

#[test]
fn a_rotation_leaves_audit_lines_by_whoever_did_it_and_whoever_noticed() {
    let (_partner, gateway, _) = clients();
    let rotated = gateway.command(&["keys", "rotate", "--drop-old"]);
    let told = String::from_utf8_lossy(&rotated.stderr).into_owned();
    assert!(
        told.contains("audit: a signing key was made") && told.contains("audit: signing keys were removed"),
        "{told}"
    );
    assert!(told.contains("local:uid-"), "{told}");
    wait_for("the server to notice", || {
        gateway.program.stderr().contains("audit: the signing keys are others now").then_some(())
    });
}

#[test]
fn a_signal_to_end_fails_none_of_five_hundred_requests_under_way() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    let targets: Vec<String> = (0..25).map(|nth| format!("{CLIENTS}c{nth}/")).collect();
    for target in &targets {
        partner.respond_with(target, [Reply::json(r#"{"client":{}}"#).behind(&gate)]);
    }
    let mut gateway =
        Setup::before(&partner).set("server.drain_delay", "1s").set("server.shutdown_grace", "15s").start();
    let token = gateway.token(&READING);
    let callers: Vec<_> = (0..500).map(|nth| gateway.call(&token, &targets[nth % targets.len()])).collect();
    wait_for("500 connections", || (metric(&gateway, "connections") == 500).then_some(()));
    partner.wait_for_calls(targets.len());
    signal(&gateway.program, "TERM");
    wait_for("readiness to end", || (readiness(&gateway).status == 503).then_some(()));
    // Others have not heard of it yet: they are served, and asked not to come back over this connection.
    let late = gateway.read(&token, "/-/me");
    assert_eq!((late.status, late.expect_header("connection").as_str()), (200, "close"));
    let address = gateway.address;
    wait_for("the listener to close", || std::net::TcpStream::connect(address).is_err().then_some(()));
    gate.open();
    for caller in callers {
        let answer = caller.read_response(false);
        assert_eq!((answer.status, answer.whole), (200, true), "{answer:?}");
    }
    assert_eq!(gateway.program.wait_for_exit(Duration::from_secs(10)).code(), Some(0));
    let lines = gateway.program.stdout().lines().filter(|line| line.contains(r#""route":"client""#)).count();
    assert_eq!(lines, 500, "the log is flushed");
}
