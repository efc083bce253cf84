//! How does the ledger change?
//! Given changes, writes them in batches and answers each once it is on disk.
//! Never answers before the flush, and never holds up the threads that serve.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Durability, ReadableTable, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::rows::{self, CALLERS, CHILDREN, EXPIRIES, How, REVOKED, Row, Seen, TOKENS};
use super::{Broken, Ledger, Place};

/// Changes that share one flush, at most.
const BATCH: usize = 256;

/// Rows that one sweep removes, at most.
pub(in crate::authority) const SWEEP: usize = 10_000;

/// More living tokens than this no caller has: one that gets a token for each request must not fill the disk, nor
/// stand in the way of others.
#[cfg(not(test))]
const MOST_OF_A_CALLER: u64 = 100_000;
#[cfg(test)]
const MOST_OF_A_CALLER: u64 = 300;

/// How long a tombstone outlives its token, in seconds: a wall clock that is set back must not revive one.
const AFTERLIFE: u64 = 86_400;

/// Behind every id.
const LAST: &str = "\u{10ffff}";

type Answer = Box<dyn FnOnce() + Send>;
pub(super) type Job = Box<dyn FnOnce(&WriteTransaction) -> Result<Answer, Broken> + Send>;

/// What became of a wish to note a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is on disk.
    Done,
    /// The token that it was exchanged from is revoked.
    ParentRevoked,
    /// The caller has too many living tokens already.
    Full,
    /// The caller was taken out of the configuration meanwhile.
    Left,
}

/// What a revocation took back: the token and those that were exchanged from it, with their expiries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation(pub Vec<(String, u64)>);

pub(super) fn open_tables(writing: &WriteTransaction) -> Result<(), redb::Error> {
    writing.open_table(TOKENS)?;
    writing.open_table(REVOKED)?;
    writing.open_table(EXPIRIES)?;
    writing.open_table(CHILDREN)?;
    writing.open_table(CALLERS)?;
    Ok(())
}

/// Works until the last handle is gone.
pub(super) fn work(place: &Place, mut todo: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    while todo.blocking_recv_many(&mut batch, BATCH) > 0 {
        match write(place, batch.drain(..)) {
            Ok(answers) => answers.into_iter().for_each(|answer| answer()),
            // Whoever waits learns it by the dropped answer.
            Err(error) => {
                tracing::error!(%error, "the ledger cannot be written");
                place.failures.fetch_add(1, Ordering::Relaxed);
                place.reopen();
            }
        }
    }
}

fn write(place: &Place, batch: impl Iterator<Item = Job>) -> Result<Vec<Answer>, Broken> {
    let database = place.database.read();
    let mut writing = database.as_ref().ok_or_else(Broken::closed)?.begin_write()?;
    writing.set_durability(Durability::Immediate)?;
    let answers = batch.map(|job| job(&writing)).collect::<Result<Vec<_>, _>>()?;
    writing.commit()?;
    Ok(answers)
}

