//! Does the simulator do what it is ordered while it runs?
//! Given orders below `/_simulator/`, holds the calls after them against what was ordered.
//! Never opens a socket, and moves time by hand.

use std::pin::Pin;
use std::task::{Context, Waker};

use super::*;

fn clients() -> String {
    format!("{PREFIX}/clients/")
}

impl Simulator {
    async fn statuses(&self, target: &str, calls: usize) -> Vec<u16> {
        let mut statuses = Vec::new();
        for _ in 0..calls {
            statuses.push(self.read(target).await.status().as_u16());
        }
        statuses
    }

    /// The status, and what of a body comes before it ends or breaks.
    async fn bytes_before_the_end(&self) -> (usize, Result<(), Cut>) {
        let request = Request::get(clients()).header(KEY_HEADER, "simulator-key").body(Full::<Bytes>::default());
        let mut body = self.answer(request.unwrap()).await.into_body();
        let mut bytes = 0;
        loop {
            match body.frame().await {
                None => return (bytes, Ok(())),
                Some(Ok(frame)) => bytes += frame.into_data().unwrap().len(),
                Some(Err(cut)) => return (bytes, Err(cut)),
            }
        }
    }
}

#[tokio::test]
async fn the_next_calls_of_one_route_fail_and_then_no_more() {
    let simulator = simulator(|_| ());
    let client = target(Endpoint::Client, &simulator.sample());
    let headers = json!({ "Retry-After": "7", "RateLimit": "\"default\";r=0;t=7" });
    simulator.behave(json!({ "faults": [{ "route": "client", "next": 2, "status": 503, "headers": headers }] })).await;
    assert_eq!(simulator.statuses(&clients(), 2).await, [200, 200]);
    let failed = simulator.read(&client).await;
    assert_eq!((failed.status().as_u16(), header(&failed, RETRY_AFTER)), (503, "7"));
    assert_eq!(failed.headers()["ratelimit"], "\"default\";r=0;t=7");
    let (_, shown) = simulator.order(Method::GET, "behaviour", Value::Null).await;
    assert_eq!(shown["faults"][0]["next"], 1);
    assert_eq!(simulator.statuses(&client, 3).await, [503, 200, 200]);
}

#[tokio::test]
async fn the_first_fault_that_applies_is_the_one() {
    let simulator = simulator(|_| ());
    simulator
        .behave(json!({ "faults": [
            { "next": 1, "status": 502 }, { "route": "other", "status": 418 }, { "share": 0.0, "status": 500 },
            { "next": 1, "status": 304 }, { "next": 1, "status": 206 },
        ] }))
        .await;
    assert_eq!(simulator.statuses(&clients(), 4).await, [502, 304, 206, 200]);
    assert_eq!(simulator.read("/nothing").await.status(), 418);
}

#[tokio::test]
async fn a_call_without_a_key_uses_up_no_fault() {
    let simulator = simulator(|_| ());
    simulator.behave(json!({ "faults": [{ "next": 1, "status": 500 }] })).await;
    simulator.say(Method::GET, &clients(), HeaderMap::new(), "").await;
    assert_eq!(simulator.statuses(&clients(), 2).await, [500, 200]);
}

#[tokio::test]
async fn an_order_changes_what_it_names_and_null_and_delete_restore() {
    let simulator = simulator(|settings| {
        settings.behaviour.etag = true;
        settings.behaviour.latency = Duration::from_millis(1500);
    });
    let (_, initial) = simulator.order(Method::GET, "behaviour", Value::Null).await;
    let expected = json!({
        "latency": "1s 500ms", "rate": "unlimited", "rate_per_key": "unlimited", "burst": 0, "etag": true,
        "headers": {}, "faults": [],
    });
    assert_eq!(initial, expected);
    simulator.behave(json!({ "latency": "0s", "etag": false, "rate": "5/s" })).await;
    let mut expected = expected;
    (expected["latency"], expected["etag"], expected["rate"]) = (json!("0s"), json!(false), json!("5/s"));
    assert_eq!(simulator.order(Method::POST, "behaviour", json!({})).await.1, expected);
    expected["latency"] = json!("1s 500ms");
    assert_eq!(simulator.order(Method::POST, "behaviour", json!({ "latency": null })).await.1, expected);
    assert_eq!(simulator.order(Method::DELETE, "behaviour", Value::Null).await, (StatusCode::OK, initial));
}

