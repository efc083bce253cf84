//! Does one caller's trouble stay its own?
//! Given the gateway's program, lets one caller do its worst while nine others ask for new documents, and hands back rows.
//! Never raises a limit for it: the budget and all limits are those of an empty file.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::{JoinSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};

use crate::crowd::Gateway;
use crate::fake_partner::{Reply, Response, errors, settings};
use crate::partner::Listening;
use crate::trials::row;
use crate::{Row, Scale};

const SECOND: Duration = Duration::from_secs(1);

/// The others' misses: two fifths of the budget, which is 10/s.
const EVERY: Duration = Duration::from_millis(250);

/// How long an answer below `/other/slow/` takes, and how long one below `/other/large/` is.
const SLOW: Duration = Duration::from_secs(9);
const LARGE: usize = 8 << 20;

/// What the hostile caller does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worst {
    Nothing,
    BrokenBodies,
    SlowUploads,
    SlowReaders,
    /// Asks for paths that are no documents, which are answered so.
    Opaque(u16),
    SlowPaths,
    /// Asks for documents on which the partner fails.
    FailingDocuments,
    /// Asks for documents that want another login.
    ForeignDocuments,
    /// Asks for documents for which the partner takes long.
    SlowDocuments,
    /// Asks for new documents as fast as it gets them.
    NewDocuments,
}

const KINDS: [(Worst, &str); 12] = [
    (Worst::BrokenBodies, "bodies that break off"),
    (Worst::SlowUploads, "slow uploads"),
    (Worst::SlowReaders, "slow readers of 8 MB"),
    (Worst::Opaque(401), "paths answered 401"),
    (Worst::Opaque(403), "paths answered 403 with Retry-After: 60"),
    (Worst::Opaque(429), "paths answered 429 with Retry-After: 60"),
    (Worst::Opaque(500), "paths answered 500"),
    (Worst::SlowPaths, "paths answered after 9 s"),
    (Worst::FailingDocuments, "documents answered 500"),
    (Worst::ForeignDocuments, "documents answered 401"),
    (Worst::SlowDocuments, "documents answered after 9 s"),
    (Worst::NewDocuments, "new documents, one after the other"),
];

pub(crate) async fn run(program: &Path, scale: Scale) -> anyhow::Result<Vec<Row>> {
    let quiet = others(program, scale, Worst::Nothing).await?;
    let most = at(&quiet, 99).saturating_mul(2);
    let mut rows = vec![unanswered("no hostile caller", &quiet)];
    for (worst, what) in KINDS {
        let got = others(program, scale, worst).await?;
        rows.push(unanswered(what, &got));
        rows.push(row("h", &format!("{what}: the others' misses, p99 (2 × without it)"), at(&got, 99), most));
    }
    rows.extend(lag(program).await?);
    rows.push(stray(program, scale).await?);
    rows.push(no_time(program).await?);
    Ok(rows)
}

fn unanswered(what: &str, got: &[Response]) -> Row {
    let bad = errors(got).len();
    let share = bad as f64 / got.len().max(1) as f64;
    row("h", &format!("{what}: {} misses of others, share that is not answered", got.len()), share, 0.01)
}

fn at(got: &[Response], share: usize) -> Duration {
    let mut took: Vec<Duration> = got.iter().filter(|got| got.status == 200).map(|got| got.took()).collect();
    took.sort_unstable();
    took.get((took.len() * share / 100).min(took.len().saturating_sub(1))).copied().unwrap_or(Duration::MAX)
}

/// What nine callers get that ask for a new document each.
async fn others(program: &Path, scale: Scale, worst: Worst) -> anyhow::Result<Vec<Response>> {
    let partner = Listening::new()?;
    partner.respond_with(move |call| match worst {
        Worst::Opaque(500) if call.target.contains("/other/") => Reply::status(500),
        Worst::Opaque(status) if call.target.contains("/other/") => Reply::retry_after(status, 60),
        Worst::FailingDocuments if call.target.contains("client-9000") => Reply::status(500),
        Worst::ForeignDocuments if call.target.contains("client-9000") => Reply::status(401),
        _ if call.target.contains("/slow") => Reply { after: SLOW, ..Reply::status(200) },
        _ if call.target.contains("/other/large/") => Reply { body: vec![b' '; LARGE].into(), ..Reply::status(200) },
        _ => Reply::status(200),
    });
    let gateway = Rc::new(Gateway::start(program, &partner, 1, "").await?);
    let mut attack = JoinSet::new();
    begin(worst, &gateway, &mut attack);
    sleep(2 * SECOND).await;
    let got = misses(&gateway, scale.long).await?;
    attack.abort_all();
    Ok(got)
}

async fn misses(gateway: &Rc<Gateway>, lasts: Duration) -> anyhow::Result<Vec<Response>> {
    let (all, until) = (Rc::new(RefCell::new(Vec::new())), Instant::now() + lasts);
    let mut asked = JoinSet::new();
    let mut next = Instant::now();
    for nth in 0.. {
        if next >= until {
            break;
        }
        sleep_until(next).await;
        next += EVERY;
        let (gateway, all) = (Rc::clone(gateway), Rc::clone(&all));
        asked.spawn_local(async move {
            let got = gateway.caller(1 + nth % 9).await?.ask(nth).await?;
            all.borrow_mut().push(got);
            anyhow::Ok(())
        });
    }
    while let Some(asked) = asked.join_next().await {
        asked??;
    }
    Ok(all.take())
}

