//! How is a trace written for a collector?
//! Given finished traces, hands back the body of one export (OTLP, `ExportTraceServiceRequest` in protobuf).
//! Never says more of a span than was said on the path.

use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status, status};
use prost::Message;

use crate::clock::{Now, Tick};

use super::{Context, Fact, Finished, Stage, Step, Trace, numbered};

/// W3C's sampled flag: what is not sampled is not here.
const SAMPLED: u32 = 1;
const LOCAL: u32 = SAMPLED | SpanFlags::ContextHasIsRemoteMask as u32;
const REMOTE: u32 = LOCAL | SpanFlags::ContextIsRemoteMask as u32;

/// The body of an export; `instance` tells one gateway from another.
pub(super) fn encode(finished: &[Finished], instance: &str) -> Vec<u8> {
    let service = [("service.name", "reseller-gateway"), ("service.version", env!("CARGO_PKG_VERSION"))];
    let service = service.into_iter().chain([("service.instance.id", instance)]);
    let attributes = service.map(|(key, value)| key_value(key, Value::StringValue(value.to_owned()))).collect();
    let scope = InstrumentationScope {
        name: "reseller-gateway".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..Default::default()
    };
    let spans = finished.iter().flat_map(spans).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }],
            schema_url: String::new(),
        }],
    };
    request.encode_to_vec()
}

/// How many spans a collector took no pleasure in, and why.
pub(super) fn rejected(answer: &[u8]) -> Option<(i64, String)> {
    let partial = ExportTraceServiceResponse::decode(answer).ok()?.partial_success?;
    (partial.rejected_spans > 0).then_some((partial.rejected_spans, partial.error_message))
}

fn spans(finished: &Finished) -> impl Iterator<Item = Span> {
    let (trace, end) = (&*finished.trace, &finished.end);
    let root = Span {
        name: end.name.clone(),
        kind: if end.served { SpanKind::Server } else { SpanKind::Internal } as i32,
        parent_span_id: trace.parent.map(|parent| parent.to_be_bytes().to_vec()).unwrap_or_default(),
        flags: if trace.parent.is_some() { REMOTE } else { LOCAL },
        links: trace.link.into_iter().map(link).collect(),
        ..span(trace, trace.context.span, (trace.began, end.at), &end.facts, end.failed)
    };
    let steps = trace.steps.iter().enumerate().map(move |(nth, step)| step_span(trace, nth, step));
    std::iter::once(root).chain(steps)
}

fn step_span(trace: &Trace, nth: usize, step: &Step) -> Span {
    Span {
        name: step.stage.as_str().to_owned(),
        kind: if step.stage == Stage::Partner { SpanKind::Client } else { SpanKind::Internal } as i32,
        parent_span_id: trace.context.span.to_be_bytes().to_vec(),
        links: step.link.into_iter().map(link).collect(),
        ..span(trace, numbered(trace.context.span, nth), (step.from, step.to), &step.facts, step.failed)
    }
}

fn span(trace: &Trace, id: u64, (from, to): (Tick, Tick), facts: &[Fact], failed: bool) -> Span {
    Span {
        trace_id: trace.context.trace.to_be_bytes().to_vec(),
        span_id: id.to_be_bytes().to_vec(),
        flags: LOCAL,
        start_time_unix_nano: unix_nanos(trace.read, from),
        end_time_unix_nano: unix_nanos(trace.read, to),
        attributes: facts.iter().map(attribute).collect(),
        status: failed.then(|| Status { code: status::StatusCode::Error as i32, ..Default::default() }),
        ..Default::default()
    }
}

fn link(with: Context) -> Link {
    Link {
        trace_id: with.trace.to_be_bytes().to_vec(),
        span_id: with.span.to_be_bytes().to_vec(),
        flags: LOCAL,
        ..Default::default()
    }
}

/// Both clocks were read once; from there the monotonic one counts, so that no span ends before it began.
fn unix_nanos(read: Now, at: Tick) -> u64 {
    let since = u64::try_from(at.since(read.tick).as_nanos()).unwrap_or(u64::MAX);
    read.unix_ms.saturating_mul(1_000_000).saturating_add(since)
}

fn attribute(fact: &Fact) -> KeyValue {
    match fact {
        Fact::Text(key, word) => key_value(key, Value::StringValue(word.clone().into_owned())),
        Fact::Number(key, number) => key_value(key, Value::IntValue(*number)),
        Fact::Flag(key, flag) => key_value(key, Value::BoolValue(*flag)),
    }
}

fn key_value(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}
