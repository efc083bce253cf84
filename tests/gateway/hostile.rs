//! Whose fault is a failure?
//! Given callers that break their requests, read slowly or choose paths on which the partner fails, claims that others get theirs.
//! Never counts on luck: whoever is in the way stays there until the claim is made.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{CLIENTS, Connection, Gate, Gateway, READING, Reply, Response, ScriptedPartner, Setup, wait_for};

const GOOD: &str = r#"{"client":{}}"#;
const OPAQUE: [&str; 3] = ["other:read", "write", "pii:read"];

fn client(nth: usize) -> String {
    format!("{CLIENTS}client-{nth}/")
}

fn other(nth: usize) -> String {
    format!("/reseller/account/v1/other/{nth}")
}

struct Scene {
    partner: ScriptedPartner,
    gateway: Gateway,
    /// Of a caller that reads documents.
    reader: String,
    /// Of another one, that may ask for anything else.
    hostile: String,
}

/// With a third caller, for whose documents the partner fails.
fn with_broken(setup: Setup) -> Setup {
    setup.caller("broken", &["clients:read"], "clients = [\"*\"]\nproviders = [\"*\"]")
}

impl Scene {
    fn broken(&self) -> String {
        let issued = self.gateway.issue("broken", &["clients:read"], &[]);
        self.gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim())
    }

    fn new(set: impl FnOnce(Setup) -> Setup) -> Self {
        let partner = ScriptedPartner::listen();
        (0..40).for_each(|nth| partner.respond_with(&client(nth), [Reply::json(GOOD)]));
        let setup = Setup::before(&partner).set("upstream.budget.rate", "unlimited").caller(
            "hostile",
            &OPAQUE,
            "clients = [\"*\"]\nproviders = [\"*\"]",
        );
        let gateway = set(setup).start();
        let reader = gateway.token(&["clients:read"]);
        let issued = gateway.issue("hostile", &OPAQUE, &[]);
        let hostile = gateway.keep_secret(String::from_utf8(issued.stdout).unwrap().trim());
        Self { partner, gateway, reader, hostile }
    }

    fn others_are_served(&self, documents: std::ops::Range<usize>) {
        for nth in documents {
            let answer = self.gateway.read(&self.reader, &client(nth));
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }

    fn begun(&self, target: &str, head: &str, body: &str) -> Connection {
        let mut caller = Connection::connect(self.gateway.address);
        caller.say(format!(
            "POST {target} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n{head}\r\n\r\n{body}",
            self.hostile
        ));
        caller
    }

    fn hostile(&self, target: &str) -> Response {
        self.gateway.read(&self.hostile, target)
    }

    fn gate(&self, why: &str, routes: &str) -> bool {
        let line = format!("reseller_gateway_partner_gate_closed{{why=\"{why}\",routes=\"{routes}\"}} 1\n");
        self.gateway.metrics().contains(&line)
    }
}

/// Eight bodies that broke off every two seconds opened the breaker for everybody.
#[test]
fn a_body_that_breaks_off_or_cannot_be_read_is_its_senders_fault_and_costs_the_partner_no_call() {
    let scene = Scene::new(|setup| setup);
    for nth in 0..12 {
        drop(scene.begun(&other(nth), "content-length: 100", "hello"));
    }
    let left = "reseller_gateway_requests_total{route=\"other\",outcome=\"refused\",status=\"499\"} 12\n";
    wait_for("all to have left", || scene.gateway.metrics().contains(left).then_some(()));
    let broken = scene.begun(&other(0), "transfer-encoding: chunked", "zz\r\n").read_response(false);
    let broken = scene.gateway.seen(broken);
    assert_eq!((broken.status, &broken.json()["type"]), (400, &"urn:reseller-gateway:problem:broken-body".into()));
    assert_eq!(scene.partner.count(), 0);
    scene.others_are_served(0..10);
    assert!(!scene.gate("failing", "documented") && !scene.gate("failing", "opaque"));
}

#[test]
fn a_body_that_comes_too_slowly_is_a_408_and_holds_no_permit_meanwhile() {
    let scene = Scene::new(|setup| {
        setup.set("upstream.budget.max_in_flight", 2).set("server.request_timeout", "1s").set("upstream.timeout", "1s")
    });
    let slow: Vec<Connection> = (0..8).map(|nth| scene.begun(&other(nth), "content-length: 100", "hello")).collect();
    scene.others_are_served(0..10);
    for caller in slow {
        let answer = scene.gateway.seen(caller.read_response(false));
        assert_eq!((answer.status, &answer.json()["type"]), (408, &"urn:reseller-gateway:problem:slow-body".into()));
        assert_eq!(answer.expect_header("connection"), "close");
    }
    assert!(!scene.gate("failing", "documented") && !scene.gate("failing", "opaque"));
}

