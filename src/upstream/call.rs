//! One call to the upstream, and again where that may help: the only place that makes any.
//! Given a permit and what is to be sent, hands back the answer with the permit of the call that brought it, or why there is none.
//! Never judges what an answer says of its resource, and never repeats what may have had an effect.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::Incoming;

use crate::budget::signal::{self, Signal};
use crate::budget::{Cause, Permit, Scope, Verdict};
use crate::clock::Tick;
use crate::dial::OutBody;
use crate::trail::trace::parent::TRACEPARENT;
use crate::trail::trace::{Fact, Stage, Traced};

use super::calls::{Answers, Call, Calls, Connects, NO_FLIGHT, dice};
use super::credential::Presented;
use super::fault::{Fault, Unanswered};
use super::hub::AuthRejection;
use super::key_rotation::{Confirming, Heard, Rejected, Tried};
use super::{Failed, Fetched, Upstream, UpstreamRequest};

/// An answer that is waited for. In a box: that it is `Send` for any connector is settled where it is made.
type Sent<'a, A> = Pin<Box<dyn Future<Output = Result<A, Failed>> + Send + 'a>>;

/// What one attempt has beside what is sent.
#[derive(Debug)]
pub struct Attempt<'a> {
    permit: &'a Permit,
    presented: &'a Presented,
    /// What the upstream is told of the trace.
    parent: Option<HeaderValue>,
    deadline: Tick,
}

/// What is sent, in a form that can be sent again.
pub trait Sends<C>: Sync {
    /// What comes back.
    type Answer: Answer + Send;

    /// Whether sending it twice has no more effect than once (RFC 9110 §9.2.2).
    fn is_repeatable(&self) -> bool;

    /// Sends it once.
    fn send<'a>(&'a self, upstream: &'a Upstream<C>, attempt: Attempt<'a>) -> Sent<'a, Self::Answer>;
}

/// The head of what came back.
pub trait Answer {
    /// Its status.
    fn status(&self) -> StatusCode;
    /// Its head.
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
impl<C: Connects> Sends<C> for UpstreamRequest {
    type Answer = Fetched;

    fn is_repeatable(&self) -> bool {
        true
    }

