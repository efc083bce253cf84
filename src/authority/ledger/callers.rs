//! Which callers came and went, and what became of their tokens?
//! Given the callers that the configuration has, notes who left and who is back, and ends tokens that must not live on.
//! Never revives a token: who comes back late, or as somebody else, begins anew.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};

use super::rows::{self, CALLERS, REVOKED, Row, Seen, TOKENS, seen};
use super::{Broken, Ledger};

/// A caller as the configuration has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// Its name.
    pub name: String,
    /// Marks of its secrets and subjects: equal marks are of equal ones.
    pub proofs: Vec<String>,
}

/// When something is decided, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// By the wall clock, as tokens are dated.
    pub wall: u64,
    /// By a clock that does not jump ahead, as spans are measured.
    pub steady: u64,
    /// For how long the tokens of a caller that left wait for it.
    pub grace: u64,
}

/// What becomes of a caller's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The caller left: they are refused, and end at this second unless it is back before.
    Wait(u64),
    /// It is back in time and the same: they count again.
    Live,
    /// They are over for good, with all up to and including this second.
    End(u64),
}

/// A caller that left or came back, and its tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    /// Its name.
    pub caller: String,
    /// What becomes of them.
    pub fate: Fate,
    /// How many of them there are that have not expired and were not taken back.
    pub tokens: usize,
}

impl Seen {
    /// Whether whoever is called so now is who was called so before: by a proof of both, or if neither has any.
    fn is_same(&self, now: &[String]) -> bool {
        let none = self.proofs.is_empty() && now.is_empty();
        none || self.proofs.iter().any(|mark| now.contains(mark))
    }

    /// What has to become of this caller's tokens; `now` is what the configuration says of it, if it has it.
    fn fate(&self, now: Option<&Vec<String>>, at: Moment) -> Option<Fate> {
        let end = || Fate::End(self.next_end(at.wall));
        let until = |left: u64| left.saturating_add(at.grace);
        match (self.configured, self.left, now) {
            (true, _, None) if at.grace == 0 => Some(end()),
            (true, _, None) => Some(Fate::Wait(until(at.steady))),
            (false, Some(left), Some(proofs)) if at.steady < until(left) && self.is_same(proofs) => Some(Fate::Live),
            (false, Some(_), Some(_)) => Some(end()),
            (false, Some(left), None) if at.steady >= until(left) => Some(end()),
            _ => None,
        }
    }

    fn after(self, fate: Fate, at: Moment) -> Self {
        match fate {
            Fate::Wait(_) => Self { configured: false, left: Some(at.steady), ..self },
            Fate::Live => Self { left: None, ..self },
            Fate::End(last) => Self { configured: false, left: None, nothing_until: Some(last), ..self },
        }
    }
}

type Names = BTreeMap<String, Vec<String>>;

fn names(configured: Vec<Present>) -> Names {
    configured.into_iter().map(|caller| (caller.name, caller.proofs)).collect()
}

/// Every caller whose tokens are to live, wait or end.
fn fates(
    callers: &impl ReadableTable<&'static str, &'static [u8]>,
    configured: &Names,
    at: Moment,
) -> Result<Vec<(String, Seen, Fate)>, Broken> {
    let mut found = Vec::new();
    for row in callers.iter()? {
        let (name, seen) = row?;
        let seen: Seen = rows::read(seen.value())?;
        if let Some(fate) = seen.fate(configured.get(name.value()), at) {
            found.push((name.value().to_owned(), seen, fate));
        }
    }
    Ok(found)
}

/// The same with how many tokens that is; all tokens are looked at, if there is any such caller.
fn counted(
    found: &[(String, Seen, Fate)],
    tokens: &impl ReadableTable<&'static str, &'static [u8]>,
    revoked: &impl ReadableTable<&'static str, u64>,
    at: Moment,
) -> Result<Vec<Moved>, Broken> {
    let zero = |(name, seen, _): &(String, Seen, Fate)| (name.clone(), (seen.nothing_until, 0));
    let mut counts: BTreeMap<String, (Option<u64>, usize)> = found.iter().map(zero).collect();
    if !counts.is_empty() {
        for row in tokens.iter()? {
            let (jti, row) = row?;
            let row: Row = rows::read(row.value())?;
            let Some((over, count)) = counts.get_mut(&row.caller) else { continue };
            let lives = row.expires > at.wall && over.is_none_or(|last| row.issued > last);
            if lives && revoked.get(jti.value())?.is_none() {
                *count += 1;
            }
        }
    }
    let moved = |(caller, _, fate): &(String, Seen, Fate)| {
        let tokens = counts.get(caller).map_or(0, |(_, count)| *count);
        Moved { caller: caller.clone(), fate: *fate, tokens }
    };
    Ok(found.iter().map(moved).collect())
}

