//! What does a running gateway hold in memory?
//! Given the configuration it runs with, asks it over the admin listener and prints a table, or JSON.
//! Never prints a document: none is handed out.

use clap::Subcommand;
use http::Method;
use serde_json::Value;

use super::Configured;
use super::running::Running;
use super::table::{cell, print, table};

/// `cache …`.
#[derive(Debug, Subcommand)]
pub(super) enum CacheCommand {
    /// Give up what is held: what is meant is fetched anew when it is next asked for.
    #[command(after_help = "Examples:\n  reseller-gateway cache purge --client c-42\n  \
        reseller-gateway cache purge --path /reseller/account/v1/clients/ --soft")]
    #[command(group = clap::ArgGroup::new("which").required(true))]
    Purge {
        #[command(flatten)]
        configured: Configured,
        /// One resource, as callers write its path, as in /reseller/account/v1/clients/.
        #[arg(long, value_name = "PATH", group = "which")]
        path: Option<String>,
        /// All of a route, by its name.
        #[arg(long, value_name = "NAME", group = "which")]
        route: Option<String>,
        /// All of one client's own paths, and the lists of clients.
        #[arg(long, value_name = "ID", group = "which")]
        client: Option<String>,
        /// Everything.
        #[arg(long, group = "which")]
        all: bool,
        /// Mark it stale in place of taking it out: it is shown once more while a new one is fetched.
        #[arg(long)]
        soft: bool,
        /// Print JSON, as it also does where the output is no terminal.
        #[arg(long)]
        json: bool,
    },
    /// Show what is held, key by key, without documents.
    List {
        #[command(flatten)]
        configured: Configured,
        /// Of one route, by its name.
        #[arg(long, value_name = "NAME")]
        route: Option<String>,
        /// So many rows at most.
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Go on where the page before ended.
        #[arg(long, value_name = "NEXT")]
        after: Option<String>,
        /// Print JSON, as it also does where the output is no terminal.
        #[arg(long)]
        json: bool,
    },
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
        CacheCommand::Purge { configured, path, route, client, all, soft, json } => {
            let reach = configured.reach()?;
            let named = [("path", path), ("route", route), ("client", client)];
            let named = named.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::from(text?))));
            let flags = [("all", all), ("soft", soft)].into_iter().filter(|(_, set)| *set);
            let body = named.chain(flags.map(|(name, _)| (name.to_owned(), Value::Bool(true)))).collect();
            let body = Value::Object(body);
            let said = Running::expect(&reach).await?.ask(Method::POST, "cache/purge", Some(&body)).await?;
            print(&said, json, purged)
        }
        CacheCommand::List { configured, route, limit, after, json } => {
            let reach = configured.reach()?;
            let mut target = format!("cache/list?limit={limit}");
            for (name, value) in [("route", route), ("after", after)] {
                let Some(value) = value else { continue };
                if !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
                    anyhow::bail!("--{name}: letters, digits, `.`, `_` and `-` are wanted");
                }
                target += &format!("&{name}={value}");
            }
            let said = Running::expect(&reach).await?.ask(Method::GET, &target, None).await?;
            print(&said, json, list)
        }
        CacheCommand::Stats { configured, json } => {
            let reach = configured.reach()?;
            let said = Running::expect(&reach).await?.ask(Method::GET, "cache/stats", None).await?;
            print(&said, json, stats)
        }
    }
}

fn purged(said: &Value) -> String {
    let number = |key: &str| said.get(key).and_then(Value::as_u64).unwrap_or_default();
    let how = if said.get("soft") == Some(&Value::Bool(true)) { "marked stale" } else { "taken out" };
    let flights = match number("flights_left_behind") {
        0 => String::new(),
        many => format!("; {many} fetches that were under way will not be kept"),
    };
    format!("{} entries {how}{flights}\n", number("purged"))
}

fn list(said: &Value) -> String {
    const COLUMNS: [&str; 8] = ["key", "route", "status", "age", "ttl", "size", "hits", "variants"];
    let rows = said.get("entries").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let mut text = table(&COLUMNS, rows.iter().map(|row| COLUMNS.map(|column| cell(row, column))));
    if let Some(next) = said.get("next").and_then(Value::as_str) {
        text += &format!("\nmore: --after {next}\n");
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_says_what_it_did() {
        let said =
            |soft, flights| purged(&serde_json::json!({"purged": 3, "flights_left_behind": flights, "soft": soft}));
        assert_eq!(said(false, 0), "3 entries taken out\n");
        assert_eq!(said(true, 2), "3 entries marked stale; 2 fetches that were under way will not be kept\n");
    }

    #[test]
    fn a_list_says_where_it_goes_on() {
        let row = serde_json::json!({"key": "/a/", "route": "a", "status": 200, "age": 1, "ttl": 59, "size": 900, "hits": 7, "variants": 1});
        let text = list(&serde_json::json!({"entries": [row], "next": "AAE"}));
        assert!(text.contains("/a/      a     200    1   59   900     7         1\n"), "{text}");
        assert!(text.ends_with("\nmore: --after AAE\n"));
    }

    #[test]
    fn statistics_are_read_by_people() {
        let said = serde_json::json!({
            "entries": 3, "bytes": 2048, "max_bytes": 1_048_576, "evictions": 1, "flights": 0,
            "routes": [{"route": "clients", "hit": 5, "miss": 1}],
        });
        let text = stats(&said);
        assert!(text.starts_with("3 entries, 2.0 KiB of 1.0 MiB; 1 evicted; 0 fetches under way\n"), "{text}");
        assert!(text.contains("clients    5            1"), "{text}");
    }
}
