//! What is tried, and what must hold?
//! Given the gateway's program, hands back rows: what was measured beside what it must be.
//! Never judges by eye: each row says whether it holds.

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, sleep, sleep_until};

use crate::crowd::Gateway;
use crate::fake_partner::{Reply, Response, by_target, errors, most_within, put, settings, zipf};
use crate::partner::Listening;
use crate::{Row, Scale, hostile};

const SECOND: Duration = Duration::from_secs(1);

type Rows = anyhow::Result<Vec<Row>>;

pub(crate) async fn run(trial: &str, program: &Path, scale: Scale) -> Rows {
    match trial {
        "b" => told(program, scale).await,
        "c" => Ok([crowd(program, scale).await?, poor(program, scale).await?].into_iter().flatten().collect()),
        "d" => dead(program, scale).await,
        "e" => {
            Ok([rotated(program, scale, 1).await?, rotated(program, scale, 2).await?].into_iter().flatten().collect())
        }
        "f" => greedy(program, scale).await,
        "h" => hostile::run(program, scale).await,
        _ => anyhow::bail!("there is no trial {trial}; there are b, c, d, e, f, h"),
    }
}

pub(crate) fn row<T: PartialOrd + std::fmt::Debug>(trial: &'static str, what: &str, measured: T, must: T) -> Row {
    let holds = measured <= must;
    Row { trial, what: what.to_owned(), measured: format!("{measured:.3?}"), must: format!("≤ {must:.3?}"), holds }
}

/// 500 stale keys under full load, and a 429.
async fn told(program: &Path, scale: Scale) -> Rows {
    const IN_FLIGHT: usize = 16;
    let partner = Listening::new()?;
    let budget = format!("rate = \"100/s\"\nburst = 20\nmax_in_flight = {IN_FLIGHT}");
    let route = "ttl = \"10s\"\nstale_while_revalidate = \"1h\"";
    let gateway = Gateway::start(program, &partner, 1, &settings(&budget, route)).await?;
    gateway.fill(500).await?;
    sleep(10 * SECOND).await;
    let (before, pause) = (partner.count(), scale.pause.as_secs());
    let began = OnceLock::new();
    partner.respond_with(move |_| {
        let since = began.get_or_init(Instant::now).elapsed();
        if since < SECOND * 9 / 10 * pause as u32 { Reply::retry_after(429, pause) } else { Reply::status(200) }
    });
    let got = gateway.load(scale.pause + 8 * SECOND, scale.load, |caller, nth| (nth * 100 + caller) % 500).await?;
    let seen = partner.calls().split_off(before);
    let refused: Vec<_> = seen.iter().filter(|call| matches!(call.answered, Some((_, 429)))).collect();
    let told = refused.iter().filter_map(|call| call.answered).min().map_or_else(Instant::now, |(at, _)| at);
    // A millisecond for the answer to be read.
    let early = seen.iter().filter(|call| call.at > told + SECOND / 1000 && call.at < told + scale.pause).count();
    let after: Vec<_> = seen.iter().filter(|call| call.at >= told + scale.pause).cloned().collect();
    let last = by_target(&after).values().filter_map(|calls| calls.first()).map(|call| call.at).max();
    let fresh = last.map_or(Duration::MAX, |last| last - told);
    let mut rows = vec![
        row("b", &format!("429 for {pause} s, 500 stale keys, {} requests: errors", got.len()), errors(&got).len(), 0),
        row("b", "calls that were answered 429", refused.len(), IN_FLIGHT),
        row("b", "calls that started after the first 429 was read, before its time was over", early, 0),
        row("b", "keys not fresh again", 500 - by_target(&after).len().min(500), 0),
        row("b", "until all were (the wait, 500 keys at 100/s)", fresh, scale.pause + 5 * SECOND),
    ];
    // Nothing stored: the honest time.
    partner.respond_with(move |_| Reply::retry_after(429, pause));
    let empty = Gateway::start(program, &partner, 1, &settings("rate = \"unlimited\"", "ttl = \"10s\"")).await?;
    let mut caller = empty.caller(0).await?;
    caller.ask(0).await?;
    let (told, mut wrong) = (Instant::now(), 0);
    for key in 1..20 {
        sleep(SECOND / 7).await;
        let got = caller.ask(key).await?;
        let left = scale.pause.saturating_sub(told.elapsed()).as_secs_f64();
        let off = got.retry_after.map_or(f64::MAX, |told| (told as f64 - left.ceil()).abs());
        wrong += usize::from(got.status != 503 || off > 1.0);
    }
    rows.push(row("b", "nothing stored: of 19 refusals, those without 503 and the time that is left", wrong, 0));
    Ok(rows)
}