#[tokio::test]
async fn an_order_that_is_not_understood_changes_nothing_and_says_what_would_be() {
    let simulator = simulator(|_| ());
    let before = simulator.order(Method::GET, "behaviour", Value::Null).await;
    for (order, expected) in [
        (json!({ "latencies": "1s" }), "latencies: unknown field `latencies`, expected one of `latency`, `rate`"),
        (json!({ "faults": [{ "code": 500 }] }), "unknown field `code`, expected one of `route`, `share`, `next`"),
        (json!({ "faults": [{ "body": "wet" }] }), "expected one of `cut`, `truncated`, `unknown-fields`"),
        (json!({ "faults": [{}, { "route": "servers" }] }), "faults[1].route: one of clients, client,"),
        (json!({ "faults": [{ "share": 1.5 }] }), "faults[0].share: a number from 0 to 1"),
        (json!({ "faults": [{ "status": 101 }] }), "faults[0].status: a number from 200"),
        (json!({ "faults": vec![json!({}); 65] }), "faults: at most 64"),
        (json!({ "latency": "2h" }), "latency, drip: at most 1h"),
        (json!({ "latency": "soon" }), "latency: "),
        (json!({ "rate": "much" }), "rate: a rate is written as"),
        (json!({ "headers": { "a b": "c" } }), "`a b` cannot be a header's name"),
        (json!({ "headers": { "a": "c\n" } }), "the value of `a` cannot be a header's"),
        (json!({ "headers": { "Content-Length": "3" } }), "`content-length` follows from the body"),
        (json!({ "etag": true, "rate": 7 }), "rate: invalid type"),
        (json!([1]), "A JSON object is wanted"),
        (Value::Null, "A JSON object is wanted"),
    ] {
        let (status, told) = simulator.order(Method::POST, "behaviour", order).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");
        assert!(text(&told, "detail").contains(expected), "{told} does not say {expected}");
    }
    let long = format!(r#"{{"latency": "1s"{}}}"#, " ".repeat(70_000));
    let answer = simulator.say(Method::POST, "/_simulator/behaviour", HeaderMap::new(), &long).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(simulator.order(Method::GET, "behaviour", Value::Null).await, before);
}

#[tokio::test(start_paused = true)]
async fn a_fault_has_its_own_latency() {
    let simulator = simulator(|settings| settings.behaviour.latency = Duration::from_millis(10));
    simulator.behave(json!({ "faults": [{ "next": 1, "latency": "5s" }] })).await;
    for took in [5000, 10] {
        let start = simulator.clock.tick();
        assert_eq!(simulator.read(&clients()).await.status(), 200);
        assert_eq!(simulator.clock.tick().since(start), Duration::from_millis(took));
    }
}

#[tokio::test]
async fn a_cut_body_announces_all_and_breaks_in_the_middle() {
    let simulator = simulator(|_| ());
    let whole = simulator.read(&clients()).await.body().len();
    simulator.behave(json!({ "faults": [{ "body": "cut" }] })).await;
    let request = Request::get(clients()).header(KEY_HEADER, "simulator-key").body(Full::<Bytes>::default());
    let mut body = simulator.answer(request.unwrap()).await.into_body();
    assert_eq!(http_body::Body::size_hint(&body).exact(), Some(whole as u64));
    let (sent, broke) = simulator.bytes_before_the_end().await;
    assert!(broke.is_err());
    assert_eq!(sent, whole / 2);
    // Between its last byte and the break it gives hyper a turn to write.
    let mut poll = || http_body::Body::poll_frame(Pin::new(&mut body), &mut Context::from_waker(Waker::noop()));
    assert!(poll().is_ready());
    assert!(poll().is_pending());
    assert!(matches!(poll(), std::task::Poll::Ready(Some(Err(Cut)))));
}

#[tokio::test(start_paused = true)]
async fn a_dripping_body_takes_its_time_and_is_whole() {
    let simulator = simulator(|_| ());
    let whole = simulator.read(&clients()).await;
    simulator.behave(json!({ "faults": [{ "drip": "10s" }] })).await;
    let start = simulator.clock.tick();
    assert_eq!(simulator.read(&clients()).await.body(), whole.body());
    let took = simulator.clock.tick().since(start).as_secs_f64();
    assert!((9.0..=10.1).contains(&took), "{took}");
    simulator.behave(json!({ "faults": [{ "drip": "10s", "body": "cut" }] })).await;
    assert_eq!(simulator.bytes_before_the_end().await.0, whole.body().len() / 2);
}

#[tokio::test]
async fn truncated_json_is_a_whole_answer_that_nobody_can_read() {
    let simulator = simulator(|_| ());
    let whole = simulator.read(&clients()).await;
    let headers = json!({ "content-type": "text/html", "set-cookie": "a=1" });
    simulator.behave(json!({ "faults": [{ "body": "truncated", "headers": headers }] })).await;
    let half = simulator.read(&clients()).await;
    assert!(whole.body().starts_with(half.body()) && half.status() == 200);
    assert!(serde_json::from_slice::<Value>(half.body()).is_err());
    assert_eq!((header(&half, CONTENT_TYPE), header(&half, http::header::SET_COOKIE)), ("text/html", "a=1"));
    let head = simulator.call(Method::HEAD, &clients(), &[]).await;
    assert_eq!(header(&head, CONTENT_LENGTH), half.body().len().to_string());
}

#[tokio::test]
async fn what_real_partners_send_in_place_of_a_document_can_be_rehearsed() {
    let simulator = simulator(|_| ());
    let whole = simulator.read(&clients()).await;
    let spoiled = async |body: &str| {
        simulator.behave(json!({ "faults": [{ "body": body }] })).await;
        simulator.read(&clients()).await
    };
    let error = spoiled("error").await;
    assert_eq!((error.status().as_u16(), header(&error, CONTENT_TYPE)), (200, "application/json"));
    assert!(serde_json::from_slice::<Value>(error.body()).unwrap().get("error").is_some());
    assert!(spoiled("empty").await.body().is_empty());
    let page = spoiled("page").await;
    assert_eq!((page.status().as_u16(), header(&page, CONTENT_TYPE)), (200, "text/html"));
    assert_eq!(spoiled("byte-order-mark").await.body(), &[b"\xef\xbb\xbf", &whole.body()[..]].concat());
    let pressed = spoiled("gzip").await;
    assert_eq!(header(&pressed, http::header::CONTENT_ENCODING), "gzip");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&pressed.body()[..]), &mut plain).unwrap();
    assert_eq!(&plain, whole.body());
    simulator.behave(json!({ "faults": [{ "status": 404, "body": "page" }] })).await;
    let ingress = simulator.read(&clients()).await;
    assert_eq!((ingress.status().as_u16(), header(&ingress, CONTENT_TYPE)), (404, "text/html"));
}

