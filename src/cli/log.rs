//! Where does the process log go?
//! Given the configuration, starts the log of a gateway on standard error, or that of a command.
//! Never lets the gateway wait for whoever reads it.

mod json;

use std::io::{IsTerminal, Write};
use std::time::Duration;

use crate::clock::Clock;
use crate::config::{Config, LogFormat};
use crate::trail::sink::process_log;

/// Starts the log of a gateway; [`process_log`] has to be closed at its end.
pub(super) fn start(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.telemetry.log).unwrap_or_default();
    // What was done, and by whom, is told however quiet the rest is.
    let filter = match "audit=info".parse() {
        Ok(always) => filter.add_directive(always),
        Err(_) => filter,
    };
    let terminal = std::io::stderr().is_terminal();
    // Through a thread of its own: a pipe that nobody reads must hold up neither an answer nor the end.
    let sink = process_log();
    if let Err(error) = sink.start("process-log", std::io::stderr(), Duration::ZERO) {
        let _ = writeln!(std::io::stderr(), "error: no process log: {error}");
    }
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(move || sink)
        .with_ansi(terminal)
        .with_target(false);
    let json = match config.telemetry.log_format {
        LogFormat::Auto => !terminal,
        other => other == LogFormat::Json,
    };
    let _ = if json { log.event_format(json::Json(Clock::real())).try_init() } else { log.try_init() };
}

/// Lets a command that works on the ledger itself say on standard error what it did.
pub(super) fn audit() {
    let filter = tracing_subscriber::EnvFilter::new("off,audit=info");
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.with_ansi(false).with_target(false).try_init();
}
