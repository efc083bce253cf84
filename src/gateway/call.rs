//! One call to the upstream, and again where that may help: the only place that makes any.
//! Given a permit and what is to be sent, hands back the answer with the permit of the call that brought it, or a refusal.
//! Never judges what an answer says of its resource, and never repeats what may have had an effect.
//!
//! Longer than other files, and so is its loop: what a call may come to is decided in one place, in the order of the answers.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;

use crate::budget::signal::{self, Signal};
use crate::budget::{Asker, Cause, Permit, Scope, Verdict};
use crate::clock::Tick;
use crate::dial::OutBody;
use crate::route::RouteIndex;
use crate::trail::trace::Traced;
use crate::trail::trace::parent::TRACEPARENT;
use crate::upstream::credential::Shown;
use crate::upstream::hub::Said;
use crate::upstream::{Failed, Fetched, Upstream, Wish};

use super::refusal::{Fault, Refusal};
use super::turn::{NO_FLIGHT, dice};
use super::{Dials, Gateway};

/// A call presents at most so many keys beyond the first, while the partner's nodes differ over them.
const MAX_KEYS: u32 = 6;

/// Refused as often over one document, while others' calls had it accepted, a key is good and the document another's.
const REFUSALS_OF_OTHER_LOGIN: u32 = 2;

/// A key that was accepted so lately is taken to be good where one caller's documents want another login.
const GOOD_FOR: Duration = Duration::from_secs(10);

/// How a call is made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// For the counters.
    pub(super) route: RouteIndex,
    /// For whom, and over what.
    pub(super) asker: Asker,
    /// Why the upstream is asked the first time.
    pub(super) cause: Cause,
    /// All attempts and waits end then.
    pub(super) deadline: Tick,
    /// What a server error means, and whether it is asked again.
    pub(super) answers: Answers,
    /// Attempts beyond the first.
    pub(super) retries: u32,
    /// Whether a 401 may be about credentials of the caller's own.
    pub(super) forwards_authorization: bool,
}

/// What a server error says of the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// It failed, and may succeed if it is asked again.
    Retried,
    /// It failed.
    Judged,
    /// Nothing: it is an answer like others.
    Passed,
}

/// An answer that is waited for. In a box: that it is `Send` for any connector is settled where it is made.
type Sent<'a, A> = Pin<Box<dyn Future<Output = Result<A, Failed>> + Send + 'a>>;

/// What one attempt has beside what is sent.
#[derive(Debug)]
pub(super) struct Turn<'a> {
    permit: &'a Permit,
    presented: &'a Shown,
    /// What the upstream is told of the trace.
    parent: Option<HeaderValue>,
    deadline: Tick,
}

/// What is sent, in a form that can be sent again.
pub(super) trait Sends<C>: Sync {
    /// What comes back.
    type Answer: Answer + Send;

    /// Whether sending it twice has no more effect than once (RFC 9110 §9.2.2).
    fn is_repeatable(&self) -> bool;

    /// Sends it once.
    fn send<'a>(&'a self, upstream: &'a Upstream<C>, turn: Turn<'a>) -> Sent<'a, Self::Answer>;
}

/// The head of what came back.
pub(super) trait Answer {
    fn status(&self) -> StatusCode;
    fn head(&self) -> &HeaderMap;
}

impl Answer for Fetched {
    fn status(&self) -> StatusCode {
        self.status
    }

    fn head(&self) -> &HeaderMap {
        &self.head
    }
}

impl Answer for Response<Incoming> {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn head(&self) -> &HeaderMap {
        self.headers()
    }
}

/// A document that is read whole.
impl<C: Dials> Sends<C> for Wish {
    type Answer = Fetched;

    fn is_repeatable(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, upstream: &'a Upstream<C>, turn: Turn<'a>) -> Sent<'a, Fetched> {
        let Turn { permit, presented, parent, deadline } = turn;
        let Some(parent) = parent else { return Box::pin(upstream.ask(permit, presented, self, deadline)) };
        let mut wish = self.clone();
        // One that the route forwards says where its caller is, and ours is in between.
        wish.headers.retain(|(name, _)| name != TRACEPARENT);
        wish.headers.push((TRACEPARENT, parent));
        Box::pin(async move { upstream.ask(permit, presented, &wish, deadline).await })
    }
}

