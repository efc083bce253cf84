//! What does a crowd that wants one cold key cost the partner, and how long after the answer does it wait?
//! Given a server whose partner this process is, sends all requests at once and prints calls and times per path.
//! Never counts the partner's own latency: times start when the partner begins its (first) answer.

#![expect(clippy::print_stdout, reason = "the driver reads the result")]

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Parser;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, sleep, timeout};

mod documents;
mod serving;
mod wire;

#[derive(Parser)]
struct Arguments {
    /// Where this process listens as the partner.
    #[arg(long)]
    listen: SocketAddr,
    /// The server under test.
    #[arg(long)]
    server: SocketAddr,
    /// One path a line; each is one round and must be cold.
    #[arg(long)]
    paths: PathBuf,
    /// One token a line; requests take them in turn.
    #[arg(long)]
    tokens: PathBuf,
    #[arg(long, default_value_t = 1000)]
    connections: usize,
    /// The partner's latency.
    #[arg(long, default_value_t = 200)]
    latency_ms: u64,
    /// How long each body must be.
    #[arg(long, default_value_t = 755)]
    length: usize,
}

/// What the partner saw of the round under way.
#[derive(Default)]
struct Seen {
    calls: Cell<usize>,
    landed: Cell<Option<Instant>>,
}

const ROUND_LIMIT: Duration = Duration::from_secs(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    LocalSet::new().run_until(run(arguments)).await
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { listen, server, paths, tokens, connections, latency_ms, length } = arguments;
    let paths = std::fs::read_to_string(paths)?;
    let tokens = std::fs::read_to_string(tokens)?;
    let seen = Rc::new(Seen::default());
    spawn_local(partner(serving::listen(listen)?, Rc::clone(&seen), Duration::from_millis(latency_ms)));
    println!("listening");
    // The driver starts the server now and says so with a line.
    tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new())).await??;

    let mut crowd = Vec::with_capacity(connections);
    for _ in 0..connections {
        crowd.push(Rc::new(RefCell::new(wire::Wire::open(server).await?)));
    }
    for path in paths.lines() {
        seen.calls.set(0);
        seen.landed.set(None);
        let askers: Vec<_> = crowd
            .iter()
            .zip(tokens.lines().cycle())
            .map(|(connection, token)| {
                let request = wire::get(server, path, token);
                spawn_local(ask(Rc::clone(connection), request, length))
            })
            .collect();
        let mut answered = Vec::with_capacity(connections);
        for asker in askers {
            answered.extend(asker.await?);
        }
        report(&seen, &mut answered, connections);
    }
    Ok(())
}

async fn partner(listener: TcpListener, seen: Rc<Seen>, latency: Duration) {
    let documents = documents::Documents::new();
    serving::serve(listener, async move |request| {
        seen.calls.set(seen.calls.get() + 1);
        sleep(latency).await;
        if seen.landed.get().is_none() {
            seen.landed.set(Some(Instant::now()));
        }
        documents.answer(request.uri().path())
    })
    .await;
}

/// When the whole right answer was here; nothing where it never came.
#[expect(clippy::await_holding_refcell_ref, reason = "one asker at a time holds a connection")]
async fn ask(connection: Rc<RefCell<wire::Wire>>, request: Vec<u8>, length: usize) -> Option<Instant> {
    let mut connection = connection.try_borrow_mut().ok()?;
    connection.send(&request).await.ok()?;
    let reply = timeout(ROUND_LIMIT, connection.receive()).await.ok()?.ok()?;
    (reply == wire::Reply { status: 200, length }).then(Instant::now)
}

fn report(seen: &Seen, answered: &mut [Instant], asked: usize) {
    answered.sort_unstable();
    let after = |share: f64| {
        let rank = (answered.len() as f64 * share).ceil() as usize;
        let at = answered.get(rank.saturating_sub(1))?;
        Some(at.duration_since(seen.landed.get()?).as_secs_f64() * 1000.0)
    };
    println!(
        "{}",
        serde_json::json!({
            "calls": seen.calls.get(),
            "failed": asked - answered.len(),
            "p50_ms": after(0.5),
            "p99_ms": after(0.99),
            "max_ms": after(1.0),
        })
    );
}
