//! Does memory stay where it is told, whatever comes?
//! Given the real binary with a small store, floods it with distinct resources and reads the process's own figures.
//! Never trusts the gateway's own count alone: what the kernel says of the process decides.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{
    CLIENTS, Gate, Gateway, NO_CLIENTS, Program, READING, Reply, ScriptedPartner, Setup, ask, free_port, program,
    wait_for,
};

/// `cache.max_bytes` of these tests.
const STORE: u64 = 2 << 20;

/// How much more than the store the process may grow: what the allocator keeps at hand for each thread, buffers of
/// connections, tables. Each flood weighs at least twice as much.
const SLACK: u64 = STORE + (8 << 20);

fn simulator(clients: usize) -> (Program, SocketAddr) {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut command = program();
    let (listen, clients) = (address.to_string(), clients.to_string());
    command.args([
        "simulate",
        "--api-key",
        "the-real-key-of-the-partner-4711",
        "--listen",
        &listen,
        "--clients",
        &clients,
    ]);
    let program = Program::start(&mut command);
    wait_for("the simulator", || TcpStream::connect(address).ok());
    (program, address)
}

/// Memory of the process that no file backs, in bytes.
fn memory(gateway: &Gateway) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", gateway.program.id())).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
}

fn figure(gateway: &Gateway, name: &str) -> u64 {
    let text = gateway.metrics();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("reseller_gateway_{name} "))).unwrap();
    line.parse().unwrap()
}

/// Asks for all of them over a few connections that stay; hands back how many answers had this status.
fn flood(gateway: &Gateway, token: &str, targets: &[String], status: u16) -> usize {
    let share = targets.len().div_ceil(4).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = targets
            .chunks(share)
            .map(|part| scope.spawn(|| one_connection(gateway.address, token, part, status)))
            .collect();
        parts.into_iter().map(|part| part.join().unwrap()).sum()
    })
}

fn one_connection(to: SocketAddr, token: &str, targets: &[String], status: u16) -> usize {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let wanted = format!("HTTP/1.1 {status} ");
    let (mut read, mut part, mut well) = (Vec::new(), vec![0; 64 << 10], 0);
    for target in targets {
        let request = format!("GET {target} HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {token}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let end = loop {
            if let Some(at) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..at]).to_ascii_lowercase();
                let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                let end = at + 4 + length.unwrap_or_default();
                if read.len() >= end {
                    break end;
                }
            }
            let got = stream.read(&mut part).unwrap();
            assert!(got > 0, "the gateway hung up");
            read.extend_from_slice(&part[..got]);
        };
        well += usize::from(read.starts_with(wanted.as_bytes()));
        read.drain(..end);
    }
    well
}

