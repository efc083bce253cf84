//! What does a running gateway hold in memory?
//! Given the configuration it runs with, asks it over the admin listener and prints a table, or JSON.
//! Never prints a document: none is handed out.

use std::io::{IsTerminal, Write};

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::Configured;
use super::running::Running;

/// `cache …`.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Show how full it is, and how requests were answered by route.
    Stats {
        #[command(flatten)]
        configured: Configured,
        /// Print JSON, as it also does where the output is no terminal.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one of them.
///
/// # Errors
/// Where no gateway answers, or it refuses.
pub(super) async fn run(command: CacheCommand) -> anyhow::Result<()> {
    match command {
        CacheCommand::Stats { configured, json } => {
            let config = configured.load()?;
            let said = Running::expect(&config).await?.ask(Method::GET, "cache/stats", None).await?;
            print(&said, json, stats)
        }
    }
}

fn print(said: &Value, json: bool, table: fn(&Value) -> String) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if json || !out.is_terminal() {
        writeln!(out, "{said:#}")?;
    } else {
        write!(out, "{}", table(said))?;
    }
    Ok(())
}

fn stats(said: &Value) -> String {
    let number = |key: &str| said.get(key).and_then(Value::as_u64).unwrap_or_default();
    let size = |key: &str| bytesize::ByteSize(number(key)).to_string();
    let mut text = format!(
        "{} entries, {} of {}; {} evicted; {} fetches under way\n\n",
        number("entries"),
        size("bytes"),
        size("max_bytes"),
        number("evictions"),
        number("flights"),
    );
    const COLUMNS: [&str; 8] = ["route", "hit", "stale", "miss", "collapsed", "revalidated", "pass", "refused"];
    let rows = said.get("routes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    text += &table(&COLUMNS, rows.iter().map(|row| COLUMNS.map(|column| cell(row, column))));
    text
}

/// A member of a row as a person reads it.
fn cell(row: &Value, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// Columns as wide as their widest cell; the first is text, the rest are numbers.
fn table<const N: usize>(heads: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (nth, (cell, width)) in row.iter().zip(widths).enumerate() {
            let cell = if nth == 0 { format!("{cell:<width$}") } else { format!("  {cell:>width$}") };
            text += &cell;
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["clients".to_owned(), "7".to_owned()], ["x".to_owned(), "12345".to_owned()]];
        assert_eq!(table(&["route", "hit"], rows.into_iter()), "route      hit\nclients      7\nx        12345\n");
    }

    #[test]
    fn statistics_are_read_by_people() {
        let said = serde_json::json!({
            "entries": 3, "bytes": 2048, "max_bytes": 1_048_576, "evictions": 1, "flights": 0,
            "routes": [{"route": "clients", "hit": 5, "miss": 1}],
        });
        let text = stats(&said);
        assert!(text.starts_with("3 entries, 2.0 KiB of 1.0 MiB; 1 evicted; 0 fetches under way\n"), "{text}");
        assert!(text.contains("clients    5             1"), "{text}");
    }
}
