//! Is a private listener private, and does it stay up?
//! Given the real binary with certificates made here, speaks to it as good, bad and clumsy clients do.
//! Never trusts the gateway's word for a certificate: what was shown in the handshake counts.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, NamedGroup, ProtocolVersion};

use crate::support::{
    CLIENTS, CertificateAuthority, Client, Connection, Gate, Gateway, Identity, NO_CLIENTS, READING, Reply,
    ScriptedPartner, Setup, ask, block_on, free_port, program, signal, wait_for,
};

const OTHER: &str = "/reseller/account/v1/something/else";

/// A gateway behind TLS that holds the list of clients already.
fn scene(signer: &CertificateAuthority, adjust: impl FnOnce(Setup) -> Setup) -> (ScriptedPartner, Gateway, String) {
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).header("cache-control", "max-age=600")]);
    let gateway = adjust(Setup::before(&partner).tls_listener(&signer.signs(), "")).start();
    let token = gateway.token(&READING);
    (partner, gateway, format!("Bearer {token}"))
}

fn put(gateway: &Gateway, identity: &Identity) {
    gateway.write("cert.pem", &identity.cert);
    gateway.write("key.pem", &identity.key);
}

fn der(identity: &Identity) -> Vec<u8> {
    use rustls_pki_types::pem::PemObject;
    rustls_pki_types::CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap().to_vec()
}

/// Waits until new connections are shown this certificate; to be asked as a client that has no tickets.
fn is_shown(gateway: &Gateway, client: &Client, identity: &Identity) {
    wait_for("the new certificate", || {
        (client.connect(gateway.address).ok()?.peer_certificate() == der(identity)).then_some(())
    });
}

fn metric(gateway: &Gateway, line: &str) -> i64 {
    let text = gateway.metrics();
    let found = text.lines().find_map(|other| other.strip_prefix(&format!("reseller_gateway_{line} ")));
    found.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

#[test]
fn the_same_document_comes_over_every_version_of_tls_and_http() {
    let signer = CertificateAuthority::new();
    let (partner, gateway, bearer) = scene(&signer, |setup| setup);
    let headers = [("authorization", bearer.as_str())];
    for (versions, agreed) in [(&[&TLS12][..], ProtocolVersion::TLSv1_2), (&[&TLS13], ProtocolVersion::TLSv1_3)] {
        let client = Client::with(&signer, None, versions);
        let connection = client.connect(gateway.address).unwrap();
        assert_eq!(connection.0.conn.protocol_version(), Some(agreed));
        if agreed == ProtocolVersion::TLSv1_3 {
            let group = connection.0.conn.negotiated_key_exchange_group().unwrap().name();
            assert_eq!(group, NamedGroup::X25519MLKEM768, "the key exchange is safe from quantum computers too");
        }
        let one = gateway.seen(client.ask(gateway.address, CLIENTS, &headers).unwrap());
        assert_eq!((one.status, one.text().as_str()), (200, NO_CLIENTS));
        let two = block_on(async { client.http2(gateway.address).await.asks(CLIENTS, &headers).await.unwrap() });
        let two = gateway.seen(two);
        assert_eq!((two.status, two.text().as_str()), (200, NO_CLIENTS));
        assert_eq!(one.expect_header("etag"), two.expect_header("etag"));
        assert_eq!((one.header("connection").as_deref(), two.header("connection")), (Some("close"), None));
        let peer = gateway.log_line(&two)["peer"].as_str().unwrap().to_owned();
        assert!(peer.starts_with("127.0.0.1:"), "{peer}");
    }
    assert_eq!(partner.count(), 1);
    let bare = ask(gateway.health, "GET", "/readyz", &[], b"");
    assert_eq!(bare.status, 200, "health stays clear text");
}

#[test]
fn a_session_goes_on_with_its_ticket() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, bearer) = scene(&signer, |setup| setup);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let client = Client::with(&signer, None, versions);
        let kind = || {
            // A ticket comes with the answer.
            let mut connection = client.connect(gateway.address).unwrap();
            let request =
                format!("GET {CLIENTS} HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n");
            connection.0.write_all(request.as_bytes()).unwrap();
            assert_eq!(connection.read_response().unwrap().status, 200);
            connection.0.conn.handshake_kind().unwrap()
        };
        assert_eq!(kind(), HandshakeKind::Full);
        assert_eq!(kind(), HandshakeKind::Resumed);
    }
}