impl Ledger {
    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, Broken> + Send + 'static,
    ) -> Result<T, Broken> {
        let (done, answered) = oneshot::channel();
        let job: Job = Box::new(move |writing| {
            let outcome = change(writing)?;
            Ok(Box::new(move || drop(done.send(outcome))))
        });
        let ended = || Broken("it cannot be written; the log says why".to_owned());
        self.jobs.send(job).await.map_err(|_| ended())?;
        answered.await.map_err(|_| ended())
    }

    /// How often each caller left the configuration while this process ran.
    pub fn departures(&self) -> HashMap<String, u64> {
        self.place.departures.lock().clone()
    }

    /// Notes an issued token, unless its caller has left the configuration more than `departures` times: then whoever
    /// wants to issue it goes by a configuration that is over, and it would outlive the caller.
    ///
    /// # Errors
    /// [`Broken`]: it may not be handed out then.
    pub async fn issue(&self, jti: String, row: Row, departures: u64) -> Result<Changed, Broken> {
        let place = Arc::clone(&self.place);
        self.change(move |writing| {
            // Changes are done one after the other, so that none comes between a look and what follows from it.
            if place.departures.lock().get(&row.caller).is_some_and(|times| *times > departures) {
                return Ok(Changed::Left);
            }
            let mut callers = writing.open_table(CALLERS)?;
            let mut seen = seen(&callers, &row.caller)?;
            if seen.tokens >= MOST_OF_A_CALLER {
                return Ok(Changed::Full);
            }
            if let How::Exchange { from } = &row.how {
                if writing.open_table(REVOKED)?.get(from.as_str())?.is_some() {
                    return Ok(Changed::ParentRevoked);
                }
                writing.open_table(CHILDREN)?.insert((from.as_str(), jti.as_str()), row.expires)?;
            }
            seen.tokens += 1;
            callers.insert(row.caller.as_str(), rows::bytes(&seen)?.as_slice())?;
            writing.open_table(TOKENS)?.insert(jti.as_str(), rows::bytes(&row)?.as_slice())?;
            writing.open_table(EXPIRIES)?.insert((row.expires, jti.as_str()), ())?;
            Ok(Changed::Done)
        })
        .await
    }

    /// Takes a token back until `expires`, and with it what was exchanged from it.
    ///
    /// # Errors
    /// [`Broken`]: the revocation may not be answered as done then.
    pub async fn revoke(&self, jti: String, expires: u64) -> Result<Revocation, Broken> {
        self.change(move |writing| {
            let mut taken = vec![(jti, expires)];
            let children = writing.open_table(CHILDREN)?;
            let mut next = 0;
            while let Some((parent, _)) = taken.get(next).cloned() {
                for row in children.range((parent.as_str(), "")..=(parent.as_str(), LAST))? {
                    let (key, expires) = row?;
                    taken.push((key.value().1.to_owned(), expires.value()));
                }
                next += 1;
            }
            let mut revoked = writing.open_table(REVOKED)?;
            let mut expiries = writing.open_table(EXPIRIES)?;
            for (jti, expires) in &taken {
                revoked.insert(jti.as_str(), *expires)?;
                expiries.insert((expires.saturating_add(AFTERLIFE), jti.as_str()), ())?;
            }
            Ok(Revocation(taken))
        })
        .await
    }

    /// Takes back all that a caller was given up to and including second `last`.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn revoke_caller(&self, caller: String, last: u64) -> Result<(), Broken> {
        self.change(move |writing| {
            let mut callers = writing.open_table(CALLERS)?;
            let mut seen = seen(&callers, &caller)?;
            seen.nothing_until = Some(last.max(seen.nothing_until.unwrap_or_default()));
            callers.insert(caller.as_str(), rows::bytes(&seen)?.as_slice())?;
            Ok(())
        })
        .await
    }

    /// Notes which callers the configuration has at `unix` seconds; hands back those that it has no more, each with the last
    /// second of which none of its tokens counts: they are thereby taken back for good.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn reconcile(&self, configured: Vec<String>, unix: u64) -> Result<Vec<(String, u64)>, Broken> {
        let place = Arc::clone(&self.place);
        self.change(move |writing| {
            let configured: BTreeSet<String> = configured.into_iter().collect();
            let mut callers = writing.open_table(CALLERS)?;
            let mut gone = Vec::new();
            for row in callers.iter()? {
                let (name, seen) = row?;
                let seen: Seen = rows::read(seen.value())?;
                if seen.configured && !configured.contains(name.value()) {
                    gone.push(name.value().to_owned());
                }
            }
            let mut left = Vec::with_capacity(gone.len());
            for name in gone {
                let before = seen(&callers, &name)?;
                // After all of its tokens were taken back, those that followed in the same second are of the next.
                let last = unix.max(before.nothing_until.map_or(0, |last| last.saturating_add(1)));
                let seen = Seen { configured: false, nothing_until: Some(last), ..before };
                callers.insert(name.as_str(), rows::bytes(&seen)?.as_slice())?;
                *place.departures.lock().entry(name.clone()).or_default() += 1;
                left.push((name, last));
            }
            for name in &configured {
                let before = seen(&callers, name)?;
                if !before.configured {
                    let seen = Seen { configured: true, ..before };
                    callers.insert(name.as_str(), rows::bytes(&seen)?.as_slice())?;
                }
            }
            Ok(left)
        })
        .await
    }

    /// Notes when tokens were last used; an id that is not there any more is passed over.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn used(&self, used: Vec<(Box<str>, u64)>) -> Result<(), Broken> {
        self.change(move |writing| {
            let mut tokens = writing.open_table(TOKENS)?;
            for (jti, at) in used {
                let row = tokens.get(&*jti)?.map(|row| rows::read::<Row>(row.value())).transpose()?;
                if let Some(row) = row {
                    let row = Row { last_used: Some(at), ..row };
                    tokens.insert(&*jti, rows::bytes(&row)?.as_slice())?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes rows of tokens that expired before `unix` seconds, and tombstones a day after that; how many.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn sweep(&self, unix: u64) -> Result<usize, Broken> {
        self.change(move |writing| sweep(writing, unix)).await
    }
}

fn sweep(writing: &WriteTransaction, unix: u64) -> Result<usize, Broken> {
    let mut expiries = writing.open_table(EXPIRIES)?;
    let mut over = Vec::new();
    for row in expiries.range((0, "")..(unix, ""))?.take(SWEEP) {
        let key = row?.0;
        let (at, jti) = key.value();
        over.push((at, jti.to_owned()));
    }
    let mut tokens = writing.open_table(TOKENS)?;
    let mut revoked = writing.open_table(REVOKED)?;
    let mut children = writing.open_table(CHILDREN)?;
    let mut callers = writing.open_table(CALLERS)?;
    for (at, jti) in &over {
        expiries.remove((*at, jti.as_str()))?;
        let stone = revoked.get(jti.as_str())?.map(|expires| expires.value());
        if stone.is_some_and(|expires| expires.saturating_add(AFTERLIFE) < unix) {
            revoked.remove(jti.as_str())?;
        }
        let row = tokens.remove(jti.as_str())?.map(|row| rows::read::<Row>(row.value())).transpose()?;
        let Some(row) = row else { continue };
        let mut seen = seen(&callers, &row.caller)?;
        seen.tokens = seen.tokens.saturating_sub(1);
        callers.insert(row.caller.as_str(), rows::bytes(&seen)?.as_slice())?;
        if let How::Exchange { from } = &row.how {
            children.remove((from.as_str(), jti.as_str()))?;
        }
    }
    Ok(over.len())
}

fn seen(callers: &impl ReadableTable<&'static str, &'static [u8]>, name: &str) -> Result<Seen, Broken> {
    callers.get(name)?.map_or_else(|| Ok(Seen::default()), |seen| rows::read(seen.value()))
}