/// Sixteen readers that took a little now and then held all permits for minutes.
#[test]
fn a_reader_that_is_slow_holds_no_permit_and_gets_its_answer_whole() {
    let scene = Scene::new(|setup| setup.set("upstream.budget.max_in_flight", 2).set("server.buffer_bytes", "64MiB"));
    let large = vec![b'x'; 8 << 20];
    scene.partner.respond_with(&other(0), [Reply::json(large.clone())]);
    let mut reader = TcpStream::connect(scene.gateway.address).unwrap();
    let head = format!(
        "GET {} HTTP/1.1\r\nhost: gw\r\nconnection: close\r\nauthorization: Bearer {}\r\n\r\n",
        other(0),
        scene.hostile
    );
    reader.write_all(head.as_bytes()).unwrap();
    let in_flight = || scene.gateway.metrics().contains("reseller_gateway_partner_calls_in_flight 0\n");
    wait_for("the call to be over", || (scene.partner.count() == 1 && in_flight()).then_some(()));
    assert!(!scene.gateway.metrics().contains("reseller_gateway_buffer_bytes 0\n"), "the rest waits in the buffers");
    scene.others_are_served(0..10);
    let mut whole = Vec::new();
    reader.read_to_end(&mut whole).unwrap();
    assert!(whole.ends_with(&large[..1 << 20]) && whole.len() > large.len());
    wait_for("the buffers to be empty", || {
        scene.gateway.metrics().contains("reseller_gateway_buffer_bytes 0\n").then_some(())
    });
}

/// A small answer without a length was passed on whole, however small `upstream.max_response` was.
#[test]
fn an_answer_without_a_length_that_is_too_large_never_looks_whole() {
    let scene = Scene::new(|setup| setup.set("upstream.max_response", "1KiB"));
    scene.partner.respond_with(&other(0), [Reply::json(vec![b'x'; 8192]).without_length().truncated_at(4096)]);
    let answer = scene.gateway.call(&scene.hostile, &other(0)).read_response(false);
    assert!(!answer.whole, "{} bytes", answer.body.len());
}

/// Where the pool is full an answer keeps its permit, but not for longer than the partner itself has.
#[test]
fn a_reader_that_is_slow_while_the_buffers_are_full_is_cut_off_after_the_partners_time() {
    let scene = Scene::new(|setup| {
        setup
            .set("upstream.budget.max_in_flight", 1)
            .set("server.max_request_body", "1KiB")
            .set("server.buffer_bytes", "1MiB")
            .set("upstream.timeout", "1s")
    });
    scene.partner.respond_with(&other(0), [Reply::json(vec![b'x'; 24 << 20])]);
    let mut reader = TcpStream::connect(scene.gateway.address).unwrap();
    let head = format!("GET {} HTTP/1.1\r\nhost: gw\r\nauthorization: Bearer {}\r\n\r\n", other(0), scene.hostile);
    reader.write_all(head.as_bytes()).unwrap();
    // Else whoever waits for the permit below may have it before this one.
    scene.partner.wait_for_calls(1);
    wait_for("the reader's permit", || (scene.gateway.read(&scene.reader, &client(0)).status == 200).then_some(()));
    let mut got = 0;
    let mut piece = vec![0; 1 << 16];
    while let Ok(more @ 1..) = reader.read(&mut piece) {
        got += more;
    }
    assert!(got < 24 << 20, "it was cut off");
}

#[test]
fn one_caller_leaves_permits_to_the_others() {
    let scene = Scene::new(|setup| setup.set("upstream.budget.max_in_flight", 4));
    let gate = Gate::default();
    (0..6).for_each(|nth| scene.partner.respond_with(&other(nth), [Reply::json("{}").behind(&gate)]));
    let waiting: Vec<Connection> = (0..6).map(|nth| scene.gateway.call(&scene.hostile, &other(nth))).collect();
    scene.partner.wait_for_calls(3);
    scene.others_are_served(0..10);
    gate.open();
    for caller in waiting {
        assert_eq!(scene.gateway.seen(caller.read_response(false)).status, 200);
    }
}

/// One path that wanted another login, a limit of its own or nobody closed the partner for all.
#[test]
fn what_an_opaque_path_answers_decides_for_opaque_paths_alone() {
    let scene = Scene::new(|setup| setup);
    scene.partner.respond_with(&other(0), [Reply::status(429).header("retry-after", "60")]);
    assert_eq!(scene.hostile(&other(0)).status, 429, "a route in standard mode passes statuses on");
    assert_eq!(scene.hostile(&other(1)).status, 503);
    scene.others_are_served(0..10);
    assert!(scene.gate("paused-by-partner", "opaque") && !scene.gate("paused-by-partner", "documented"));
}

