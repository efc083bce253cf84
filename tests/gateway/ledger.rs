//! Does a revocation hold whatever happens?
//! Given the real binary under load, killed again and again, damaged and restored, claims what is refused afterwards.
//! Never trusts what was not answered: only answers bind.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit};

use crate::authority::{partner, two_callers};
use crate::support::{CLIENTS, Connection, Gateway, Setup, free_port, program, request, signal, wait_for};

fn try_grant(gateway: &Gateway, secret: &str) -> Option<String> {
    let form = [("grant_type", "client_credentials"), ("client_id", "billing"), ("client_secret", secret)];
    let answer = gateway.post("/oauth/token", &[], &form);
    (answer.status == 200 && answer.whole).then(|| answer.json()["access_token"].as_str().unwrap().to_owned())
}

fn revoke(gateway: &Gateway, token: &str) -> bool {
    let bearer = format!("Bearer {token}");
    let answer = gateway.post("/oauth/revoke", &[("authorization", &bearer)], &[("token", token)]);
    answer.status == 200 && answer.whole
}

#[test]
fn what_was_answered_survives_being_killed_at_any_instant() {
    let partner = partner();
    let (mut gateway, billing, _) = two_callers(&partner);
    let mut good: Vec<String> = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for round in 0..12 {
        let (issued, revoked) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
        let unsure = Mutex::new(Vec::new());
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let Some(token) = try_listening(|| try_grant(&gateway, &billing)) else { continue };
                        let Some(other) = try_listening(|| try_grant(&gateway, &billing)) else {
                            issued.lock().unwrap().push(token);
                            continue;
                        };
                        issued.lock().unwrap().push(token);
                        match try_listening(|| revoke(&gateway, &other).then_some(())) {
                            Some(()) => revoked.lock().unwrap().push(other),
                            // It may have been noted, and may not: only an answer binds.
                            None => unsure.lock().unwrap().push(other),
                        }
                    }
                });
            }
            // In the middle of whatever follows the answer that comes then.
            let answered = || issued.lock().unwrap().len() + revoked.lock().unwrap().len();
            wait_for("answers", || (answered() > 2 * round % 13).then_some(()));
            signal(&gateway.program, "KILL");
            over.store(true, Ordering::Relaxed);
        });
        good.extend(issued.into_inner().unwrap());
        taken.extend(revoked.into_inner().unwrap());
        gateway.restart();
        for token in good.iter().rev().take(20) {
            gateway.get_ok(token, "/-/me");
        }
        for token in taken.iter().rev().take(20) {
            assert_eq!(gateway.read(token, "/-/me").status, 401, "round {round}");
        }
    }
    assert!(good.len() > 5 && taken.len() > 5, "{} good, {} taken back", good.len(), taken.len());
    let listed = gateway.command(&["token", "list", "--caller", "billing"]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(rows.len() >= good.len() + taken.len(), "{} rows", rows.len());
    for token in &taken {
        // So many bad ones from one address are not even looked at any more.
        assert!(matches!(gateway.read(token, "/-/me").status, 401 | 429));
    }
}

/// A connection that is refused or cut is no answer.
fn try_listening<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).ok().flatten()
}

