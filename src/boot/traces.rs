//! Who sends the traces?
//! Given a configuration and the house, starts the one that does, on the runtime that the workers have no part in.
//! Never makes anything where nothing is traced, and never lets a collector that is gone hold up the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::uri::Scheme;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Tick};
use crate::config::Config;
use crate::dial;
use crate::gateway::{Dials, Gateway};
use crate::trail::trace::export::{Exporter, Settings};

/// For a new connection to the collector.
const CONNECT: Duration = Duration::from_secs(2);

/// What is left is sent at the end within this time.
const FLUSH: Duration = Duration::from_secs(5);

/// Traces being sent.
pub(super) struct Sending {
    closed: CancellationToken,
    task: JoinHandle<()>,
}

/// Starts sending what this house traces, if it traces anything.
///
/// # Errors
/// Settings that rustls refuses.
pub(super) fn send<C: Dials>(config: &Config, house: &Gateway<C>) -> anyhow::Result<Option<Sending>> {
    let (Some(tracer), Some(endpoint)) = (&house.ledger().traces, config.telemetry.traces_go_to()) else {
        return Ok(None);
    };
    let dialer = match endpoint.scheme() == Some(&Scheme::HTTPS) {
        true => dial::dialer(None, CONNECT, None),
        false => dial::clear(CONNECT),
    };
    let client = dial::client(dialer.context("telemetry.otlp_endpoint")?);
    let settings = Settings { endpoint, instance: house.name().to_owned() };
    let Some(exporter) = Exporter::of(tracer, settings, client, house.clock()) else { return Ok(None) };
    let (closed, tracer) = (CancellationToken::new(), Arc::clone(tracer));
    let until = closed.clone();
    let task = tokio::spawn(async move { exporter.run(&tracer, until).await });
    Ok(Some(Sending { closed, task }))
}

impl Sending {
    /// Sends what is left, not beyond `until`.
    pub(super) async fn end(self, clock: Clock, until: Tick) {
        self.closed.cancel();
        if clock.until(until.min(clock.tick().plus(FLUSH)), self.task).await.is_err() {
            tracing::warn!("the collector did not take the last traces in time");
        }
    }
}