/// A caller's request as it goes on; its body is here whole.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) target: String,
    pub(super) head: HeaderMap,
    pub(super) body: Bytes,
}

impl<C: Dials> Sends<C> for Outgoing {
    type Answer = Response<Incoming>;

    fn is_repeatable(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    fn send<'a>(&'a self, upstream: &'a Upstream<C>, turn: Turn<'a>) -> Sent<'a, Response<Incoming>> {
        let Turn { permit, presented, parent, deadline } = turn;
        let body: OutBody = match self.body.is_empty() {
            true => Empty::new().map_err(|never| match never {}).boxed_unsync(),
            false => Full::new(self.body.clone()).map_err(|never| match never {}).boxed_unsync(),
        };
        let mut request = Request::new(body);
        *request.method_mut() = self.method.clone();
        *request.version_mut() = self.version;
        *request.headers_mut() = self.head.clone();
        if let Some(parent) = parent {
            request.headers_mut().insert(TRACEPARENT, parent);
        }
        Box::pin(upstream.send_on(permit, presented, request, &self.target, deadline))
    }
}

/// An answer, and the call that brought it.
#[derive(Debug)]
pub(super) struct Called<A> {
    pub(super) answer: A,
    /// Held until the answer's last byte is here.
    pub(super) permit: Permit,
    /// When the request was sent.
    pub(super) asked: Tick,
    /// Until when the breaker is open, where this answer was a word of the upstream's to leave it alone.
    pub(super) paused: Option<Tick>,
    /// Keys that were refused before.
    pub(super) keys_refused: u32,
}

/// What came of a call: a status and a head, or nothing.
type Heard<'a> = Result<(StatusCode, &'a HeaderMap), Failed>;

/// What has been tried already.
#[derive(Debug, Default)]
struct Tried {
    attempts: u32,
    keys: u32,
    /// Whether the call was repeated because its connection may have been closed before it was sent.
    reconnected: bool,
}

/// One call at a time finds out whether a refusal of a key was meant.
type Confirming<'a> = Option<tokio::sync::MutexGuard<'a, ()>>;

/// A call that is made, with all its attempts.
type Made<'a, A> = Pin<Box<dyn Future<Output = Result<Called<A>, Refusal>> + Send + 'a>>;