#[test]
fn a_new_certificate_is_shown_within_seconds_and_a_bad_one_never() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, bearer) = scene(&signer, |setup| setup);
    let client = Client::of(&signer);
    let headers = [("authorization", bearer.as_str())];
    let expiry = format!("tls_certificate_expiry_seconds{{listener=\"{}\"}}", gateway.address);
    let failed = format!("tls_reload_failed{{listener=\"{}\"}}", gateway.address);
    let next = signer.signs_with(|params| params.not_after = rcgen::date_time_ymd(2039, 1, 1));
    assert!(metric(&gateway, &expiry) > 20 * 365 * 86_400);
    // Kept alive over the change.
    let mut kept = client.connect(gateway.address).unwrap();
    put(&gateway, &next);
    is_shown(&gateway, &client, &next);
    wait_for("its end in the metrics", || (metric(&gateway, &expiry) < 20 * 365 * 86_400).then_some(()));
    gateway.write("key.pem", &signer.signs().key);
    wait_for("the failed reload in the metrics", || (metric(&gateway, &failed) == 1).then_some(()));
    assert_eq!(client.connect(gateway.address).unwrap().peer_certificate(), der(&next), "the last good one is kept");
    assert_eq!(client.ask(gateway.address, CLIENTS, &headers).unwrap().status, 200);
    let said = || gateway.program.stderr().matches("this key is not that of the first certificate").count();
    wait_for("a line of the log", || (said() > 0).then_some(()));
    put(&gateway, &next);
    wait_for("the reload in the metrics", || (metric(&gateway, &failed) == 0).then_some(()));
    // The mismatch between the two renames of the first change may be a line of its own.
    assert!(said() <= 2, "{}", gateway.program.stderr());
    assert!(!gateway.program.stderr().contains("PRIVATE KEY"));
    let request = format!("GET {CLIENTS} HTTP/1.1\r\nhost: a\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n");
    kept.0.write_all(request.as_bytes()).unwrap();
    assert_eq!(kept.read_response().unwrap().status, 200, "a connection outlives its certificate");
}

/// Ends the load, also where the test fails.
struct End<'d>(&'d AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn no_request_fails_while_certificates_change() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, bearer) = scene(&signer, |setup| setup.set("telemetry.access_log", "off"));
    let client = Client::of(&signer);
    let headers = [("authorization", bearer.as_str())];
    let done = AtomicBool::new(false);
    let answered = std::thread::scope(|scope| {
        let loads: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut answered = 0;
                    while !done.load(Ordering::Relaxed) {
                        let answer = client.ask(gateway.address, CLIENTS, &headers).expect("no handshake fails");
                        assert_eq!(answer.status, 200);
                        answered += 1;
                    }
                    answered
                })
            })
            .collect();
        let end = End(&done);
        for _ in 0..3 {
            let next = signer.signs();
            put(&gateway, &next);
            is_shown(&gateway, &Client::of(&signer), &next);
        }
        drop(end);
        loads.into_iter().map(|load| load.join().unwrap()).sum::<usize>()
    });
    assert!(answered > 20, "{answered}");
}