#[test]
fn no_request_sent_after_a_revocations_answer_is_served_under_load() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    gateway.get_ok(&gateway.client_credentials_token("billing", &billing, ""), CLIENTS);
    for _ in 0..10 {
        let token = gateway.client_credentials_token("billing", &billing, "");
        let (answered, served, late) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    let mut refused = 0;
                    while refused < 20 {
                        // Read before the request is sent: what is sent after the answer has to be refused.
                        let after = answered.load(Ordering::SeqCst);
                        match gateway.read(&token, CLIENTS).status {
                            200 if after => drop(late.fetch_add(1, Ordering::Relaxed)),
                            200 => drop(served.fetch_add(1, Ordering::Relaxed)),
                            401 => refused += 1,
                            other => panic!("{other}"),
                        }
                    }
                });
            }
            wait_for("requests under way", || (served.load(Ordering::Relaxed) > 20).then_some(()));
            assert!(revoke(&gateway, &token));
            answered.store(true, Ordering::SeqCst);
        });
        assert_eq!(late.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_caller_that_was_deleted_and_is_back_too_late_does_not_revive_its_tokens() {
    let partner = partner();
    let (mut gateway, _, support) = two_callers(&partner);
    let grace: toml::Table = "removed_grace = \"0s\"".parse().unwrap();
    gateway.table.insert("tokens".to_owned(), grace.into());
    gateway.restart();
    let token = gateway.client_credentials_token("support", &support, "");
    gateway.get_ok(&token, CLIENTS);
    let removed = gateway.table["callers"].as_array_mut().unwrap().pop().unwrap();
    assert_eq!(removed["name"].as_str(), Some("support"));
    gateway.restart();
    assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    gateway.wait_for_log("audit: the tokens of a caller that is, or was, configured no more are revoked");
    gateway.table["callers"].as_array_mut().unwrap().push(removed);
    gateway.restart();
    let refused = gateway.read(&token, CLIENTS);
    assert_eq!((refused.status, refused.json()["title"].as_str()), (401, Some("The token was revoked")));
    gateway.get_ok(&gateway.client_credentials_token("support", &support, ""), CLIENTS);
}

#[test]
fn a_narrowed_caller_has_narrower_tokens_from_the_start_on() {
    let partner = partner();
    let (mut gateway, billing, _) = two_callers(&partner);
    let token = gateway.client_credentials_token("billing", &billing, "clients:read resources:read");
    gateway.get_ok(&token, CLIENTS);
    gateway.table["callers"][1]["scopes"] = toml::Value::from(vec!["resources:read"]);
    gateway.restart();
    assert_eq!(gateway.read(&token, CLIENTS).status, 403);
    let me = gateway.get_ok(&token, "/-/me").json();
    assert_eq!(me["scopes"], serde_json::json!(["resources:read"]));
}

#[test]
fn a_ledger_that_cannot_be_read_stops_the_start_and_says_what_to_do() {
    let partner = partner();
    let (mut gateway, billing, _) = two_callers(&partner);
    let token = gateway.client_credentials_token("billing", &billing, "");
    gateway.kill();
    let path = gateway.file("state/ledger.redb");
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() / 3]).unwrap();
    let refused = gateway.command(&["serve"]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("ledger.redb: damaged") && told.contains("restore it from a backup"), "{told}");
    assert!(told.contains("token salvage"), "{told}");
    std::fs::write(&path, &good).unwrap();
    gateway.restart();
    gateway.get_ok(&token, CLIENTS);
    // A second gateway on the same state is refused before it can do harm.
    let copy = gateway.file("second.toml");
    let mut table = gateway.table.clone();
    for (section, key) in [("health", "listen"), ("admin", "listen")] {
        table[section][key] = format!("127.0.0.1:{}", free_port()).into();
    }
    table["listeners"][0]["address"] = format!("127.0.0.1:{}", free_port()).into();
    std::fs::write(&copy, table.to_string()).unwrap();
    let second = program().args(["serve", "--config"]).arg(&copy).output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("a gateway is running on this state.dir"), "{told}");
    let salvage = gateway.command(&["token", "salvage"]);
    assert!(String::from_utf8_lossy(&salvage.stderr).contains("a gateway is running on this state.dir"), "{salvage:?}");
}

#[test]
fn a_damaged_ledger_is_salvaged_by_the_command_that_the_refusal_names() {
    let partner = partner();
    let (mut gateway, billing, _) = two_callers(&partner);
    let tokens: Vec<String> = (0..5).map(|_| gateway.client_credentials_token("billing", &billing, "")).collect();
    assert!(revoke(&gateway, &tokens[0]));
    gateway.kill();
    let sound = gateway.command(&["token", "salvage"]);
    assert!(
        !sound.status.success() && String::from_utf8_lossy(&sound.stderr).contains("nothing was done"),
        "{sound:?}"
    );
    let path = gateway.file("state/ledger.redb");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(9).rposition(|window| window == b"\"billing\"").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let refused = gateway.command(&["serve"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("token salvage"), "{refused:?}");
    let salvaged = gateway.command(&["token", "salvage"]);
    let told = String::from_utf8_lossy(&salvaged.stderr).into_owned();
    assert!(salvaged.status.success() && told.contains("audit: a damaged ledger was replaced"), "{told}");
    gateway.restart();
    for token in &tokens {
        assert_eq!(gateway.read(token, CLIENTS).status, 401, "{told}");
    }
    gateway.get_ok(&gateway.client_credentials_token("billing", &billing, ""), CLIENTS);
}

/// One stopped the start with "not an Ed25519 private key", and nothing said that it was empty.
#[test]
fn an_empty_file_beside_the_signing_keys_stops_nothing_and_is_named() {
    let partner = partner();
    let (mut gateway, billing, _) = two_callers(&partner);
    let token = gateway.client_credentials_token("billing", &billing, "");
    gateway.write("state/keys/zz.pem", "");
    let path = gateway.file("state/keys/zz.pem");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    gateway.wait_for_log("nothing is in this file beside the signing keys");
    gateway.restart();
    gateway.get_ok(&token, CLIENTS);
    gateway.wait_for_log("zz.pem");
    let listed = gateway.command(&["keys", "list"]);
    assert!(String::from_utf8_lossy(&listed.stderr).contains("zz.pem: nothing is in it"), "{listed:?}");
    // A key that is emptied while it is used stays in use.
    let keys = std::fs::read_dir(gateway.keys()).unwrap().map(|file| file.unwrap().path());
    let key = keys.into_iter().find(|key| key.extension().is_some_and(|end| end == "pem") && *key != path).unwrap();
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, "").unwrap();
    gateway.wait_for_log("a key that signs or verifies is gone");
    gateway.get_ok(&gateway.client_credentials_token("billing", &billing, ""), CLIENTS);
    std::fs::write(&key, good).unwrap();
}