impl<C: Dials> Gateway<C> {
    /// Makes a call, and again while that may help and the deadline allows. In a box, as it is large and waits for the network.
    pub(super) fn call<'a, S: Sends<C>>(
        &'a self,
        call: &'a Call,
        sends: &'a S,
        permit: Permit,
        trace: &'a mut Traced,
    ) -> Made<'a, S::Answer> {
        Box::pin(self.attempts(call, sends, permit, trace))
    }

    async fn attempts<S: Sends<C>>(
        &self,
        call: &Call,
        sends: &S,
        mut permit: Permit,
        trace: &mut Traced,
    ) -> Result<Called<S::Answer>, Refusal> {
        let (mut tried, mut cause, mut other) = (Tried::default(), call.cause, None);
        let mut confirming: Confirming<'_> = None;
        loop {
            if confirming.is_none() && self.is_in_doubt(call, &permit) {
                (permit, confirming) = self.wait_for_the_confirming(call, permit).await?;
            }
            let presented = match other.take() {
                Some(other) => other,
                None => self.shown(&mut permit, call.deadline).await?,
            };
            let asked = self.clock.tick();
            self.ledger.counts.call(call.route, cause, call.asker.payer);
            let parent = self.traceparent(trace);
            let turn = Turn { permit: &permit, presented: &presented, parent, deadline: call.deadline };
            let answer = sends.send(&self.upstream, turn).await;
            self.traced_call(trace, cause, answer.as_ref().map(Answer::status).map_err(|why| *why));
            let again = self.credential_again(call, sends.is_repeatable(), heard(&answer), &presented, &mut tried);
            match again {
                Some(Rejected::Token(said)) => {
                    self.key_refused(&mut permit, presented, said).await?;
                    if tried.keys >= MAX_TOKENS {
                        return Err(self.key_fault().into());
                    }
                    drop(permit);
                    permit = self.permit(call.asker, call.deadline, NO_FLIGHT).await?;
                }
                Some(Rejected::Key) => {
                    drop(confirming.take());
                    (permit, confirming) = self.confirm_key(call, permit, &presented, asked, tried.keys).await?;
                }
                Some(Rejected::OnOpaque(next)) => {
                    drop(permit);
                    permit = self.permit(call.asker, call.deadline, NO_FLIGHT).await?;
                    other = Some(next);
                }
                None => {
                    let answer = timed_out_as_broken(answer);
                    if self.reconnects(&answer, sends.is_repeatable(), &mut tried) {
                        drop(permit);
                        let again = self.permit(call.asker, call.deadline, NO_FLIGHT).await;
                        permit = again.map_err(|_| Refusal::from(Fault::Failed(Failed::Broken)))?;
                    } else {
                        let paused = self.report(call, &mut permit, (&presented, asked), heard(&answer));
                        drop(confirming.take());
                        self.ask_what_is_left(call, heard(&answer), &presented).await;
                        let Some(pause) = self.pause_before_retry(call, &answer, paused, sends.is_repeatable(), &tried)
                        else {
                            let answer = answer.map_err(|failed| Refusal::from(Fault::Failed(failed)))?;
                            return Ok(Called { answer, permit, asked, paused, keys_refused: tried.keys });
                        };
                        drop(permit);
                        permit = self.retry_permit(call, pause, answer.err(), trace).await?;
                        tried.attempts += 1;
                    }
                }
            }
            self.traced_wait(trace, None);
            cause = Cause::Retry;
        }
    }

    /// Where a hub refuses this to the gateway's own right, that may have become another: it is asked before anybody is answered.
    async fn ask_what_is_left(&self, call: &Call, heard: Heard<'_>, presented: &Shown) {
        let said = heard.ok().and_then(|(status, head)| self.upstream.said(status, head));
        if said == Some(Said::Beyond) {
            self.is_beyond(presented, call.deadline).await;
        }
    }

    /// Waits the pause before another attempt, and for its permit.
    async fn retry_permit(
        &self,
        call: &Call,
        pause: Duration,
        failed: Option<Failed>,
        trace: &mut Traced,
    ) -> Result<Permit, Refusal> {
        self.clock.sleep_until(self.clock.tick().plus(pause)).await;
        trace.resume_at(|| self.clock.tick());
        let permit = self.permit(call.asker, call.deadline, NO_FLIGHT).await;
        permit.map_err(|_| failed.map_or(Fault::Status, Fault::Failed).into())
    }

    /// Whether it is worth another attempt, and after which pause.
    fn pause_before_retry<A: Answer>(
        &self,
        call: &Call,
        answer: &Result<A, Failed>,
        paused: Option<Tick>,
        repeatable: bool,
        tried: &Tried,
    ) -> Option<Duration> {
        let pause = match answer {
            // Nothing was sent, so nothing is lost by trying at once.
            Err(Failed::Connect) => Duration::ZERO,
            Err(Failed::Broken) if repeatable => self.backoff(tried.attempts),
            // A hub has tried again already.
            Ok(answer)
                if call.answers == Answers::Retried
                    && is_server_error(answer.status())
                    && paused.is_none()
                    && !self.upstream.is_hub() =>
            {
                self.backoff(tried.attempts)
            }
            _ => return None,
        };
        let in_time = self.clock.tick().plus(pause) < call.deadline;
        (tried.attempts < call.retries && in_time).then_some(pause)
    }

    /// Whether a call is repeated because the upstream had closed the connection, or gave up waiting on it, before it was
    /// asked: that says nothing of its health, and counts as an attempt only where those are left.
    fn reconnects<A>(&self, answer: &Result<A, Failed>, repeatable: bool, tried: &mut Tried) -> bool {
        let broken = repeatable && !tried.reconnected && matches!(answer, Err(Failed::Broken));
        let reconnects = broken && self.upstream.reconnect();
        if reconnects {
            self.ledger.counts.heard(Err(Fault::Failed(Failed::Broken).word()));
            (tried.reconnected, tried.attempts) = (true, tried.attempts + 1);
        }
        reconnects
    }

    /// What an answer says of the credential that it was presented, where another try may be answered otherwise.
    fn credential_again(
        &self,
        call: &Call,
        repeatable: bool,
        heard: Heard<'_>,
        presented: &Shown,
        tried: &mut Tried,
    ) -> Option<Rejected> {
        let (status, head) = heard.ok()?;
        let rejected = if self.upstream.is_hub() {
            let said = self.upstream.said(status, head).filter(|said| said.is_of_the_token());
            Rejected::Token(said.filter(|_| !call.forwards_authorization)?)
        } else if status != StatusCode::UNAUTHORIZED || call.forwards_authorization {
            return None;
        } else if call.asker.scope == Scope::Documented {
            if self.wants_another_login(call) {
                return None;
            }
            Rejected::Key
        } else {
            self.note_opaque_refusal(call);
            let other = self.upstream.credential().other(presented).filter(|_| repeatable && tried.keys == 0)?;
            Rejected::OnOpaque(other)
        };
        self.ledger.counts.heard(Ok(StatusCode::UNAUTHORIZED));
        tried.keys += 1;
        Some(rejected)
    }

    /// Whether a 401 is an answer about this document alone: the key is good, as others' calls show.
    fn wants_another_login(&self, call: &Call) -> bool {
        let now = self.clock.tick();
        let lately = Tick::from_nanos(now.as_nanos().saturating_sub(GOOD_FOR.as_nanos() as u64));
        self.budget.has_other_login(call.asker.who, now) && self.upstream.credential().accepted_since(lately)
    }

    fn note_opaque_refusal(&self, call: &Call) {
        if self.upstream.credential().opaque_refusal(call.asker.resource, self.clock.tick()) {
            tracing::error!(
                "the partner answered 401 for several paths that are no documents of its API; documents are still fetched with the key"
            );
        }
    }

    /// Whether this call would present a key that was refused a moment ago, while it is not known yet whether that was meant.
    fn is_in_doubt(&self, call: &Call, permit: &Permit) -> bool {
        let credential = self.upstream.credential();
        let concerned = call.asker.scope == Scope::Documented && !self.upstream.is_hub() && !permit.is_probe();
        concerned && credential.is_in_doubt() && !credential.alternates(self.clock.tick())
    }

    /// Waits until the call that confirms a refused key has ended, and takes its place where that left the refusal in doubt.
    async fn wait_for_the_confirming(&self, call: &Call, permit: Permit) -> Result<(Permit, Confirming<'_>), Refusal> {
        let credential = self.upstream.credential();
        // Whoever confirms needs a permit: it is not held while it is waited for.
        drop(permit);
        let mine = self.clock.until(call.deadline, credential.confirm()).await.map_err(|_| Refusal::Deadline)?;
        // Whether it was meant is the breaker's to say: what was refused for another caller may be accepted for this one.
        let mine = Some(mine).filter(|_| credential.is_in_doubt());
        Ok((self.permit(call.asker, call.deadline, NO_FLIGHT).await?, mine))
    }

    /// A documented route refused a key: the files are read again, and one call at a time finds out whether it was meant.
    ///
    /// # Errors
    /// Every slot was refused as often as it takes, or there is no permit for another call.
    async fn confirm_key(
        &self,
        call: &Call,
        mut permit: Permit,
        presented: &Shown,
        asked: Tick,
        keys: u32,
    ) -> Result<(Permit, Confirming<'_>), Refusal> {
        let credential = self.upstream.credential();
        let files = Arc::clone(credential);
        // Not on a worker: a disk may be slow.
        let reread = tokio::task::spawn_blocking(move || files.reread()).await;
        let now = self.clock.tick();
        if reread.is_ok_and(|reread| reread.changed) {
            tracing::info!("a new key is in use");
            self.budget.key_changed(now);
        }
        let slot = presented.slot();
        if keys >= REFUSALS_OF_OTHER_LOGIN && credential.accepted_in_call_after(asked) && !credential.alternates(now) {
            // Others' calls had the key accepted while this one was under way, each time: the document wants another login.
            permit.settle(Verdict::Answered, now, 0);
            self.budget.note_other_login(call.asker.who, now);
            return Err(self.key_fault().into());
        }
        let (left, alternates) = (credential.refused(presented, asked, now), credential.alternates(now));
        // Where both keys were accepted within a minute, nodes differ over them: either may be accepted by the next one.
        let is_final = if alternates { keys > MAX_KEYS } else { !left };
        if is_final {
            let recent = credential.accepted_lately(now);
            permit.settle(Verdict::KeyRefused { recent }, now, dice());
            tracing::error!(slot, "the partner refused every key; put a good one where upstream.api_key_file points");
            return Err(self.key_fault().into());
        }
        tracing::warn!(slot, "the partner refused a key; it is asked again");
        drop(permit);
        let mut confirming = None;
        if !alternates {
            let mine = self.clock.until(call.deadline, credential.confirm()).await.map_err(|_| Refusal::Deadline)?;
            confirming = Some(mine).filter(|_| credential.is_in_doubt());
        }
        let permit = self.permit(call.asker, call.deadline, NO_FLIGHT).await?;
        Ok((permit, confirming))
    }

    /// Tells the budget and the credential what became of a call; hands back until when the breaker is open, if the upstream
    /// wants to be left alone.
    fn report(
        &self,
        call: &Call,
        permit: &mut Permit,
        (presented, asked): (&Shown, Tick),
        answer: Heard<'_>,
    ) -> Option<Tick> {
        let now = self.clock.now();
        self.ledger.counts.heard(answer.map(|(status, _)| status).map_err(|failed| Fault::Failed(failed).word()));
        let documented = call.asker.scope == Scope::Documented;
        // An upstream that fails, or is too busy to look, has said nothing about the key, and a path may not ask for any.
        // Nor has a 401 in a hub's place that is no word of the hub's.
        let astray = |status| self.upstream.is_hub() && status == StatusCode::UNAUTHORIZED;
        let accepted = |status| {
            let refused = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS);
            !is_server_error(status) && !refused && !astray(status)
        };
        if (documented || self.upstream.is_hub()) && answer.is_ok_and(|(status, _)| accepted(status)) {
            self.upstream.credential().taken(presented, asked, now.tick);
        }
        let signal = match answer {
            Ok((status, head)) => signal::heard(status, head, now, self.settings.max_pause),
            Err(_) => Signal::default(),
        };
        if let Some(unread) = signal.unread {
            self.budget.unreadable(unread, now.tick);
        }
        let verdict = match (signal.pause, answer) {
            (Some(pause), _) => Verdict::Paused { pause, refused: answer.is_ok_and(|(status, _)| refuses(status)) },
            (None, Ok((status, _))) if is_server_error(status) => match call.answers {
                // That a request had been there is its caller's doing, and no failure of the hub's.
                _ if status == StatusCode::LOOP_DETECTED && self.upstream.is_hub() => Verdict::Answered,
                Answers::Retried | Answers::Judged => Verdict::Failed,
                Answers::Passed => Verdict::Answered,
            },
            (None, Ok((status, _))) if documented && astray(status) => Verdict::Failed,
            (None, Ok(_) | Err(Failed::TooLarge)) => Verdict::Answered,
            (None, Err(_)) => Verdict::Failed,
        };
        // An answer starts no pause, and a throw of dice is a call to the system.
        let dice = if verdict == Verdict::Answered { 0 } else { dice() };
        permit.settle(verdict, now.tick, dice).filter(|_| signal.pause.is_some())
    }

    /// Full jitter: anything from nothing to the doubled backoff, so that many do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let share = f64::from(dice()) / f64::from(u32::MAX);
        self.settings.backoff.saturating_mul(1 << attempt.min(8)).mul_f64(share)
    }
}

