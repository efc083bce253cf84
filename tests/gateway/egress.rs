//! Which way do calls go out?
//! Given proxies that open tunnels or do not, and partners that count connections, claims what reaches whom.
//! Never lets a proxy see more than where its tunnel leads.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::path::authority;
use crate::support::{CLIENTS, ConnectResponse, FakeProxy, READING, Reply, ScriptedPartner, Setup, wait_for};

const GOOD: &str = r#"{"client":{}}"#;

fn client(nth: usize) -> String {
    format!("{CLIENTS}client-{nth}/")
}

/// A partner over TLS, and a gateway that goes to it through this proxy.
fn through(proxy: &FakeProxy) -> (ScriptedPartner, Setup, tempfile::NamedTempFile) {
    let (pem, tls) = authority();
    let partner = ScriptedPartner::listen_with(tls);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(pem.as_bytes()).unwrap();
    let setup = Setup::before(&partner)
        .set("upstream.ca_file", file.path().to_str().unwrap())
        .set("upstream.proxy", proxy.url());
    (partner, setup, file)
}

#[test]
fn a_proxy_opens_a_tunnel_and_sees_nothing_but_where_it_leads() {
    let proxy = FakeProxy::listen(ConnectResponse::Yes);
    let (partner, setup, _ca) = through(&proxy);
    let auth = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(auth.path(), "Aladdin:open sesame\n").unwrap();
    partner.respond_with(&client(1), [Reply::json(GOOD)]);
    let gateway = setup.set("upstream.proxy_auth_file", auth.path().to_str().unwrap()).start();
    gateway.keep_secret("QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    gateway.keep_secret("open sesame");
    let token = gateway.token(&READING);
    gateway.get_ok(&token, &client(1));
    let at = partner.url().replace("https://", "");
    let wanted = format!(
        "CONNECT {at} HTTP/1.1\r\nHost: {at}\r\nProxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
    );
    assert_eq!(proxy.heads(), [wanted]);
    assert_eq!(partner.calls()[0].header("x-reseller-api-key"), Some("the-real-key-of-the-partner-4711"));
    assert_eq!(partner.calls()[0].header("proxy-authorization"), None);
}

/// A refusal of the proxy's was an unreachable partner like any other, and each request asked for it three times.
#[test]
fn a_proxy_that_opens_no_tunnel_says_why_and_is_asked_again_only_where_that_may_help() {
    for (says, slug, times) in [
        (ConnectResponse::Only("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n"), "proxy-auth", 1),
        (ConnectResponse::Only("HTTP/1.1 403 Forbidden\r\n\r\n"), "proxy-refuses", 1),
        (ConnectResponse::Only("HTTP/1.1 502 Bad Gateway\r\n\r\n"), "partner-unreachable", 3),
        (ConnectResponse::Only("SSH-2.0\r\n"), "partner-unreachable", 3),
        (ConnectResponse::Only(""), "partner-unreachable", 3),
        (ConnectResponse::Endless, "partner-unreachable", 3),
    ] {
        let proxy = FakeProxy::listen(says);
        let (partner, setup, _ca) = through(&proxy);
        let gateway = setup.set("upstream.connect_timeout", "300ms").set("upstream.retry.attempts", 2).start();
        let began = Instant::now();
        let answer = gateway.read(&gateway.token(&READING), &client(1));
        let expected = format!("urn:reseller-gateway:problem:{slug}");
        assert_eq!((answer.status, answer.json()["type"].as_str()), (502, Some(expected.as_str())));
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!((partner.count(), proxy.heads().len()), (0, times), "{slug}");
    }
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let proxy = FakeProxy::listen(ConnectResponse::Yes);
    let (partner, setup, _ca) = through(&proxy);
    partner.respond_with(&client(1), [Reply::json(GOOD)]);
    let gateway = setup.set("upstream.proxy", "").environment("HTTPS_PROXY", &proxy.url()).start();
    gateway.get_ok(&gateway.token(&READING), &client(1));
    assert!(proxy.heads().is_empty());
}

#[test]
fn connections_are_kept_up_to_their_age_and_then_others_are_opened() {
    let partner = ScriptedPartner::listen();
    (0..2_000).for_each(|nth| partner.respond_with(&client(nth), [Reply::json(GOOD)]));
    let kept = Setup::before(&partner).start();
    let token = kept.token(&READING);
    (0..50).for_each(|nth| drop(kept.get_ok(&token, &client(nth))));
    let before = partner.connections();
    assert!(before <= 5, "{before} connections for 50 requests one after the other");
    let gateway = Setup::before(&partner).set("upstream.max_connection_age", "400ms").start();
    let token = gateway.token(&READING);
    let mut asked = 0;
    let began = Instant::now();
    wait_for("a fourth connection", || {
        gateway.get_ok(&token, &client(asked));
        asked += 1;
        (partner.connections() >= before + 4).then_some(())
    });
    // Three times an age of at least three quarters of it has passed, and not every request had a connection of its own.
    assert!(began.elapsed() >= Duration::from_millis(890), "{:?}", began.elapsed());
    assert!(asked > 8, "{asked} requests");
}