fn ages(got: &[Response]) -> (u64, u64) {
    let mut ages: Vec<u64> = got.iter().filter_map(|got| got.age).collect();
    ages.sort_unstable();
    let at = |share: usize| ages.get((ages.len() * share / 1000).min(ages.len().saturating_sub(1))).copied();
    (at(990).unwrap_or(u64::MAX), at(1000).unwrap_or(u64::MAX))
}

/// Ten callers on 200 keys, with a budget that is enough.
async fn crowd(program: &Path, scale: Scale) -> Rows {
    let partner = Listening::new()?;
    let route = "ttl = \"5s\"\nstale_while_revalidate = \"10s\"";
    let budget = "rate = \"unlimited\"\nmax_in_flight = 256";
    let gateway = Gateway::start(program, &partner, 1, &settings(budget, route)).await?;
    let got = gateway.load(scale.long, scale.load, zipf(200)).await?;
    let seen = partner.calls();
    let keys = by_target(&seen);
    let each = scale.long.as_secs() as usize / 5 + 1;
    let most = keys.values().map(Vec::len).max().unwrap_or_default();
    let (p99, oldest) = ages(&got);
    let what = format!("{} requests, 200 keys by Zipf, ttl 5 s: errors", got.len());
    Ok(vec![
        row("c", &what, errors(&got).len(), 0),
        row("c", "partner calls (keys asked for × (time / ttl + 1))", seen.len(), keys.len() * each),
        row("c", "calls of the key that had most", most, each),
        row("c", "age, p99, in s (1.3 × ttl)", p99, 6),
        row("c", "age, oldest, in s (ttl + stale window)", oldest, 15),
    ])
}

/// The same with a budget of a quarter of the demand.
async fn poor(program: &Path, scale: Scale) -> Rows {
    let partner = Listening::new()?;
    let route = "ttl = \"5s\"\nstale_while_revalidate = \"1h\"";
    let gateway = Gateway::start(program, &partner, 1, &settings("rate = \"10/s\"\nburst = 5", route)).await?;
    gateway.fill(200).await?;
    let got = gateway.load(scale.long, scale.load, zipf(200)).await?;
    let (_, oldest) = ages(&got);
    let within = |seconds| most_within(&partner.calls(), seconds * SECOND);
    Ok(vec![
        row(
            "c",
            &format!("a budget of 10/s, burst 5, where 40/s are wanted; {} requests: errors", got.len()),
            errors(&got).len(),
            0,
        ),
        // The partner's clock sees a call up to some milliseconds after it was let through.
        row("c", "most calls in any second", within(1), 10 + 5 + 1),
        row("c", "most calls in any 5 s", within(5), 50 + 5 + 1),
        row("c", "age, oldest, in s: it grows in place of the calls", oldest, 300),
    ])
}

/// The partner dies for a while.
async fn dead(program: &Path, scale: Scale) -> Rows {
    let partner = Listening::new()?;
    let route = "ttl = \"2s\"\nstale_while_revalidate = \"3s\"";
    let gateway = Gateway::start(program, &partner, 1, &settings("rate = \"50/s\"\nburst = 10", route)).await?;
    gateway.fill(100).await?;
    let began = Instant::now();
    let (dies, lives) = (began + 5 * SECOND, began + 5 * SECOND + scale.pause);
    let theirs = Rc::clone(&partner);
    let fate = spawn_local(async move {
        sleep_until(dies).await;
        theirs.end();
        sleep_until(lives).await;
        theirs.start()
    });
    let lasts = 5 * SECOND + scale.pause + 40 * SECOND;
    let got = gateway.load(lasts, scale.load, |caller, nth| (nth * 100 + caller) % 100).await?;
    fate.await??;
    let seen = partner.calls();
    let back = seen.iter().find(|call| call.at >= lives).map_or(Duration::MAX, |call| call.at - lives);
    let late: Vec<_> = got.iter().filter(|got| got.at > began + lasts - SECOND).copied().collect();
    let (_, oldest) = ages(&late);
    Ok(vec![
        row(
            "d",
            &format!("dead for {} s, {} requests: errors", scale.pause.as_secs(), got.len()),
            errors(&got).len(),
            0,
        ),
        row("d", "back again: until the first probe (cool_down_max)", back, 30 * SECOND + SECOND / 10),
        row("d", "most calls in any second (50/s, burst 10)", most_within(&seen, SECOND), 60 + 1),
        row("d", "age, oldest, in the last second, in s", oldest, 5),
    ])
}

