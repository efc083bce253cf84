//! How is it tried out?
//! Given nothing, runs simulator, gateway and four callers in one process, and prints what to paste.
//! Never leaves anything behind: file, keys, tokens and state lie in a folder of their own, which goes when it ends.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::authority::Authority;
use crate::authority::ledger::How;
use crate::boot::{self, BoundListeners, House};
use crate::clock::Clock;
use crate::config::{self, Given};
use crate::listen;
use crate::secret::Secret;
use crate::simulator::{self, Sample, Simulator};
use crate::token::bounds::Bounds;

const CALLERS: [(&str, &str, &str); 4] = [
    ("BILLING", "billing", "everything, personal data included"),
    ("SUPPORT", "support", "clients and projects, personal data blanked"),
    ("DASHBOARD", "dashboard", "providers and resources only"),
    ("REGION", "region", "everything, but of one provider alone"),
];

/// The configuration's name in the demo's folder.
const FILE: &str = "gateway.toml";

const SETTINGS: &str = r#"
[upstream]
api_key_file = "partner-key"
[state]
dir = "state"
[telemetry]
access_log = "off"
[[callers]]
name = "billing"
scopes = ["clients:read", "projects:read", "providers:read", "resources:read", "pii:read"]
clients = ["*"]
providers = ["*"]
[[callers]]
name = "support"
scopes = ["clients:read", "projects:read"]
clients = ["*"]
providers = ["*"]
[[callers]]
name = "dashboard"
scopes = ["providers:read", "resources:read"]
clients = ["*"]
providers = ["*"]
[[callers]]
name = "region"
scopes = ["clients:read", "projects:read", "providers:read", "resources:read", "pii:read"]
clients = ["*"]
providers = ["one"]
"#;

/// Runs until Ctrl-C.
///
/// # Errors
/// When no port can be had.
pub(super) async fn demo() -> anyhow::Result<()> {
    let clock = Clock::real();
    let key = demo_key()?;
    let (partner, public, health, admin) = (near(9534)?, near(8080)?, near(9536)?, near(9535)?);
    let simulator = Simulator::new(simulator::Settings { api_key: key.clone(), ..Default::default() }, clock);
    let sample = simulator.sample();
    let partner_at = partner.local_addr()?;
    let (simulated, closed) = super::partner(simulator, partner, clock);
    let address = public.local_addr()?;
    let text = format!(
        "[server]\nname = \"demo\"\npublic_url = \"http://{address}\"\n[[listeners]]\naddress = \"{address}\"\n[health]\nlisten = \"{}\"\n[admin]\nlisten = \"{}\"\n{}",
        health.local_addr()?,
        admin.local_addr()?,
        SETTINGS.replacen("[upstream]", &format!("[upstream]\nurl = \"http://{partner_at}\""), 1).replacen(
            "\"one\"",
            &format!("{:?}", sample.provider),
            1
        ),
    );
    let folder = Folder::make()?;
    folder.write("partner-key", key.reveal())?;
    let given = Given { file: Some(folder.write(FILE, &text)?), text: Some(text), ..Given::default() };
    let config = config::load(given.clone())?;
    let house = boot::build(&config, boot::ring(&config.tokens)?, clock)?;
    let authority = boot::authority(&config, Arc::clone(house.tokens()), clock).await?;
    let doors = BoundListeners { public: vec![public.into()], health, admin: admin.into() };
    let sourced = folder.write("env", &exports(&authority, &config, &folder).await?)?;
    let page = page(&sourced, &config, &sample)?;
    let serving = boot::serve(Arc::clone(&house), authority, &config, doors, given)?;
    write!(anstream::stdout(), "{page}")?;
    tokio::select! {
        ended = boot::until_signal() => drop(ended?),
        line = live_line(&house, clock) => line?,
    }
    writeln!(std::io::stdout())?;
    serving.end(false).await;
    closed.cancel();
    let _ = clock.until(clock.tick().plus(Duration::from_secs(2)), simulated).await;
    Ok(())
}

/// The usual port, or a free one where it is taken.
fn near(port: u16) -> anyhow::Result<TcpListener> {
    let loopback = std::net::Ipv4Addr::LOCALHOST;
    listen::bind((loopback, port).into())
        .or_else(|_| listen::bind((loopback, 0).into()))
        .context("no free port on 127.0.0.1")
}

fn demo_key() -> anyhow::Result<Secret> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|_| anyhow::anyhow!("the machine gives no random bytes"))?;
    Ok(Secret::new(data_encoding::HEXLOWER.encode(&bits)))
}

/// A folder that nobody else may look into, and that is gone with this value.
struct Folder(PathBuf);

