//! How does a command speak to a running gateway?
//! Given how it is reached, proves itself by the signing keys and asks over the admin listener.
//! Never makes a key, and never prints the token it made.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::clock::Clock;
use crate::config::{Reach, nearest};
use crate::dial::once;
use crate::dial::pinned::pinned;
use crate::listen::Address;
use crate::token::operator;
use crate::token::ring::Ring;

/// For one question and its answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// No answer is larger.
const MOST: usize = 64 << 20;

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A gateway that answers on its admin listener.
pub(super) struct Running<'c> {
    reach: &'c Reach,
    stream: Box<dyn Stream>,
}

/// The faults that a running gateway found in its file, as `check` prints them.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Faulty(pub(super) String);

/// Why the signing keys cannot be had where they are in memory.
const IN_MEMORY: &str = "state.dir is empty, so the signing keys are in the memory of the running gateway alone, and this \
                         command cannot prove itself to it; set state.dir";

impl<'c> Running<'c> {
    /// The gateway of this configuration, or `None` where nobody listens.
    ///
    /// # Errors
    /// When somebody may be there and cannot be reached.
    pub(super) async fn find(reach: &'c Reach) -> anyhow::Result<Option<Self>> {
        let listen = &reach.admin.listen;
        let connected = match listen {
            Address::Tcp(address) => match TcpStream::connect(address).await {
                Ok(stream) => Ok(private(stream, reach).await?),
                Err(error) => Err(error),
            },
            Address::Systemd(_) => bail!("admin.listen: {listen} is no address of its own"),
            Address::Unix(path) => UnixStream::connect(path).await.map(|stream| Box::new(stream) as Box<dyn Stream>),
        };
        match connected {
            Ok(stream) => Ok(Some(Self { reach, stream })),
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NotFound) => Ok(None),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                bail!("admin.listen: {listen} is not open to this user; run this as the gateway's user")
            }
            Err(error) => Err(error).with_context(|| format!("admin.listen: {listen}")),
        }
    }

    /// The same where it must run.
    ///
    /// # Errors
    /// Also when nobody listens.
    pub(super) async fn expect(reach: &'c Reach) -> anyhow::Result<Self> {
        if let Some(found) = Self::find(reach).await? {
            return Ok(found);
        }
        let listen = &reach.admin.listen;
        let nobody = format!(
            "no gateway answers on {listen} (admin.listen); start it with `serve`, or name its file with --config"
        );
        match &reach.faults {
            Some(faults) => Err(anyhow::Error::new(faults.clone()).context(nobody)),
            None => bail!(nobody),
        }
    }

    /// Asks one question; `target` is below `/admin/v1/`.
    ///
    /// # Errors
    /// What the gateway refused, in its own words, or why it could not be asked.
    pub(super) async fn ask(self, method: Method, target: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let clock = Clock::real();
        let token = HeaderValue::try_from(format!("Bearer {}", mint(self.reach, clock)?)).map(|mut value| {
            value.set_sensitive(true);
            value
        })?;
        let request = Request::builder()
            .method(method)
            .uri(format!("/admin/v1/{target}"))
            .header(HOST, "localhost")
            .header(AUTHORIZATION, token)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.map(|body| Bytes::from(body.to_string())).unwrap_or_default()))?;
        let listen = &self.reach.admin.listen;
        let answer = clock.until(clock.tick().plus(PATIENCE), once::once(self.stream, request, MOST)).await;
        let answer = answer.ok().with_context(|| format!("{listen}: no answer within {} s", PATIENCE.as_secs()))?;
        let wants_proof = self.reach.admin.tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        let hint = if wants_proof {
            "; with admin.tls.client_ca_file it may want a client certificate, and commands have none"
        } else {
            ""
        };
        let answer = answer.with_context(|| format!("{listen}{hint}"))?;
        let said: Value = serde_json::from_slice(answer.body())
            .with_context(|| format!("{listen} answers {}, and is no gateway", answer.status()))?;
        match answer.status() {
            StatusCode::OK => Ok(said),
            StatusCode::UNAUTHORIZED => {
                bail!(
                    "the gateway on {listen} does not take tokens of these keys; does it run with this configuration?"
                )
            }
            status => {
                let detail = said.get("detail").and_then(Value::as_str);
                if let (StatusCode::UNPROCESSABLE_ENTITY, Some(faults)) = (status, detail) {
                    return Err(Faulty(faults.to_owned()).into());
                }
                bail!("{}", detail.map_or_else(|| format!("{listen} answers {status}"), str::to_owned))
            }
        }
    }
}

/// Over TLS where the door speaks it, to the holder of the certificate that this configuration names.
async fn private(stream: TcpStream, reach: &Reach) -> anyhow::Result<Box<dyn Stream>> {
    let Some(tls) = &reach.admin.tls else { return Ok(Box::new(stream)) };
    let clock = Clock::real();
    let private = clock.until(clock.tick().plus(PATIENCE), pinned(stream, &tls.cert_file)).await;
    let private = private.ok().context("admin.tls: no handshake within 15 s")?.context("admin.tls")?;
    Ok(Box::new(private))
}

fn mint(reach: &Reach, clock: Clock) -> anyhow::Result<String> {
    let folder = reach.keys_dir.as_deref().context(IN_MEMORY)?;
    let ring = Ring::read(folder, reach.key_notice).context("tokens.keys_dir")?;
    Ok(operator::mint(&ring, &reach.public_url, &user(), clock.now())?)
}

/// What is said besides where this is no caller of the file: the name that was most likely meant.
pub(super) fn unlike(reach: &Reach, caller: &str) -> Option<String> {
    if reach.callers.iter().any(|known| known == caller) {
        return None;
    }
    let near = nearest(caller, reach.callers.iter().map(String::as_str));
    Some(near.map_or_else(
        || format!("the file has no caller {caller:?}, but {}", reach.callers.join(", ")),
        |near| format!("the file has no caller {caller:?}; did you mean `{near}`?"),
    ))
}

/// How the audit log calls whoever runs the command: the number of the machine's user.
pub(super) fn user() -> String {
    std::fs::metadata("/proc/self").map_or_else(|_| "unknown".to_owned(), |process| format!("uid-{}", process.uid()))
}
