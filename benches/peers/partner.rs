//! Which partner do the servers stand in front of?
//! Given an address, a key and a latency, answers as the Account API does and counts the calls (`/_count`, `/_reset`).
//! Never limits, fails or caches.

#![expect(clippy::print_stdout, reason = "the driver reads one line to know that the partner listens")]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http::{Response, StatusCode};
use http_body_util::Full;
use tokio::task::LocalSet;

mod documents;
mod serving;

#[derive(Parser)]
struct Arguments {
    /// Where to listen.
    #[arg(long)]
    listen: SocketAddr,
    /// What `X-Reseller-Api-Key` must be.
    #[arg(long)]
    key: String,
    /// How long to wait before each answer, such as `200ms`.
    #[arg(long, default_value = "0ms", value_parser = duration)]
    latency: Duration,
}

static CALLS: AtomicU64 = AtomicU64::new(0);

fn duration(text: &str) -> Result<Duration, jiff::Error> {
    text.parse::<jiff::SignedDuration>().and_then(Duration::try_from)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { listen, key, latency } = Arguments::parse();
    let listener = serving::listen(listen)?;
    println!("listening");
    let documents = documents::Documents::new();
    let partner = serving::serve(listener, async move |request| {
        match request.uri().path() {
            "/_count" => return text(CALLS.load(Ordering::Relaxed).to_string()),
            "/_reset" => return text(CALLS.swap(0, Ordering::Relaxed).to_string()),
            _ => CALLS.fetch_add(1, Ordering::Relaxed),
        };
        if request.headers().get("x-reseller-api-key").is_none_or(|sent| sent.as_bytes() != key.as_bytes()) {
            let mut refusal = text(String::new());
            *refusal.status_mut() = StatusCode::UNAUTHORIZED;
            return refusal;
        }
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        documents.answer(request.uri().path())
    });
    LocalSet::new().run_until(partner).await;
    Ok(())
}

fn text(body: String) -> Response<Full<Bytes>> {
    Response::new(Full::new(body.into()))
}
