//! Which tokens are there?
//! Given the configuration, issues, lists, inspects and revokes: through a running gateway, or in the ledger where none runs.
//! Never prints a token but the one it was asked to make.

mod inspect;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use crate::authority::ledger::{self, How, Listed, Salvaged};
use crate::authority::{Authority, secret};
use crate::boot;
use crate::clock::Clock;
use crate::config::{Config, Faults, Reach};
use crate::token::bounds::{Bound, Bounds};

use super::running::{self, Running};
use super::table::texts;
use super::{Configured, duration};

/// `token …`.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a token for a caller and print it alone on standard output.
    #[command(after_help = "Examples:\n  reseller-gateway token issue --caller billing\n  \
        reseller-gateway token issue --caller billing --scope clients:read --client c-42 --ttl 30m")]
    Issue {
        #[command(flatten)]
        configured: Configured,
        /// The caller, by its name in the configuration.
        #[arg(long, value_name = "NAME")]
        caller: String,
        /// A scope of the caller's; repeat for more. Without it: all but `write`, `cache:refresh` and `gateway:admin`.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<String>,
        /// Narrow it to a client, by its id; repeat for more. Without it: the caller's clients.
        #[arg(long = "client", value_name = "ID")]
        clients: Vec<String>,
        /// Narrow it to a provider, by its id; repeat for more. Without it: the caller's providers.
        #[arg(long = "provider", value_name = "ID")]
        providers: Vec<String>,
        /// For how long (for example 30m), at most `tokens.max_ttl`. Without it: the caller's `token_ttl`.
        #[arg(long, value_name = "TIME", value_parser = duration)]
        ttl: Option<Duration>,
    },
    /// List the tokens that were issued: ids, never the tokens themselves.
    #[command(
        after_help = "Examples:\n  reseller-gateway token list --caller billing\n  reseller-gateway token list --json | jq '.[].jti'"
    )]
    List {
        #[command(flatten)]
        configured: Configured,
        /// Of this caller alone.
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
        /// Print JSON, as it also does where the output is no terminal.
        #[arg(long)]
        json: bool,
    },
    /// Explain a token, without asking a running gateway: signature, times, scopes, and the routes that it opens.
    #[command(after_help = "Example:\n  reseller-gateway token inspect <token.txt")]
    Inspect {
        #[command(flatten)]
        configured: Configured,
        /// The token; without it, standard input is read, which keeps it out of the shell's history.
        token: Option<String>,
        /// Print JSON, as it also does where the output is no terminal.
        #[arg(long)]
        json: bool,
    },
    /// Take back one token and what was exchanged from it, or all that a caller was given until now.
    #[command(
        after_help = "Acts on every request that is sent after the answer, also while the configuration file is faulty.\n\n\
        Examples:\n  reseller-gateway token revoke 9f2c…\n  reseller-gateway token revoke --caller billing"
    )]
    Revoke {
        #[command(flatten)]
        configured: Configured,
        /// The token's id (`jti`), as `token list` and the access log show it.
        #[arg(required_unless_present = "caller", conflicts_with = "caller", allow_hyphen_values = true)]
        jti: Option<String>,
        /// All tokens of this caller.
        #[arg(long, value_name = "NAME")]
        caller: Option<String>,
    },
    /// Take what can be read of a damaged ledger into a new one. No token that was issued before counts any more: one that was
    /// revoked may be among those that cannot be read. No gateway may be running.
    Salvage {
        #[command(flatten)]
        configured: Configured,
    },
    /// Make a secret for a caller: the secret itself, and the form in which the configuration holds it.
    #[command(
        after_help = "Example: the second line goes into the file as it is printed:\n  [[callers]]\n  name = \"billing\"\n  secrets = [\"sha256:…\"]"
    )]
    Secret,
}

/// Where the ledger is: with a running gateway, or here.
enum Desk<'c> {
    Running(Running<'c>),
    Here(Arc<Authority>),
}

impl<'c> Desk<'c> {
    /// With the gateway that runs, which also answers while its file is faulty; else in the ledger, for which the file must be good.
    async fn find(reach: &'c Reach, configured: &Configured) -> anyhow::Result<Self> {
        if reach.keys_dir.is_none() {
            bail!(
                "state.dir is empty, so the signing keys are in the memory of the running gateway alone; set state.dir to issue tokens here"
            );
        }
        if let Some(running) = Running::find(reach).await? {
            return Ok(Self::Running(running));
        }
        let config = &configured.load()?;
        super::log::audit();
        let table = boot::table(config)?;
        let tokens = boot::tokens(config, boot::ring(&config.tokens)?, table.names);
        Ok(Self::Here(boot::opened(config, Arc::new(tokens), Clock::real()).await?))
    }
}