/// So many tokens are presented to a hub over one resource: what was put into the slot meanwhile included.
const MAX_TOKENS: u32 = 3;

/// A credential that was not accepted.
enum Rejected {
    /// The hub says so of its token.
    Token(Said),
    /// A documented route says so of the key.
    Key,
    /// Another target says so, which is no word on the key; this other one is tried.
    OnOpaque(Shown),
}

fn heard<A: Answer>(answer: &Result<A, Failed>) -> Heard<'_> {
    answer.as_ref().map(|answer| (answer.status(), answer.head())).map_err(|why| *why)
}

/// A 408 says that the upstream gave up waiting on a connection that it had kept (RFC 9110 §15.5.9): no answer to the request.
fn timed_out_as_broken<A: Answer>(answer: Result<A, Failed>) -> Result<A, Failed> {
    match answer {
        Ok(answer) if answer.status() == StatusCode::REQUEST_TIMEOUT => Err(Failed::Broken),
        other => other,
    }
}

/// Whether a status with a pause says that the call was not answered for it.
fn refuses(status: StatusCode) -> bool {
    matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE | StatusCode::FORBIDDEN)
}

/// What has no class that is known is a failure of the server (RFC 9110 §15).
fn is_server_error(status: StatusCode) -> bool {
    status.as_u16() >= 500
}
