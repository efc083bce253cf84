//! Do the listening sockets hold out?
//! Given the real binary with few descriptors, slow callers, or sockets that somebody else opened, claims that it answers.
//! Never takes longer than a test may: what takes minutes is tried in benches/doors.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use crate::support::{
    CLIENTS, Connection, Gateway, KeepAliveConnection, NO_CLIENTS, READING, Reply, ScriptedPartner, Setup,
    send_request_to_host, send_request_to_socket, wait_for,
};

const OTHER: &str = "/reseller/account/v1/something/else";

fn scene(adjust: impl FnOnce(Setup) -> Setup) -> (ScriptedPartner, Gateway, String) {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).header("cache-control", "max-age=600")]);
    let gateway = adjust(Setup::before(&partner)).start();
    let token = gateway.token(&READING);
    (partner, gateway, token)
}

fn processor_ticks(gateway: &Gateway) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", gateway.program.id())).unwrap();
    let after = text.rsplit_once(')').unwrap().1;
    after.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

#[test]
fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
    let (_partner, mut gateway, _) = scene(|setup| setup);
    gateway.restart_after("ulimit -S -n 100; ulimit -H -n 2048", std::process::Stdio::null());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", gateway.program.id())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = line.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers, ["2048", "2048"]);
    wait_for("a warning", || gateway.program.stderr().contains("limit of open files").then_some(()));
}

#[test]
fn out_of_descriptors_it_neither_spins_nor_ends_and_goes_on_afterwards() {
    let (_partner, mut gateway, token) = scene(|setup| setup);
    gateway.restart_after("ulimit -n 64", std::process::Stdio::null());
    assert_eq!(gateway.read(&token, CLIENTS).status, 200);
    let held: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    wait_for("the log to say so", || gateway.program.stderr().contains("cannot accept").then_some(()));
    let (before, began) = (processor_ticks(&gateway), Instant::now());
    while began.elapsed() < Duration::from_secs(1) {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let spent = processor_ticks(&gateway) - before;
    assert!(spent < 20, "{spent} hundredths of a second of processor time in one second");
    let said = gateway.program.stderr().matches("cannot accept").count();
    assert!(said <= 4, "{said} lines");
    drop(held);
    assert_eq!(gateway.read(&token, CLIENTS).status, 200);
}

#[test]
fn sockets_that_systemd_opened_are_served_and_left() {
    let (_partner, mut gateway, token) = scene(|setup| setup);
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = tcp.local_addr().unwrap();
    let path = gateway.file("given.sock");
    let unix_now = UnixListener::bind(&path).unwrap();
    let given = |name: &str| toml::Table::from_iter([("address".to_owned(), format!("systemd:{name}").into())]);
    gateway.table.insert("listeners".to_owned(), vec![given("web")].into());
    let passed = "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=web; exec 3<&0 </dev/null";
    gateway.restart_after(passed, OwnedFd::from(tcp.try_clone().unwrap()));
    gateway.address = address;
    assert_eq!(gateway.read(&token, CLIENTS).status, 200);
    gateway.wait_for_log("systemd:web");
    gateway.restart_after(passed, OwnedFd::from(unix_now.try_clone().unwrap()));
    let request =
        format!("GET {CLIENTS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n");
    assert_eq!(send_request_to_socket(&path, request.as_bytes()).status, 200);
    crate::support::signal(&gateway.program, "TERM");
    assert!(gateway.program.wait_for_exit(Duration::from_secs(5)).success());
    assert!(path.exists(), "the socket is systemd's");
}

#[test]
fn a_socket_of_systemds_that_is_not_there_or_too_wide_stops_the_start() {
    let (_partner, mut gateway, _) = scene(|setup| setup);
    gateway.kill();
    let given = toml::Table::from_iter([("address".to_owned(), "systemd:web".into())]);
    gateway.table.insert("listeners".to_owned(), vec![given].into());
    gateway.write("gateway.toml", &gateway.table.to_string());
    let checked = gateway.command(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let said = |words: &str, input: std::process::Stdio| {
        let line = format!("{words}; exec \"$@\"");
        let mut command = std::process::Command::new("sh");
        command.args(["-c", &line, "given", env!("CARGO_BIN_EXE_reseller-gateway"), "serve", "--config"]);
        let ended = command.arg(gateway.file("gateway.toml")).stdin(input).output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8_lossy(&ended.stderr).into_owned()
    };
    let none = said("true", std::process::Stdio::null());
    assert!(none.contains("listeners[0].address: systemd:web") && none.contains("passed no sockets"), "{none}");
    let wide = || std::process::Stdio::from(OwnedFd::from(TcpListener::bind("0.0.0.0:0").unwrap()));
    let passed = |name: &str| format!("export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES={name}; exec 3<&0 </dev/null");
    let other = said(&passed("api"), wide());
    assert!(other.contains("no socket of this name, but api"), "{other}");
    let clear = said(&passed("web"), wide());
    assert!(clear.contains("off loopback and would speak clear text"), "{clear}");
    // One that does not listen counted as served: ready, and nothing was ever answered there. systemd passes such a one, of a
    // single connection, with Accept=yes.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connection = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (unix_now, _other) = std::os::unix::net::UnixStream::pair().unwrap();
    for silent in [OwnedFd::from(connection), OwnedFd::from(unix_now)] {
        let silent = said(&passed("web"), silent.into());
        assert!(silent.contains("listeners[0].address: systemd:web") && silent.contains("does not listen"), "{silent}");
    }
    let file = std::process::Stdio::from(std::fs::File::open("/dev/zero").unwrap());
    let unfit = said(&passed("web"), file);
    assert!(unfit.contains("not a listening TCP or Unix socket"), "{unfit}");
}

#[test]
fn a_body_that_trickles_has_the_requests_time_and_no_more() {
    let (partner, gateway, _) = scene(|setup| setup.set("server.request_timeout", "1s"));
    partner.respond_with(OTHER, [Reply::json("{}")]);
    let token = gateway.token(&["other:read", "pii:read", "write"]);
    let mut caller = Connection::connect(gateway.address);
    caller.say(format!(
        "POST {OTHER} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: 1000\r\n\r\n"
    ));
    let began = Instant::now();
    // A byte at a time for as long as the connection is there.
    let ended = wait_for("the end", || {
        caller.say("x");
        std::thread::park_timeout(Duration::from_millis(50));
        caller.is_closed().then(|| began.elapsed())
    });
    assert!(ended < Duration::from_secs(6), "{ended:?}");
}

#[test]
fn one_address_has_its_share_of_connections_where_it_is_not_this_machine() {
    // An address of this machine that is not loopback; where there is none, there is nobody to be told apart.
    let Some(own) = own_address() else { return };
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let port = crate::support::free_port();
    let door = format!("address = \"{own}:{port}\"\nallow_clear_text = true");
    let setup = Setup::before(&partner).extra_listener(&door).set("server.max_connections_per_peer", 3);
    let gateway = setup.start();
    let outside = SocketAddr::from((own, port));
    let answers = |to: SocketAddr| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.write_all(b"GET /-/me HTTP/1.1\r\nhost: a\r\n\r\n");
        let answered = stream.read(&mut [0; 16]).unwrap_or(0) > 0;
        answered.then_some(stream)
    };
    let mut held: Vec<TcpStream> = (0..3).map(|_| answers(outside).unwrap()).collect();
    // One more is answered, and the one that was idle for longest has given way to it.
    held.push(answers(outside).unwrap());
    let is_over = |stream: &mut TcpStream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).map_or(true, |_| true)
    };
    assert!(is_over(&mut held[0]));
    let local: Vec<TcpStream> = (0..10).map(|_| answers(gateway.address).unwrap()).collect();
    assert!(gateway.metrics().contains("reseller_gateway_connections_evicted_total{why=\"peer\"} 1\n"));
    drop(local);
}

