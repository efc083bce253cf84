//! How does a changed file come into force now?
//! Given the configuration, asks the running gateway for it, and prints what changes, or every fault.
//! Never answers before the new settings count for every request.

use std::io::Write;

use http::Method;
use serde_json::Value;

use crate::config::{self, Reach};
use crate::generation::Changes;

use super::Configured;
use super::running::{Faulty, Running};

/// Runs it.
///
/// # Errors
/// Faults of the file, as `check` has them; where no gateway answers, or it refuses.
pub(super) async fn run(configured: &Configured, dry_run: bool) -> anyhow::Result<()> {
    // A gateway runs with what the file was. As long as that says where its door is, it has the last word on what it is now.
    let reach = config::reach(configured.given())?;
    let target = if dry_run { "reload?dry_run=true" } else { "reload" };
    let said = match (ask(&reach, target).await, &reach.faults) {
        (Ok(said), _) => said,
        (Err(error), Some(faults)) if !error.is::<Faulty>() => {
            writeln!(anstream::stderr(), "no gateway could be asked: {error:#}")?;
            return Err(faults.clone().into());
        }
        (Err(error), _) => return Err(error),
    };
    let texts = |member: &str| {
        let all = said.get(member).and_then(Value::as_array).cloned().unwrap_or_default();
        all.into_iter().filter_map(|one| one.as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let mut out = anstream::stderr();
    for warning in texts("warnings") {
        writeln!(out, "warning: {warning}")?;
    }
    let changes = said.get("changes").cloned().unwrap_or_default();
    let changes: Changes = serde_json::from_value(changes).unwrap_or_default();
    let lines = changes.lines();
    for line in &lines {
        writeln!(std::io::stdout(), "{line}")?;
    }
    let nothing = if lines.is_empty() { ": nothing changes" } else { "" };
    let done = if dry_run { "would be reloaded" } else { "reloaded" };
    match texts("restart_needed").as_slice() {
        [] => writeln!(out, "{done}{nothing}")?,
        keys => writeln!(out, "{done}, but for {}: restart for these", keys.join(", "))?,
    }
    Ok(())
}

async fn ask(reach: &Reach, target: &str) -> anyhow::Result<Value> {
    Running::expect(reach).await?.ask(Method::POST, target, None).await
}