#[test]
fn a_client_without_a_certificate_of_the_right_issuer_is_refused_where_one_is_wanted() {
    let (signer, clients, strangers) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateAuthority::new());
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let setup = Setup::before(&partner).tls_listener(&signer.signs(), "").file("clients.pem", &clients.pem);
    let door = "[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\nclient_ca_file = \"clients.pem\"";
    let gateway = setup.listener(door).start();
    let bearer = format!("Bearer {}", gateway.token(&READING));
    let headers = [("authorization", bearer.as_str())];
    let ours = clients.signs();
    let expired = clients.signs_with(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let asks = |identity: Option<&Identity>| {
            Client::with(&signer, identity, versions).ask(gateway.address, CLIENTS, &headers)
        };
        assert_eq!(asks(Some(&ours)).unwrap().status, 200);
        assert!(asks(None).is_err());
        assert!(asks(Some(&strangers.signs())).is_err());
        assert!(asks(Some(&expired)).is_err());
    }
    let refused = || metric(&gateway, "tls_handshakes_failed_total{why=\"client-certificate\"}");
    wait_for("the refusals in the metrics", || (refused() == 6).then_some(()));
    // One client that has a ticket, and loses its issuer's trust.
    let client = Client::with(&signer, Some(&ours), &[&TLS13]);
    assert_eq!(client.ask(gateway.address, CLIENTS, &headers).unwrap().status, 200);
    gateway.write("clients.pem", &strangers.pem);
    wait_for("the other issuers", || client.ask(gateway.address, CLIENTS, &headers).is_err().then_some(()));
    let other = Client::with(&signer, Some(&strangers.signs()), &[&TLS13]);
    assert_eq!(other.ask(gateway.address, CLIENTS, &headers).unwrap().status, 200);
}

/// A connection that an issuer had opened which is trusted no more was served for as long as it asked.
#[test]
fn who_was_let_in_by_an_issuer_that_is_taken_out_is_asked_to_finish_and_loses_nothing() {
    let (signer, clients, others) =
        (CertificateAuthority::new(), CertificateAuthority::new(), CertificateAuthority::new());
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let setup = Setup::before(&partner).tls_listener(&signer.signs(), "").file("clients.pem", &clients.pem);
    let door = "[tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\nclient_ca_file = \"clients.pem\"";
    let gateway = setup.listener(door).start();
    let bearer = format!("Bearer {}", gateway.token(&READING));
    let client = Client::with(&signer, Some(&clients.signs()), &[&TLS13]);
    let mut idle = client.connect(gateway.address).unwrap();
    // Another issuer beside the first takes nothing from anybody.
    gateway.write("clients.pem", &format!("{}{}", clients.pem, others.pem));
    gateway.wait_for_log("a new certificate is served");
    block_on(async {
        let connection = client.http2(gateway.address).await;
        let begun = tokio::spawn(connection.asks(CLIENTS, &[("authorization", &bearer)]));
        let quiet = client.http2(gateway.address).await;
        assert_eq!(quiet.asks("/-/nothing", &[]).await.unwrap().status, 404);
        wait_for("the call", || (partner.count() == 1).then_some(()));
        idle.0.write_all(b"GET /-/nothing HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        assert!(idle.0.read(&mut [0; 4096]).unwrap() > 0, "it is as good as before");
        gateway.write("clients.pem", &others.pem);
        tokio::time::timeout(Duration::from_secs(5), quiet.ended).await.expect("it is told to go").unwrap().unwrap();
        assert!(!begun.is_finished());
        gate.open();
        assert_eq!(begun.await.unwrap().unwrap().status, 200);
        tokio::time::timeout(Duration::from_secs(5), connection.ended).await.expect("it ends").unwrap().unwrap();
    });
    let mut rest = Vec::new();
    idle.0.read_to_end(&mut rest).unwrap();
    let other = Client::with(&signer, Some(&others.signs()), &[&TLS13]);
    assert_eq!(other.ask(gateway.address, CLIENTS, &[("authorization", &bearer)]).unwrap().status, 200);
}

#[test]
fn clear_text_at_a_private_door_is_told_so_and_tls_at_a_clear_one_ends_at_once() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, bearer) = scene(&signer, |setup| {
        let port = free_port();
        setup.extra_listener(&format!("address = \"127.0.0.1:{port}\"")).set("telemetry.log", "debug")
    });
    let answer = gateway.get(CLIENTS, &[("authorization", &bearer)]);
    assert_eq!((answer.status, answer.whole), (400, true), "{answer:?}");
    assert_eq!(answer.json()["type"], "urn:reseller-gateway:problem:clear-text");
    assert!(answer.text().contains("https://"), "{answer:?}");
    wait_for("a line of the log", || gateway.program.stderr().contains(r#""why":"clear-text""#).then_some(()));
    assert_eq!(metric(&gateway, "tls_handshakes_failed_total{why=\"clear-text\"}"), 1);
    let clear = gateway.table["listeners"][1]["address"].as_str().unwrap().parse().unwrap();
    assert!(Client::of(&signer).connect(clear).is_err());
    wait_for("a line of the log", || gateway.program.stderr().contains("was it TLS").then_some(()));
    assert!(Client::of(&CertificateAuthority::new()).connect(gateway.address).is_err(), "a client with another issuer");
    wait_for("the broken handshake", || {
        (metric(&gateway, "tls_handshakes_failed_total{why=\"broken\"}") == 1).then_some(())
    });
}

#[test]
fn who_takes_too_long_over_a_handshake_is_cut_and_others_notice_nothing() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, bearer) = scene(&signer, |setup| setup.set("server.header_timeout", "1s"));
    let mut silent: Vec<Connection> = (0..50).map(|_| Connection::connect(gateway.address)).collect();
    let mut slow: Vec<Connection> = (0..50).map(|_| Connection::connect(gateway.address)).collect();
    // A record of a handshake whose rest never comes.
    slow.iter_mut().for_each(|caller| caller.say([22, 3, 1, 2, 0, 1, 0]));
    let asked = Instant::now();
    let client = Client::of(&signer);
    assert_eq!(client.ask(gateway.address, CLIENTS, &[("authorization", &bearer)]).unwrap().status, 200);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    wait_for("the silent to be cut", || silent.iter_mut().all(Connection::is_closed).then_some(()));
    wait_for("the slow to be cut", || slow.iter_mut().all(Connection::is_closed).then_some(()));
    let late = || metric(&gateway, "tls_handshakes_failed_total{why=\"late\"}");
    wait_for("the last to be counted, after it was cut", || (late() == 100).then_some(()));
    // A head over TLS has its time from its first byte too.
    let mut connection = client.connect(gateway.address).unwrap();
    connection.0.write_all(b"GET / HTTP/1.1\r\nhost: ").unwrap();
    let began = Instant::now();
    assert_eq!(connection.0.read(&mut [0; 64]).unwrap_or(0), 0);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[test]
