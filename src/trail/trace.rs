//! What took how long in this one request?
//! Given a request that is sampled, is a [`Traced`] that the path fills, step by step; of any other it is nothing.
//! Never reads a clock where nothing is traced, and never holds a path, a query, a document or a secret.

mod otlp;

pub mod export;

pub mod parent;

mod tracer;

use std::borrow::Cow;

use http::{HeaderValue, StatusCode};
use smallvec::SmallVec;

use crate::budget::Cause;
use crate::clock::{Now, Tick};

pub use tracer::{End, Tracer};
use tracer::{Finished, drawn};

/// Steps of one trace; a flight that is asked again and again has no more.
const MOST_STEPS: usize = 32;

/// A span, as others refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    trace: u128,
    span: u64,
}

impl Context {
    /// The number of its trace, to be written in 32 hexadecimal digits.
    pub const fn trace(self) -> u128 {
        self.trace
    }

    /// As the next one down the road is told of it: sampled, or it would not be here.
    pub fn header(self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("00-{:032x}-{:016x}-01", self.trace, self.span)).ok()
    }
}

/// The parts of a request or a flight that are timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Who asks, and is it their turn?
    Identify,
    /// What do they want, and may they?
    Decide,
    /// Do we hold it?
    Cache,
    /// The wait for a flight.
    Flight,
    /// The wait for the budget.
    Budget,
    /// A call to the partner.
    Partner,
}

impl Stage {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Identify => "identify",
            Self::Decide => "decide",
            Self::Cache => "cache",
            Self::Flight => "flight",
            Self::Budget => "budget",
            Self::Partner => "partner",
        }
    }
}

/// What is said of a span. Words are of closed lists, but for names of routes and callers and a request's id.
#[derive(Debug, Clone)]
pub enum Fact {
    /// A word or a name.
    Text(&'static str, Cow<'static, str>),
    /// A number.
    Number(&'static str, i64),
    /// Yes or no.
    Flag(&'static str, bool),
}

impl Fact {
    /// Why the upstream was asked.
    pub fn cause(cause: Cause) -> Self {
        Self::Text("reseller_gateway.cause", cause.as_str().into())
    }

    /// A status of the upstream's.
    pub fn status(status: StatusCode) -> Self {
        Self::Number("http.response.status_code", i64::from(status.as_u16()))
    }

    /// Why something failed, in a word; the name is OpenTelemetry's.
    pub fn error(word: &'static str) -> Self {
        Self::Text("error.type", word.into())
    }
}

/// A few of them.
pub type Facts = SmallVec<[Fact; 2]>;

/// A part that is over.
#[derive(Debug)]
pub struct Step {
    stage: Stage,
    from: Tick,
    to: Tick,
    /// What is said of it.
    pub facts: Facts,
    /// What it has to do with in another trace.
    pub link: Option<Context>,
    /// Whether it failed.
    pub failed: bool,
}

#[derive(Debug)]
struct Trace {
    context: Context,
    /// The span that it comes from, at whoever sent the request.
    parent: Option<u64>,
    /// What started it, of a flight.
    link: Option<Context>,
    began: Tick,
    /// Both clocks as the request read them: a flight has those of its starter, so that its times stand in order with that one's.
    read: Now,
    /// Where the next step begins.
    mark: Tick,
    steps: Vec<Step>,
}

/// The trace of a request or a flight that is sampled; of one that is not, nothing, and nothing is done with it.
#[derive(Debug, Default)]
pub struct Traced(Option<Box<Trace>>);

impl Traced {
    /// Of what is not sampled.
    pub const NONE: Self = Self(None);

    /// Whether there is one.
    #[inline]
    pub fn is_sampled(&self) -> bool {
        self.0.is_some()
    }

    /// Itself, to be referred to.
    pub fn context(&self) -> Option<Context> {
        self.0.as_ref().map(|trace| trace.context)
    }

    /// The step that comes next, as the partner may be told of it before it is over.
    pub fn coming(&self) -> Option<Context> {
        let Trace { context, steps, .. } = self.0.as_deref()?;
        Some(Context { span: numbered(context.span, steps.len()), ..*context })
    }

    /// The trace of a flight that this request starts, linked with it; of a request that is not sampled there is none.
    pub fn start(&self, now: impl FnOnce() -> Tick) -> Self {
        let Some(starter) = self.0.as_deref() else { return Self::NONE };
        let Some((trace, span)) = drawn() else { return Self::NONE };
        let mut flight = Trace::new(Context { trace, span }, starter.read);
        flight.link = Some(starter.context);
        flight.began = now();
        flight.mark = flight.began;
        Self(Some(Box::new(flight)))
    }

    /// The next step begins only now.
    pub fn resume_at(&mut self, now: impl FnOnce() -> Tick) {
        if let Some(trace) = &mut self.0 {
            trace.mark = now();
        }
    }

    /// A step is over.
    #[inline]
    pub fn reached(&mut self, stage: Stage, now: impl FnOnce() -> Tick) {
        if let Some(trace) = &mut self.0 {
            trace.reached(stage, now());
        }
    }

    /// What is to be said of the step that was over last.
    pub fn last(&mut self) -> Option<&mut Step> {
        self.0.as_mut()?.steps.last_mut()
    }
}

impl Trace {
    fn new(context: Context, read: Now) -> Self {
        let steps = Vec::with_capacity(4);
        Self { context, parent: None, link: None, began: read.tick, read, mark: read.tick, steps }
    }

    #[cold]
    fn reached(&mut self, stage: Stage, now: Tick) {
        if self.steps.len() < MOST_STEPS {
            let (from, facts) = (self.mark, Facts::new());
            self.steps.push(Step { stage, from, to: now, facts, link: None, failed: false });
        }
        self.mark = now;
    }
}

/// The number of the nth step of a span: the ones behind its own, going round without zero, which stands for none.
fn numbered(span: u64, nth: usize) -> u64 {
    let ring = u128::from(u64::MAX);
    ((u128::from(span) + nth as u128) % ring) as u64 + 1
}

#[cfg(test)]
mod tests;
