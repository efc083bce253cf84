//! How does a changed file come into force now?
//! Given the configuration, asks the running gateway for it, and prints what needs a restart, or every fault.
//! Never answers before the new settings count for every request.

use std::io::Write;

use http::Method;
use serde_json::Value;

use crate::config;

use super::Configured;
use super::running::Running;

/// Runs it.
///
/// # Errors
/// Faults of the file, as `check` has them; where no gateway answers, or it refuses.
pub(super) async fn run(configured: &Configured) -> anyhow::Result<()> {
    // What is wrong with the file is for the gateway to say: it is the one that reads it.
    let reach = config::reach(configured.given())?;
    let said = Running::expect(&reach).await?.ask(Method::POST, "reload", None).await?;
    let texts = |member: &str| {
        let all = said.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
        all.into_iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut out = anstream::stderr();
    for warning in texts("warnings") {
        writeln!(out, "warning: {warning}")?;
    }
    match texts("restart_needed").as_slice() {
        [] => writeln!(out, "reloaded")?,
        keys => writeln!(out, "reloaded, but for {}: restart for these", keys.join(", "))?,
    }
    Ok(())
}
