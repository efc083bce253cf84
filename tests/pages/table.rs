//! Does a table on a page still say what the code says?
//! Given a page, the name above its table and how its rows are made of those of before, holds the page to it.
//! Never writes a page unless `BLESS=1` is set: then it does, and the difference is seen in review.

use std::path::Path;

/// One row's cells.
type Row = Vec<String>;

/// Between `<!-- table: NAME -->` and `<!-- end -->`: heading, rule, rows.
#[expect(clippy::disallowed_methods, reason = "what is blessed is asked of the environment")]
pub(crate) fn holds(page: &str, name: &str, heading: &[&str], made: impl FnOnce(&[Row]) -> Vec<Row>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(&format!("<!-- table: {name} -->\n")).unwrap();
    let (is, after) = rest.split_once("<!-- end -->").unwrap();
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let heading: Row = heading.iter().map(|&cell| cell.to_owned()).collect();
    let rule = format!("|{}\n", "---|".repeat(heading.len()));
    let rows = made(&rows(is));
    let ought: String = [line(&heading), rule].into_iter().chain(rows.iter().map(|row| line(row))).collect();
    if is == ought {
        return;
    }
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(&path, format!("{before}<!-- table: {name} -->\n{ought}<!-- end -->{after}")).unwrap();
    }
    let missing: Vec<&str> = ought.lines().filter(|line| !is.lines().any(|other| other == *line)).collect();
    let foreign: Vec<&str> = is.lines().filter(|line| !ought.lines().any(|other| other == *line)).collect();
    panic!(
        "the table `{name}` of {page} is not what the code says; run this test with BLESS=1.\nmissing:\n{}\nforeign:\n{}",
        missing.join("\n"),
        foreign.join("\n")
    );
}

/// The cells of the rows below heading and rule.
fn rows(table: &str) -> Vec<Row> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    table.lines().skip(2).map(cells).collect()
}
