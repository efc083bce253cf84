//! The fast path: hits that are answered from the bytes of a head alone.
//! Given a head as it came in, hands back the answer of a hit whose line and fields were read before; all others go the long way.
//! Never reads a head by itself: the same bytes mean what they meant when `http` and `httparse` read them, and nothing else is known.

mod seen_bytes;

mod per_request;

mod read;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{HeaderMap, Method, StatusCode};

use crate::access::{Grant, Right};
use crate::cache::{Coding, Entry, Key, Stored};
use crate::clock::Now;
use crate::http::request_flags::RequestFlags;
use crate::listen::{AtOnce, Wire};
use crate::route::Match;
use crate::token::Caller;
use crate::trail::trace::Stage;

use crate::gateway::compress::SMALLEST;
use crate::gateway::respond::{Delivery, Document, End};
use crate::gateway::{Ambient, Dials, Gateway};

use per_request::PerRequest;
use seen_bytes::SeenBytes;

/// Lines and heads' fields that are kept, the longest of each, and how often they are met before: with all that belongs to
/// them at most some 4 MB and 2 MB. There are few senders, and each of them holds a token.
const LINES: (usize, usize, u64) = (8192, 512, 4);
const FIELDS: (usize, usize, u64) = (512, 3 << 10, 2);

/// The heads that were read before, of one gateway.
pub struct FastPath {
    /// What request lines ask for.
    lines: SeenBytes<Asked>,
    /// Who sends these fields.
    fields: SeenBytes<Sender>,
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

impl Default for FastPath {
    fn default() -> Self {
        let ((lines, line, asked), (senders, fields, met)) = (LINES, FIELDS);
        Self { lines: SeenBytes::new(lines, line, asked), fields: SeenBytes::new(senders, fields, met) }
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

/// One head that came in, with all that it takes to answer it.
struct Head<'a, C> {
    gateway: &'a Gateway<C>,
    peer: SocketAddr,
    listener: Listener<'a>,
}

impl FastPath {
    /// Answers a head as it came in, if it is a hit of what was read before; the head of the answer goes to `wire`.
    ///
    /// The rooms are the same, and asked for the same: does the token still hold, may its caller have this, is it held and
    /// fresh, is it the caller's turn. Where one of them says no, nothing has happened yet, and [`Gateway::serve`] says it.
    pub fn answer<C: Dials>(
        &self,
        gateway: &Gateway<C>,
        head: &[u8],
        peer: SocketAddr,
        listener: Listener<'_>,
        wire: &mut Wire,
    ) -> Option<AtOnce<End>> {
        let (line, fields) = head.split_at_checked(memchr::memchr(b'\n', head)? + 1)?;
        let Self { lines, fields: senders } = self;
        let head = Head { gateway, peer, listener };
        let mut find = |per_request: &PerRequest<'_>| {
            senders.find(&per_request.rest, |sender| {
                let known = lines.find(line, |asked| self.serve(&head, asked, sender, per_request, wire));
                known.unwrap_or_else(|unknown| {
                    lines.met(unknown, line, || read::line(gateway, line));
                    None
                })
            })
        };
        // Most heads say nothing of their own: they are looked for before they are taken apart.
        let unknown = match find(&PerRequest::nothing_in(fields)) {
            Ok(answer) => return answer,
            Err(unknown) => unknown,
        };
        let per_request = PerRequest::of(fields)?;
        let unknown = match per_request.rest {
            Cow::Borrowed(_) => unknown,
            Cow::Owned(_) => match find(&per_request) {
                Ok(answer) => return answer,
                Err(unknown) => unknown,
            },
        };
        senders.met(unknown, &per_request.rest, || read::fields(gateway, &per_request.rest, listener));
        None
    }

    fn serve<C: Dials>(
        &self,
        Head { gateway, peer, listener }: &Head<'_, C>,
        Asked { wanted, key }: &Asked,
        sender: &Sender,
        per_request: &PerRequest<'_>,
        wire: &mut Wire,
    ) -> Option<AtOnce<End>> {
        let (clock, ledger) = (gateway.clock(), gateway.ledger());
        if gateway.draining().load(Ordering::Relaxed) {
            return None;
        }
        let now = clock.now();
        let context = if ledger.traces.is_some() { per_request.context() } else { HeaderMap::new() };
        let mut trace = ledger.sample(&context, now);
        let caller = match &sender.who {
            Who::Token(caller) => {
                let held = gateway.tokens().holds(caller, now).inspect_err(|_| self.fields.forget(&per_request.rest));
                held.ok().map(|()| Arc::clone(caller))?
            }
            Who::Ambient(nth) if *nth == listener.nth => gateway.tokens().ambient(listener.ambient?.caller()).ok()?,
            Who::Ambient(_) => return None,
        };
        trace.reached(Stage::Identify, || clock.tick());
        let route = gateway.routes().at(wanted.route())?;
        let grant = gateway.rules().decide(Arc::clone(&caller), wanted.clone(), route).ok()?.granted()?;
        trace.reached(Stage::Decide, || clock.tick());
        let entry = gateway.store().fresh(key, now)?;
        let document = at_hand(&grant, entry, sender.welcomes_gzip, now)?;
        let turn = gateway.caller_limits().admit_silently(&caller, now.tick)?;
        let mut trail = gateway.begin(Method::GET, per_request.id, now, *peer, trace);
        trail.route = Some(wanted.route());
        gateway.traced_look(&mut trail, || "fresh");
        (trail.outcome, trail.cause) = document.delivery.outcome_and_cause(true);
        trail.status = StatusCode::OK;
        trail.age = Some(document.age.as_secs());
        trail.admitted = Some(turn);
        trail.caller = Some(caller);
        document.entry.was_hit();
        ledger.counts.at_once();
        let limits = gateway.limits_of(&trail);
        let (body, length) = gateway.signature().write(document, &trail.request_id, now, limits, wire);
        trail.bytes = length as u64;
        Some(AtOnce { body, owed: End { ledger: Arc::clone(ledger), clock, trail } })
    }
}

/// The document as this right sees it and this sender wants it, if it lies ready in that form.
fn at_hand(grant: &Grant, entry: Arc<Entry>, welcomes_gzip: bool, now: Now) -> Option<Document> {
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
    Some(Document { entry, full, view, coding, age, delivery: Delivery::HIT, flags: RequestFlags::NOTHING })
}
