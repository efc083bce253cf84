//! How do traces get to a collector?
//! Given where it listens, sends what is finished in batches (OTLP over HTTP, protobuf), apart from the workers.
//! Never lets a request wait: a collector that is slow or gone fills the queue, and what finds no room is dropped and counted.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderValue, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use tokio::sync::mpsc::Receiver;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Tick};
use crate::dial::{Dialer, OutBody};

use super::{Finished, Tracer, otlp};

/// A batch is sent when it is this large, or this old. Both are the defaults of OpenTelemetry's batch processor.
const BATCH: usize = 512;
const SCHEDULE: Duration = Duration::from_secs(5);

/// For one export, connection and answer; the default of OTLP's exporters.
const PATIENCE: Duration = Duration::from_secs(10);

/// A batch that is not taken is tried again after these pauses, as OTLP has it for answers that say so; then it is dropped.
const PAUSES: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(4)];

/// No longer than this is waited because a collector says so.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// No answer that is read is larger.
const MOST: usize = 64 << 10;

/// Where the traces go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The collector's whole address, path included.
    pub endpoint: Uri,
    /// Which gateway this is.
    pub instance: String,
}

/// Sends what a tracer keeps.
pub struct Exporter {
    settings: Settings,
    queue: Receiver<Finished>,
    client: Client<Dialer, OutBody>,
    clock: Clock,
    /// Whether it was said that the collector does not take them.
    is_logged: bool,
}

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum NotTaken {
    #[error("{0}")]
    Unreached(String),
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error("it answers {status}")]
    Status { status: StatusCode, after: Option<Duration> },
}

impl NotTaken {
    /// OTLP: these four may go better the next time, and so may a broken connection.
    fn may_go_better(&self) -> bool {
        match self {
            Self::Unreached(_) | Self::Late => true,
            Self::Status { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
        }
    }
}

impl Exporter {
    /// Takes over what this tracer keeps; `None` if somebody did already.
    pub fn of(tracer: &Tracer, settings: Settings, client: Client<Dialer, OutBody>, clock: Clock) -> Option<Self> {
        let queue = tracer.waiting()?;
        Some(Self { settings, queue, client, clock, is_logged: false })
    }

    /// Sends until `closed`, and then once more what is left. Who waits for that sets the bound.
    pub async fn run(mut self, tracer: &Tracer, closed: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            self.gather(&mut batch, &closed).await;
            if batch.is_empty() {
                return;
            }
            self.send(&mut batch, tracer, &closed).await;
        }
    }

    /// A full batch, or what has come until the first of it is old enough; nothing if no more will come.
    async fn gather(&mut self, batch: &mut Vec<Finished>, closed: &CancellationToken) {
        let mut until = None;
        while batch.len() < BATCH {
            let room = BATCH - batch.len();
            tokio::select! {
                biased;
                more = self.queue.recv_many(batch, room) => match more {
                    0 => return,
                    _ => until = until.or_else(|| Some(self.clock.tick().plus(SCHEDULE))),
                },
                () = closed.cancelled(), if !self.queue.is_closed() => self.queue.close(),
                () = wait(self.clock, until) => return,
            }
        }
    }

    async fn send(&mut self, batch: &mut Vec<Finished>, tracer: &Tracer, closed: &CancellationToken) {
        let (many, body) = (batch.len() as u64, Bytes::from(otlp::encode(batch, &self.settings.instance)));
        batch.clear();
        let mut pauses = PAUSES.iter();
        loop {
            let (sent, why) = match self.post(body.clone()).await {
                Ok(None) => {
                    if std::mem::take(&mut self.is_logged) {
                        tracing::info!(endpoint = %self.settings.endpoint, "traces are taken again");
                    }
                    tracer.sent.fetch_add(many, Ordering::Relaxed);
                    return;
                }
                Ok(Some((spans, why))) => (true, format!("it rejects {spans} spans: {why}")),
                Err(why) => {
                    let pause = pauses.next().filter(|_| why.may_go_better() && !closed.is_cancelled());
                    if let Some(&pause) = pause {
                        self.tell(&why.to_string());
                        let said = match &why {
                            NotTaken::Status { after, .. } => after.unwrap_or_default().min(LONGEST_PAUSE),
                            _ => Duration::ZERO,
                        };
                        let until = self.clock.tick().plus(pause.max(said));
                        let _ = self.clock.until(until, closed.cancelled()).await;
                        continue;
                    }
                    (false, why.to_string())
                }
            };
            self.tell(&why);
            let counter = if sent { &tracer.sent } else { &tracer.dropped };
            counter.fetch_add(many, Ordering::Relaxed);
            return;
        }
    }

    /// Said once, not with every batch.
    fn tell(&mut self, why: &str) {
        if !std::mem::replace(&mut self.is_logged, true) {
            let endpoint = &self.settings.endpoint;
            tracing::warn!(%endpoint, why, "the collector does not take traces; what finds no room is dropped and counted");
        }
    }

    /// One export; `Some` if the collector took only a part.
    async fn post(&self, body: Bytes) -> Result<Option<(i64, String)>, NotTaken> {
        let asked = async {
            let request = Request::post(self.settings.endpoint.clone())
                .header(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"))
                .header(USER_AGENT, concat!("reseller-gateway/", env!("CARGO_PKG_VERSION")))
                .body(Full::new(body).map_err(|never| match never {}).boxed_unsync())
                .map_err(|error| NotTaken::Unreached(error.to_string()))?;
            let answer = self.client.request(request).await.map_err(|error| {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                NotTaken::Unreached(cause.unwrap_or_else(|| error.to_string()))
            })?;
            let (head, body) = answer.into_parts();
            // Read to its end, so that the connection can be used again.
            let body = Limited::new(body, MOST).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            if head.status.is_success() {
                return Ok(otlp::rejected(&body));
            }
            let after = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
            Err(NotTaken::Status { status: head.status, after: after.map(Duration::from_secs) })
        };
        let until = self.clock.tick().plus(PATIENCE);
        self.clock.until(until, asked).await.unwrap_or(Err(NotTaken::Late))
    }
}

async fn wait(clock: Clock, until: Option<Tick>) {
    match until {
        Some(until) => clock.sleep_until(until).await,
        None => std::future::pending().await,
    }
}