/// Keys change four times under a load of misses.
async fn rotated(program: &Path, scale: Scale, slots: usize) -> Rows {
    let partner = Listening::new()?;
    let good = Arc::new(AtomicU32::new(0));
    let now_good = Arc::clone(&good);
    partner.respond_with(move |call| {
        let good = call.key == format!("key-{}", now_good.load(Ordering::Relaxed));
        Reply::status(if good { 200 } else { 401 })
    });
    let budget = "rate = \"unlimited\"\nmax_in_flight = 256";
    let gateway = Gateway::start(program, &partner, slots, &settings(budget, "ttl = \"1s\"")).await?;
    let (folder, step) = (gateway.folder.path().to_owned(), scale.long / 6);
    let rotation = spawn_local(async move {
        for next in 1..5 {
            sleep(step).await;
            // One slot: the file is in place, then the old key is refused. Two: what is good next lies in the other one.
            if slots == 1 {
                put(&folder.join("key-0"), &format!("key-{next}"))?;
            }
            good.store(next, Ordering::Relaxed);
            if slots == 2 {
                sleep(SECOND / 2).await;
                put(&folder.join(format!("key-{}", (next + 1) % 2)), &format!("key-{}", next + 1))?;
            }
        }
        anyhow::Ok(())
    });
    // Every client is another one, so each request is a miss.
    let got = gateway.load(scale.long, 500, |caller, nth| nth * 100 + caller).await?;
    rotation.await??;
    let refused = partner.calls().iter().filter(|call| matches!(call.answered, Some((_, 401)))).count();
    let what = format!("{slots} slot(s), 4 rotations, {} misses: errors", got.len());
    Ok(vec![
        row("e", &what, errors(&got).len(), 0),
        row("e", "calls with a key that was refused (those under way)", refused, 4 * 100),
    ])
}

/// How long the misses of callers 1 to 9 wait, each with one at a time, while caller 0 has so many.
async fn waits(program: &Path, scale: Scale, outstanding: usize) -> anyhow::Result<Vec<Duration>> {
    let partner = Listening::new()?;
    let gateway = Gateway::start(program, &partner, 1, &settings("rate = \"20/s\"\nburst = 1", "ttl = \"1h\"")).await?;
    let until = Instant::now() + scale.long / 2;
    let mut crowd = Vec::new();
    for nth in (0..outstanding).map(|_| 0).chain(1..10) {
        let (mut caller, place) = (gateway.caller(nth).await?, crowd.len());
        let work = spawn_local(async move {
            let mut waits = Vec::new();
            while Instant::now() < until {
                let got = caller.ask(place * 1_000_000 + waits.len()).await?;
                waits.push(got.took());
                if got.status != 200 {
                    sleep(SECOND / 10).await;
                }
            }
            anyhow::Ok(waits)
        });
        crowd.push((nth, work));
    }
    let mut all = Vec::new();
    for (nth, work) in crowd {
        let waited = work.await??;
        all.extend(waited.into_iter().filter(|_| nth != 0));
    }
    all.sort_unstable();
    Ok(all)
}

/// One caller at a hundred times its share.
async fn greedy(program: &Path, scale: Scale) -> Rows {
    let quiet = waits(program, scale, 1).await?;
    let pressed = waits(program, scale, 100).await?;
    let at = |waits: &[Duration], share: usize| {
        waits.get((waits.len() * share / 100).min(waits.len().saturating_sub(1))).copied().unwrap_or(Duration::MAX)
    };
    let row = |what: &str, share| row("f", what, at(&pressed, share), at(&quiet, share).saturating_mul(2));
    Ok(vec![
        row("one caller at 100 × its share; the others' misses wait, median (2 × the quiet case)", 50),
        row("the same, p99", 99),
        row("the same, longest", 100),
    ])
}
