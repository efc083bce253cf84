//! Does the simulator behave as the document says the partner does?
//! Given calls as a client makes them, holds answers against the documented shapes and against each other.
//! Never opens a socket, and moves time by hand.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderValue;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use std::time::Duration;

use super::*;
use crate::account_api::{Endpoint, Field, KEY_HEADER, Kind, PREFIX, RESOURCE_KINDS, shape};

mod orders;

/// The undocumented fields the simulator adds.
const UNDOCUMENTED: [&str; 1] = ["is_test_account"];

fn simulator(change: impl FnOnce(&mut Settings)) -> Simulator {
    let mut settings = Settings::default();
    change(&mut settings);
    Simulator::new(settings, Clock::moved_by_hand(0))
}

impl Simulator {
    async fn call(&self, method: Method, target: &str, headers: &[(&'static str, &str)]) -> Response<Bytes> {
        let mut map = HeaderMap::from_iter([(KEY_HEADER.parse().unwrap(), HeaderValue::from_static("simulator-key"))]);
        for (name, value) in headers {
            map.insert(*name, value.parse().unwrap());
        }
        self.say(method, target, map, "").await
    }

    /// The answer with its bytes, of a body that does not break.
    async fn say(&self, method: Method, target: &str, headers: HeaderMap, body: &str) -> Response<Bytes> {
        let mut request = Request::new(Full::new(Bytes::from(body.to_owned())));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) =
            (method, target.parse().unwrap(), headers);
        let (head, body) = self.answer(request).await.into_parts();
        Response::from_parts(head, body.collect().await.unwrap().to_bytes())
    }

    /// What is said below `/_simulator/`, without a key.
    async fn order(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.say(method, &format!("/_simulator/{path}"), HeaderMap::new(), &body).await;
        (answer.status(), serde_json::from_slice(answer.body()).unwrap_or_default())
    }

    async fn behave(&self, change: Value) {
        let (status, shown) = self.order(Method::POST, "behaviour", change).await;
        assert_eq!(status, StatusCode::OK, "{shown}");
    }

    async fn read(&self, target: &str) -> Response<Bytes> {
        self.call(Method::GET, target, &[]).await
    }

    async fn below(&self, path: &str) -> Value {
        let answer = self.read(&format!("{PREFIX}{path}")).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        serde_json::from_slice(answer.body()).unwrap()
    }

    async fn stats(&self) -> Value {
        self.order(Method::GET, "stats", Value::Null).await.1
    }
}

fn target(endpoint: Endpoint, sample: &Sample) -> String {
    let path = endpoint.template().replace("{client_id}", &sample.client);
    let path = path.replace("{provider_id}", &sample.provider).replace("{project_id}", &sample.project);
    format!("{PREFIX}{path}")
}

/// Holds a value against what the document says it is.
fn assert_kind(at: &str, value: &Value, kind: Kind) {
    match (kind, value) {
        (Kind::Bool, Value::Bool(_))
        | (Kind::String | Kind::NullableString, Value::String(_))
        | (Kind::NullableString, Value::Null) => {}
        (Kind::Integer, Value::Number(number)) if number.is_u64() => {}
        (Kind::StringArray, Value::Array(items)) if items.iter().all(Value::is_string) => {}
        (Kind::Rows(fields), Value::Array(rows)) => {
            rows.iter().for_each(|row| assert_kind(at, row, Kind::Object(fields)));
        }
        (Kind::Object(fields), Value::Object(members)) => {
            for Field { name, kind, .. } in fields {
                let value = members.get(*name).unwrap_or_else(|| panic!("{at}.{name} is missing"));
                assert_kind(&format!("{at}.{name}"), value, *kind);
            }
            let known: BTreeSet<_> = fields.iter().map(|field| field.name).chain(UNDOCUMENTED).collect();
            members.keys().for_each(|name| assert!(known.contains(name.as_str()), "{at}.{name} is not documented"));
        }
        _ => panic!("{at} is not {kind:?} but {value}"),
    }
}

fn rows<'v>(value: &'v Value, name: &str) -> &'v Vec<Value> {
    value[name].as_array().unwrap()
}

fn text<'v>(value: &'v Value, name: &str) -> &'v str {
    value[name].as_str().unwrap()
}

fn header(answer: &Response<Bytes>, name: http::HeaderName) -> &str {
    answer.headers()[name].to_str().unwrap()
}

