//! Does the simulated partner misbehave on a socket as it is ordered to?
//! Given the real `simulate`, alone or behind the gateway, holds what is on the wire against the orders.
//! Never looks inside: orders and counts go through `/_simulator/`.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{CLIENTS, Program, READING, Response, Setup, ask, free_port, program, wait_for};

pub(crate) const KEY: &str = "the-real-key-of-the-partner-4711";

pub(crate) struct Simulator {
    pub(crate) program: Program,
    pub(crate) address: SocketAddr,
}

impl Simulator {
    pub(crate) fn start(more: &[&str]) -> Self {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = program();
        command.args(["simulate", "--api-key", KEY, "--listen", &address.to_string()]);
        let program = Program::start(command.args(more));
        wait_for("the simulator", || std::net::TcpStream::connect(address).ok());
        Self { program, address }
    }

    pub(crate) fn order(&self, method: &str, path: &str, body: &Value) -> Value {
        let target = format!("/_simulator/{path}");
        let answer = ask(self.address, method, &target, &[], body.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    pub(crate) fn behave(&self, fault: &Value) {
        self.order("POST", "behaviour", &json!({ "faults": [fault] }));
    }

    fn read(&self, key: &str) -> Response {
        ask(self.address, "GET", CLIENTS, &[("x-reseller-api-key", key)], b"")
    }
}

#[test]
fn a_cut_answer_ends_in_the_middle_and_a_dripping_one_is_slow() {
    let simulator = Simulator::start(&[]);
    let whole = simulator.read(KEY);
    assert!(whole.whole);
    simulator.behave(&json!({ "body": "cut" }));
    for _ in 0..5 {
        let cut = simulator.read(KEY);
        assert_eq!((cut.status, cut.whole, cut.body.len()), (200, false, whole.body.len() / 2));
        assert_eq!(cut.expect_header("content-length"), whole.body.len().to_string());
    }
    simulator.behave(&json!({ "drip": "400ms" }));
    let start = Instant::now();
    assert_eq!(simulator.read(KEY).body, whole.body);
    assert!(start.elapsed() >= Duration::from_millis(350));
}

#[test]
fn the_options_are_the_first_behaviour() {
    let options = ["--latency", "1ms", "--rate", "7/s", "--fail", "0.25", "--cache-control", "no-store", "--etag"];
    let simulator = Simulator::start(&options);
    let expected = json!({
        "latency": "1ms", "rate": "7/s", "rate_per_key": "unlimited", "burst": 0, "etag": true,
        "headers": { "cache-control": "no-store" }, "faults": [{ "share": 0.25, "status": 500 }],
    });
    let shown = ask(simulator.address, "GET", "/_simulator/behaviour", &[], b"").json();
    assert_eq!(shown, expected);
}

#[test]
fn a_key_is_revoked_while_it_runs_and_is_never_printed() {
    let simulator = Simulator::start(&[]);
    assert_eq!(simulator.read(KEY).status, 200);
    let shown = simulator.order("PUT", "keys", &json!({ "next": "another-key" }));
    assert_eq!(shown, json!({ "keys": ["next"] }));
    assert_eq!((simulator.read(KEY).status, simulator.read("another-key").status), (401, 200));
    let stats = ask(simulator.address, "GET", "/_simulator/stats", &[], b"").json();
    assert_eq!(stats["keys"], json!({ "initial": 1, "next": 1, "refused": 1 }));
    let printed = simulator.program.stdout() + &simulator.program.stderr();
    assert!(!printed.contains(KEY) && !printed.contains("another-key"), "{printed}");
}

#[test]
fn nothing_that_is_spoiled_reaches_a_caller_as_good_or_is_kept() {
    let simulator = Simulator::start(&[]);
    let gateway = Setup::at(&format!("http://{}", simulator.address)).start();
    let token = gateway.token(&READING);
    for fault in [
        json!({ "body": "cut" }),
        json!({ "body": "truncated" }),
        json!({ "status": 304 }),
        json!({ "status": 206 }),
        json!({ "status": 500 }),
        json!({ "headers": { "content-type": "application/xml" } }),
        json!({ "body": "error" }),
        json!({ "body": "empty" }),
        json!({ "body": "page" }),
    ] {
        simulator.behave(&fault);
        let answer = gateway.read(&token, CLIENTS);
        assert_eq!(answer.status, 502, "{fault}: {answer:?}");
    }
    simulator.order("DELETE", "behaviour", &json!({}));
    assert_eq!(gateway.read(&token, CLIENTS).status, 200);
    simulator.behave(&json!({ "status": 500 }));
    assert!(gateway.read(&token, CLIENTS).expect_header("cache-status").contains("hit"));
}

#[test]
fn a_spoiled_head_is_rehearsed_and_the_gateway_reads_it_or_keeps_what_it_has() {
    let simulator = Simulator::start(&[]);
    let good = simulator.read(KEY).body;
    let rows: [(&str, &[u8], u16); 6] = [
        ("control-character", b"\r\nx-simulated: a\x01b\r\n", 200),
        ("folded", b"\r\nx-simulated: a;\r\n\tb\r\n", 200),
        ("space-before-colon", b"\r\nx-simulated : a\r\n", 200),
        ("no-colon", b"\r\na simulated line\r\n", 200),
        ("bare-cr", b"\r\nx-simulated: a\rb\r\n", 502),
        ("too-many", b"\r\nx-simulated-999: a\r\n", 502),
    ];
    for (head, line, status) in rows {
        simulator.order("POST", "behaviour", &json!({ "faults": [{ "head": head }] }));
        let mut stream = std::net::TcpStream::connect(simulator.address).unwrap();
        let request = format!("GET {CLIENTS} HTTP/1.1\r\nhost: a\r\nx-reseller-api-key: {KEY}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut wire = Vec::new();
        while !wire.ends_with(&good) {
            let mut piece = vec![0; 1 << 16];
            let read = stream.read(&mut piece).unwrap();
            assert!(read > 0, "{head}");
            wire.extend_from_slice(&piece[..read]);
        }
        assert!(wire.windows(line.len()).any(|part| part == line), "{head}");
        let settings = Setup::at(&format!("http://{}", simulator.address));
        let gateway = settings.set("upstream.retry.attempts", 0).set("upstream.budget.rate", "unlimited").start();
        simulator.order("DELETE", "behaviour", &json!({}));
        // A connection in use, of which the partner may read a request in another way.
        for nth in 0..12 {
            assert_eq!(gateway.read(&gateway.token(&READING), &format!("{CLIENTS}nobody-{nth}/")).status, 404);
        }
        simulator.order("POST", "behaviour", &json!({ "faults": [{ "head": head, "next": 1 }] }));
        let answer = gateway.read(&gateway.token(&READING), CLIENTS);
        assert_eq!(answer.status, status, "{head}: {answer:?}");
        let shown = ask(simulator.address, "GET", "/_simulator/behaviour", &[], b"").json();
        assert_eq!(shown["faults"][0]["next"], 0, "{head}");
    }
    let together = json!({ "faults": [{ "head": "folded", "body": "cut" }] }).to_string();
    let refused = ask(simulator.address, "POST", "/_simulator/behaviour", &[], together.as_bytes());
    assert_eq!(refused.status, 400, "{refused:?}");
}
