//! Is a running gateway ready?
//! Given its health listener, or the file that names it, asks and prints what is not as it should be.
//! Never needs more of the file than that address, and no right at all.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::clock::{Clock, time_text};
use crate::config::{self, Given};

/// For the whole question, name and connection included.
const PATIENCE: Duration = Duration::from_secs(3);

/// No answer is longer.
const LONGEST: u64 = 64 << 10;

/// `healthcheck`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 ready, also where it is degraded; 1 not ready or not there; 2 the file is faulty.\n\n\
    Examples:\n  reseller-gateway healthcheck\n  reseller-gateway healthcheck --config /etc/reseller-gateway/reseller-gateway.toml\n  \
    reseller-gateway healthcheck --address gateway.internal:9536"
)]
pub(super) struct Healthcheck {
    /// Its health listener: a host or an address, and a port. Without it: `health.listen` of --config, else 127.0.0.1:9536.
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "config")]
    address: Option<String>,
    /// The configuration file that says where its health listener is.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Where it is not ready, or nobody answers.
pub(super) async fn run(command: Healthcheck) -> anyhow::Result<()> {
    let address = match (command.address, command.config) {
        (Some(address), _) => address,
        (None, Some(file)) => {
            let given = Given { file: Some(file), environment: config::environment(), ..Given::default() };
            here(config::reach(given)?.health)
        }
        (None, None) => "127.0.0.1:9536".to_owned(),
    };
    let (status, body) = ask(&address).await?;
    let said: Value = serde_json::from_str(&body).unwrap_or_default();
    let state = said.get("status").and_then(Value::as_str).unwrap_or_default();
    let why = said.get("why").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    match (status, state) {
        (200, "ready") => Ok(()),
        (200, state) => {
            let mut err = anstream::stderr();
            writeln!(err, "{state}")?;
            for why in why {
                writeln!(err, "  {why}")?;
            }
            Ok(())
        }
        (_, "") => bail!("{address} answers {status}, and is no health listener of a gateway"),
        (_, state) => bail!("not ready: {state}"),
    }
}

/// An address to connect to; whoever listens on all of them is asked on this machine.
fn here(listen: std::net::SocketAddr) -> String {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port()).to_string()
}

async fn ask(address: &str) -> anyhow::Result<(u16, String)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.take(LONGEST).read_to_end(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let clock = Clock::real();
    let answer = clock.until(clock.tick().plus(PATIENCE), exchange).await;
    let answer = answer.ok().with_context(|| format!("{address}: no answer within {}", time_text(PATIENCE)))?;
    let answer = answer.with_context(|| format!("cannot ask {address}; a host or address and its port are wanted"))?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status.with_context(|| format!("{address}: what answers there does not speak HTTP"))?, body.to_owned()))
}