fn a_head_too_large_for_http_1_is_too_large_for_http_2() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, bearer) = scene(&signer, |setup| setup);
    let client = Client::of(&signer);
    block_on(async {
        let connection = client.http2(gateway.address).await;
        let large = "x".repeat(16 << 10);
        let long = format!("{CLIENTS}?{large}");
        let many: Vec<(String, &str)> = (0..101).map(|nth| (format!("x-{nth}"), "1")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        for (target, headers) in [(CLIENTS, &[("x-large", large.as_str())][..]), (&long, &[]), (CLIENTS, &many)] {
            let answer = gateway.seen(connection.asks(target, headers).await.unwrap());
            assert_eq!(answer.status, 431, "{answer:?}");
            assert_eq!(answer.json()["type"], "urn:reseller-gateway:problem:head-too-large");
            gateway.log_line(&answer);
        }
        // Far beyond it h2 answers by itself, and the connection goes on.
        let huge = "x".repeat(100 << 10);
        let answer = connection.asks(CLIENTS, &[("x-huge", huge.as_str())]).await;
        assert!(answer.as_ref().is_ok_and(|answer| answer.status == 431) || answer.is_err(), "{answer:?}");
        let connection = client.http2(gateway.address).await;
        assert_eq!(connection.asks(CLIENTS, &[("authorization", &bearer)]).await.unwrap().status, 200);
    });
}

