//! What is the program told to do?
//! Given the command line, runs one command and hands back the exit code: 0 done, 1 failed, 2 wrong usage or configuration.
//! Never prints a secret; what a command is asked for goes to standard output, everything else to standard error.

mod demo;

mod healthcheck;

mod help;

mod log;

mod man;

mod probe;

mod running;

mod explain;

mod pause;

mod reload;

mod table;

mod cache;

mod keys;

mod spend;

mod token;

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{CommandFactory, Parser, Subcommand};
use tokio_util::sync::CancellationToken;

use crate::boot::preflight::{self, Lack, Lacking};
use crate::boot::{self, Ended};
use crate::clock::Clock;
use crate::config::{self, Config, Forecast, Given, Reach};
use crate::gcra::Rate;
use crate::listen::inherited::Inherited;
use crate::listen::{Limits, Listener};
use crate::secret::Secret;
use crate::simulator::{self, Behaviour, Fault, Simulator};
use crate::trail::sink::process_log;

/// A caching reverse proxy and token authority in front of a reseller Account API.
#[derive(Debug, Parser)]
#[command(name = "reseller-gateway", version, max_term_width = 100)]
#[command(disable_help_subcommand = true, after_help = help::topics())]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    #[command(after_help = SERVE)]
    Serve(Served),
    /// Try it: the gateway, a simulated partner and tokens for four callers, on loopback and in a temporary folder.
    Demo,
    /// Put the changed file of a running gateway in force, and wait for it; prints what changes, and names what needs a
    /// restart.
    #[command(
        after_help = "Example:\n  reseller-gateway check --config gateway.toml && reseller-gateway reload --config gateway.toml"
    )]
    Reload {
        #[command(flatten)]
        configured: Configured,
        /// Only print what would change: settings, stored answers that are given up, tokens that end.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check the configuration and open what it refers to, so that `serve` refuses nothing that this passed; print the settings
    /// that result and the partner calls they can cost. Makes and changes nothing, and asks the partner only with --probe.
    #[command(after_help = CHECK)]
    Check {
        #[command(flatten)]
        served: Served,
        /// Look at the text alone, and open nothing that it refers to: for CI, and for another machine's file.
        #[arg(long = "static")]
        text_alone: bool,
        /// Ask the partner once per route, and report shapes, caching headers, limits, and what the gateway would do.
        /// Exits with 1 unless all seven are understood.
        #[arg(long)]
        probe: bool,
        /// Print the report of --probe as JSON, and nothing else.
        #[arg(long, requires = "probe")]
        json: bool,
    },
    /// Run a simulated partner (the Account API), in memory, for development and tests.
    Simulate(Simulate),
    /// Issue, list, inspect and revoke tokens; make secrets for callers.
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// List and rotate the keys that sign tokens.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Look into the memory of a running gateway.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Say what a running gateway would do with a request now, and why, without doing it.
    Explain(explain::Explain),
    /// Show what a running gateway asked of the partner and what it saved, by route and caller.
    Spend(spend::Spend),
    /// Stop asking the partner for a while, by hand; what is in memory is served meanwhile.
    Pause(pause::Pause),
    /// End a pause, by hand or the partner's: the next call that is needed is the probe.
    Resume(Configured),
    /// Ask a running gateway whether it is ready, and say what is not as it should be; for containers without curl.
    Healthcheck(healthcheck::Healthcheck),
    /// Print a completion script for a shell.
    #[command(after_help = "Example:\n  reseller-gateway completions bash >/etc/bash_completion.d/reseller-gateway")]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page of a command, or write all pages into a folder.
    Man(man::Man),
    /// Print the version.
    Version,
    /// Print the help of a command, or the page of a topic.
    Help(help::Help),
}

#[derive(Debug, clap::Args)]
struct Configured {
    /// The configuration file.
    #[arg(long, short, value_name = "FILE", env = "RESELLER_GATEWAY_CONFIG", default_value = "reseller-gateway.toml")]
    config: PathBuf,
}

/// What `serve` runs with, and `check` checks.
#[derive(Debug, clap::Args)]
struct Served {
    #[command(flatten)]
    configured: Configured,
    /// The partner's address, in place of `upstream.url`.
    #[arg(long, value_name = "URL")]
    upstream_url: Option<String>,
    /// How many threads serve, in place of `server.workers`; 0 is one per core.
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// What the process logs (error, warn, info, debug), in place of `telemetry.log`.
    #[arg(long, value_name = "LEVEL")]
    log: Option<String>,
    /// Which requests are logged (all, errors, off), in place of `telemetry.access_log`.
    #[arg(long, value_name = "WHICH")]
    access_log: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = ORDERS)]
