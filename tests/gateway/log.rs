//! Does the log stand in nobody's way?
//! Given a full disk or a pipe that nobody reads where lines should go, claims what is answered, counted and ended.
//! Never reads the log itself.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::authority::partner;
use crate::support::{CLIENTS, Gateway, READING, Setup, program, wait_for};

fn again(gateway: &mut Gateway, out: impl Into<Stdio>, err: impl Into<Stdio>) -> std::process::Child {
    gateway.kill();
    gateway.write("gateway.toml", &gateway.table.to_string());
    let mut command: Command = program();
    command.arg("serve").arg("--config").arg(gateway.file("gateway.toml")).stdout(out).stderr(err);
    let child = command.spawn().unwrap();
    wait_for("a start", || std::net::TcpStream::connect(gateway.health).ok().map(drop));
    child
}

fn lost(gateway: &Gateway) -> u64 {
    let metrics = gateway.metrics();
    let line = metrics.lines().find_map(|line| line.strip_prefix("reseller_gateway_log_lines_dropped_total "));
    line.unwrap().parse().unwrap()
}

/// They were lost without being counted.
#[test]
fn lines_that_a_full_disk_refuses_are_counted_and_cost_no_answer() {
    let partner = partner();
    let mut gateway = Setup::before(&partner).start();
    let token = gateway.token(&READING);
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut child = again(&mut gateway, full(), full());
    for _ in 0..50 {
        gateway.get_ok(&token, CLIENTS);
    }
    wait_for("the lines to be counted", || (lost(&gateway) >= 50).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The end waited for whoever should have read the log, for ever.
#[test]
fn a_log_that_nobody_reads_holds_up_neither_answers_nor_the_end() {
    let partner = partner();
    let mut gateway = Setup::before(&partner)
        .set("server.drain_delay", "0s")
        .set("server.shutdown_grace", "2s")
        .set("telemetry.log", "debug")
        .start();
    let token = gateway.token(&READING);
    let (reader, writer) = std::io::pipe().unwrap();
    let mut child = again(&mut gateway, writer.try_clone().unwrap(), writer);
    // More than a pipe holds.
    for _ in 0..600 {
        gateway.get_ok(&token, CLIENTS);
    }
    let began = Instant::now();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    let ended = wait_for("the end", || child.try_wait().unwrap());
    assert!(ended.success(), "{ended:?}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    drop(reader);
}