#[test]
fn a_name_in_the_target_is_a_host_and_the_partner_hears_how_the_request_came() {
    let signer = CertificateAuthority::new();
    let partner = ScriptedPartner::listen();
    partner.respond_with(OTHER, [Reply::json("{}"), Reply::json("{}")]);
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).tls_listener(&signer.signs(), "ambient = \"app\"").start();
    let client = Client::of(&signer);
    block_on(async {
        let connection = client.http2(gateway.address).await;
        // `:authority` is the listener's own address: without it as Host nobody would be local.
        assert_eq!(connection.asks(CLIENTS, &[]).await.unwrap().status, 200);
        let foreign = connection.asks(CLIENTS, &[("host", "evil.example")]).await.unwrap();
        assert_eq!(foreign.status, 403, "{foreign:?}");
        let bearer = format!("Bearer {}", gateway.token(&READING));
        assert_eq!(connection.asks(OTHER, &[("authorization", &bearer)]).await.unwrap().status, 200);
        let own = client.ask(gateway.address, OTHER, &[("authorization", &bearer)]).unwrap();
        assert_eq!(own.status, 200);
        assert_eq!(own.expect_header("via"), "1.1 gw", "what came from the partner came over HTTP/1.1");
    });
    let calls = partner.calls();
    let via: Vec<_> =
        calls.iter().filter(|call| call.target == OTHER).map(|call| call.header("via").unwrap()).collect();
    assert_eq!(via, ["2 gw", "1.1 gw"]);
}

#[test]
fn a_hundred_requests_at_once_on_one_connection_are_one_call() {
    let signer = CertificateAuthority::new();
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let gateway = Setup::before(&partner).tls_listener(&signer.signs(), "").start();
    let bearer = format!("Bearer {}", gateway.token(&READING));
    block_on(async {
        let connection = Client::of(&signer).http2(gateway.address).await;
        let asked: Vec<_> =
            (0..100).map(|_| tokio::spawn(connection.asks(CLIENTS, &[("authorization", &bearer)]))).collect();
        tokio::task::spawn_blocking(move || wait_for("the call", || (partner.count() == 1).then_some(())))
            .await
            .unwrap();
        gate.open();
        for asked in asked {
            assert_eq!(asked.await.unwrap().unwrap().status, 200);
        }
    });
}

#[test]
fn at_the_end_http_2_is_told_to_go_away_and_what_was_begun_is_finished() {
    let signer = CertificateAuthority::new();
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let setup = Setup::before(&partner).tls_listener(&signer.signs(), "").set("server.drain_delay", "500ms");
    let mut gateway = setup.start();
    let bearer = format!("Bearer {}", gateway.token(&READING));
    block_on(async {
        let connection = Client::of(&signer).http2(gateway.address).await;
        let begun = tokio::spawn(connection.asks(CLIENTS, &[("authorization", &bearer)]));
        let idle = Client::of(&signer).http2(gateway.address).await;
        assert_eq!(idle.asks("/-/nothing", &[]).await.unwrap().status, 404);
        wait_for("the call", || (partner.count() == 1).then_some(()));
        signal(&gateway.program, "TERM");
        // It goes by itself, though its client does not.
        tokio::time::timeout(Duration::from_secs(5), idle.ended).await.expect("it is told to go").unwrap().unwrap();
        assert!(!begun.is_finished());
        gate.open();
        assert_eq!(begun.await.unwrap().unwrap().status, 200);
        tokio::time::timeout(Duration::from_secs(5), connection.ended).await.expect("it ends").unwrap().unwrap();
    });
    assert!(gateway.program.wait_for_exit(Duration::from_secs(5)).success());
}

