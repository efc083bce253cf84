//! How does the ledger change?
//! Given changes, writes them in batches and answers each once it is on disk.
//! Never answers before the flush, and never holds up the threads that serve.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use redb::{Durability, ReadableTable, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::rows::{
    self, ABOUT, CALLERS, CHILDREN, EXPIRIES, Ended, FORGOTTEN, How, REVOKED, Row, Seen, TOKENS, covered, seen,
};
use super::{Broken, Ledger, LedgerFile};

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

/// More tokens than this of one caller are not remembered as revoked by their ids: all that it had are revoked instead.
#[cfg(not(test))]
const MOST_REVOKED: u64 = 65_536;
#[cfg(test)]
const MOST_REVOKED: u64 = 100;

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

/// What a revocation took back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Revocation {
    /// The token and those that were exchanged from it, with their expiries.
    pub tokens: Vec<(String, u64)>,
    /// Where its caller had too many revoked ones: all that it was given until then.
    pub caller: Option<Ended>,
}

/// What a sweep removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Swept {
    /// How many rows; there may be more if [`SWEEP`].
    pub rows: usize,
    /// The latest expiry of a revoked token that is remembered no more, ever.
    pub forgotten: u64,
}

pub(super) fn open_tables(writing: &WriteTransaction) -> Result<(), redb::Error> {
    writing.open_table(TOKENS)?;
    writing.open_table(REVOKED)?;
    writing.open_table(EXPIRIES)?;
    writing.open_table(CHILDREN)?;
    writing.open_table(CALLERS)?;
    Ok(())
}

/// Works until the last handle is gone.
pub(super) fn work(file: &LedgerFile, mut todo: mpsc::Receiver<Job>) {
    let mut batch = Vec::with_capacity(BATCH);
    while todo.blocking_recv_many(&mut batch, BATCH) > 0 {
        match write(file, batch.drain(..)) {
            Ok(answers) => {
                file.failing.store(false, Ordering::Relaxed);
                answers.into_iter().for_each(|answer| answer());
            }
            // Whoever waits learns it by the dropped answer.
            Err(error) => {
                if !file.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "the ledger cannot be written");
                }
                file.failures.fetch_add(1, Ordering::Relaxed);
                file.reopen();
            }
        }
    }
}

fn write(file: &LedgerFile, batch: impl Iterator<Item = Job>) -> Result<Vec<Answer>, Broken> {
    let database = file.database.read();
    let mut writing = database.as_ref().ok_or_else(Broken::closed)?.begin_write()?;
    writing.set_durability(Durability::Immediate)?;
    // With one phase a damaged page looks like a commit that was cut off: the file goes back by one commit, and says nothing.
    writing.set_two_phase_commit(true);
    let answers = batch.map(|job| job(&writing)).collect::<Result<Vec<_>, _>>()?;
    writing.commit()?;
    Ok(answers)
}

impl Ledger {
    pub(super) async fn change<T: Send + 'static>(
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
        self.ledger_file.departures.lock().clone()
    }

    /// Notes an issued token, unless its caller has left the configuration more than `departures` times: then whoever
    /// wants to issue it goes by a configuration that is over, and it would outlive the caller.
    ///
    /// # Errors
    /// [`Broken`]: it may not be handed out then.
    pub async fn issue(&self, jti: String, row: Row, departures: u64) -> Result<Changed, Broken> {
        let file = Arc::clone(&self.ledger_file);
        self.change(move |writing| {
            // Changes are done one after the other, so that none comes between a look and what follows from it.
            if file.departures.lock().get(&row.caller).is_some_and(|times| *times > departures) {
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

    /// Takes a token of this caller's back until `expires`, and with it what was exchanged from it; `unix` is now.
    ///
    /// # Errors
    /// [`Broken`]: the revocation may not be answered as done then.
    pub async fn revoke(&self, jti: String, expires: u64, caller: String, unix: u64) -> Result<Revocation, Broken> {
        self.change(move |writing| {
            let family = family(&writing.open_table(CHILDREN)?, jti, expires)?;
            let tokens = writing.open_table(TOKENS)?;
            let mut revoked = writing.open_table(REVOKED)?;
            let mut callers = writing.open_table(CALLERS)?;
            let mut its = seen(&callers, &caller)?;
            let mut ended = None;
            if its.revoked.saturating_add(family.len() as u64) > MOST_REVOKED {
                let last = its.next_end(unix);
                let covered = covered(&revoked, &tokens, &caller, last)?;
                for jti in &covered {
                    revoked.remove(jti.as_str())?;
                }
                its.revoked = its.revoked.saturating_sub(covered.len() as u64);
                its.nothing_until = Some(last);
                ended = Some(Ended { caller: caller.clone(), last, covered });
            }
            let mut expiries = writing.open_table(EXPIRIES)?;
            for (jti, expires) in &family {
                let known = revoked.insert(jti.as_str(), *expires)?.is_some();
                // One that was never noted is not of the rows that a sweep takes off the count.
                if !known && tokens.get(jti.as_str())?.is_some() {
                    its.revoked += 1;
                }
                expiries.insert((*expires, jti.as_str()), ())?;
            }
            callers.insert(caller.as_str(), rows::bytes(&its)?.as_slice())?;
            Ok(Revocation { tokens: family, caller: ended })
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

    /// Does nothing but write, to see whether that goes again.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn probe(&self) -> Result<(), Broken> {
        self.change(|_| Ok(())).await
    }

    /// Removes what is known of tokens that expired before `unix` seconds.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn sweep(&self, unix: u64) -> Result<Swept, Broken> {
        self.change(move |writing| sweep(writing, unix)).await
    }
}

/// A token and those that were exchanged from it, with their expiries.
pub(super) fn family(
    children: &impl ReadableTable<(&'static str, &'static str), u64>,
    jti: String,
    expires: u64,
) -> Result<Vec<(String, u64)>, Broken> {
    let mut family = vec![(jti, expires)];
    let mut next = 0;
    while let Some((parent, _)) = family.get(next).cloned() {
        for row in children.range((parent.as_str(), "")..=(parent.as_str(), LAST))? {
            let (key, expires) = row?;
            family.push((key.value().1.to_owned(), expires.value()));
        }
        next += 1;
    }
    Ok(family)
}

fn sweep(writing: &WriteTransaction, unix: u64) -> Result<Swept, Broken> {
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
    let mut about = writing.open_table(ABOUT)?;
    let before = about.get(FORGOTTEN)?.map_or(0, |forgotten| forgotten.value());
    let mut forgotten = before;
    for (at, jti) in &over {
        expiries.remove((*at, jti.as_str()))?;
        let stone = revoked.get(jti.as_str())?.map(|expires| expires.value()).filter(|expires| *expires < unix);
        if let Some(expires) = stone {
            revoked.remove(jti.as_str())?;
            forgotten = forgotten.max(expires);
        }
        let row = tokens.remove(jti.as_str())?.map(|row| rows::read::<Row>(row.value())).transpose()?;
        let Some(row) = row else { continue };
        let its = seen(&callers, &row.caller)?;
        let left = Seen {
            tokens: its.tokens.saturating_sub(1),
            revoked: its.revoked.saturating_sub(u64::from(stone.is_some())),
            ..its
        };
        callers.insert(row.caller.as_str(), rows::bytes(&left)?.as_slice())?;
        if let How::Exchange { from } = &row.how {
            children.remove((from.as_str(), jti.as_str()))?;
        }
    }
    if forgotten > before {
        about.insert(FORGOTTEN, forgotten)?;
    }
    Ok(Swept { rows: over.len(), forgotten })
}