fn apply(writing: &WriteTransaction, configured: &Names, at: Moment, departed: bool) -> Result<Vec<Moved>, Broken> {
    let mut callers = writing.open_table(CALLERS)?;
    let mut found = fates(&callers, configured, at)?;
    // Who is configured is only known to whoever brings a configuration.
    found.retain(|(_, seen, _)| !departed || !seen.configured);
    let moved = counted(&found, &writing.open_table(TOKENS)?, &writing.open_table(REVOKED)?, at)?;
    for (name, seen, fate) in found {
        callers.insert(name.as_str(), rows::bytes(&seen.after(fate, at))?.as_slice())?;
    }
    for (name, proofs) in configured {
        let before = seen(&callers, name)?;
        if !before.configured || before.proofs != *proofs {
            let seen = Seen { configured: true, proofs: proofs.clone(), ..before };
            callers.insert(name.as_str(), rows::bytes(&seen)?.as_slice())?;
        }
    }
    Ok(moved)
}

impl Ledger {
    /// Notes which callers the configuration has; hands back those that it has no more, and those that are back.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn reconcile(&self, configured: Vec<Present>, at: Moment) -> Result<Vec<Moved>, Broken> {
        let file = std::sync::Arc::clone(&self.ledger_file);
        self.change(move |writing| {
            let configured = names(configured);
            let moved = apply(writing, &configured, at, false)?;
            let left = moved.iter().filter(|moved| !configured.contains_key(&moved.caller));
            for caller in left.map(|moved| moved.caller.clone()) {
                *file.departures.lock().entry(caller).or_default() += 1;
            }
            Ok(moved)
        })
        .await
    }

    /// Ends the tokens of callers that left and were not back in time.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn end_departed(&self, at: Moment) -> Result<Vec<Moved>, Broken> {
        self.change(move |writing| apply(writing, &Names::new(), at, true)).await
    }

    /// What [`Ledger::reconcile`] would do. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn foresee(&self, configured: Vec<Present>, at: Moment) -> Result<Vec<Moved>, Broken> {
        let reading = self.reading()?;
        let found = fates(&reading.open_table(CALLERS)?, &names(configured), at)?;
        counted(&found, &reading.open_table(TOKENS)?, &reading.open_table(REVOKED)?, at)
    }

    /// Callers that left, whose tokens wait for them, each with the second when it did. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn departed(&self) -> Result<Vec<(String, u64)>, Broken> {
        let mut found = Vec::new();
        for row in self.reading()?.open_table(CALLERS)?.iter()? {
            let (name, seen) = row?;
            let seen: Seen = rows::read(seen.value())?;
            found.extend(seen.left.map(|left| (name.value().to_owned(), left)));
        }
        Ok(found)
    }

    /// Whether it was ever heard of this caller. Blocks.
    ///
    /// # Errors
    /// [`Broken`].
    pub fn knows(&self, caller: &str) -> Result<bool, Broken> {
        Ok(self.reading()?.open_table(CALLERS)?.get(caller)?.is_some())
    }

    /// Takes back all that a caller was given up to and including second `last`, also if it left and may be back.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn revoke_caller(&self, caller: String, last: u64) -> Result<(), Broken> {
        self.change(move |writing| {
            let mut callers = writing.open_table(CALLERS)?;
            let before = seen(&callers, &caller)?;
            let last = last.max(before.nothing_until.unwrap_or_default());
            let seen = Seen { nothing_until: Some(last), left: None, ..before };
            callers.insert(caller.as_str(), rows::bytes(&seen)?.as_slice())?;
            Ok(())
        })
        .await
    }
}