#[test]
fn streams_that_are_reset_as_fast_as_they_are_made_end_their_connection_and_no_other() {
    let signer = CertificateAuthority::new();
    let partner = ScriptedPartner::listen();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = Setup::before(&partner).tls_listener(&signer.signs(), "").start();
    let bearer = format!("Bearer {}", gateway.token(&READING));
    block_on(async {
        let good = Client::of(&signer).http2(gateway.address).await;
        assert_eq!(good.asks(CLIENTS, &[("authorization", &bearer)]).await.unwrap().status, 200);
        // Headers and resets as frames, all in one write; few enough that none is unread when the answer comes.
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
        for nth in 0..200u32 {
            let id = (2 * nth + 1).to_be_bytes();
            // :method GET, :scheme https, :path /, :authority "a" (RFC 7541 appendices A and B).
            let block = [0x82, 0x87, 0x84, 0x01, 0x01, b'a'];
            bytes.extend([0, 0, block.len() as u8, 1, 5]);
            bytes.extend(id);
            bytes.extend(block);
            bytes.extend([0, 0, 4, 3, 0]);
            bytes.extend(id);
            bytes.extend([0, 0, 0, 8]);
        }
        let client = Client::of(&signer).speaking_http2();
        let to = gateway.address;
        let closed = tokio::task::spawn_blocking(move || {
            let mut flood = client.connect(to).unwrap();
            let _ = flood.0.write_all(&bytes);
            let mut heard = Vec::new();
            let _ = flood.0.read_to_end(&mut heard);
            heard
        });
        let heard = tokio::time::timeout(Duration::from_secs(10), closed).await.expect("it is ended").unwrap();
        // GOAWAY with ENHANCE_YOUR_CALM.
        assert!(heard.windows(4).any(|window| window == [0, 0, 0, 11]), "{} bytes", heard.len());
        assert_eq!(good.asks(CLIENTS, &[("authorization", &bearer)]).await.unwrap().status, 200);
    });
}

/// `Connection: close` for the unread body became GOAWAY: all else on the connection failed with it.
#[test]
fn a_refused_upload_ends_its_own_stream_and_no_other_of_its_connection() {
    let signer = CertificateAuthority::new();
    let partner = ScriptedPartner::listen();
    let gate = Gate::default();
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let setup = Setup::before(&partner).tls_listener(&signer.signs(), "").set("server.max_request_body", "1KiB");
    let gateway = setup.start();
    let [reads, writes] = [&READING[..], &["other:read", "pii:read", "write"]].map(|scopes| gateway.token(scopes));
    let [reads, writes] = [reads, writes].map(|token| format!("Bearer {token}"));
    block_on(async {
        let connection = Client::of(&signer).http2(gateway.address).await;
        let begun = tokio::spawn(connection.asks(CLIENTS, &[("authorization", &reads)]));
        assert_eq!(connection.asks("/-/nothing", &[]).await.unwrap().status, 404);
        wait_for("the call", || (partner.count() == 1).then_some(()));
        let rows = [(OTHER, "Bearer x", 401), (OTHER, &reads, 403), (CLIENTS, &reads, 405), (OTHER, &writes, 413)];
        let upload = |nth: usize, size: usize| {
            let (target, token, status) = rows[nth % rows.len()];
            let headers = [("authorization", token), ("content-type", "text/plain")];
            let sent = connection.sends("POST", target, &headers, vec![b'x'; size].into());
            async move {
                let answer = sent.await.unwrap();
                // Too many bad tokens are not even looked at.
                assert!(answer.status == status || (status, answer.status) == (401, 429), "{answer:?}");
                assert_eq!(answer.header("connection"), None);
            }
        };
        for nth in 0..100 {
            upload(nth, [2_000, 60_000, 300_000][nth % 3]).await;
        }
        // And all of them at once: what was under way comes after the streams are reset.
        let all: Vec<_> = (0..100).map(|nth| tokio::spawn(upload(nth, 60_000))).collect();
        for one in all {
            one.await.unwrap();
        }
        assert!(!connection.ended.is_finished() && !begun.is_finished());
        gate.open();
        assert_eq!(begun.await.unwrap().unwrap().status, 200);
        assert_eq!(connection.asks(CLIENTS, &[("authorization", &reads)]).await.unwrap().status, 200);
    });
}

