//! What would the running gateway do with a request, and why?
//! Given the configuration it runs with, asks it over the admin listener and prints a page, or JSON.
//! Never sends the request, and never prints the token.

use std::io::{IsTerminal, Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use http::Method;
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::account_api::PREFIX;
use crate::clock::time_text;
use crate::token::LONGEST;

use super::Configured;
use super::running::{Running, unlike};

/// `explain …`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  reseller-gateway explain clients/ --caller billing\n  \
    reseller-gateway explain /reseller/account/v1/clients/c-42/ --token token.txt --header 'Cache-Control: no-cache'")]
pub(super) struct Explain {
    #[command(flatten)]
    configured: Configured,
    /// The path, as callers write it, as in /reseller/account/v1/clients/. Without a slash in front it is below
    /// /reseller/account/v1/, as in clients/.
    path: String,
    /// The method.
    #[arg(long, value_name = "METHOD", default_value = "GET")]
    method: String,
    /// Whose request: a file that holds the token, `-` for standard input, or the token itself, which then stands in
    /// the shell's history.
    #[arg(long, value_name = "FILE", conflicts_with = "caller", allow_hyphen_values = true)]
    token: Option<String>,
    /// Whose request: a caller, by its name, with all that its policy allows.
    #[arg(long, value_name = "NAME")]
    caller: Option<String>,
    /// A header of the request, as `name: value`; repeat for more.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Print JSON, as it also does where the output is no terminal.
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// Where no gateway answers, or it does not understand.
pub(super) async fn run(command: Explain) -> anyhow::Result<()> {
    let reach = command.configured.reach()?;
    let mut headers = Map::new();
    for header in &command.headers {
        let (name, value) = header.split_once(':').context("--header: `name: value` is wanted")?;
        headers.insert(name.trim().to_owned(), Value::from(value.trim()));
    }
    let mut asked = json!({"path": full(&command.path), "method": command.method, "headers": headers});
    let who = match (&command.token, &command.caller) {
        (Some(token), _) => Some(("token", Value::from(read(token)?.trim()))),
        (None, Some(caller)) => Some(("caller", Value::from(caller.as_str()))),
        (None, None) => None,
    };
    if let (Some((name, value)), Some(asked)) = (who, asked.as_object_mut()) {
        asked.insert(name.to_owned(), value);
    }
    let said = Running::expect(&reach).await?.ask(Method::POST, "explain", Some(&asked)).await;
    let said = said.map_err(|error| match command.caller.as_deref().and_then(|caller| unlike(&reach, caller)) {
        Some(hint) => anyhow::anyhow!("{error:#} {hint}"),
        None => error,
    })?;
    let mut out = std::io::stdout();
    if command.json || !out.is_terminal() {
        writeln!(out, "{said:#}")?;
    } else {
        write!(out, "{}", page(&said))?;
    }
    Ok(())
}

/// A path below the API's prefix where it begins without a slash.
fn full(path: &str) -> String {
    if path.starts_with('/') || path.contains("://") { path.to_owned() } else { format!("{PREFIX}/{path}") }
}

/// A token from where the command line says.
fn read(from: &str) -> anyhow::Result<Zeroizing<String>> {
    let most = 2 * LONGEST as u64;
    let mut text = Zeroizing::new(String::new());
    if from == "-" {
        std::io::stdin().take(most).read_to_string(&mut text).context("--token: standard input")?;
    } else if is_token(from) && !Path::new(from).exists() {
        text.push_str(from);
    } else {
        // The name is not repeated: it may be a token that lost a part.
        let file = std::fs::File::open(from).context("--token: no such file, and no token")?;
        file.take(most).read_to_string(&mut text).context("--token")?;
    }
    if text.trim().is_empty() {
        bail!("--token: there is nothing in it");
    }
    Ok(text)
}

/// Whether a text has the form of a JWT (RFC 7519 §3).
fn is_token(text: &str) -> bool {
    text.starts_with("eyJ") && text.split('.').count() == 3
}

fn page(said: &Value) -> String {
    let text = |pointer: &str| match said.pointer(pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let mut page = format!("{}\n\n", text("/verdict/says"));
    let mut row = |name: &str, what: String| page += &format!("{name:<10}{what}\n");
    row("outcome", format!("{} {}", text("/verdict/outcome"), text("/verdict/status")));
    row("target", format!("{} {}", text("/target/method"), text("/target/sent")));
    row("asked as", text("/target/asked_as"));
    row("route", format!("{} ({}, scope {})", text("/route/name"), text("/route/mode"), text("/route/scope")));
    row("caller", format!("{}, by its {}", text("/caller/name"), text("/caller/by")));
    row("scopes", text("/caller/scopes"));
    row("bounds", format!("clients {}; providers {}", text("/caller/clients"), text("/caller/providers")));
    row("limits", text("/caller/limits/left"));
    row("sees", format!("{}; withheld: {}", text("/right/sight"), text("/right/withheld")));
    row("entry", entry(&text));
    row("flight", if text("/flight") == "true" { "under way".to_owned() } else { "none".to_owned() });
    row("partner", partner(&text));
    page
}

fn entry(text: &impl Fn(&str) -> String) -> String {
    let state = text("/entry/state");
    match text("/entry/status").as_str() {
        "-" => state,
        status => format!(
            "{state}: {status}, age {}, ttl {}, then {} while revalidating, {} on errors; {} bytes, {} hits, {} variants",
            seconds(&text("/entry/age")),
            seconds(&text("/entry/ttl")),
            seconds(&text("/entry/while_revalidate_left")),
            seconds(&text("/entry/if_error_left")),
            text("/entry/size"),
            text("/entry/hits"),
            text("/entry/variants"),
        ),
    }
}

/// So many seconds in words; what is no number as it is.
fn seconds(text: &str) -> String {
    text.parse()
        .ok()
        .and_then(|number| Duration::try_from_secs_f64(number).ok())
        .map_or_else(|| text.to_owned(), time_text)
}

fn partner(text: &impl Fn(&str) -> String) -> String {
    let wait = match text("/partner/for_seconds").as_str() {
        "-" => String::new(),
        wait => format!(" for {} ({})", seconds(wait), text("/partner/why")),
    };
    format!(
        "{}{wait}; {} calls left at once, {} under way, {} waiting",
        text("/partner/now"),
        text("/partner/budget_left"),
        text("/partner/in_flight"),
        text("/partner/queued"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_with_the_verdict_and_leaves_out_what_is_not_known() {
        let said = json!({
            "verdict": {"says": "404: No such route.", "outcome": "refused", "status": 404},
            "target": {"method": "GET", "sent": "/a", "asked_as": null},
            "caller": {"name": "app", "by": "policy", "scopes": ["clients:read", "pii:read"], "limits": null},
            "partner": {"now": "closed", "for_seconds": 12, "why": "paused-by-partner", "budget_left": 3, "in_flight": 0, "queued": 0},
        });
        let page = page(&said);
        assert!(page.starts_with("404: No such route.\n\noutcome   refused 404\n"), "{page}");
        assert!(page.contains("scopes    clients:read, pii:read\nbounds    clients -; providers -\n"), "{page}");
        assert!(
            page.ends_with(
                "partner   closed for 12s (paused-by-partner); 3 calls left at once, 0 under way, 0 waiting\n"
            ),
            "{page}"
        );
    }

    #[test]
    fn a_path_without_a_slash_in_front_is_below_the_api() {
        assert_eq!(full("clients/c1/"), "/reseller/account/v1/clients/c1/");
        assert_eq!(full("/other/"), "/other/");
    }

    #[test]
    fn a_token_is_told_from_a_files_name() {
        assert!(is_token("eyJhbGciOiJFZERTQSJ9.e30.AAAA"));
        assert!(!is_token("token.txt") && !is_token("eyJ") && !is_token("./a.b.c"));
    }
}