/// Idle connections of one peer without any token kept the kubelet's probe waiting for more than a minute, and an operator
/// out of the admin listener.
#[test]
fn idle_connections_keep_neither_a_probe_nor_an_operator_out() {
    let (_partner, gateway, _) = scene(|setup| setup);
    for (to, target, many, status) in [(gateway.health, "/livez", 300, 200), (gateway.admin, "/admin/v1/", 80, 401)] {
        // Silent, within a head, and after an answer that was not read.
        let begun = ["", "GET /livez HTTP/1.1\r\nx-drip: ", "GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"];
        let mut held: Vec<Connection> = Vec::new();
        for nth in 0..many {
            let mut caller = Connection::connect(to);
            caller.say(begun[nth % begun.len()]);
            held.push(caller);
        }
        for _ in 0..3 {
            // A byte now and then keeps no place.
            held.iter_mut().skip(1).step_by(begun.len()).for_each(|caller| caller.say("x"));
            let began = Instant::now();
            let answer = send_request_to_host("localhost", to, "GET", target, &[], b"");
            assert_eq!(answer.status, status, "{answer:?}");
            assert!(began.elapsed() < Duration::from_secs(1), "{target} took {:?}", began.elapsed());
        }
    }
}

#[test]
fn who_says_nothing_to_the_health_listener_leaves_before_who_asked() {
    let (_partner, gateway, _) = scene(|setup| setup.set("server.header_timeout", "500ms"));
    for to in [gateway.health, gateway.admin] {
        let mut asked = KeepAliveConnection::connect(to);
        assert_ne!(asked.ask("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").status, 0);
        let (mut silent, began) = (Connection::connect(to), Instant::now());
        assert_eq!(silent.read_some(1), 0);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_ne!(asked.ask("GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").status, 0, "who asked stays");
    }
    // A public listener has room for callers that open connections before they need them.
    let mut public = Connection::connect(gateway.address);
    let mut silent = Connection::connect(gateway.health);
    assert_eq!(silent.read_some(1), 0);
    assert!(!public.is_closed());
}

/// Where this machine would send from to somewhere else. No packet is sent.
fn own_address() -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(own) if !own.is_loopback() && !own.is_unspecified() => Some(own),
        _ => None,
    }
}