fn begin(worst: Worst, gateway: &Rc<Gateway>, attack: &mut JoinSet<()>) {
    let many = match worst {
        Worst::Nothing => 0,
        Worst::SlowUploads | Worst::SlowPaths | Worst::SlowDocuments | Worst::NewDocuments => 64,
        Worst::SlowReaders => 32,
        _ => 16,
    };
    for nth in 0..many {
        let gateway = Rc::clone(gateway);
        attack.spawn_local(async move {
            for turn in 0.. {
                let _ = once(worst, &gateway, nth * 1_000_000 + turn).await;
                sleep(SECOND / 4).await;
            }
        });
    }
}

/// One of its requests.
async fn once(worst: Worst, gateway: &Gateway, number: usize) -> anyhow::Result<()> {
    let path = match worst {
        Worst::SlowReaders => format!("other/large/{number}"),
        Worst::SlowPaths => format!("other/slow/{number}"),
        Worst::SlowDocuments => format!("clients/slow-{number}/"),
        Worst::FailingDocuments | Worst::ForeignDocuments | Worst::NewDocuments => {
            format!("clients/client-9000{number}/")
        }
        _ => format!("other/{number}"),
    };
    let body = matches!(worst, Worst::BrokenBodies | Worst::SlowUploads);
    let mut stream = gateway.raw(0, &path, if body { "content-length: 1000\r\n" } else { "" }).await?;
    match worst {
        Worst::BrokenBodies => stream.write_all(b"hello").await?,
        Worst::SlowUploads => {
            for _ in 0..1000 {
                stream.write_all(b"x").await?;
                sleep(SECOND / 2).await;
            }
        }
        Worst::SlowReaders => {
            let mut piece = [0; 1024];
            while stream.read(&mut piece).await? > 0 {
                sleep(SECOND / 2).await;
            }
        }
        _ => drop(stream.read_to_end(&mut Vec::new()).await?),
    }
    Ok(())
}

/// Half of the partner's nodes know the new key for five seconds; both are given.
async fn lag(program: &Path) -> anyhow::Result<Vec<Row>> {
    let partner = Listening::new()?;
    let (began, dice) = (Instant::now() + 2 * SECOND, AtomicU32::new(0));
    partner.respond_with(move |call| {
        let thrown = dice.load(Ordering::Relaxed).wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        dice.store(thrown, Ordering::Relaxed);
        let age = call.at.saturating_duration_since(began);
        let knows_the_new = age > 5 * SECOND || (!age.is_zero() && thrown >> 31 == 1);
        let good = if knows_the_new { "key-1" } else { "key-0" };
        Reply::status(if call.key == good { 200 } else { 401 })
    });
    let budget = settings("rate = \"100/s\"\nburst = 100", "ttl = \"60s\"");
    let gateway = Rc::new(Gateway::start(program, &partner, 2, &budget).await?);
    sleep_until(began - SECOND).await;
    let before = misses(&gateway, SECOND).await?;
    let during = misses(&gateway, 5 * SECOND).await?;
    sleep(SECOND).await;
    let after = misses(&gateway, 5 * SECOND).await?;
    let bad = |got: &[Response]| errors(got).len() as f64 / got.len().max(1) as f64;
    Ok(vec![
        row("h", "a rotation: before it, share that is not answered", bad(&before), 0.0),
        row("h", "nodes differ over the key for 5 s, both keys given", bad(&during), 0.05),
        row("h", "from a second after they agree", bad(&after), 0.0),
    ])
}

/// One answer in a hundred is a 401 to a good key.
async fn stray(program: &Path, scale: Scale) -> anyhow::Result<Row> {
    let partner = Listening::new()?;
    let calls = AtomicU32::new(0);
    partner.respond_with(move |_| {
        let nth = 1 + calls.fetch_add(1, Ordering::Relaxed);
        Reply::status(if nth % 100 == 50 { 401 } else { 200 })
    });
    let gateway = Gateway::start(program, &partner, 1, &settings("rate = \"unlimited\"", "ttl = \"60s\"")).await?;
    let got = gateway.load(scale.long, 200, |caller, nth| nth * 100 + caller).await?;
    Ok(unanswered("1 % stray 401", &got))
}

/// `Retry-After: 0` for ten seconds under demand.
async fn no_time(program: &Path) -> anyhow::Result<Row> {
    let partner = Listening::new()?;
    partner.respond_with(|_| Reply::retry_after(429, 0));
    let gateway = Gateway::start(program, &partner, 1, "").await?;
    let load = spawn_local(async move { gateway.load(10 * SECOND, 500, |caller, nth| nth * 100 + caller).await });
    load.await??;
    // Those under way when the first was read, and then after 1, 2, 4 and 8 s.
    Ok(row("h", "Retry-After: 0 for 10 s, 500 misses a second: partner calls", partner.count(), 16 + 4))
}