struct Simulate {
    /// Where to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9534", value_parser = listen_address)]
    listen: SocketAddr,
    /// The key that it wants in X-Reseller-Api-Key.
    #[arg(long, value_name = "KEY", default_value = "simulator-key", env = "RESELLER_API_KEY", hide_env_values = true)]
    api_key: String,
    /// How many clients there are.
    #[arg(long, value_name = "N", default_value_t = 25)]
    clients: usize,
    /// Which data: the same seed gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How long each answer takes (for example 200ms).
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = duration)]
    latency: Duration,
    /// Beyond this rate it answers 429 (for example 10/s).
    #[arg(long, value_name = "RATE")]
    rate: Option<Rate>,
    /// The share of answers that are 500, from 0 to 1.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = share)]
    fail: f64,
    /// The Cache-Control of its documents.
    #[arg(long, value_name = "VALUE")]
    cache_control: Option<http::HeaderValue>,
    /// Send ETags and answer If-None-Match with 304.
    #[arg(long)]
    etag: bool,
}

const ORDERS: &str = r#"Examples:
  reseller-gateway simulate --listen localhost:9534 --clients 100 --latency 200ms
  RESELLER_API_KEY=secret reseller-gateway simulate --rate 10/s --etag

Orders while it runs (GET shows, DELETE restores): PUT /_simulator/keys '{"old": "…", "new": "…"}'
POST /_simulator/behaviour '{"latency": "1s", "faults": [{"route": "clients", "status": 503}]}'
What was called, by route, status and key: GET /_simulator/stats; from zero: POST /_simulator/reset"#;

const SERVE: &str = "Exit code: 0 ended in order; 1 the machine lacked something (a file, a port, a ledger that another process holds), so that
trying again can help; 2 the text of the configuration is wrong, and trying again cannot.

Examples:
  reseller-gateway serve --config gateway.toml
  RESELLER_GATEWAY__TELEMETRY__LOG=debug reseller-gateway serve --config gateway.toml --access-log errors";

const CHECK: &str =
    "Exit code: as `serve` would end: 0 fine; 1 something is missing on this machine; 2 the text is wrong.

Examples:
  reseller-gateway check --config gateway.toml
  reseller-gateway check --static --config gateway.toml     in CI, where no key and no certificate is
  reseller-gateway check --probe --config gateway.toml      asks the partner seven times";

/// An address to listen on, as the configuration has them.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    config::listen_address(text)
}

fn duration(text: &str) -> Result<Duration, String> {
    config::time(text)
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "must be a number from 0 to 1".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("must be a number from 0 to 1".to_owned()) }
}

/// For what a gateway still has to say when it has ended.
const LOG_FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// Runs the command line's command.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let outcome = match arguments.command {
        Command::Serve(served) => return ended(in_runtime(serve(served.given())), Some(LOG_FLUSH_TIMEOUT)),
        Command::Reload { configured, dry_run } => in_runtime(reload::run(&configured, dry_run)),
        Command::Demo => in_runtime(demo::demo()),
        Command::Check { served, text_alone, probe, json } => served.load().and_then(|config| {
            check(&config, !json, text_alone)?;
            if probe { in_runtime(probe::probe(&config, json)) } else { Ok(()) }
        }),
        Command::Simulate(settings) => in_runtime(simulate(settings)),
        Command::Token(command) => in_runtime(token::run(command)),
        Command::Keys(command) => keys::run(command),
        Command::Cache(command) => in_runtime(cache::run(command)),
        Command::Explain(command) => in_runtime(explain::run(command)),
        Command::Spend(command) => in_runtime(spend::run(command)),
        Command::Pause(command) => in_runtime(pause::pause(command)),
        Command::Resume(configured) => in_runtime(pause::resume(&configured)),
        Command::Healthcheck(command) => in_runtime(healthcheck::run(command)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "reseller-gateway", &mut std::io::stdout());
            Ok(())
        }
        Command::Man(wanted) => man::run(wanted, Arguments::command()),
        Command::Version => {
            writeln!(std::io::stdout(), "reseller-gateway {}", env!("CARGO_PKG_VERSION")).context("standard output")
        }
        Command::Help(wanted) => help::run(&wanted, Arguments::command()),
    };
    ended(outcome, None)
}

