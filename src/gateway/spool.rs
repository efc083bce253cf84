//! An answer on its way from the upstream to a caller that may read slowly.
//! Given the upstream's body, hands back one for the caller that reads from memory: the permit ends with the upstream's last byte.
//! Never holds more of it than the pool of buffers has room for, nor passes on more than `upstream.max_response`.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::budget::Permit;
use crate::clock::Clock;

use super::buffers::Lease;

/// What arrived together with the head is passed on without a task of its own, up to so many bytes.
const AT_ONCE: usize = 64 << 10;

/// The answer broke off: its sender stood still or ended, it became too large, or its reader took too long.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the partner's answer broke off")]
pub struct BrokeOff;

/// The limits of one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// The longest the upstream may stand still, and the longest its reader may keep it waiting in all.
    pub(super) patience: Duration,
    /// The largest body.
    pub(super) max_response: usize,
    /// Where the body ends, if hyper does not see that: it reads `Transfer-Encoding: identity` to the connection's end, which
    /// may never come.
    pub(super) length: Option<u64>,
}

impl Limits {
    /// What of a frame belongs to the body, of which `read` bytes came before, and whether it ends there.
    fn within(&self, read: usize, frame: Frame<Bytes>) -> (Frame<Bytes>, bool) {
        let Some(length) = self.length else { return (frame, false) };
        let left = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(read);
        match frame.into_data() {
            Ok(data) => (Frame::data(data.slice(..left.min(data.len()))), data.len() >= left),
            Err(trailers) => (trailers, true),
        }
    }
}

/// The caller's end.
#[derive(Debug)]
pub(super) struct Spool {
    shared: Arc<Shared>,
    /// Bytes that are still to come, at least and at most.
    left: (u64, Option<u64>),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    taken: Notify,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<(Frame<Bytes>, Option<Lease>)>,
    end: Option<Result<(), BrokeOff>>,
    reader: Option<Waker>,
    reader_left: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("pieces", &self.pieces.len()).field("end", &self.end).finish_non_exhaustive()
    }
}

impl Shared {
    fn push(&self, piece: Frame<Bytes>, lease: Option<Lease>) {
        let mut state = self.state.lock();
        state.pieces.push_back((piece, lease));
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn end(&self, how: Result<(), BrokeOff>) {
        let mut state = self.state.lock();
        state.end.get_or_insert(how);
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }

    fn reader_left(&self) -> bool {
        self.state.lock().reader_left
    }

    fn is_empty(&self) -> bool {
        self.state.lock().pieces.is_empty()
    }
}

/// What became of an answer's body so far.
pub(super) enum Spooled {
    /// It is here whole.
    Whole(Bytes),
    /// It comes, by a task that has to be run.
    Comes(Spool, Box<Filler>),
}

/// The upstream's end: to be run in a task.
pub(super) struct Filler {
    incoming: Incoming,
    /// Given back with the last byte.
    _permit: Permit,
    lease: Lease,
    shared: Arc<Shared>,
    clock: Clock,
    limits: Limits,
    read: usize,
}

/// Takes over an answer's body, of which `before` was read already.
pub(super) fn spool(
    before: Bytes,
    mut incoming: Incoming,
    permit: Permit,
    lease: Lease,
    (clock, limits): (Clock, Limits),
) -> Spooled {
    let (mut pieces, mut read) = (VecDeque::new(), before.len());
    let hint = incoming.size_hint();
    let (least, most) = (hint.lower() + read as u64, hint.upper().map(|most| most + read as u64));
    if !before.is_empty() {
        pieces.push_back((Frame::data(before), None));
    }
    // What is here already needs nobody to wait for it.
    let mut cx = Context::from_waker(Waker::noop());
    let mut end = None;
    while end.is_none() && read < AT_ONCE {
        match Pin::new(&mut incoming).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let (frame, is_last) = limits.within(read, frame);
                end = is_last.then_some(Ok(()));
                read += frame.data_ref().map_or(0, Bytes::len);
                pieces.push_back((frame, None));
            }
            Poll::Ready(Some(Err(_))) => end = Some(Err(BrokeOff)),
            Poll::Ready(None) => end = Some(Ok(())),
            Poll::Pending => break,
        }
    }
    if read > limits.max_response {
        end = Some(Err(BrokeOff));
    }
    if end.is_some_and(|end| end.is_ok()) && pieces.len() <= 1 && pieces.iter().all(|(piece, _)| piece.is_data()) {
        let whole = pieces.pop_front().and_then(|(piece, _)| piece.into_data().ok());
        return Spooled::Whole(whole.unwrap_or_default());
    }
    let shared =
        Arc::new(Shared { state: Mutex::new(State { pieces, end, ..State::default() }), taken: Notify::new() });
    let filler = Filler { incoming, _permit: permit, lease, shared: Arc::clone(&shared), clock, limits, read };
    Spooled::Comes(Spool { shared, left: (least, most) }, Box::new(filler))
}

