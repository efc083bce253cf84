//! With what is the program tested?
//! Given a script and settings, hands back a partner on a real socket, the running binary, and a caller's raw requests.
//! Never sleeps to wait: it polls with a bound, and an unscripted call or a leaked secret fails the test.

mod partner;

mod gateway;

mod fake_partner;

mod issuer;

pub(crate) mod moved;

mod private;

mod proxy;

mod time;

mod wire;

pub(crate) use gateway::{Gateway, Program, REAL_KEY, Setup, form_encoded, free_port, program, signal};
pub(crate) use issuer::{TokenIssuer, unix_now};
pub(crate) use partner::{Gate, Reply, ScriptedPartner};
pub(crate) use private::{CertificateAuthority, Client, Identity, block_on};
pub(crate) use proxy::{ConnectResponse, FakeProxy};
pub(crate) use time::{slow_peer, throughout, wait_for, wait_for_within};
pub(crate) use wire::{
    Connection, KeepAliveConnection, Response, ask, request, send_request_to_host, send_request_to_socket,
};

/// Every scope a caller can read with.
pub(crate) const READING: [&str; 6] =
    ["clients:read", "providers:read", "projects:read", "resources:read", "other:read", "pii:read"];

/// The list of clients, and one that is empty.
pub(crate) const CLIENTS: &str = "/reseller/account/v1/clients/";
pub(crate) const NO_CLIENTS: &str = r#"{"clients":[]}"#;

/// A program of an outside suite; it fails with the package's name where it is missing, and never skips.
pub(crate) fn outside(program: &str, package: &str) -> std::process::Command {
    let there = std::process::Command::new(program).arg("--version").output();
    assert!(there.is_ok(), "{program} cannot be run; install it (Debian: apt-get install {package})");
    std::process::Command::new(program)
}