/// The exit code, once it is said what went wrong. A gateway says it within a time: nobody may be reading.
fn ended(outcome: anyhow::Result<()>, within: Option<Duration>) -> ExitCode {
    if let Some(within) = within {
        process_log().close(within);
    }
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let (text, code) = failure(&error);
            let text = format!("{}{}", text.trim_end(), as_whom(&text));
            let (said, done) = std::sync::mpsc::channel();
            let say = move || {
                let _ = writeln!(anstream::stderr(), "{}", text.trim_end());
                let _ = said.send(());
            };
            match within {
                None => say(),
                Some(within) => {
                    std::thread::spawn(say);
                    let _ = done.recv_timeout(within);
                }
            }
            ExitCode::from(code)
        }
    }
}

/// What is said of an error, and the exit code: 2 where the text of the configuration is wrong, 1 for all that may be otherwise
/// when it is tried again.
fn failure(error: &anyhow::Error) -> (String, u8) {
    let colors = std::io::stderr().is_terminal();
    let faults = error.downcast_ref().map(|faults: &config::Faults| faults.render(colors));
    let faults = faults.or_else(|| error.downcast_ref().map(|running::Faulty(faults)| faults.clone()));
    if let Some(Lacking(lacking)) = error.downcast_ref() {
        return (lacking.render(colors), 1);
    }
    match faults {
        // What came of the faults stands before them.
        Some(faults) if error.chain().count() > 1 => (format!("error: {error}\n{faults}"), 2),
        Some(faults) => (faults, 2),
        None => (format!("error: {error:#}"), 1),
    }
}

/// What to do about it, where the system does not let this user.
fn as_whom(text: &str) -> &'static str {
    let denied = text.contains("Permission denied") && !text.contains("gateway's user");
    if denied {
        "\nrun this as the gateway's user (`sudo -u USER reseller-gateway …`), or give this one the right"
    } else {
        ""
    }
}

impl Configured {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(config::load(self.given())?)
    }

    /// How the gateway that runs by this file is reached, also while the file has faults; says so where it has.
    fn reach(&self) -> anyhow::Result<Reach> {
        let reach = config::reach(self.given())?;
        if let Some(faults) = &reach.faults {
            let (file, many) = (self.config.display(), faults.iter().count());
            let what = if many == 1 { "a fault".to_owned() } else { format!("{many} faults") };
            writeln!(
                anstream::stderr(),
                "warning: {file} has {what} (`check` shows it all); a running gateway goes by what was in force before"
            )?;
        }
        Ok(reach)
    }

    /// What the configuration is made of, the file not yet read.
    fn given(&self) -> Given {
        Given { file: Some(self.config.clone()), text: None, environment: config::environment(), flags: Vec::new() }
    }
}

impl Served {
    fn load(&self) -> anyhow::Result<Config> {
        Ok(config::load(self.given())?)
    }

