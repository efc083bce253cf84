//! Do traces say what happened, and nothing else?
//! Given a collector that decodes what it gets (OTLP, protobuf), hands back claims on spans, parents, links and attributes.
//! Never trusts our own reading of what was sent: the messages are those of the OpenTelemetry project.

use std::collections::HashMap;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message;

use crate::support::{
    CLIENTS, Gate, Gateway, KeepAliveConnection, NO_CLIENTS, READING, REAL_KEY, Reply, ScriptedPartner, Setup, signal,
    wait_for,
};

const SENT: &str = "/v1/traces";
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
/// Not sampled, as the caller has it.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

fn collector(replies: &[Reply]) -> ScriptedPartner {
    let collector = ScriptedPartner::listen();
    match replies {
        [] => collector.respond_with(SENT, [Reply::status(200)]),
        [only] => collector.respond_with(SENT, [only.clone()]),
        [first, rest, ..] => collector.respond_with(SENT, [first.clone(), rest.clone()]),
    }
    collector
}

fn traced(partner: &ScriptedPartner, collector: &ScriptedPartner) -> Setup {
    Setup::before(partner).set("telemetry.otlp_endpoint", collector.url()).set("telemetry.trace_sample", 1.0)
}

/// Ends the gateway in order, so that it sends what it has.
fn end(gateway: &mut Gateway) {
    signal(&gateway.program, "TERM");
    assert!(gateway.program.wait_for_exit(Duration::from_secs(10)).success(), "{}", gateway.program.stderr());
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

/// Spans as they came, with what they say.
struct Spans(Vec<Span>);

impl Spans {
    fn of(collector: &ScriptedPartner) -> Self {
        let requests = collector.calls().into_iter().map(|call| {
            assert_eq!((call.method.as_str(), call.header("content-type")), ("POST", Some("application/x-protobuf")));
            ExportTraceServiceRequest::decode(call.body.as_slice()).unwrap()
        });
        let spans = requests.flat_map(|request| request.resource_spans).flat_map(|of_resource| {
            let resource = of_resource.resource.unwrap();
            assert_eq!(said(&resource.attributes)["service.name"], "reseller-gateway");
            assert_eq!(said(&resource.attributes)["service.instance.id"], "gw");
            of_resource.scope_spans.into_iter().flat_map(|of_scope| of_scope.spans)
        });
        let spans: Vec<Span> = spans.collect();
        for span in &spans {
            assert!(span.trace_id.len() == 16 && span.span_id.len() == 8, "{span:?}");
            assert!(span.start_time_unix_nano <= span.end_time_unix_nano, "{span:?}");
            assert_eq!(span.flags & 1, 1, "sampled: {span:?}");
        }
        Self(spans)
    }

    fn named(&self, name: &str) -> Vec<&Span> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    fn one(&self, name: &str) -> &Span {
        let found = self.named(name);
        assert_eq!(found.len(), 1, "{name} of {:?}", self.0.iter().map(|span| &span.name).collect::<Vec<_>>());
        found[0]
    }

    /// What is below a span, in the order of time, within it and of its trace.
    fn below(&self, parent: &Span) -> Vec<&Span> {
        let mut found: Vec<_> = self.0.iter().filter(|span| span.parent_span_id == parent.span_id).collect();
        found.sort_by_key(|span| (span.start_time_unix_nano, span.end_time_unix_nano));
        for span in &found {
            assert_eq!(span.trace_id, parent.trace_id);
            assert!(span.start_time_unix_nano >= parent.start_time_unix_nano, "{span:?} {parent:?}");
            assert!(span.end_time_unix_nano <= parent.end_time_unix_nano, "{span:?} {parent:?}");
        }
        found
    }
}

fn names<'a>(spans: &[&'a Span]) -> Vec<&'a str> {
    spans.iter().map(|span| span.name.as_str()).collect()
}

fn said(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |value: &Option<AnyValue>| match value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(flag) => flag.to_string(),
        other => panic!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(&pair.value))).collect()
}

fn says(span: &Span, key: &str) -> String {
    said(&span.attributes).get(key).cloned().unwrap_or_default()
}