#[tokio::test]
async fn every_endpoint_answers_in_its_documented_shape() {
    let simulator = simulator(|settings| settings.clients = 200);
    for endpoint in Endpoint::ALL {
        let answer = simulator.read(&target(endpoint, &simulator.sample())).await;
        assert_eq!(answer.status(), StatusCode::OK, "{endpoint:?}");
        assert_eq!(header(&answer, CONTENT_TYPE), "application/json");
        let document: Value = serde_json::from_slice(answer.body()).unwrap();
        let member = shape(endpoint).member;
        assert_eq!(document.as_object().unwrap().keys().collect::<Vec<_>>(), [member.name]);
        assert_kind(endpoint.name(), &document[member.name], member.kind);
    }
}

#[tokio::test]
async fn clients_use_every_kind_of_resource_and_carry_an_undocumented_field() {
    let simulator = simulator(|_| ());
    let (list, mut seen) = (simulator.below("/clients/").await, BTreeSet::new());
    for client in rows(&list, "clients") {
        assert!(client["is_test_account"].is_boolean());
        let used = simulator.below(&format!("/clients/{}/resources/", text(client, "id"))).await;
        for project in rows(&used, "providers").iter().flat_map(|provider| rows(provider, "projects")) {
            let resources = project["resources"].as_object().unwrap();
            seen.extend(
                resources.iter().filter(|(_, of_kind)| **of_kind != Value::Array(vec![])).map(|(kind, _)| kind.clone()),
            );
        }
    }
    assert!(seen.iter().eq(BTreeSet::from(RESOURCE_KINDS)));
}

#[tokio::test]
async fn a_client_takes_some_750_bytes() {
    let simulator = simulator(|settings| settings.clients = 200);
    let list = simulator.below("/clients/").await;
    let mut sizes = vec![];
    for client in rows(&list, "clients") {
        let answer = simulator.read(&format!("{PREFIX}/clients/{}/", text(client, "id"))).await;
        sizes.push(answer.body().len());
    }
    let mean = sizes.iter().sum::<usize>() / sizes.len();
    assert!((700..=800).contains(&mean), "{mean}");
    assert!(sizes.iter().all(|size| (600..=900).contains(size)), "{:?}", (sizes.iter().min(), sizes.iter().max()));
}

#[tokio::test]
async fn the_same_seed_tells_the_same_bytes_and_another_seed_other_ones() {
    let (one, same, other) = (simulator(|_| ()), simulator(|_| ()), simulator(|settings| settings.seed = 2));
    for endpoint in Endpoint::ALL {
        let target = target(endpoint, &one.sample());
        assert_eq!(one.read(&target).await.body(), same.read(&target).await.body(), "{endpoint:?}");
    }
    let clients = format!("{PREFIX}/clients/");
    assert_ne!(one.read(&clients).await.body(), other.read(&clients).await.body());
}

#[tokio::test]
async fn endpoints_agree_about_a_client() {
    let simulator = simulator(|_| ());
    let list = simulator.below("/clients/").await;
    assert_eq!(rows(&list, "clients").len(), 25);
    for row in rows(&list, "clients") {
        let path = format!("/clients/{}/", text(row, "id"));
        assert_eq!(&simulator.below(&path).await["client"], row);

        let projects = simulator.below(&format!("{path}projects/")).await;
        let ids: Vec<_> = rows(&projects, "projects").iter().map(|project| project["id"].clone()).collect();
        assert_eq!(&ids, rows(row, "projects"));
        assert!(ids.contains(&row["default_project_id"]));
        let of_projects: BTreeMap<_, _> = rows(&projects, "projects")
            .iter()
            .map(|project| (text(project, "id"), text(project, "provider")))
            .collect();

        let used = simulator.below(&format!("{path}resources/")).await;
        let mut of_resources = BTreeMap::new();
        for provider in rows(&used, "providers") {
            let id = text(provider, "id");
            assert_eq!(&simulator.below(&format!("{path}providers/{id}/resources/")).await["provider"], provider);
            for project in rows(provider, "projects") {
                let inner = format!("{path}projects/{}/resources/", text(project, "id"));
                assert_eq!(&simulator.below(&inner).await["project"], project);
                of_resources.insert(text(project, "id"), id);
            }
        }
        assert_eq!(of_projects, of_resources);

        let mut bare = used.clone();
        for provider in bare["providers"].as_array_mut().unwrap() {
            for project in provider["projects"].as_array_mut().unwrap() {
                project.as_object_mut().unwrap().remove("resources");
            }
        }
        assert_eq!(simulator.below(&format!("{path}providers/")).await, bare);
    }
}