/// Runs one of them.
///
/// # Errors
/// What the gateway or the ledger refused, with what to do.
pub(super) async fn run(command: TokenCommand) -> anyhow::Result<()> {
    match command {
        TokenCommand::Issue { configured, caller, scopes, clients, providers, ttl } => {
            let bounds = Bounds { clients: narrowed_to(&clients)?, providers: narrowed_to(&providers)? };
            let issued = issue(&configured, &caller, scopes, bounds, ttl).await;
            with_near_name(issued, &configured, Some(&caller))
        }
        TokenCommand::List { configured, caller, json } => list(&configured, caller, json).await,
        TokenCommand::Inspect { configured, token, json } => inspect::run(&configured.load()?, token, json).await,
        TokenCommand::Revoke { configured, jti, caller } => {
            let revoked = revoke(&configured, jti, caller.clone()).await;
            with_near_name(revoked, &configured, caller.as_deref())
        }
        TokenCommand::Salvage { configured } => salvage(&configured.load()?),
        TokenCommand::Secret => {
            let fresh = secret::fresh()?;
            let (secret, stored) = (fresh.secret.as_str(), fresh.stored);
            writeln!(std::io::stdout(), "secret  {secret}\nstored  {stored}")?;
            writeln!(
                anstream::stderr(),
                "give the first to the caller; put the second into `secrets` of its [[callers]]"
            )?;
            Ok(())
        }
    }
}

/// A refusal, with the caller that was most likely meant where this is none.
fn with_near_name(ended: anyhow::Result<()>, configured: &Configured, caller: Option<&str>) -> anyhow::Result<()> {
    ended.map_err(|error| {
        let is_of_the_file = error.downcast_ref::<Faults>().is_some();
        let reach = crate::config::reach(configured.given()).ok().filter(|_| !is_of_the_file);
        match reach.zip(caller).and_then(|(reach, caller)| running::unlike(&reach, caller)) {
            Some(hint) => anyhow::anyhow!("{error:#}; {hint}"),
            None => error,
        }
    })
}

/// The set that flags name; none is all.
fn narrowed_to(ids: &[String]) -> anyhow::Result<Bound> {
    if ids.is_empty() { Ok(Bound::All) } else { Ok(Bound::of(ids)?) }
}

async fn issue(
    configured: &Configured,
    caller: &str,
    scopes: Vec<String>,
    bounds: Bounds,
    ttl: Option<Duration>,
) -> anyhow::Result<()> {
    let reach = configured.reach()?;
    let token = match Desk::find(&reach, configured).await? {
        Desk::Running(running) => {
            let wish = json!({
                "caller": caller,
                "scopes": scopes,
                "clients": bounds.clients.names(),
                "providers": bounds.providers.names(),
                "ttl_seconds": ttl.map(|ttl| ttl.as_secs()),
            });
            let said = running.ask(Method::POST, "tokens", Some(&wish)).await?;
            said.get("token").and_then(Value::as_str).context("the gateway's answer has no token")?.to_owned()
        }
        Desk::Here(authority) => authority.issue_for(caller, scopes, bounds, ttl, How::Command).await?.token,
    };
    writeln!(std::io::stdout(), "{token}")?;
    Ok(())
}

async fn list(configured: &Configured, caller: Option<String>, json: bool) -> anyhow::Result<()> {
    caller.as_deref().map(|caller| plain("caller", caller)).transpose()?;
    let mut rows: Vec<Listed> = Vec::new();
    let reach = configured.reach()?;
    let mut desk = Desk::find(&reach, configured).await?;
    loop {
        let after = rows.last().map(|row| row.jti.clone());
        let (page, next) = page(desk, &reach, caller.as_deref(), after).await?;
        let last = page.len() < PAGE;
        rows.extend(page);
        if last {
            break;
        }
        desk = next;
    }
    if rows.is_empty()
        && let Some(hint) = caller.as_deref().and_then(|caller| running::unlike(&reach, caller))
    {
        writeln!(anstream::stderr(), "note: {hint}")?;
    }
    rows.sort_by(|a, b| (a.row.issued, &a.jti).cmp(&(b.row.issued, &b.jti)));
    let mut out = std::io::stdout();
    if json || !out.is_terminal() {
        writeln!(out, "{:#}", json!(rows))?;
        return Ok(());
    }
    write!(out, "{}", as_table(&rows, Clock::real().now().unix()))?;
    Ok(())
}