impl Folder {
    fn make() -> anyhow::Result<Self> {
        let mut bits = [0; 4];
        getrandom::fill(&mut bits).map_err(|_| anyhow::anyhow!("the machine gives no random bytes"))?;
        let path =
            std::env::temp_dir().join(format!("reseller-gateway-demo-{}", data_encoding::HEXLOWER.encode(&bits)));
        std::fs::DirBuilder::new().mode(0o700).create(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        let open =
            || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?.write_all(text.as_bytes());
        open().with_context(|| path.display().to_string())?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a shell reads: a token for each caller, and where the commands find this gateway.
async fn exports(authority: &Authority, config: &config::Config, folder: &Folder) -> anyhow::Result<String> {
    let mut text = format!("export RESELLER_GATEWAY_CONFIG={}\n", folder.0.join(FILE).display());
    for (variable, caller, may) in CALLERS {
        let ttl = config.tokens.max_ttl.min(Duration::from_secs(3600));
        let token = authority.issue_for(caller, Vec::new(), Bounds::default(), Some(ttl), How::Command).await?.token;
        writeln!(text, "# {caller}: {may}\nexport {variable}={token}")?;
    }
    Ok(text)
}

fn page(sourced: &Path, config: &config::Config, sample: &Sample) -> anyhow::Result<String> {
    let (bold, dim, off) = (anstyle::Style::new().bold(), anstyle::Style::new().dimmed(), anstyle::Reset);
    let mut page = String::new();
    let gateway = &config.server.public_url;
    let base = format!("{gateway}/reseller/account/v1");
    writeln!(page, "\n{bold}reseller-gateway demo{off}  {dim}Ctrl-C ends it, and its folder goes with it{off}\n")?;
    writeln!(page, "  gateway   {gateway}")?;
    writeln!(page, "  partner   {}  {dim}(simulated; its key stays inside){off}", config.upstream.url)?;
    writeln!(page, "  health    http://{}  {dim}/livez /readyz /metrics{off}\n", config.health.listen)?;
    writeln!(page, "{bold}Four callers{off}  {dim}paste this first, in another terminal{off}\n")?;
    writeln!(page, ". {}\n", sourced.display())?;
    for (variable, caller, may) in CALLERS {
        writeln!(page, "{dim}# ${variable:<10} {caller}: {may}{off}")?;
    }
    let client = &sample.client;
    let lines = [
        (
            "a miss, then hits: watch Cache-Status",
            format!("curl -i -H \"Authorization: Bearer $BILLING\" {base}/clients/{client}/"),
        ),
        (
            "the same entry without personal data",
            format!("curl -H \"Authorization: Bearer $SUPPORT\" {base}/clients/{client}/"),
        ),
        (
            "an existing client changes host and key only",
            format!("curl -H \"X-Reseller-Api-Key: $DASHBOARD\" {base}/clients/{client}/resources/"),
        ),
        (
            "what a client uses: of all its providers, and of the one that this caller is bound to",
            format!(
                "curl -H \"Authorization: Bearer $BILLING\" {base}/clients/{client}/providers/\ncurl -H \"Authorization: Bearer $REGION\" {base}/clients/{client}/providers/"
            ),
        ),
        ("a right it does not have", format!("curl -H \"Authorization: Bearer $DASHBOARD\" {base}/clients/")),
        (
            "what the partner was really asked",
            format!("curl http://{}/_simulator/stats", config.upstream.url.authority().map_or("", |a| a.as_str())),
        ),
    ];
    writeln!(page, "\n{bold}Try{off}\n")?;
    for (what, line) in lines {
        writeln!(page, "{dim}# {what}{off}\n{line}")?;
    }
    writeln!(page, "\n{bold}Every command works on it{off}  {dim}the file named the gateway to them{off}\n")?;
    for line in ["token list", "explain clients/ --caller support", "cache list", "spend", "check"] {
        writeln!(page, "reseller-gateway {line}")?;
    }
    writeln!(page)?;
    Ok(page)
}

/// What is spent and saved, each second: one line that moves on a terminal, a new line where it changed elsewhere.
async fn live_line(house: &House, clock: Clock) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let mut shown = None;
    loop {
        let totals = house.ledger().counts.totals();
        if shown != Some(totals) {
            let ratio = totals.hits as f64 * 100.0 / totals.requests.max(1) as f64;
            let (requests, calls, saved) = (totals.requests, totals.calls, totals.saved);
            let line = format!("requests {requests}   hits {ratio:.1} %   partner calls {calls}   calls saved {saved}");
            let mut out = std::io::stdout();
            if terminal {
                write!(out, "\r{line}   ")?
            } else {
                writeln!(out, "{line}")?
            }
            out.flush()?;
            shown = Some(totals);
        }
        clock.sleep_until(clock.tick().plus(Duration::from_secs(1))).await;
    }
}
