//! Does the server hold every one of these paths?
//! Given a file of paths, asks for each exactly once over many connections and prints how many were whole.
//! Never retries: an answer that is not 200 with the right length is counted as failed.

#![expect(clippy::print_stdout, reason = "the driver reads the result")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use tokio::task::JoinSet;

mod wire;

#[derive(Parser)]
struct Arguments {
    /// The server to fill.
    #[arg(long)]
    server: SocketAddr,
    /// One path a line.
    #[arg(long)]
    paths: PathBuf,
    /// One token a line; the first is sent.
    #[arg(long)]
    tokens: PathBuf,
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long each body must be.
    #[arg(long, default_value_t = 755)]
    length: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let Arguments { server, paths, tokens, connections, length } = Arguments::parse();
    let paths: Arc<Vec<String>> = Arc::new(std::fs::read_to_string(paths)?.lines().map(str::to_owned).collect());
    let tokens = std::fs::read_to_string(tokens)?;
    let token: Arc<str> = tokens.lines().next().unwrap_or_default().into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..connections {
        let (paths, token, next) = (Arc::clone(&paths), Arc::clone(&token), Arc::clone(&next));
        askers.spawn(async move { ask_in_turn(server, &paths, &token, &next, length).await });
    }
    let mut filled = 0;
    for whole in askers.join_all().await {
        filled += whole?;
    }
    println!("{}", serde_json::json!({ "filled": filled, "failed": paths.len() - filled }));
    Ok(())
}

async fn ask_in_turn(
    server: SocketAddr,
    paths: &[String],
    token: &str,
    next: &AtomicUsize,
    length: usize,
) -> anyhow::Result<usize> {
    let mut connection = wire::Wire::open(server).await?;
    let mut whole = 0;
    while let Some(path) = paths.get(next.fetch_add(1, Ordering::Relaxed)) {
        connection.send(&wire::get(server, path, token)).await?;
        let reply = connection.receive().await?;
        whole += usize::from(reply == wire::Reply { status: 200, length });
    }
    Ok(whole)
}