fn as_table(rows: &[Listed], now: u64) -> String {
    if rows.is_empty() {
        return "no tokens were issued, or those that were have expired\n".to_owned();
    }
    let cells = rows.iter().map(|Listed { jti, revoked, row }| {
        let state = match () {
            () if *revoked => "revoked",
            () if row.expires <= now => "expired",
            () => "good",
        };
        let used = row.last_used.map_or_else(|| "never".to_owned(), stamp);
        [
            jti.clone(),
            row.caller.clone(),
            state.to_owned(),
            stamp(row.issued),
            stamp(row.expires),
            used,
            row.scope.clone(),
        ]
    });
    texts(&["id", "caller", "state", "issued", "expires", "last used", "scope"], cells)
}

const PAGE: usize = 1000;

/// One page, and where the next one is had: a connection answers once, the ledger stays open.
async fn page<'c>(
    desk: Desk<'c>,
    reach: &'c Reach,
    caller: Option<&str>,
    after: Option<String>,
) -> anyhow::Result<(Vec<Listed>, Desk<'c>)> {
    match desk {
        Desk::Running(running) => {
            let mut target = format!("tokens?limit={PAGE}");
            for (name, value) in [("caller", caller), ("after", after.as_deref())] {
                target += &value.map(|value| format!("&{name}={value}")).unwrap_or_default();
            }
            let mut said = running.ask(Method::GET, &target, None).await?;
            let rows = said.get_mut("tokens").map(Value::take).unwrap_or_default();
            let rows = serde_json::from_value(rows).context("the gateway's answer has no list")?;
            Ok((rows, Desk::Running(Running::expect(reach).await?)))
        }
        Desk::Here(authority) => {
            let rows = authority.list(caller.map(str::to_owned), after, PAGE).await?;
            Ok((rows, Desk::Here(authority)))
        }
    }
}

/// An id or a name as a path holds it. A whole token is not said again: it may be in somebody's terminal log.
fn plain<'t>(kind: &str, text: &'t str) -> anyhow::Result<&'t str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    match text {
        text if text.split('.').count() == 3 && text.len() > 100 => match inspect::id_in(text) {
            Some(id) => bail!("this is a whole token; its id is {id}"),
            None => bail!("this is no {kind}: it looks like a whole token"),
        },
        "" | "." | ".." => bail!("a {kind} is wanted; `token list` shows those there are"),
        text if text.bytes().all(plain) => Ok(text),
        text => bail!("no {kind} looks like {text:?}; `token list` shows those there are"),
    }
}

async fn revoke(configured: &Configured, jti: Option<String>, caller: Option<String>) -> anyhow::Result<()> {
    jti.as_deref().map(|jti| plain("token id", jti)).transpose()?;
    caller.as_deref().map(|caller| plain("caller", caller)).transpose()?;
    let actor = &format!("local:{}", running::user());
    let reach = configured.reach()?;
    let told = match (Desk::find(&reach, configured).await?, jti, caller) {
        (Desk::Running(running), Some(jti), _) => {
            let said = running.ask(Method::DELETE, &format!("tokens/{jti}"), None).await?;
            format!("revoked: {}", said.get("revoked").cloned().unwrap_or_default())
        }
        (Desk::Running(running), None, Some(caller)) => {
            running.ask(Method::DELETE, &format!("callers/{caller}/tokens"), None).await?;
            format!("revoked: every token of {caller}")
        }
        (Desk::Here(authority), Some(jti), _) => format!("revoked: {}", authority.revoke_one(&jti, actor).await?),
        (Desk::Here(authority), None, Some(caller)) => {
            authority.revoke_all(&caller, actor).await?;
            format!("revoked: every token of {caller}")
        }
        (_, None, None) => bail!("name a token by its id, or a caller with --caller"),
    };
    writeln!(anstream::stderr(), "{told}")?;
    Ok(())
}

fn salvage(config: &Config) -> anyhow::Result<()> {
    let folder = config.state.dir.as_deref().context("state.dir is empty, so there is no ledger on disk")?;
    super::log::audit();
    let done = ledger::salvage(folder, Clock::real().now().unix())?;
    let (actor, aside) = (format!("local:{}", running::user()), done.aside.display());
    let until = stamp(done.nothing_until);
    let Salvaged { tokens, revoked, callers, .. } = &done;
    tracing::info!(target: "audit", actor, tokens, revoked, callers, until, "audit: a damaged ledger was replaced; no token issued before counts");
    writeln!(
        anstream::stderr(),
        "{tokens} tokens, {revoked} revocations and {callers} callers were read into a new ledger; the damaged file is {aside}\n\
         no token that was issued until {until} counts any more, those that were not read included: start the gateway, and issue new ones"
    )?;
    Ok(())
}

/// Seconds since 1970, for people.
fn stamp(unix: u64) -> String {
    let at = i64::try_from(unix).ok().and_then(|unix| jiff::Timestamp::from_second(unix).ok());
    at.map_or_else(|| unix.to_string(), |at| at.to_string())
}
