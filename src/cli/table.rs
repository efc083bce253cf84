//! How is an answer of the admin listener shown?
//! Given JSON, prints it as it is, or a table of its rows on a terminal.
//! Never asks for it.

use std::io::{IsTerminal, Write};

use serde_json::Value;

/// A table on a terminal, JSON elsewhere and where it is wanted.
///
/// # Errors
/// When nobody takes it.
pub(super) fn print(said: &Value, json: bool, table: fn(&Value) -> String) -> anyhow::Result<()> {
    let mut out = std::io::stdout();
    if json || !out.is_terminal() {
        writeln!(out, "{said:#}")?;
    } else {
        write!(out, "{}", table(said))?;
    }
    Ok(())
}

/// A member of a row as a person reads it.
pub(super) fn cell(row: &Value, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

/// Columns as wide as their widest cell; the first is text, the rest are numbers.
pub(super) fn table<const N: usize>(heads: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    aligned(heads, rows, |nth| nth > 0)
}

/// The same where all are text.
pub(super) fn texts<const N: usize>(heads: &[&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    aligned(heads, rows, |_| false)
}

fn aligned<const N: usize>(
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
    is_number: fn(usize) -> bool,
) -> String {
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
            text += if nth == 0 { "" } else { "  " };
            text += &if is_number(nth) { format!("{cell:>width$}") } else { format!("{cell:<width$}") };
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
        assert_eq!(
            table(&["route", "hit"], rows.clone().into_iter()),
            "route      hit\nclients      7\nx        12345\n"
        );
        assert_eq!(texts(&["route", "hit"], rows.into_iter()), "route    hit\nclients  7\nx        12345\n");
    }
}