#[tokio::test]
async fn unknown_fields_stand_in_every_object_and_change_the_validator() {
    let simulator = simulator(|settings| settings.behaviour.etag = true);
    let before = simulator.read(&clients()).await;
    simulator.behave(json!({ "faults": [{ "body": "unknown-fields" }] })).await;
    let after = simulator.read(&clients()).await;
    assert_ne!(header(&before, ETAG), header(&after, ETAG));
    let mut document: Value = serde_json::from_slice(after.body()).unwrap();
    let mut added = 0;
    fn strip(value: &mut Value, added: &mut u32) {
        match value {
            Value::Object(members) => {
                *added += u32::from(members.remove("x_simulated").is_some());
                members.values_mut().for_each(|value| strip(value, added));
            }
            Value::Array(items) => items.iter_mut().for_each(|value| strip(value, added)),
            _ => {}
        }
    }
    strip(&mut document, &mut added);
    // The document, its clients, and the information on each of them.
    assert_eq!(added, 1 + 25 + 25);
    assert_eq!(document, serde_json::from_slice::<Value>(before.body()).unwrap());
}

#[tokio::test]
async fn headers_are_put_on_every_document_and_on_no_refusal() {
    let simulator = simulator(|_| ());
    simulator.behave(json!({ "headers": { "Vary": "Accept", "Cache-Control": "no-store" } })).await;
    let answer = simulator.read(&clients()).await;
    assert_eq!((header(&answer, http::header::VARY), header(&answer, CACHE_CONTROL)), ("Accept", "no-store"));
    assert!(!simulator.read("/nothing").await.headers().contains_key(http::header::VARY));
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_rate_of_its_own() {
    let simulator = simulator(|_| ());
    simulator.behave(json!({ "rate_per_key": "30/m", "burst": 2 })).await;
    let keys = json!({ "one": "first-key", "two": "second-key" });
    assert_eq!(simulator.order(Method::PUT, "keys", keys).await.1, json!({ "keys": ["one", "two"] }));
    let call = async |key: &str| simulator.call(Method::GET, &clients(), &[(KEY_HEADER, key)]).await;
    for expected in [200, 200, 429] {
        assert_eq!(call("first-key").await.status(), expected);
    }
    assert_eq!(header(&call("first-key").await, RETRY_AFTER), "2");
    assert_eq!(call("second-key").await.status(), 200);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(call("first-key").await.status(), 200);
    assert_eq!(simulator.stats().await["keys"], json!({ "one": 5, "two": 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_rate_allows_a_second_of_calls_at_once_unless_a_burst_is_set() {
    for (rate, burst, allowed) in [("3/s", 0, 3), ("1.6/s", 0, 2), ("6/m", 0, 1), ("6/m", 4, 4)] {
        let simulator = simulator(|_| ());
        simulator.behave(json!({ "rate": rate, "burst": burst })).await;
        let statuses = simulator.statuses(&clients(), 6).await;
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), allowed, "{rate}");
    }
}

#[tokio::test]
async fn keys_are_changed_and_revoked_and_never_shown() {
    let simulator = simulator(|_| ());
    let call = async |key: &str| simulator.call(Method::GET, &clients(), &[(KEY_HEADER, key)]).await.status().as_u16();
    let put = async |keys: Value| simulator.order(Method::PUT, "keys", keys).await;
    assert_eq!(call("simulator-key").await, 200);
    assert_eq!(put(json!({ "old": "simulator-key", "new": "4711" })).await.0, StatusCode::OK);
    assert_eq!((call("simulator-key").await, call("4711").await), (200, 200));
    put(json!({ "new": "4711" })).await;
    assert_eq!((call("simulator-key").await, call("4711").await), (401, 200));
    for wrong in [
        json!(["4711-a"]),
        json!({ "a b": "4711-a" }),
        json!({ "refused": "4711-a" }),
        json!({ "": "4711-a" }),
        json!({ "a": 4711 }),
        json!({ "a": "4711\n" }),
        json!({ "a": "" }),
        json!("4711-a"),
        (0..33).map(|n| (format!("k{n}"), json!("4711-a"))).collect(),
    ] {
        let (status, told) = put(wrong.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(!told.to_string().contains("4711"), "{told}");
    }
    assert_eq!(call("4711").await, 200);
    assert_eq!(put(json!({})).await.1, json!({ "keys": [] }));
    assert_eq!(call("4711").await, 401);
    assert_eq!(simulator.order(Method::DELETE, "keys", Value::Null).await.1, json!({ "keys": ["initial"] }));
    assert_eq!(call("simulator-key").await, 200);
    assert_eq!(simulator.stats().await["keys"], json!({ "initial": 2, "old": 1, "new": 3, "refused": 2 }));
    assert!(!simulator.stats().await.to_string().contains("4711"));
}

#[tokio::test]
async fn a_page_in_a_browser_orders_nothing() {
    let simulator = simulator(|_| ());
    for (method, path) in [("POST", "behaviour"), ("PUT", "keys"), ("DELETE", "keys"), ("POST", "reset")] {
        let from = HeaderMap::from_iter([(http::header::ORIGIN, HeaderValue::from_static("http://evil.example"))]);
        let answer = simulator.say(method.parse().unwrap(), &format!("/_simulator/{path}"), from, "{}").await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    }
    assert_eq!(simulator.order(Method::GET, "nothing", Value::Null).await.0, StatusCode::NOT_FOUND);
    assert_eq!(simulator.order(Method::PATCH, "keys", Value::Null).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(simulator.total_calls(), 0);
}