#[test]
fn a_401_for_an_opaque_path_says_nothing_of_the_key_and_three_of_them_raise_an_alarm() {
    let scene = Scene::new(|setup| setup);
    for nth in 0..3 {
        scene.partner.respond_with(&other(nth), [Reply::status(401)]);
        assert_eq!(scene.hostile(&other(nth)).status, 502);
        scene.others_are_served(nth..nth + 1);
    }
    let metrics = scene.gateway.metrics();
    assert!(metrics.contains("reseller_gateway_partner_opaque_refusals_total 1\n"), "{metrics}");
    assert!(metrics.contains("reseller_gateway_partner_keys_refused 0\n"));
    scene.gateway.wait_for_log("401 for several paths that are no documents");
}

#[test]
fn the_failures_of_one_callers_documents_close_nothing_for_the_others() {
    let scene = Scene::new(with_broken);
    let broken = scene.broken();
    // Also where nothing has succeeded yet: whoever asks next is the probe.
    for nth in 20..30 {
        scene.partner.respond_with(&client(nth), [Reply::status(500)]);
        assert!(scene.gateway.read(&broken, &client(nth)).status >= 502);
    }
    scene.others_are_served(0..10);
    for nth in 30..40 {
        scene.partner.respond_with(&client(nth), [Reply::status(500)]);
        assert_eq!(scene.gateway.read(&broken, &client(nth)).status, 502);
    }
    scene.others_are_served(10..20);
}

/// A caller whose documents fail was the probe after each pause, so that the breaker never closed for anybody.
#[test]
fn after_a_pause_a_caller_whose_documents_fail_keeps_nobody_else_waiting() {
    let scene = Scene::new(with_broken);
    let broken = scene.broken();
    scene.partner.respond_with(&client(0), [Reply::status(429).header("retry-after", "1"), Reply::json(GOOD)]);
    assert_eq!(scene.gateway.read(&scene.reader, &client(0)).status, 503);
    (20..40).for_each(|nth| scene.partner.respond_with(&client(nth), [Reply::status(500)]));
    wait_for("its documents to be asked for", || {
        (scene.gateway.read(&broken, &client(20)).status == 502).then_some(())
    });
    scene.others_are_served(0..10);
}

/// A caller that asked for documents which want another login closed the upstream for everybody.
#[test]
fn documents_that_want_another_login_are_refused_to_who_asks_for_them_and_say_nothing_of_the_key() {
    let scene = Scene::new(with_broken);
    let broken = scene.broken();
    scene.others_are_served(0..1);
    for nth in 1..10 {
        scene.partner.respond_with(&client(20 + nth), [Reply::status(401)]);
        let refused = scene.gateway.read(&broken, &client(20 + nth));
        assert_eq!(
            (refused.status, &refused.json()["type"]),
            (502, &"urn:reseller-gateway:problem:partner-key".into())
        );
        scene.others_are_served(nth..nth + 1);
    }
    // Twice for the first, to confirm it, and once for each other: the key is accepted all the time.
    assert_eq!(scene.partner.count(), 10 + 2 + 8);
    assert_eq!(scene.gateway.read(&broken, &client(15)).status, 200, "what it may have it gets");
}

/// A 401 that takes long kept all others waiting to see whether it was meant.
#[test]
fn a_refusal_of_a_key_that_others_had_accepted_meanwhile_keeps_nobody_waiting() {
    let scene = Scene::new(with_broken);
    let broken = scene.broken();
    let gates = [Gate::default(), Gate::default()];
    scene.partner.respond_with(&client(30), gates.each_ref().map(|gate| Reply::status(401).behind(gate)));
    let slow = scene.gateway.call(&broken, &client(30));
    scene.partner.wait_for_calls(1);
    scene.others_are_served(0..1);
    gates[0].open();
    scene.partner.wait_for_calls(3);
    scene.others_are_served(1..3);
    gates[1].open();
    assert_eq!(scene.gateway.seen(slow.read_response(false)).status, 502);
    scene.partner.respond_with(&client(31), [Reply::status(401)]);
    assert_eq!(scene.gateway.read(&broken, &client(31)).status, 502);
    assert_eq!(scene.partner.count(), 3 + 2 + 1, "once: it is known that its documents want another login");
}