    fn send<'a>(&'a self, upstream: &'a Upstream<C>, attempt: Attempt<'a>) -> Sent<'a, Fetched> {
        let Attempt { permit, presented, parent, deadline } = attempt;
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
pub struct Outgoing {
    /// The method.
    pub method: Method,
    /// The version of HTTP.
    pub version: Version,
    /// Path and query.
    pub target: String,
    /// The head, without what belongs to the caller's connection.
    pub head: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl<C: Connects> Sends<C> for Outgoing {
    type Answer = Response<Incoming>;

    fn is_repeatable(&self) -> bool {
        matches!(self.method, Method::GET | Method::HEAD)
    }

    fn send<'a>(&'a self, upstream: &'a Upstream<C>, attempt: Attempt<'a>) -> Sent<'a, Response<Incoming>> {
        let Attempt { permit, presented, parent, deadline } = attempt;
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
pub struct Called<A> {
    /// The answer.
    pub answer: A,
    /// Held until the answer's last byte is here.
    pub permit: Permit,
    /// When the request was sent.
    pub asked: Tick,
    /// Until when the breaker is open, where this answer was a word of the upstream's to leave it alone.
    pub paused: Option<Tick>,
    /// Keys that were refused before.
    pub keys_refused: u32,
}

/// A call that is made, with all its attempts.
type Made<'a, A> = Pin<Box<dyn Future<Output = Result<Called<A>, Unanswered>> + Send + 'a>>;

impl<C: Connects> Calls<C> {
    /// Makes a call, and again while that may help and the deadline allows. In a box, as it is large and waits for the network.
    pub fn call<'a, S: Sends<C>>(
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
    ) -> Result<Called<S::Answer>, Unanswered> {
        let (mut tried, mut cause, mut other) = (Tried::default(), call.cause, None);
        let mut confirming: Confirming<'_> = None;
        loop {
            if confirming.is_none() && self.is_in_doubt(call, &permit) {
                (permit, confirming) = self.wait_for_the_confirming(call, permit).await?;
            }
            let presented = match other.take() {
                Some(other) => other,
                None => self.presented(&mut permit, call.deadline).await?,
            };
            let asked = self.clock.tick();
            self.telemetry.counts.call(call.route, cause, call.asker.payer);
            let parent =
                if self.settings.propagate_trace { trace.coming().and_then(|next| next.header()) } else { None };
            let attempt = Attempt { permit: &permit, presented: &presented, parent, deadline: call.deadline };
            let answer = sends.send(&self.upstream, attempt).await;
            self.trace_call(trace, cause, answer.as_ref().map(Answer::status).map_err(|why| *why));
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
                        permit = again.map_err(|_| Unanswered::from(Fault::Failed(Failed::Broken)))?;
                    } else {
                        let paused = self.report(call, &mut permit, (&presented, asked), heard(&answer));
                        drop(confirming.take());
                        self.ask_what_is_left(call, heard(&answer), &presented).await;
                        let Some(pause) = self.pause_before_retry(call, &answer, paused, sends.is_repeatable(), &tried)
                        else {
                            let answer = answer.map_err(|failed| Unanswered::from(Fault::Failed(failed)))?;
                            return Ok(Called { answer, permit, asked, paused, keys_refused: tried.keys });
                        };
                        drop(permit);
                        permit = self.retry_permit(call, pause, answer.err(), trace).await?;
                        tried.attempts += 1;
                    }
                }
            }
            trace.reached(Stage::Budget, || self.clock.tick());
            cause = Cause::Retry;
        }
    }

    /// Where a hub refuses this to the gateway's own right, that may have become another: it is asked before anybody is answered.
    async fn ask_what_is_left(&self, call: &Call, heard: Heard<'_>, presented: &Presented) {
        let said = heard.ok().and_then(|(status, head)| self.upstream.rejection(status, head));
        if said == Some(AuthRejection::Beyond) {
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
    ) -> Result<Permit, Unanswered> {
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
        (call.retries && tried.attempts < self.settings.retries && in_time).then_some(pause)
    }

    /// Whether a call is repeated because the upstream had closed the connection, or gave up waiting on it, before it was
    /// asked: that says nothing of its health, and counts as an attempt only where those are left.
    fn reconnects<A>(&self, answer: &Result<A, Failed>, repeatable: bool, tried: &mut Tried) -> bool {
        let broken = repeatable && !tried.reconnected && matches!(answer, Err(Failed::Broken));
        let reconnects = broken && self.upstream.reconnect();
        if reconnects {
            self.telemetry.counts.heard(Err(Fault::Failed(Failed::Broken).as_str()));
            (tried.reconnected, tried.attempts) = (true, tried.attempts + 1);
        }
        reconnects
    }

    /// Tells the budget and the credential what became of a call; hands back until when the breaker is open, if the upstream
    /// wants to be left alone.
    fn report(
        &self,
        call: &Call,
        permit: &mut Permit,
        (presented, asked): (&Presented, Tick),
        answer: Heard<'_>,
    ) -> Option<Tick> {
        let now = self.clock.now();
        self.telemetry.counts.heard(answer.map(|(status, _)| status).map_err(|failed| Fault::Failed(failed).as_str()));
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

    /// What the upstream answered, in the trace.
    fn trace_call(&self, trace: &mut Traced, cause: Cause, answer: Result<StatusCode, Failed>) {
        trace.reached(Stage::Partner, || self.clock.tick());
        let Some(step) = trace.last() else { return };
        step.facts.push(Fact::cause(cause));
        step.facts.push(match answer {
            Ok(status) => Fact::status(status),
            Err(failed) => Fact::error(Fault::Failed(failed).as_str()),
        });
        step.failed = !answer.is_ok_and(|status| status.as_u16() < 400);
    }

    /// Full jitter: anything from nothing to the doubled backoff, so that many do not come back together.
    fn backoff(&self, attempt: u32) -> Duration {
        let share = f64::from(dice()) / f64::from(u32::MAX);
        self.settings.backoff.saturating_mul(1 << attempt.min(8)).mul_f64(share)
    }
}

/// So many tokens are presented to a hub over one resource: what was put into the slot meanwhile included.
const MAX_TOKENS: u32 = 3;

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
