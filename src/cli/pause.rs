//! `pause` and `resume`: calls to the partner are stopped and started again by hand.
//! Given the configuration that a running gateway has, asks it over the admin listener, and prints what it does from then on.
//! Never pauses without an end or a reason.

use std::io::Write;
use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use super::running::Running;
use super::{Configured, duration};

/// `pause`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  reseller-gateway pause --for 10m --reason 'the partner is being repaired'")]
pub(super) struct Pause {
    #[command(flatten)]
    configured: Configured,
    /// How long, from 1s to 30d (for example 10m); it ends by itself, or by `resume`.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Duration,
    /// Why, for the log, /readyz and whoever finds it paused.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Runs it.
///
/// # Errors
/// Where no gateway answers, or it refuses.
pub(super) async fn pause(pause: Pause) -> anyhow::Result<()> {
    let reach = pause.configured.reach()?;
    let body = json!({"seconds": pause.time.as_secs(), "reason": pause.reason});
    let _: Value = Running::expect(&reach).await?.ask(Method::POST, "pause", Some(&body)).await?;
    let said = "paused: what is in memory is served, nothing is asked; `reseller-gateway resume` ends it early";
    Ok(writeln!(anstream::stdout(), "{said}")?)
}

/// Runs `resume`.
///
/// # Errors
/// Where no gateway answers, or it refuses.
pub(super) async fn resume(configured: &Configured) -> anyhow::Result<()> {
    let reach = configured.reach()?;
    let answer = Running::expect(&reach).await?.ask(Method::POST, "resume", None).await?;
    let said = match answer.get("resumed") {
        Some(Value::Bool(true)) => "resumed: the next call that is needed is the probe",
        _ => "nothing was paused",
    };
    Ok(writeln!(anstream::stdout(), "{said}")?)
}
