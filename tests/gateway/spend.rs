//! What is told of calls made and calls saved?
//! Given callers that miss, hit, join and get stale answers, holds the account to the partner's own record.
//! Never trusts one door alone: the admin listener, the command and the metrics must say the same.

use crate::support::{CLIENTS, Gate, Gateway, NO_CLIENTS, READING, Reply, ScriptedPartner, Setup, wait_for};

const ONE: &str = "/reseller/account/v1/clients/one/";
const BODY: &str = r#"{"client":{}}"#;

fn account(gateway: &Gateway) -> serde_json::Value {
    let answer = gateway.admin_request("GET", "/admin/v1/spend", "");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The row of a list whose members are these.
fn row(account: &serde_json::Value, list: &str, names: &[(&str, serde_json::Value)]) -> serde_json::Value {
    let rows = account[list].as_array().unwrap();
    let found = rows.iter().find(|row| names.iter().all(|(name, value)| &row[*name] == value));
    found.unwrap_or_else(|| panic!("no {names:?} in {account:#}")).clone()
}

fn counts(row: &serde_json::Value) -> [u64; 10] {
    ["calls", "miss", "revalidate", "refresh", "retry", "pass", "saved", "hit", "stale", "collapsed"]
        .map(|name| row[name].as_u64().unwrap_or_else(|| panic!("no {name} in {row}")))
}

#[test]
fn every_call_is_charged_to_who_started_it_and_a_refresh_to_nobody() {
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    partner.respond_with(ONE, [Reply::json(BODY)]);
    let setup = Setup::before(&partner).caller("billing", &["clients:read", "pii:read"], "");
    let gateway = setup.start();
    let app = gateway.token(&READING);
    let issued = gateway.issue("billing", &["clients:read", "pii:read"], &[]);
    let billing = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());

    // One call for three who wait; who started it pays.
    let mut waiting = vec![gateway.call(&billing, CLIENTS)];
    partner.wait_for_calls(1);
    waiting.extend([gateway.call(&app, CLIENTS), gateway.call(&app, CLIENTS)]);
    // Only once both are in flight is the gate opened: a request that comes later is a hit.
    wait_for("both to wait", || gateway.metrics().contains("reseller_gateway_connections 3\n").then_some(()));
    gate.open();
    assert!(waiting.into_iter().all(|caller| gateway.seen(caller.read_response(false)).status == 200));
    (0..4).for_each(|_| drop(gateway.get_ok(&billing, CLIENTS)));

    // A miss of app's, then a stale answer for billing whose refresh is nobody's.
    gateway.get_ok(&app, ONE);
    let soft = serde_json::json!({"path": ONE, "soft": true}).to_string();
    assert_eq!(gateway.admin_request("POST", "/admin/v1/cache/purge", &soft).json()["purged"], 1);
    gateway.get_ok(&billing, ONE);
    partner.wait_for_calls(3);

    let said = wait_for("the account", || {
        let said = account(&gateway);
        (said["all"]["calls"] == 3 && said["all"]["saved"] == 7).then_some(said)
    });
    let billing_row = counts(&row(&said, "callers", &[("caller", "billing".into())]));
    assert_eq!(billing_row, [1, 1, 0, 0, 0, 0, 5, 4, 1, 0]);
    let app_row = counts(&row(&said, "callers", &[("caller", "app".into())]));
    assert_eq!((app_row[0], app_row[1], app_row[6]), (1, 1, 2), "{app_row:?}");
    assert_eq!(counts(&row(&said, "callers", &[("caller", ().into())])), [1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    assert_eq!(counts(&row(&said, "routes", &[("route", "client".into())])), [2, 1, 0, 1, 0, 0, 1, 0, 1, 0]);
    let both = row(&said, "routes_and_callers", &[("route", "client".into()), ("caller", "billing".into())]);
    assert_eq!(counts(&both), [0, 0, 0, 0, 0, 0, 1, 0, 1, 0]);
    assert_eq!(said["all"]["calls"], partner.count());

    let metrics = gateway.metrics();
    for line in [
        r#"partner_calls_total{route="client",cause="refresh"} 1"#,
        r#"calls_saved_total{route="client",kind="stale"} 1"#,
        r#"partner_calls_by_caller_total{caller=""} 1"#,
        r#"partner_calls_by_caller_total{caller="billing"} 1"#,
        r#"calls_saved_by_caller_total{caller="billing"} 5"#,
    ] {
        assert!(metrics.contains(&format!("reseller_gateway_{line}\n")), "no {line} in {metrics}");
    }
}

/// It was credited with a call saved although it had just paid for one that failed.
#[test]
fn who_paid_for_a_call_that_failed_has_saved_none() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(ONE, [Reply::json(BODY), Reply::status(500)]);
    let setup = Setup::before(&partner).set("routes.client.ttl", "50ms").set("upstream.retry.attempts", 0);
    let gateway = setup.set("routes.client.stale_while_revalidate", "0s").start();
    let token = gateway.token(&READING);
    gateway.get_ok(&token, ONE);
    let stale = wait_for("a stale answer after a failed call", || {
        let answer = gateway.read(&token, ONE);
        (gateway.outcome(&answer) == "stale").then_some(partner.count())
    });
    assert_eq!(stale, 2);
    let said = account(&gateway);
    assert_eq!((said["all"]["calls"].as_u64(), said["all"]["stale"].as_u64()), (Some(2), Some(0)), "{said:#}");
}

#[test]
fn the_command_prints_the_account_of_the_running_gateway() {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).set("upstream.budget.rate", "10/s").start();
    let token = gateway.token(&READING);
    (0..3).for_each(|_| drop(gateway.get_ok(&token, CLIENTS)));
    let told = gateway.command(&["spend"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let said: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(counts(&said["all"]), [1, 1, 0, 0, 0, 0, 2, 2, 0, 0]);
    assert!(said["budget"]["left"].as_u64().unwrap() <= 20, "{said:#}");
    let since: jiff::Timestamp = said["since"].as_str().unwrap().parse().unwrap();
    assert!(since <= jiff::Timestamp::now() && since.duration_until(jiff::Timestamp::now()).as_secs() < 60);

    let refused = gateway.admin_request("POST", "/admin/v1/spend", "");
    assert_eq!((refused.status, refused.expect_header("allow").as_str()), (405, "GET"));
}