/// Who joined a flight in the long line of another caller waited there, and was refused at its end.
#[test]
fn who_joins_a_flight_in_another_callers_line_waits_in_its_own() {
    let scene = Scene::new(|setup| {
        let setup = with_broken(setup).set("upstream.budget.rate", "4/s").set("upstream.budget.burst", 1);
        setup.set("upstream.budget.max_wait", "3s")
    });
    let busy = scene.broken();
    let waiting: Vec<Connection> = (0..40).map(|nth| scene.gateway.call(&busy, &client(nth))).collect();
    let queued = || scene.gateway.metrics().contains("reseller_gateway_partner_calls_queued 39\n");
    wait_for("all to wait", || queued().then_some(()));
    scene.others_are_served(39..40);
    assert!(scene.partner.count() < 10, "it came before most of the line: {}", scene.partner.count());
    drop(waiting);
}

/// One stray 401 to a key that was good a moment ago was 502 for all misses for two seconds.
#[test]
fn one_stray_401_is_asked_again_and_nobody_sees_it() {
    let scene = Scene::new(|setup| setup);
    scene.others_are_served(0..1);
    scene.partner.respond_with(&client(1), [Reply::status(401), Reply::json(GOOD)]);
    scene.others_are_served(1..3);
    assert_eq!(scene.partner.count(), 4);
    let retried = "reseller_gateway_partner_calls_total{route=\"client\",cause=\"retry\"} 1\n";
    assert!(scene.gateway.metrics().contains(retried), "{}", scene.gateway.metrics());
}

#[test]
fn a_408_or_a_silent_close_of_a_connection_that_was_kept_is_asked_again_on_a_fresh_one() {
    let scene = Scene::new(|setup| setup.set("upstream.retry.attempts", 0));
    scene.others_are_served(0..1);
    scene.partner.respond_with(&client(1), [Reply::status(408), Reply::json(GOOD)]);
    scene.partner.respond_with(&client(2), [Reply::json(GOOD).reset_at(0), Reply::json(GOOD)]);
    scene.partner.respond_with(&other(3), [Reply::json("{}").reset_at(0), Reply::json("{}")]);
    scene.others_are_served(1..3);
    assert_eq!(scene.hostile(&other(3)).status, 200);
    scene.partner.respond_with(&client(4), [Reply::status(408)]);
    let refused = scene.gateway.read(&scene.reader, &client(4));
    assert_eq!(refused.status, 502, "no 408 of the partner's is a caller's");
}

#[test]
fn calls_are_paused_and_resumed_by_hand_and_over_a_restart() {
    let mut scene = Scene::new(|setup| setup);
    let paused = scene.gateway.command(&["pause", "--for", "10m", "--reason", "their maintenance"]);
    assert!(paused.status.success(), "{}", String::from_utf8_lossy(&paused.stderr));
    let refused = scene.gateway.read(&scene.reader, &client(0));
    assert_eq!((refused.status, &refused.json()["type"]), (503, &"urn:reseller-gateway:problem:paused".into()));
    assert!(refused.expect_header("retry-after").parse::<u64>().unwrap() > 590);
    assert!(scene.gate("paused-by-operator", "documented"));
    wait_for("the pause to be written", || scene.gateway.file("state/gate.json").exists().then_some(()));
    scene.gateway.kill();
    scene.gateway.restart();
    assert_eq!(scene.gateway.read(&scene.reader, &client(0)).status, 503);
    assert_eq!(scene.partner.count(), 0);
    let resumed = scene.gateway.command(&["resume"]);
    assert!(resumed.status.success(), "{}", String::from_utf8_lossy(&resumed.stderr));
    scene.others_are_served(0..2);
    let again = scene.gateway.command(&["resume"]);
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing was paused"));
}

/// Of 8 MB only 256 KiB were read after the answer, and closing over the rest reset it away from clients that read late.
#[test]
fn who_sends_a_whole_upload_before_it_reads_gets_the_refusal_all_the_same() {
    let partner = ScriptedPartner::listen();
    let gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    let upload = vec![b'x'; 24 << 20];
    let length = upload.len();
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let sized = format!("Content-Length: {length}\r\n\r\n");
    let rows = [
        (401, format!("POST {CLIENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer no\r\n{sized}")),
        (401, format!("POST {CLIENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer no\r\n{chunked}")),
        (405, format!("POST {CLIENTS} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n{sized}")),
        (413, format!("POST /oauth/token HTTP/1.1\r\nHost: a\r\n{form}{sized}")),
        (400, format!("POST {CLIENTS} HTTP/1.1\r\n{sized}")),
        (431, format!("POST {CLIENTS} HTTP/1.1\r\nHost: a\r\nX: {}\r\n{sized}", "x".repeat(80_000))),
    ];
    for (status, head) in rows {
        let mut stream = std::net::TcpStream::connect(gateway.address).unwrap();
        let sent = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&upload));
        assert!(sent.is_ok(), "{status}: {sent:?}");
        let mut answer = Vec::new();
        let whole = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(whole.is_ok() && text.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {whole:?} {text}");
    }
}