#[tokio::test]
async fn the_provider_filter_keeps_the_clients_with_a_project_there() {
    let simulator = simulator(|_| ());
    let all = simulator.below("/clients/").await;
    let wanted = simulator.sample().provider;
    let mut expected = vec![];
    for client in rows(&all, "clients") {
        let projects = simulator.below(&format!("/clients/{}/projects/", text(client, "id"))).await;
        if rows(&projects, "projects").iter().any(|project| project["provider"] == wanted) {
            expected.push(client.clone());
        }
    }
    let filtered = simulator.below(&format!("/clients/?provider_id={wanted}")).await;
    assert_eq!(rows(&filtered, "clients"), &expected);
    assert!((1..25).contains(&expected.len()));
    assert_eq!(simulator.below("/clients/?provider_id=nobody").await.to_string(), r#"{"clients":[]}"#);
}

#[tokio::test]
async fn a_call_without_the_key_is_refused_before_anything_is_looked_at() {
    let simulator = simulator(|_| ());
    for path in ["/clients/", "/clients/nobody/", "/nothing/"] {
        let target = format!("{PREFIX}{path}");
        let without = simulator.say(Method::GET, &target, HeaderMap::new(), "").await;
        assert_eq!(without.status(), StatusCode::UNAUTHORIZED);
        let wrong = simulator.call(Method::GET, &target, &[(KEY_HEADER, "simulator-kez")]).await;
        assert_eq!(wrong.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(header(&wrong, CONTENT_TYPE), "application/json");
        assert!(serde_json::from_slice::<Value>(wrong.body()).unwrap()["detail"].is_string());
    }
}

#[tokio::test]
async fn unknown_ids_and_paths_are_not_found() {
    let simulator = simulator(|_| ());
    let Sample { client, provider, project } = simulator.sample();
    for path in [
        "/clients/nobody/".to_owned(),
        format!("/clients/{project}/"),
        format!("/clients/{client}/providers/{project}/resources/"),
        format!("/clients/{client}/projects/{provider}/resources/"),
        format!("/clients/{client}/servers/"),
        format!("/clients//{client}/"),
        "/clients//".to_owned(),
        "/".to_owned(),
    ] {
        let answer = simulator.read(&format!("{PREFIX}{path}")).await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{path}");
        assert!(serde_json::from_slice::<Value>(answer.body()).unwrap()["detail"].is_string());
    }
    for target in ["/", "/clients/", "/reseller/account/v1clients/", "/reseller/account/v2/clients/"] {
        assert_eq!(simulator.read(target).await.status(), StatusCode::NOT_FOUND, "{target}");
    }
}

#[tokio::test]
async fn only_get_and_head_are_allowed() {
    let simulator = simulator(|_| ());
    let target = format!("{PREFIX}/clients/");
    for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::OPTIONS] {
        let answer = simulator.call(method, &target, &[]).await;
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(header(&answer, ALLOW), "GET, HEAD");
    }
}

#[tokio::test]
async fn head_tells_the_length_of_the_body_it_leaves_out() {
    let simulator = simulator(|_| ());
    let target = format!("{PREFIX}/clients/");
    let (get, head) = (simulator.read(&target).await, simulator.call(Method::HEAD, &target, &[]).await);
    assert!(head.body().is_empty());
    assert_eq!(header(&head, CONTENT_LENGTH), get.body().len().to_string());
}

#[tokio::test]
async fn a_missing_slash_is_redirected_with_its_query() {
    let simulator = simulator(|_| ());
    for (target, location) in [
        ("/clients", "/clients/"),
        ("/clients?provider_id=a&b", "/clients/?provider_id=a&b"),
        ("/clients/nobody/projects", "/clients/nobody/projects/"),
    ] {
        let answer = simulator.read(&format!("{PREFIX}{target}")).await;
        assert_eq!(answer.status(), StatusCode::MOVED_PERMANENTLY, "{target}");
        assert_eq!(header(&answer, LOCATION), format!("{PREFIX}{location}"));
    }
}

#[tokio::test(start_paused = true)]
async fn beyond_the_rate_it_says_when_to_come_back_in_whole_seconds() {
    let simulator = simulator(|settings| {
        settings.behaviour.rate = Rate::Every(Duration::from_millis(2500));
        settings.behaviour.burst = 2;
    });
    let target = format!("{PREFIX}/clients/");
    for expected in [200, 200, 429, 429] {
        assert_eq!(simulator.read(&target).await.status(), expected);
    }
    let refused = simulator.read(&target).await;
    assert_eq!(header(&refused, RETRY_AFTER), "3");
    tokio::time::advance(Duration::from_secs(3)).await;
    assert_eq!(simulator.read(&target).await.status(), 200);
    assert_eq!(simulator.stats().await["statuses"], json!({"200": 3, "429": 3}));
}

#[tokio::test]
async fn the_share_that_fails_is_the_share_that_was_asked_for() {
    let target = format!("{PREFIX}/clients/");
    for (fail, least, most) in [(0.0, 0, 0), (0.25, 200, 300), (1.0, 1000, 1000)] {
        let fault = Fault { share: Some(fail), status: Some(500), ..Default::default() };
        let [one, same] = [(); 2].map(|()| simulator(|settings| settings.behaviour.faults = vec![fault.clone()]));
        let mut failed = 0;
        for _ in 0..1000 {
            let status = one.read(&target).await.status();
            assert_eq!(same.read(&target).await.status(), status);
            failed += u64::from(status == StatusCode::INTERNAL_SERVER_ERROR);
        }
        assert!((least..=most).contains(&failed), "{fail}: {failed}");
    }
}

#[tokio::test(start_paused = true)]
async fn latency_applies_to_every_answer_of_the_api_and_to_no_other() {
    let simulator = simulator(|settings| settings.behaviour.latency = Duration::from_millis(200));
    let start = simulator.clock.tick();
    simulator.stats().await;
    assert_eq!(simulator.clock.tick().since(start), Duration::ZERO);
    simulator.read("/nothing").await;
    assert_eq!(simulator.clock.tick().since(start), Duration::from_millis(200));
}

#[tokio::test]
async fn a_held_validator_is_answered_with_not_modified() {
    let simulator = simulator(|settings| {
        settings.behaviour.etag = true;
        settings.behaviour.headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
    });
    let target = format!("{PREFIX}/clients/");
    let first = simulator.read(&target).await;
    let etag = header(&first, ETAG);
    assert!(etag.starts_with('"'));
    for held in [etag.to_owned(), format!("W/{etag}"), format!("\"x\", {etag}"), "*".to_owned()] {
        let answer = simulator.call(Method::GET, &target, &[("if-none-match", &held)]).await;
        assert_eq!(answer.status(), StatusCode::NOT_MODIFIED, "{held}");
        assert_eq!((header(&answer, ETAG), header(&answer, CACHE_CONTROL)), (etag, "max-age=5"));
        assert!(answer.body().is_empty());
    }
    assert_eq!(simulator.call(Method::GET, &target, &[("if-none-match", "\"x\"")]).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn without_settings_it_says_nothing_about_freshness() {
    let answer = simulator(|_| ()).read(&format!("{PREFIX}/clients/")).await;
    assert_eq!(answer.headers().keys().collect::<Vec<_>>(), [CONTENT_TYPE]);
}

#[tokio::test]
async fn it_counts_what_reached_it_and_forgets_on_reset() {
    let simulator = simulator(|_| ());
    for endpoint in Endpoint::ALL {
        simulator.read(&target(endpoint, &simulator.sample())).await;
    }
    simulator.read("/nothing").await;
    simulator.say(Method::GET, &format!("{PREFIX}/clients/"), HeaderMap::new(), "").await;
    assert_eq!(
        simulator.stats().await,
        json!({
            "total": 9,
            "routes": {
                "clients": 2, "client": 1, "client_providers": 1, "client_projects": 1, "client_resources": 1,
                "provider_resources": 1, "project_resources": 1, "other": 1,
            },
            "statuses": { "200": 7, "401": 1, "404": 1 },
            "keys": { "initial": 8, "refused": 1 },
        })
    );
    assert_eq!(simulator.total_calls(), 9);
    assert_eq!(simulator.order(Method::POST, "reset", Value::Null).await.0, StatusCode::NO_CONTENT);
    assert_eq!((simulator.total_calls(), simulator.stats().await["routes"]["clients"].clone()), (0, json!(0)));
    assert_eq!(simulator.read("/_simulator/reset").await.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(simulator.total_calls(), 0);
}

#[tokio::test]
async fn a_hundred_thousand_clients_cost_nothing_until_they_are_asked_for() {
    let simulator = simulator(|settings| settings.clients = 100_000);
    let sample = simulator.sample();
    assert_eq!(text(&simulator.below(&format!("/clients/{}/", sample.client)).await["client"], "id"), sample.client);
    assert!(format!("{:?}", simulator.documents).len() < 1000);
}