    /// The same with flags over it.
    fn given(&self) -> Given {
        let flag = |key: &str, value: &Option<String>, flag: &str| {
            value.clone().map(|value| (key.to_owned(), value, flag.to_owned()))
        };
        let flags = [
            flag("upstream.url", &self.upstream_url, "--upstream-url"),
            flag("server.workers", &self.workers, "--workers"),
            flag("telemetry.log", &self.log, "--log"),
            flag("telemetry.access_log", &self.access_log, "--access-log"),
        ];
        Given { flags: flags.into_iter().flatten().collect(), ..self.configured.given() }
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn serve(mut given: Given) -> anyhow::Result<()> {
    // First of all: it changes the environment, and no other thread may be looking.
    let inherited = Inherited::take_over(config::names_of_sockets().as_deref());
    // Read once: what is watched for a change is what was put in force.
    given.text = given.file.as_deref().and_then(|file| std::fs::read_to_string(file).ok());
    let config = config::load(given.clone())?;
    log::start(&config);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    if config.tokens.keys_dir.is_none() {
        tracing::warn!(
            "state.dir is empty: signing keys live in memory, tokens end with the process, and no command can reach the admin listener"
        );
    }
    boot::raise_limit_of_files(config.server.max_connections);
    let clock = Clock::real();
    // All that is missing is said at once, in the words of `check`.
    preflight::files(&config, clock.now()).complete(&config)?;
    let built = async {
        let ring = boot::ring(&config.tokens)?;
        let house = boot::build(&config, ring, clock)?;
        let doors = boot::bind_all(&config, inherited, clock)?;
        let authority = boot::authority(&config, Arc::clone(house.tokens()), house.clock()).await?;
        anyhow::Ok((house, doors, authority))
    };
    let (house, doors, authority) = built.await.map_err(|error| match error.downcast::<Lack>() {
        Ok(lack) => preflight::lacking(&config, &[lack]).into(),
        Err(other) => other,
    })?;
    let serving = boot::serve(house, authority, &config, doors, given)?;
    for listener in &config.listeners {
        let tls = listener.tls.is_some();
        tracing::info!(address = %listener.address, tls, upstream = %config.upstream.url, "serving");
    }
    tracing::info!(address = %config.health.listen, "health");
    tracing::info!(address = %config.admin.listen, "administration");
    boot::notify::ready("serving");
    let patiently = boot::until_signal().await?;
    tracing::info!("draining");
    tokio::select! {
        ended = serving.end(patiently) => match ended {
            Ended::Clean => tracing::info!("ended"),
            Ended::CutOff => bail!("some requests were cut off at the end of server.shutdown_grace"),
        },
        _ = boot::until_signal() => bail!("ended by a second signal"),
    }
    Ok(())
}

fn check(config: &Config, prints: bool, text_alone: bool) -> anyhow::Result<()> {
    let mut err = anstream::stderr();
    for warning in &config.warnings {
        writeln!(err, "warning: {warning}")?;
    }
    let forecast = config.forecast();
    if let Some(warning) = forecast.as_ref().and_then(Forecast::warning) {
        writeln!(err, "warning: {warning}")?;
    }
    if prints {
        let unknown =
            "# Partner calls at worst are not computed: upstream.expect.clients says how many clients there are.\n";
        let table = forecast.map_or_else(|| unknown.to_owned(), |forecast| forecast.table());
        write!(std::io::stdout(), "{}\n{table}", config.render())?;
    }
    if text_alone {
        return Ok(());
    }
    let found = preflight::all(config, Clock::real().now());
    for warning in &found.warnings {
        writeln!(err, "warning: {}", config.fault(&warning.key, warning.reason.as_str()))?;
    }
    for note in &found.notes {
        writeln!(err, "note: {note}")?;
    }
    Ok(found.complete(config)?)
}

async fn simulate(settings: Simulate) -> anyhow::Result<()> {
    let clock = Clock::real();
    let faults =
        (settings.fail > 0.0).then(|| Fault { share: Some(settings.fail), status: Some(500), ..Default::default() });
    let headers = settings.cache_control.map(|value| (http::header::CACHE_CONTROL, value));
    let behaviour = Behaviour {
        latency: settings.latency,
        rate: settings.rate.unwrap_or(Rate::Unlimited),
        etag: settings.etag,
        headers: headers.into_iter().collect(),
        faults: faults.into_iter().collect(),
        ..Default::default()
    };
    let simulator = Simulator::new(
        simulator::Settings {
            api_key: Secret::new(settings.api_key),
            clients: settings.clients,
            seed: settings.seed,
            behaviour,
        },
        clock,
    );
    let socket = boot::bind("--listen", settings.listen)?;
    writeln!(std::io::stdout(), "Account API on http://{}/reseller/account/v1/", socket.local_addr()?)?;
    let (served, closed) = partner(simulator, socket, clock);
    boot::until_signal().await?;
    closed.cancel();
    let _ = clock.until(clock.tick().plus(Duration::from_secs(5)), served).await;
    Ok(())
}

fn partner(
    simulator: Simulator,
    socket: TcpListener,
    clock: Clock,
) -> (tokio::task::JoinHandle<()>, CancellationToken) {
    const WAIT: Duration = Duration::from_secs(75);
    let (head_time, idle_time, silent_time) = (WAIT, WAIT, WAIT);
    let limits = Limits { connections: 10_000, per_peer: 0, head_bytes: 32 << 10, head_time, idle_time, silent_time };
    let listener = Listener::new(Arc::new(simulator), limits, clock, Arc::default());
    let closed = CancellationToken::new();
    let until = closed.clone();
    let served = tokio::spawn(async move {
        let _ = listener.serve(socket, until).await;
    });
    (served, closed)
}
