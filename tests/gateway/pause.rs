//! Is the partner still left alone after a restart?
//! Given a partner that asked for a pause, kills the gateway, starts it again, and holds it to that word.
//! Never waits for the file: what counts is what the partner gets to see.

use std::time::{Duration, Instant};

use crate::support::{CLIENTS, Gate, Gateway, NO_CLIENTS, READING, Reply, ScriptedPartner, Setup, wait_for};

const FILE: &str = "state/gate.json";

fn paused(partner: &ScriptedPartner, seconds: u64) -> (Gateway, String, Instant) {
    partner.respond_with(CLIENTS, [Reply::status(429).header("retry-after", &seconds.to_string())]);
    let gateway = Setup::before(partner).start();
    let token = gateway.token(&READING);
    assert_eq!(gateway.read(&token, CLIENTS).status, 503);
    let told = partner.calls()[0].at;
    wait_for("the file", || gateway.file(FILE).exists().then_some(()));
    (gateway, token, told)
}

#[test]
fn a_killed_gateway_still_leaves_the_partner_alone_and_says_for_how_long() {
    let partner = ScriptedPartner::listen();
    let (mut gateway, token, _) = paused(&partner, 30);
    gateway.restart();
    let answer = gateway.read(&token, CLIENTS);
    assert_eq!(answer.status, 503);
    let left: u64 = answer.expect_header("retry-after").parse().unwrap();
    assert!((15..=30).contains(&left), "{left}");
    assert!(
        gateway
            .metrics()
            .contains(r#"reseller_gateway_partner_gate_closed{why="paused-by-partner",routes="documented"} 1"#)
    );
    assert_eq!(partner.count(), 1);
}

#[test]
fn after_a_restart_too_one_probe_opens_when_the_time_is_over() {
    let partner = ScriptedPartner::listen();
    let (mut gateway, token, told) = paused(&partner, 3);
    gateway.restart();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let mut waiting = Vec::new();
    let probe = wait_for("the probe", || {
        waiting.push(gateway.call(&token, CLIENTS));
        (partner.count() > 1).then(|| partner.calls()[1].at)
    });
    assert!(probe - told >= Duration::from_millis(2_900), "back after {:?}", probe - told);
    waiting.extend((0..10).map(|_| gateway.call(&token, &format!("{CLIENTS}?provider_id=p"))));
    partner.respond_with(&format!("{CLIENTS}?provider_id=p"), [Reply::json(NO_CLIENTS)]);
    assert_eq!(partner.count(), 2, "a second call while the probe is under way");
    gate.open();
    wait_for("the file to go", || (!gateway.file(FILE).exists()).then_some(()));
    wait_for("the partner to be asked again", || (partner.count() == 3).then_some(()));
}

#[test]
fn a_damaged_file_is_said_and_stops_nothing() {
    let partner = ScriptedPartner::listen();
    let (mut gateway, token, _) = paused(&partner, 30);
    std::fs::write(gateway.file(FILE), "{\"until\":").unwrap();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    gateway.restart();
    gateway.get_ok(&token, CLIENTS);
    gateway.wait_for_log("gate.json");
}