fn failed(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

fn links_to(span: &Span, other: &Span) -> bool {
    matches!(span.links.as_slice(), [link] if link.trace_id == other.trace_id && link.span_id == other.span_id)
}

#[test]
fn a_hit_that_is_answered_at_once_is_traced_like_any_other() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[]));
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).start();
    let token = gateway.token(&READING);
    let mut caller = KeepAliveConnection::connect(gateway.address);
    let mut ask = |traceparent: &str, id: &str| {
        let head = format!("GET {CLIENTS} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\n");
        caller.ask(format!("{head}traceparent: {traceparent}\r\nx-request-id: {id}\r\n\r\n"))
    };
    (0..6).for_each(|_| drop(ask("00-11111111111111111111111111111111-1111111111111111-01", "before")));
    let answer = gateway.seen(ask(TRACEPARENT, "at-once"));
    assert!(gateway.metrics().contains("hits_at_once_total 1\n"));
    assert_eq!(gateway.log_line(&answer)["trace_id"], TRACE);
    end(&mut gateway);

    let spans = Spans::of(&collector);
    let id = |span: &&&Span| says(span, "reseller_gateway.request_id") == "at-once";
    let requests = spans.named("GET clients");
    let request = requests.iter().find(id).unwrap();
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!(names(&spans.below(request)), ["identify", "decide", "cache"]);
    assert_eq!(says(spans.below(request)[2], "reseller_gateway.held"), "fresh");
    assert_eq!(says(request, "reseller_gateway.outcome"), "hit");
}

#[test]
fn a_miss_is_a_request_with_its_steps_and_a_flight_of_its_own_linked_both_ways() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[]));
    let target = format!("{CLIENTS}?provider_id=zebra-4711");
    partner.respond_with(&target, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).start();
    let token = gateway.token(&READING);
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("traceparent", TRACEPARENT), ("x-request-id", "mine")];
    let answer = gateway.get(&target, &headers);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(gateway.log_line(&answer)["trace_id"], TRACE);
    end(&mut gateway);
    assert_eq!(partner.calls()[0].header("traceparent"), None, "nothing of ours goes to the partner");

    let spans = Spans::of(&collector);
    let request = spans.one("GET clients");
    assert_eq!((hex(&request.trace_id), hex(&request.parent_span_id)), (TRACE.to_owned(), PARENT.to_owned()));
    assert_eq!((request.kind, request.flags), (SpanKind::Server as i32, 0x301), "its parent is remote");
    for (key, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.response.body.size", "14"),
        ("reseller_gateway.route", "clients"),
        ("reseller_gateway.outcome", "miss"),
        ("reseller_gateway.caller", "app"),
        ("reseller_gateway.cause", ""),
        ("reseller_gateway.request_id", "mine"),
    ] {
        assert_eq!(says(request, key), value, "{key}");
    }
    let steps = spans.below(request);
    assert_eq!(names(&steps), ["identify", "decide", "cache", "flight"]);
    assert_eq!(says(steps[2], "reseller_gateway.held"), "absent");
    assert_eq!(says(steps[3], "reseller_gateway.collapsed"), "false");

    let flight = spans.one("flight clients");
    assert_ne!(flight.trace_id, request.trace_id);
    assert!(flight.parent_span_id.is_empty() && flight.kind == SpanKind::Internal as i32);
    assert!(links_to(flight, request) && links_to(steps[3], flight));
    let (start, end) = (steps[3].start_time_unix_nano, steps[3].end_time_unix_nano);
    assert!((start..=end).contains(&flight.start_time_unix_nano), "one clock: {flight:?} {:?}", steps[3]);
    let steps = spans.below(flight);
    assert_eq!(names(&steps), ["budget", "partner"]);
    assert_eq!(steps[1].kind, SpanKind::Client as i32);
    assert_eq!(says(steps[1], "http.response.status_code"), "200");
    assert_eq!(says(steps[1], "reseller_gateway.cause"), "miss");
    assert!(spans.0.iter().all(|span| !failed(span)));

    for call in collector.calls() {
        let sent = String::from_utf8_lossy(&call.body).into_owned() + &format!("{:?}", call.headers);
        for hidden in [token.as_str(), REAL_KEY, "zebra", CLIENTS] {
            assert!(!sent.contains(hidden), "{hidden} is in {sent}");
        }
    }
}

#[test]
fn hits_have_no_flight_and_what_joins_one_is_linked_with_it() {
    let (partner, collector, gate) = (ScriptedPartner::listen(), collector(&[]), Gate::default());
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS).behind(&gate)]);
    let mut gateway = traced(&partner, &collector).start();
    let token = gateway.token(&READING);
    let first = gateway.call(&token, CLIENTS);
    partner.wait_for_calls(1);
    let second = gateway.call(&token, CLIENTS);
    wait_for("two requests", || gateway.metrics().contains("reseller_gateway_connections 2").then_some(()));
    gate.open();
    let outcomes = [first, second].map(|caller| gateway.outcome(&caller.read_response(false)));
    gateway.get_ok(&token, CLIENTS);
    end(&mut gateway);

    let spans = Spans::of(&collector);
    let flight = spans.one("flight clients");
    let requests = spans.named("GET clients");
    assert_eq!(requests.len(), 3);
    let with = |outcome: &str| {
        let found = requests.iter().find(|span| says(span, "reseller_gateway.outcome") == outcome);
        *found.unwrap_or_else(|| panic!("{outcome} of {requests:?}"))
    };
    // Where the second came after the landing it is a hit, and there is nothing to link.
    if outcomes.contains(&"collapsed".to_owned()) {
        let steps = spans.below(with("collapsed"));
        assert_eq!(says(steps[3], "reseller_gateway.collapsed"), "true");
        assert!(links_to(steps[3], flight));
    }
    assert!(links_to(flight, with("miss")));
    let steps = spans.below(with("hit"));
    assert_eq!(names(&steps), ["identify", "decide", "cache"]);
    assert_eq!(says(steps[2], "reseller_gateway.held"), "fresh");
    assert!(with("hit").links.is_empty());
}

