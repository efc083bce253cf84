//! Does the shield hold, in full?
//! Given the gateway's program, runs it before a partner and callers of this process, trial by trial, and prints one table.
//! Never leaves the loopback, and ends every process it started.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "the table is what it is for; progress goes beside it")]

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use tokio::task::LocalSet;

#[path = "../../tests/gateway/support/fake_partner.rs"]
mod fake_partner;

mod crowd;
mod hostile;
mod partner;
mod trials;

#[derive(Parser)]
struct Arguments {
    /// The gateway's program.
    #[arg(long)]
    gateway: PathBuf,
    /// Which trials: b, c, d, e, f, h.
    #[arg(long, value_delimiter = ',', default_value = "b,c,d,e,f,h")]
    only: Vec<String>,
    /// Times a sixth as long.
    #[arg(long)]
    quick: bool,
    /// Requests a second, where a trial does not need another number.
    #[arg(long, default_value_t = 5000)]
    load: u32,
}

/// How long things take, and how much is sent.
#[derive(Clone, Copy)]
struct Scale {
    long: Duration,
    pause: Duration,
    load: u32,
}

/// One line of the table.
struct Row {
    trial: &'static str,
    what: String,
    measured: String,
    must: String,
    holds: bool,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let seconds = if arguments.quick { 1 } else { 6 };
    let scale = Scale {
        long: Duration::from_secs(10 * seconds),
        pause: Duration::from_secs(5 * seconds),
        load: arguments.load,
    };
    let mut rows = Vec::new();
    for trial in &arguments.only {
        eprintln!("{trial} …");
        let work = trials::run(trial, &arguments.gateway, scale);
        rows.extend(LocalSet::new().run_until(work).await?);
    }
    println!("| | what | measured | must | |\n|---|---|---:|---:|---|");
    for Row { trial, what, measured, must, holds } in &rows {
        println!("| {trial} | {what} | {measured} | {must} | {} |", if *holds { "holds" } else { "**does not hold**" });
    }
    anyhow::ensure!(rows.iter().all(|row| row.holds), "not all of it holds");
    Ok(())
}
