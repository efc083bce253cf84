//! What does the partner cost, and whom?
//! Given the configuration of a running gateway, asks it over the admin listener and prints tables, or JSON.
//! Never asks the partner.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::config::time_text;

use super::Configured;
use super::running::Running;
use super::table::{cell, print, table};

/// `spend`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  reseller-gateway spend\n  reseller-gateway spend --json | jq '.callers'")]
pub(super) struct Spend {
    #[command(flatten)]
    configured: Configured,
    /// Print JSON, as it also does where the output is no terminal.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where no gateway answers, or it refuses.
pub(super) async fn run(command: Spend) -> anyhow::Result<()> {
    let reach = command.configured.reach()?;
    let said = Running::expect(&reach).await?.ask(Method::GET, "spend", None).await?;
    print(&said, command.json, text)
}

fn text(said: &Value) -> String {
    let number = |at: &str| said.pointer(at).and_then(Value::as_u64).unwrap_or_default();
    let mut text = format!(
        "{} partner calls in {}, {} saved",
        number("/all/calls"),
        time_text(Duration::from_secs(number("/seconds"))),
        number("/all/saved"),
    );
    if let Some(left) = said.pointer("/budget/left").and_then(Value::as_u64) {
        text += &format!("; the budget has {left} left");
    }
    if let Some(why) = said.pointer("/budget/closed/why").and_then(Value::as_str) {
        text +=
            &format!("; calls pause for {} ({why})", time_text(Duration::from_secs(number("/budget/closed/seconds"))));
    }
    text.push('\n');
    for (list, name) in [("routes", "route"), ("callers", "caller")] {
        let columns =
            [name, "calls", "miss", "revalidate", "refresh", "retry", "pass", "saved", "hit", "stale", "collapsed"];
        let rows = said.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if rows.is_empty() {
            continue;
        }
        text.push('\n');
        text += &table(&columns, rows.iter().map(|row| columns.map(|column| cell_of(row, column))));
    }
    text
}

/// Refreshes are charged to nobody.
fn cell_of(row: &Value, column: &str) -> String {
    match row.get(column) {
        Some(Value::Null) => "(nobody)".to_owned(),
        _ => cell(row, column),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_is_read_by_people() {
        let said = serde_json::json!({
            "seconds": 90, "all": {"calls": 12, "saved": 3400},
            "routes": [{"route": "clients", "calls": 12, "miss": 2, "refresh": 10, "saved": 3400, "hit": 3400}],
            "callers": [{"caller": "billing", "calls": 2, "saved": 3400}, {"caller": null, "calls": 10, "saved": 0}],
            "budget": {"left": 8, "closed": {"why": "paused-by-partner", "seconds": 30}},
        });
        let text = text(&said);
        let first =
            "12 partner calls in 1m30s, 3400 saved; the budget has 8 left; calls pause for 30s (paused-by-partner)\n\n";
        assert!(text.starts_with(first), "{text}");
        assert!(text.contains("clients     12     2                   10                3400  3400"), "{text}");
        assert!(text.contains("\n(nobody)     10"), "{text}");
    }
}