#[test]
fn failures_are_marked_retries_are_calls_of_their_own_and_refusals_say_why() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[]));
    partner.respond_with(CLIENTS, [Reply::status(500)]);
    let setup = traced(&partner, &collector).set("upstream.retry.attempts", 1).set("upstream.retry.backoff", "1ms");
    let mut gateway = setup.start();
    let token = gateway.token(&READING);
    assert_eq!(gateway.read(&token, CLIENTS).status, 502);
    assert_eq!(gateway.get(CLIENTS, &[]).status, 401);
    assert_eq!(gateway.get("/.well-known/jwks.json", &[]).status, 200);
    end(&mut gateway);

    let spans = Spans::of(&collector);
    let request = spans.one("GET clients");
    assert!(failed(request));
    assert_eq!(says(request, "reseller_gateway.cause"), "partner-5xx");
    let flight = spans.one("flight clients");
    assert!(failed(flight) && says(flight, "error.type") == "partner-5xx");
    let steps = spans.below(flight);
    assert_eq!(names(&steps), ["budget", "partner", "budget", "partner"]);
    let causes = [1, 3].map(|nth| says(steps[nth], "reseller_gateway.cause"));
    assert_eq!(causes, ["miss", "retry"]);
    assert!(failed(steps[1]) && failed(steps[3]) && !failed(steps[2]));
    let beside = spans.named("GET");
    let causes =
        beside.iter().map(|span| says(span, "reseller_gateway.outcome") + &says(span, "reseller_gateway.cause"));
    let mut causes: Vec<_> = causes.collect();
    causes.sort();
    assert_eq!(causes, ["own", "refusedtoken-missing"]);
    assert!(beside.iter().all(|span| !failed(span) && spans.below(span).is_empty()));
}

#[test]
fn a_refresh_behind_is_linked_with_the_request_that_was_answered_stale() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[]));
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).set("routes.clients.ttl", "1ms").start();
    let token = gateway.token(&READING);
    gateway.get_ok(&token, CLIENTS);
    let stale = wait_for("a stale answer", || {
        let answer = gateway.get_ok(&token, CLIENTS);
        (gateway.outcome(&answer) == "stale").then_some(answer)
    });
    let trace = gateway.log_line(&stale)["trace_id"].as_str().unwrap().to_owned();
    partner.wait_for_calls(2);
    end(&mut gateway);
    let spans = Spans::of(&collector);
    let request = *spans.named("GET clients").iter().find(|span| hex(&span.trace_id) == trace).unwrap();
    let behind = |span: &&&Span| says(span, "reseller_gateway.cause") == "refresh" && links_to(span, request);
    let flights = spans.named("flight clients");
    assert!(flights.iter().any(|span| behind(&span)), "{flights:?}");
    assert!(request.parent_span_id.is_empty(), "nobody sent a trace, so it is the first of its own");
}

#[test]
fn the_partner_is_told_only_where_the_file_says_so_in_every_mode() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[]));
    let other = "/reseller/account/v1/else";
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    partner.respond_with(other, [Reply::json("{}")]);
    let stored = "/reseller/account/v2/stored";
    partner.respond_with(stored, [Reply::json("{}").header("cache-control", "max-age=60")]);
    let extra: toml::Value = toml::Value::Array(vec![toml::Value::Table(
        "name = \"two\"\npath = \"/reseller/account/v2/{*rest}\"\nscope = \"other:read\"\nmode = \"standard\"\nstore = true\n"
            .parse()
            .unwrap(),
    )]);
    let setup = traced(&partner, &collector).set("upstream.propagate_trace", true).set("extra_routes", extra);
    let mut gateway = setup.start();
    let token = gateway.token(&READING);
    let bearer = format!("Bearer {token}");
    for target in [CLIENTS, other, stored] {
        let answer = gateway.get(target, &[("authorization", &bearer), ("traceparent", TRACEPARENT)]);
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    end(&mut gateway);
    let spans = Spans::of(&collector);
    let calls = spans.named("partner");
    assert_eq!(calls.len(), 3);
    for call in partner.calls() {
        let told = call.header("traceparent").unwrap();
        let is_it = |span: &&&Span| told == format!("00-{}-{}-01", hex(&span.trace_id), hex(&span.span_id));
        assert!(calls.iter().any(|span| is_it(&span)), "{told} of {calls:?}");
    }
    // What passes through is asked for within the request itself.
    let passed = spans.one("GET other");
    assert_eq!(names(&spans.below(passed)), ["identify", "decide", "budget", "partner"]);
    let flight = spans.one("flight two");
    assert!(links_to(flight, spans.one("GET two")));
    assert_eq!(names(&spans.below(spans.one("GET two"))), ["identify", "decide", "cache", "flight"]);
}