#[test]
fn without_state_tokens_end_with_the_process_and_last_an_hour_at_most() {
    let partner = partner();
    let (secret, stored) = crate::authority::secret();
    let mut gateway = Setup::before(&partner)
        .set("state.dir", "")
        .caller("billing", &["clients:read"], &format!("secrets = [{stored:?}]"))
        .start();
    gateway.wait_for_log("state.dir is empty");
    let token = gateway.client_credentials_token("billing", &secret, "");
    let other = gateway.client_credentials_token("billing", &secret, "");
    assert!(revoke(&gateway, &other));
    assert_eq!(gateway.read(&other, CLIENTS).status, 401);
    gateway.get_ok(&token, CLIENTS);
    assert!(!gateway.file("state").exists());
    gateway.restart();
    assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    gateway.table.insert("tokens".to_owned(), toml::Value::Table("max_ttl = \"2h\"".parse().unwrap()));
    std::fs::write(gateway.file("gateway.toml"), gateway.table.to_string()).unwrap();
    let refused = gateway.command(&["check"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("at most 1h"), "{refused:?}");
}

#[test]
fn a_rotation_is_noticed_while_running_and_shown_before_it_signs() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    let token = gateway.client_credentials_token("billing", &billing, "");
    let kids = |gateway: &Gateway| {
        let keys = gateway.get("/.well-known/jwks.json", &[]).json()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let first = kids(&gateway);
    let rotated = gateway.command(&["keys", "rotate"]);
    let kid = String::from_utf8(rotated.stdout).unwrap().trim().to_owned();
    wait_for("the new key", || (kids(&gateway) == [first[0].clone(), kid.clone()]).then_some(()));
    let listed = String::from_utf8(gateway.command(&["keys", "list"]).stdout).unwrap();
    assert!(listed.contains("signs\n") && listed.contains("is published\n"), "{listed}");
    let header = |token: &str| {
        let text = data_encoding::BASE64URL_NOPAD.decode(token.split('.').next().unwrap().as_bytes()).unwrap();
        serde_json::from_slice::<serde_json::Value>(&text).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        header(&gateway.client_credentials_token("billing", &billing, "")),
        first[0],
        "not yet known to all, so it signs nothing"
    );
    gateway.get_ok(&token, CLIENTS);

    // A key that got out goes at once, and all that it signed with it, remembered or not.
    let dropped = gateway.command(&["keys", "rotate", "--drop-old"]);
    let last = String::from_utf8(dropped.stdout).unwrap().trim().to_owned();
    wait_for("the old keys to go", || (kids(&gateway) == [last.clone()]).then_some(()));
    assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    let fresh = gateway.client_credentials_token("billing", &billing, "");
    assert_eq!(header(&fresh), last);
    gateway.get_ok(&fresh, CLIENTS);
}

#[test]
fn a_key_that_is_too_old_is_followed_by_another() {
    let partner = partner();
    let gateway = Setup::before(&partner).set("tokens.key_max_age", "3s").set("tokens.key_notice", "1s").start();
    let keys = || gateway.get("/.well-known/jwks.json", &[]).json()["keys"].as_array().unwrap().len();
    assert_eq!(keys(), 1);
    wait_for("a rotation by age", || (keys() == 2).then_some(()));
    // The key is in use before its line is out.
    let said = || gateway.program.stderr().contains("audit: a signing key was made, by age");
    wait_for("its audit line", || said().then_some(()));
}

#[test]
fn a_full_disk_hands_nothing_out_and_stops_nobody_who_has_a_token() {
    let partner = partner();
    let (mut gateway, billing, _) = two_callers(&partner);
    let (kept, stolen) = (
        gateway.client_credentials_token("billing", &billing, ""),
        gateway.client_credentials_token("billing", &billing, ""),
    );
    gateway.kill();
    let size = std::fs::metadata(gateway.file("state/ledger.redb")).unwrap().len();
    gateway.restart_with_files_of(size + (48 << 10));
    let form = [("grant_type", "client_credentials"), ("client_id", "billing"), ("client_secret", &*billing)];
    // Until the file has to grow, it goes well.
    let refused = wait_for("the disk to be full", || {
        Some(gateway.post("/oauth/token", &[], &form)).filter(|answer| answer.status != 200)
    });
    assert_eq!((refused.status, refused.json()["error"].as_str()), (503, Some("temporarily_unavailable")));
    gateway.get_ok(&kept, CLIENTS);
    // A revocation that cannot be noted is not answered as done, and yet is in force as long as this process lives.
    let bearer = format!("Bearer {stolen}");
    let revoked = gateway.post("/oauth/revoke", &[("authorization", &bearer)], &[("token", &stolen)]);
    assert_eq!(revoked.status, 503, "{revoked:?}");
    // Asked once more, it is still not on disk, although memory knows of it.
    let own = [("client_id", "billing"), ("client_secret", &*billing), ("token", &*stolen)];
    assert_eq!(gateway.post("/oauth/revoke", &[], &own).status, 503);
    assert_eq!(gateway.read(&stolen, CLIENTS).status, 401);
    // Nor is the very token turned away that was told to come back.
    assert_eq!(gateway.post("/oauth/revoke", &[("authorization", &bearer)], &[("token", &stolen)]).status, 503);
    gateway.wait_for_log("the ledger cannot be written");
    gateway.wait_for_log("audit: token revoked in this process; the disk refused it");
    let ready = crate::support::ask(gateway.health, "GET", "/readyz", &[], b"");
    assert_eq!(ready.json()["status"], "degraded");
    assert!(ready.text().contains("the ledger of tokens cannot be written"), "{ready:?}");
    gateway.get_ok(&kept, CLIENTS);
    // With room again it goes on by itself.
    let unlimited = Rlimit { current: None, maximum: None };
    rustix::process::prlimit(Some(gateway.program.pid()), Resource::Fsize, unlimited).unwrap();
    wait_for("tokens again", || (gateway.post("/oauth/token", &[], &form).status == 200).then_some(()));
    assert_eq!(gateway.read(&stolen, CLIENTS).status, 401);
    gateway.wait_for_log("audit: a revocation that the disk had refused is written");
    assert_eq!(crate::support::ask(gateway.health, "GET", "/readyz", &[], b"").json()["status"], "ready");
    assert_eq!(gateway.post("/oauth/revoke", &[("authorization", &bearer)], &[("token", &stolen)]).status, 200);
    assert_eq!(gateway.post("/oauth/revoke", &[], &own).status, 200);
    gateway.restart();
    gateway.get_ok(&kept, CLIENTS);
    assert_eq!(gateway.read(&stolen, CLIENTS).status, 401, "what was answered is on disk");
}

/// Who hung up in the middle of a revocation left what was exchanged from the token alive, and the next try was told all is well.
#[test]
fn a_revocation_that_nobody_waits_for_takes_what_was_exchanged_too() {
    const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
    const ACCESS: &str = "urn:ietf:params:oauth:token-type:access_token";
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    for round in 0..20 {
        let token = gateway.client_credentials_token("billing", &billing, "clients:read");
        let form = [("grant_type", EXCHANGE), ("subject_token", &*token), ("subject_token_type", ACCESS)];
        let child = gateway.post("/oauth/token", &[], &form).json()["access_token"].as_str().unwrap().to_owned();
        gateway.get_ok(&child, CLIENTS);
        let body = format!("client_id=billing&client_secret={billing}&token={token}");
        let media = ("content-type", "application/x-www-form-urlencoded");
        let mut caller = Connection::connect(gateway.address);
        caller.say(request("POST", "/oauth/revoke", &[media], body.as_bytes()));
        // Some leave before it is read, some while the ledger writes.
        (0..round * 40).for_each(|_| std::thread::yield_now());
        caller.reset();
        let own = [("client_id", "billing"), ("client_secret", &*billing), ("token", &*token)];
        assert_eq!(gateway.post("/oauth/revoke", &[], &own).status, 200);
        assert_eq!(gateway.read(&child, CLIENTS).status, 401, "round {round}");
    }
}

/// The second of two within one second was dated before the tokens issued between them.
#[test]
fn a_callers_tokens_are_taken_back_twice_in_a_second() {
    let partner = partner();
    let (gateway, billing, _) = two_callers(&partner);
    for _ in 0..3 {
        let token = gateway.client_credentials_token("billing", &billing, "clients:read");
        assert_eq!(gateway.admin_request("DELETE", "/admin/v1/callers/billing/tokens", "").status, 200);
        assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    }
}