#[test]
fn the_commands_know_the_admin_door_by_its_certificate() {
    let signer = CertificateAuthority::new();
    let partner = ScriptedPartner::listen();
    let own = signer.signs();
    let setup = Setup::before(&partner).file("cert.pem", &own.cert).file("key.pem", &own.key);
    let mut gateway = setup.set("admin.tls.cert_file", "cert.pem").set("admin.tls.key_file", "key.pem").start();
    let stats = gateway.command(&["cache", "stats"]);
    assert!(stats.status.success(), "{}", String::from_utf8_lossy(&stats.stderr));
    gateway.token(&READING);
    // Somebody else's certificate, of the same issuer and for the same name.
    put(&gateway, &signer.signs());
    let client = Client::of(&signer);
    let expiry = format!("tls_certificate_expiry_seconds{{listener=\"{}\"}}", gateway.admin);
    assert!(metric(&gateway, &expiry) > 0);
    wait_for("the reload", || gateway.command(&["cache", "stats"]).status.success().then_some(()));
    gateway.kill();
    let stranger = signer.signs();
    gateway.table["admin"]["tls"].as_table_mut().unwrap().insert("cert_file".to_owned(), "other.pem".into());
    gateway.table["admin"]["tls"].as_table_mut().unwrap().insert("key_file".to_owned(), "other.key".into());
    gateway.write("other.pem", &stranger.cert);
    gateway.write("other.key", &stranger.key);
    gateway.restart();
    assert_eq!(client.connect(gateway.admin).unwrap().peer_certificate(), der(&stranger));
    gateway.table["admin"]["tls"].as_table_mut().unwrap().insert("cert_file".to_owned(), "cert.pem".into());
    gateway.write("gateway.toml", &gateway.table.to_string());
    let refused = gateway.command(&["cache", "stats"]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("does not show the certificate in this configuration"), "{said}");
}

#[test]
fn a_start_without_a_usable_certificate_says_which_file_and_why() {
    let signer = CertificateAuthority::new();
    let (mut gateway, good) = {
        let partner = ScriptedPartner::listen();
        let good = signer.signs();
        (Setup::before(&partner).tls_listener(&good, "").start(), good)
    };
    gateway.kill();
    for (file, text, wanted) in [
        ("key.pem", signer.signs().key, "listeners[0].tls.key_file: "),
        ("cert.pem", String::new(), "no certificate in it"),
    ] {
        put(&gateway, &good);
        gateway.write(file, &text);
        let ended = gateway.command(&["serve"]);
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(!ended.status.success() && said.contains(wanted) && said.contains(file), "{said}");
        assert!(!said.contains("MII"), "{said}");
        assert_eq!(gateway.command(&["check"]).status.code(), ended.status.code(), "`check` opens it too");
    }
    // An expired one is served, with a warning: clients decide.
    put(&gateway, &signer.signs_with(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1)));
    gateway.restart();
    wait_for("the warning", || gateway.program.stderr().contains("the certificate has expired").then_some(()));
    let expiry = format!("tls_certificate_expiry_seconds{{listener=\"{}\"}}", gateway.address);
    assert!(metric(&gateway, &expiry) < 0);
    assert!(Client::of(&signer).connect(gateway.address).is_err());
}

#[test]
fn the_program_says_what_a_private_door_lacks() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = "[upstream]\nurl = \"https://partner.example\"\napi_key_file = \"key\"\n[[listeners]]\naddress = \"0.0.0.0:8443\"\n[listeners.tls]\ncert_file = \"cert.pem\"\n";
    std::fs::write(&file, text).unwrap();
    let ended = program().args(["check", "--static", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2));
    assert!(said.contains("key_file") && said.contains("the certificate's key"), "{said}");
    std::fs::write(&file, text.to_owned() + "key_file = \"key.pem\"\n").unwrap();
    let ended = program().args(["check", "--static", "--config"]).arg(&file).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success(), "{said}");
    assert!(said.contains("server.public_url"), "{said}");
}

#[test]
fn a_connection_that_only_opens_costs_little() {
    let signer = CertificateAuthority::new();
    let (_partner, gateway, _) = scene(&signer, |setup| setup);
    let memory = || {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", gateway.program.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        line.trim().strip_suffix("kB").unwrap().trim().parse::<u64>().unwrap() << 10
    };
    let before = memory();
    let silent: Vec<TcpStream> = (0..400).map(|_| TcpStream::connect(gateway.address).unwrap()).collect();
    wait_for("all of them", || (metric(&gateway, "connections") >= 400).then_some(()));
    let each = memory().saturating_sub(before) / 400;
    assert!(each < 8 << 10, "{each} bytes for each silent connection");
    drop(silent);
}