#[test]
fn a_reload_goes_on_tracing_to_where_it_was_and_another_collector_waits_for_a_restart() {
    let (partner, collector, other) = (ScriptedPartner::listen(), collector(&[]), collector(&[]));
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).start();
    let token = gateway.token(&READING);
    gateway.get_ok(&token, CLIENTS);
    gateway.table["telemetry"].as_table_mut().unwrap().insert("otlp_endpoint".to_owned(), other.url().into());
    gateway.write("gateway.toml", &gateway.table.to_string());
    let answer = gateway.admin_request("POST", "/admin/v1/reload", "");
    assert_eq!(answer.json()["restart_needed"], serde_json::json!(["telemetry.otlp_endpoint"]), "{answer:?}");
    let after = gateway.get_ok(&token, CLIENTS);
    assert!(gateway.log_line(&after)["trace_id"].is_string());
    end(&mut gateway);
    let spans = Spans::of(&collector);
    let requests = spans.0.iter().filter(|span| span.kind == SpanKind::Server as i32);
    let outcomes: Vec<_> = requests.map(|span| says(span, "reseller_gateway.outcome")).collect();
    assert_eq!((outcomes.len(), other.count()), (2, 0), "{outcomes:?}");
    assert!(outcomes.iter().any(|outcome| outcome == "miss") && outcomes.iter().any(|outcome| outcome == "hit"));
}

#[test]
fn a_caller_does_not_decide_what_is_traced_and_without_a_share_nothing_is() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[]));
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).set("telemetry.trace_sample", 0.0).start();
    let token = format!("Bearer {}", gateway.token(&READING));
    let sampled = TRACEPARENT.replace("b7-00", "b7-01");
    let answer = gateway.get(CLIENTS, &[("authorization", &token), ("traceparent", &sampled)]);
    assert_eq!(answer.status, 200);
    assert!(gateway.log_line(&answer)["trace_id"].is_null());
    end(&mut gateway);
    assert_eq!(collector.count(), 0);
}

#[test]
fn a_batch_is_sent_after_a_while_again_if_that_may_help_and_counted_once() {
    let (partner, busy) = (ScriptedPartner::listen(), Reply::status(503).header("retry-after", "1"));
    let collector = collector(&[busy, Reply::status(200)]);
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let gateway = traced(&partner, &collector).start();
    gateway.get_ok(&gateway.token(&READING), CLIENTS);
    wait_for("the sent traces", || gateway.metrics().contains("reseller_gateway_traces_sent_total 2").then_some(()));
    let bodies: Vec<_> = collector.calls().into_iter().map(|call| call.body).collect();
    assert!(bodies.len() == 2 && bodies[0] == bodies[1]);
    assert!(gateway.metrics().contains("reseller_gateway_traces_dropped_total 0"));
    gateway.wait_for_log("taken again");
}

#[test]
fn a_collector_that_refuses_is_told_of_once_and_costs_no_request_anything() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[Reply::status(400)]));
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).start();
    let token = gateway.token(&READING);
    for _ in 0..3_000 / 4 {
        gateway.get_ok(&token, CLIENTS);
    }
    wait_for("dropped traces", || {
        let metrics = gateway.metrics();
        let dropped = metrics.lines().find_map(|line| line.strip_prefix("reseller_gateway_traces_dropped_total "));
        (dropped.unwrap() != "0").then_some(())
    });
    end(&mut gateway);
    assert!(collector.count() >= 2, "a batch is full at 512");
    assert_eq!(gateway.program.stderr().matches("does not take traces").count(), 1, "{}", gateway.program.stderr());
}

#[test]
fn a_collector_that_says_nothing_does_not_hold_up_the_end_beyond_the_grace() {
    let (partner, collector) = (ScriptedPartner::listen(), collector(&[Reply::no_response()]));
    partner.respond_with(CLIENTS, [Reply::json(NO_CLIENTS)]);
    let mut gateway = traced(&partner, &collector).set("server.shutdown_grace", "500ms").start();
    gateway.get_ok(&gateway.token(&READING), CLIENTS);
    signal(&gateway.program, "TERM");
    assert!(gateway.program.wait_for_exit(Duration::from_secs(4)).success());
    gateway.wait_for_log("did not take the last traces");
}