impl Filler {
    /// Reads the upstream's answer to its end, or until nobody wants it.
    pub(super) async fn run(mut self) {
        if self.shared.state.lock().end.is_some() {
            return;
        }
        let how = self.fill().await;
        self.shared.end(how);
    }

    async fn fill(&mut self) -> Result<(), BrokeOff> {
        let mut patience = self.limits.patience;
        loop {
            let stalled = self.clock.tick().plus(self.limits.patience);
            let next = async {
                tokio::select! {
                    next = self.incoming.frame() => Some(next),
                    () = left(&self.shared) => None,
                }
            };
            let Some(next) = self.clock.until(stalled, next).await.map_err(|_| BrokeOff)? else { return Err(BrokeOff) };
            let Some(frame) = next else { return Ok(()) };
            let (frame, is_last) = self.limits.within(self.read, frame.map_err(|_| BrokeOff)?);
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            self.read += bytes;
            if self.read > self.limits.max_response {
                return Err(BrokeOff);
            }
            let lease = self.reserve(bytes, &mut patience).await?;
            self.shared.push(frame, lease);
            if is_last {
                return Ok(());
            }
        }
    }

    /// Room for some bytes: in the pool, or where it is full, with the reader, who then has taken all there was. The upstream
    /// waits for that reader no longer than `patience` in all.
    async fn reserve(&mut self, bytes: usize, patience: &mut Duration) -> Result<Option<Lease>, BrokeOff> {
        if self.lease.grow(bytes) {
            return Ok(Some(self.lease.split(bytes)));
        }
        let began = self.clock.tick();
        let room = async {
            tokio::select! {
                () = self.lease.grown(bytes) => true,
                () = drained(&self.shared) => false,
            }
        };
        let pooled = self.clock.until(began.plus(*patience), room).await.map_err(|_| BrokeOff)?;
        *patience = patience.saturating_sub(self.clock.tick().since(began));
        Ok(pooled.then(|| self.lease.split(bytes)))
    }
}

/// Returns when the reader has left.
async fn left(shared: &Shared) {
    loop {
        let mut taken = std::pin::pin!(shared.taken.notified());
        taken.as_mut().enable();
        if shared.reader_left() {
            return;
        }
        taken.await;
    }
}

/// Returns when the reader has taken all there was, or has left.
async fn drained(shared: &Shared) {
    loop {
        let mut taken = std::pin::pin!(shared.taken.notified());
        taken.as_mut().enable();
        if shared.is_empty() || shared.reader_left() {
            return;
        }
        taken.await;
    }
}

impl Spool {
    /// The next piece, once it is here.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        let mut state = self.shared.state.lock();
        if let Some((piece, lease)) = state.pieces.pop_front() {
            drop(state);
            // The bytes are the connection's now.
            drop(lease);
            self.shared.taken.notify_waiters();
            let bytes = piece.data_ref().map_or(0, Bytes::len) as u64;
            self.left = (self.left.0.saturating_sub(bytes), self.left.1.map(|most| most.saturating_sub(bytes)));
            return Poll::Ready(Some(Ok(piece)));
        }
        match state.end {
            Some(Ok(())) => Poll::Ready(None),
            Some(Err(broke)) => Poll::Ready(Some(Err(broke))),
            None => {
                state.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let state = self.shared.state.lock();
        state.pieces.is_empty() && state.end.is_some_and(|end| end.is_ok())
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.left.0);
        if let Some(most) = self.left.1 {
            hint.set_upper(most);
        }
        hint
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.reader_left = true;
        state.pieces.clear();
        drop(state);
        self.shared.taken.notify_waiters();
    }
}
