//! How is HTTP/2 spoken?
//! Given a private connection, serves its streams within limits, and hands the door requests as HTTP/1.1 has them.
//! Never lets a connection stand that makes no progress, however many pings it sends.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::{Body, Incoming};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::frames::Counted;
use super::watchdog::{Command, ConnectionState};
use super::watched_io::MOST_LINES;
use super::{BadHead, Handler, Listener};
use crate::clock::HyperTimer;
use crate::http::host::is_named_well;
use crate::http::list::plain_elements;

/// Requests at once on one connection.
const STREAMS: u32 = 128;

/// What a client may send of a body before it is asked for more: of one request, and of all.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;

/// A peer that does not answer a ping is gone.
const PING: Duration = Duration::from_secs(30);
const PONG: Duration = Duration::from_secs(15);

/// Streams reset by the peer before we looked at them, until the connection is ended (CVE-2023-44487).
const RESETS: usize = 32;

/// Frames for which we reset a stream, until the connection is ended (CVE-2025-8671). A refused upload ends in a reset of
/// ours, and what of it is under way by then may come after h2 has forgotten the stream: more than fifty in a second, each of
/// some frames, have to be borne.
const MAX_RESETS: usize = 1024;

/// The largest piece of a body that is handed over at once: as much as one frame holds.
const PIECE: usize = 16 << 10;

/// h2 answers a head beyond its own limit by a bare 431; up to so many times ours it is we who answer.
const OVER: u32 = 4;

impl<D: Handler> Listener<D> {
    /// Serves a connection on which HTTP/2 was agreed.
    pub(super) async fn http2(
        &self,
        io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        state: Arc<ConnectionState>,
    ) {
        let under_way = Arc::new(AtomicUsize::new(0));
        let service = service_fn(|request: Request<Incoming>| {
            let (this, state) = (self.clone(), Arc::clone(&state));
            let (busy, answering) = Busy::begin(&under_way, &state);
            // In a box: hyper and h2 move this future about several times before they run it.
            Box::pin(async move {
                let response = this.answered(request, peer, &state).await;
                drop(busy);
                Ok::<_, Infallible>(response.map(|body| Pieces { body: Box::pin(body), rest: Bytes::new(), answering }))
            })
        });
        let head_bytes = u32::try_from(self.limits.head_bytes).unwrap_or(u32::MAX);
        let connection = http2::Builder::new(Tracked(self.tasks.clone()))
            .timer(HyperTimer)
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(head_bytes.saturating_mul(OVER))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_pending_accept_reset_streams(RESETS)
            .max_local_error_reset_streams(MAX_RESETS)
            .keep_alive_interval(PING)
            .keep_alive_timeout(PONG)
            .serve_connection(TokioIo::new(Counted::new(io, self.clock, Arc::clone(&self.crowd))), service);
        let mut connection = pin!(connection);
        let (mut finishing, mut is_evicted) = (false, false);
        let ended = std::future::poll_fn(|cx| {
            let wish = state.command();
            if wish != Command::Nothing && !finishing {
                // Asked once: whose requests are being answered then is heard to the end.
                (finishing, is_evicted) = (true, wish == Command::GiveWay && state.is_idle());
                connection.as_mut().graceful_shutdown();
            }
            match connection.as_mut().poll(cx) {
                // It was told to go away, if it still reads.
                Poll::Pending if wish == Command::Cut || is_evicted => Poll::Ready(Ok(())),
                polled => polled,
            }
        });
        if let Err(error) = state.woken(ended).await {
            tracing::debug!(%peer, %error, "connection ended early");
        }
        self.watchdogs.leave(&state);
    }

    async fn answered(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        state: &ConnectionState,
    ) -> Response<D::Body> {
        if let Err(fault) = self.admit(&mut request) {
            return without_connection(self.handler.refuse_head(fault, peer), state);
        }
        without_connection(self.handler.answer(request, peer).await, state)
    }
}

impl<D: Handler> Listener<D> {
    /// Makes a head what it would be over HTTP/1.1, where it may be one.
    fn admit(&self, request: &mut Request<Incoming>) -> Result<(), BadHead> {
        if is_too_large(request, self.limits.head_bytes) {
            return Err(BadHead::TooLarge);
        }
        name_host(request);
        match is_named_well(request.version(), request.headers()) {
            true => one_length(request.headers_mut()),
            false => Err(BadHead::Host),
        }
    }
}

/// As HTTP/1.1 would count this head.
pub(super) fn is_too_large(request: &Request<Incoming>, most: usize) -> bool {
    let (uri, headers) = (request.uri(), request.headers());
    let target = uri.path_and_query().map_or(1, |target| target.as_str().len());
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let lines: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    target + authority + lines > most || headers.len() >= MOST_LINES
}

/// What stands in `:authority` is what `Host` says elsewhere (RFC 9113 §8.3.1).
fn name_host(request: &mut Request<Incoming>) {
    if request.headers().contains_key(HOST) {
        return;
    }
    let named = request.uri().authority().and_then(|named| HeaderValue::from_str(named.as_str()).ok());
    if let Some(named) = named {
        request.headers_mut().insert(HOST, named);
    }
}

/// Lengths that say the same become one, as they do over HTTP/1.1; others are an error (RFC 9110 §8.6).
pub(super) fn one_length(headers: &mut HeaderMap) -> Result<(), BadHead> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    if first.as_bytes().iter().all(u8::is_ascii_digit) && lengths.next().is_none() {
        return Ok(());
    }
    let mut all = plain_elements(headers, &CONTENT_LENGTH)
        .map(|length| std::str::from_utf8(length).ok().and_then(|text| text.parse::<u64>().ok()));
    let first = all.next().flatten().ok_or(BadHead::Malformed)?;
    let same = all.all(|length| length == Some(first));
    drop(all);
    if !same {
        return Err(BadHead::Malformed);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(first));
    Ok(())
}

/// `Connection: close` is said by GOAWAY here (RFC 9113 §8.2.2).
fn without_connection<B>(mut response: Response<B>, state: &ConnectionState) -> Response<B> {
    if response.headers_mut().remove(CONNECTION).is_some_and(|said| said == "close") {
        state.finish();
    }
    response
}

/// Streams run as tasks that the end of the listener waits for.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send + 'static> + Send + 'static> Executor<F> for Tracked {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}

/// While one of these is there, a connection is waited for: what is answered has limits of its own.
struct Busy {
    under_way: Arc<AtomicUsize>,
    state: Arc<ConnectionState>,
}

impl Busy {
    fn begin(under_way: &Arc<AtomicUsize>, state: &Arc<ConnectionState>) -> (Self, Answering) {
        under_way.fetch_add(1, Ordering::AcqRel);
        state.serving();
        (Self { under_way: Arc::clone(under_way), state: Arc::clone(state) }, Answering(Arc::clone(state)))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.under_way.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.state.quiet();
        }
    }
}

/// Until h2 has the last of an answer, or gave it up.
struct Answering(Arc<ConnectionState>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answer_ended();
    }
}

/// A body that goes out piece by piece, as the peer takes it: so what it does not take is not copied and stands still
/// here, where it is seen.
struct Pieces<B> {
    body: Pin<Box<B>>,
    rest: Bytes,
    answering: Answering,
}

impl<B: Body<Data = Bytes>> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rest.is_empty() {
            match ready!(self.body.as_mut().poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.rest = bytes,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        self.answering.0.moved();
        let piece = self.rest.len().min(PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}