#[test]
fn floods_of_ids_queries_and_404s_leave_memory_in_its_bounds_and_the_gateway_answering() {
    let (_simulator, partner) = simulator(6000);
    let setup = Setup::at(&format!("http://{partner}")).set("cache.max_bytes", STORE as i64);
    let gateway = setup.set("telemetry.access_log", "off").start();
    let token = gateway.token(&READING);
    let key = [("x-reseller-api-key", "the-real-key-of-the-partner-4711")];
    let list = ask(partner, "GET", CLIENTS, &key, b"").json();
    let ids: Vec<&str> =
        list["clients"].as_array().unwrap().iter().map(|client| client["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 6000);
    let resources = |id: &&str| format!("{CLIENTS}{id}/resources/");
    // Once around, so that connections, tables and threads have what they need.
    let warm: Vec<String> = ids.iter().take(300).map(resources).collect();
    flood(&gateway, &token, &warm, 200);
    let before = memory(&gateway);
    let holds = |what: &str, came: usize| {
        let now = memory(&gateway);
        println!(
            "{what}: {} KiB before, {} KiB more after {came} resources",
            before >> 10,
            now.saturating_sub(before) >> 10
        );
        assert!(now <= before + SLACK, "{what}: {before} bytes before, {now} after {came} resources");
        let held = figure(&gateway, "cache_bytes");
        assert!(held <= STORE + STORE / 10, "{what}: {held} bytes held");
        assert_eq!(gateway.read(&token, &resources(&ids[0])).status, 200, "{what}");
    };
    let all: Vec<String> = ids.iter().map(resources).collect();
    assert_eq!(flood(&gateway, &token, &all, 200), 6000);
    holds("ids", 6000);
    assert!(figure(&gateway, "cache_evictions_total") > 3000);
    let queries: Vec<String> = (0..20_000).map(|nth| format!("{CLIENTS}?provider_id=none-of-them-{nth}")).collect();
    assert_eq!(flood(&gateway, &token, &queries, 200), 20_000);
    holds("queries", 20_000);
    let absent: Vec<String> = (0..20_000).map(|nth| format!("{CLIENTS}nobody-{nth}/")).collect();
    assert_eq!(flood(&gateway, &token, &absent, 404), 20_000);
    holds("404s", 20_000);
}

#[test]
fn a_flood_of_refreshes_is_bounded_and_all_are_answered_meanwhile() {
    const KEYS: usize = 1500;
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    let targets: Vec<String> = (0..KEYS).map(|nth| format!("{CLIENTS}c{nth}/")).collect();
    for target in &targets {
        partner.respond_with(target, [Reply::json(NO_CLIENTS), Reply::json(NO_CLIENTS).behind(&gate)]);
    }
    let setup = Setup::before(&partner).set("upstream.budget.max_in_flight", 4).set("upstream.budget.max_wait", "1m");
    let gateway = setup.set("upstream.timeout", "1m").any_shape().start();
    let token = gateway.token(&READING);
    assert_eq!(flood(&gateway, &token, &targets, 200), KEYS);
    let body = r#"{"all":true,"soft":true}"#;
    assert_eq!(gateway.admin_request("POST", "/admin/v1/cache/purge", body).json()["purged"], KEYS);
    let before = memory(&gateway);
    assert_eq!(flood(&gateway, &token, &targets, 200), KEYS, "all are answered stale");
    let flights = figure(&gateway, "flights");
    assert!((900..=1000).contains(&flights), "{flights}");
    let now = memory(&gateway);
    assert!(now <= before + (16 << 20), "{before} bytes before, {now} with {flights} flights");
    gate.open();
    wait_for("the refreshes", || (figure(&gateway, "flights") == 0).then_some(()));
}

#[test]
fn a_flood_of_variants_leaves_the_newest_of_them_and_memory_in_its_bounds() {
    let partner = ScriptedPartner::listen();
    let target = "/reseller/account/v1/things";
    let varied = Reply::status(200).header("cache-control", "max-age=600").header("vary", "x-kind");
    partner.respond_with(target, [varied.body(vec![b'x'; 8 << 10])]);
    let setup = Setup::before(&partner).set("routes.other.store", true).set("telemetry.access_log", "off");
    let gateway = setup.start();
    let token = gateway.token(&["other:read", "pii:read"]);
    let bearer = format!("Bearer {token}");
    let ask = |nth: usize| gateway.get(target, &[("authorization", &bearer), ("x-kind", &format!("kind-{nth}"))]);
    (0..100).for_each(|nth| assert_eq!(ask(nth).status, 200));
    let before = memory(&gateway);
    // 3,000 of 8 KiB would be 24 MB.
    (100..3_100).for_each(|nth| assert_eq!(ask(nth).status, 200));
    let now = memory(&gateway);
    assert!(now <= before + SLACK, "{before} bytes before, {now} after 3,000 variants");
    assert!(figure(&gateway, "cache_bytes") <= 64 * (9 << 10) + 1024, "{}", figure(&gateway, "cache_bytes"));
    let list = gateway.admin_request("GET", "/admin/v1/cache/list", "").json();
    assert_eq!(list["entries"][0]["variants"], 64, "{list}");
    let asked = partner.count();
    assert_eq!(ask(3_099).status, 200);
    assert_eq!(partner.count(), asked, "the newest is held");
    ask(0);
    assert_eq!(partner.count(), asked + 1, "the oldest gave way");
}
