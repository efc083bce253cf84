//! Can a request be answered from its bytes alone?
//! Given a head as it came in, hands back the answer of a hit whose line and fields were read before; all others go the long way.
//! Never reads a head by itself: the same bytes mean what they meant when `http` and `httparse` read them, and nothing else is known.

mod known;

mod own;

mod read;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, Method, StatusCode};

use crate::access::{Grant, Right};
use crate::cache::{Coding, Entry, Key, Stored};
use crate::clock::Now;
use crate::http::asks::Asks;
use crate::listen::{AtOnce, Wire};
use crate::route::Match;
use crate::token::Caller;
use crate::trail::trace::Stage;

use super::press::SMALLEST;
use super::respond::{Delivery, Document, End};
use super::{Ambient, Dials, Gateway};

use known::Known;
use own::Own;

/// Lines and heads' fields that are kept, the longest of each, and how often they are met before: with all that belongs to
/// them at most some 4 MB and 2 MB. There are few senders, and each of them holds a token.
const LINES: (usize, usize, u64) = (8192, 512, 4);
const FIELDS: (usize, usize, u64) = (512, 3 << 10, 2);

/// What was read before.
pub struct Memory {
    /// What request lines ask for.
    lines: Known<Asked>,
    /// Who sends these fields.
    fields: Known<Sender>,
}

/// A document of the seven, asked for with GET.
struct Asked {
    wanted: Match,
    key: Key,
}

/// Who sends a head, of which all that bears on the answer is here.
struct Sender {
    who: Who,
    welcomes_gzip: bool,
}

enum Who {
    /// Whose token this is, as long as it holds.
    Token(Arc<Caller>),
    /// The caller without a token of the listener with this number.
    Ambient(usize),
}

impl Default for Memory {
    fn default() -> Self {
        let ((lines, line, asked), (senders, fields, met)) = (LINES, FIELDS);
        Self { lines: Known::new(lines, line, asked), fields: Known::new(senders, fields, met) }
    }
}

/// A listener, and what it says of requests without a token.
#[derive(Clone, Copy)]
pub struct Listener<'a> {
    /// Which of the public ones it is.
    pub nth: usize,
    /// Whose rights such a request has.
    pub ambient: Option<&'a Ambient>,
}

impl<C: Dials> Gateway<C> {
    /// Answers a head as it came in, if it is a hit of what was read before; the head of the answer goes to `wire`.
    ///
    /// The rooms are the same, and asked for the same: does the token still hold, may its caller have this, is it held and
    /// fresh, is it the caller's turn. Where one of them says no, nothing has happened yet, and [`Gateway::serve`] says it.
    pub fn at_once(
        &self,
        head: &[u8],
        peer: SocketAddr,
        listener: Listener<'_>,
        wire: &mut Wire,
    ) -> Option<AtOnce<End>> {
        let (line, fields) = head.split_at_checked(memchr::memchr(b'\n', head)? + 1)?;
        let Memory { lines, fields: senders } = &self.memory;
        let mut find = |own: &Own<'_>| {
            senders.find(&own.rest, |sender| {
                let known = lines.find(line, |asked| self.say(asked, sender, own, (peer, listener), wire));
                known.unwrap_or_else(|unknown| {
                    lines.met(unknown, line, || self.read_line(line));
                    None
                })
            })
        };
        // Most heads say nothing of their own: they are looked for before they are taken apart.
        let unknown = match find(&Own::nothing_in(fields)) {
            Ok(answer) => return answer,
            Err(unknown) => unknown,
        };
        let own = Own::of(fields)?;
        let unknown = match own.rest {
            Cow::Borrowed(_) => unknown,
            Cow::Owned(_) => match find(&own) {
                Ok(answer) => return answer,
                Err(unknown) => unknown,
            },
        };
        senders.met(unknown, &own.rest, || self.read_fields(&own.rest, listener));
        None
    }

    fn say(
        &self,
        Asked { wanted, key }: &Asked,
        sender: &Sender,
        own: &Own<'_>,
        (peer, listener): (SocketAddr, Listener<'_>),
        wire: &mut Wire,
    ) -> Option<AtOnce<End>> {
        if self.draining.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.clock.now();
        let context = if self.ledger.traces.is_some() { own.context() } else { HeaderMap::new() };
        let mut trace = self.ledger.sample(&context, now);
        let caller = match &sender.who {
            Who::Token(caller) => {
                let held = self.tokens.holds(caller, now).inspect_err(|_| self.memory.fields.forget(&own.rest));
                held.ok().map(|()| Arc::clone(caller))?
            }
            Who::Ambient(nth) if *nth == listener.nth => self.tokens.ambient(listener.ambient?.caller()).ok()?,
            Who::Ambient(_) => return None,
        };
        trace.reached(Stage::Identify, || self.clock.tick());
        let route = self.routes.at(wanted.route())?;
        let grant = self.rules.decide(Arc::clone(&caller), wanted.clone(), route).ok()?.granted()?;
        trace.reached(Stage::Decide, || self.clock.tick());
        let entry = self.store.fresh(key, now)?;
        let document = self.at_hand(&grant, entry, sender.welcomes_gzip, now)?;
        let turn = self.turns.admit_silently(&caller, now.tick)?;
        let mut trail = self.begin(Method::GET, own.id, now, peer, trace);
        trail.route = Some(wanted.route());
        self.fetches.traced_look(&mut trail, || "fresh");
        (trail.outcome, trail.cause) = document.delivery.words(true);
        trail.status = StatusCode::OK;
        trail.age = Some(document.age.as_secs());
        trail.turn = Some(turn);
        trail.caller = Some(caller);
        document.entry.was_hit();
        self.ledger.counts.at_once();
        let limits = self.limits_of(&trail);
        let (body, length) = self.rendering.signature.write(document, &trail.request_id, now, limits, wire);
        trail.bytes = length as u64;
        Some(AtOnce { body, owed: End { ledger: Arc::clone(&self.ledger), clock: self.clock, trail } })
    }

    /// The document as this right sees it and this sender wants it, if it lies ready in that form.
    fn at_hand(&self, grant: &Grant, entry: Arc<Entry>, welcomes_gzip: bool, now: Now) -> Option<Document> {
        if entry.status() != StatusCode::OK {
            return None;
        }
        let right = grant.right();
        let full = right == Right::FULL;
        let mut view = match full {
            true => None,
            false => entry.face(right, Coding::Identity).map(|shown| Some((shown.bytes.clone(), shown.tag)))?,
        };
        let mut coding = Coding::Identity;
        if welcomes_gzip && !entry.forbids_transform() {
            match entry.face(right, Coding::Gzip) {
                Some(gzip) => (view, coding) = (Some((gzip.bytes.clone(), gzip.tag)), Coding::Gzip),
                // The long way has it made.
                None if view.as_ref().map_or(entry.bytes_of_body().len(), |(bytes, _)| bytes.len()) >= SMALLEST => {
                    return None;
                }
                None => {}
            }
        }
        let age = entry.life().age(now.tick);
        Some(Document { entry, full, view, coding, age, delivery: Delivery::HIT, asks: Asks::NOTHING })
    }
}
