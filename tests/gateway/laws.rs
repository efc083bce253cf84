//! Does it hold for every input?
//! Given random targets, methods and headers, hands back counterexamples to the laws of routes and keys.
//! Never opens a socket: these are the library's own rooms.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use proptest::prelude::*;
use reseller_gateway::access::Rules;
use reseller_gateway::account_api::{Endpoint, PREFIX};
use reseller_gateway::cache::Key;
use reseller_gateway::cache::key::target_of;
use reseller_gateway::clock::{Now, Tick};
use reseller_gateway::route::{Match, Mode, Route, Routes, Target, Terms};
use reseller_gateway::token::bounds::Bounds;
use reseller_gateway::token::ring::Ring;
use reseller_gateway::token::scope::ScopeNames;
use reseller_gateway::token::{Caller, Policy, Settings, TokenSpec, Tokens};

const NOW: Now = Now { tick: Tick::from_nanos(0), unix_ms: 1_800_000_000_000 };
const SCOPES: [&str; 3] = ["read", "pii:read", "write"];

struct Rooms {
    routes: Routes,
    rules: Rules,
    tokens: Tokens,
    caller: Arc<Caller>,
}

fn rooms() -> Rooms {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let names = Arc::new(ScopeNames::new(SCOPES).unwrap());
    let route = |name: &str, stored: bool| Route {
        name: name.to_owned(),
        scope: names.set_of(["read"]),
        scope_name: "read".to_owned(),
        mode: if stored { Mode::Api } else { Mode::Standard { forward_authorization: false } },
        stored,
        terms: Terms {
            ttl: Duration::from_secs(60),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            overrides: false,
        },
        query: if name == "clients" { vec!["provider_id".to_owned(), "state".to_owned()] } else { Vec::new() },
        ignore_query: vec!["_".to_owned()],
        forward_headers: vec![HeaderName::from_static("x-forwarded-a"), HeaderName::from_static("x-forwarded-b")],
        documents_only: true,
        open_to_narrowed: false,
        edition: 0,
    };
    let mut built_in: Vec<Route> = Endpoint::ALL.iter().map(|endpoint| route(endpoint.name(), true)).collect();
    built_in.push(route("other", false));
    let extra = vec![("/reseller/account/v2/{*rest}".to_owned(), route("v2", true))];
    let policy = Policy {
        name: "app".to_owned(),
        scopes: SCOPES.map(str::to_owned).to_vec(),
        bounds: Bounds::default(),
        priority: Default::default(),
    };
    let settings = Settings {
        issuer: "http://gateway.test".to_owned(),
        audience: "account-api".to_owned(),
        accept_api_key_header: true,
        callers: vec![policy],
    };
    let tokens = Tokens::new(settings, Arc::new(Ring::in_memory().unwrap()), Arc::clone(&names));
    let wish = TokenSpec {
        caller: "app".to_owned(),
        scopes: SCOPES.map(str::to_owned).to_vec(),
        bounds: Bounds::default(),
        ttl: Duration::from_secs(60),
    };
    let token = tokens.issue(&wish, NOW).unwrap().token;
    let mut headers = HeaderMap::new();
    headers.insert("x-reseller-api-key", HeaderValue::from_str(&token).unwrap());
    let caller = tokens.identify(&headers, NOW).unwrap();
    Rooms { routes: Routes::new(built_in, extra).unwrap(), rules: Rules::new(&names), tokens, caller }
}

impl Rooms {
    fn find(&self, target: &str) -> Option<Match> {
        let uri: Uri = target.parse().ok()?;
        let target = Target::parse(&uri).ok()?;
        self.routes.find(&Method::GET, &target).ok()
    }

    fn key_with(&self, target: &str, headers: &HeaderMap) -> Option<(Key, String)> {
        let wanted = self.find(target)?;
        let route = self.routes.at(wanted.route())?;
        let sent = target_of(wanted.resource(), route);
        let grant = self.rules.decide(Arc::clone(&self.caller), wanted, route).unwrap().granted().unwrap();
        Key::of(&grant, route, headers).map(|key| (key, sent))
    }

    fn key(&self, target: &str) -> (Key, String) {
        self.key_with(target, &HeaderMap::new()).unwrap_or_else(|| panic!("no key for {target}"))
    }
}

const UUID: &str = "024c2b6d-cbb8-4056-9d3f-8055fa86659c";

#[test]
fn what_means_the_same_has_the_same_key_and_is_sent_alike() {
    let rooms = rooms();
    let upper = UUID.to_ascii_uppercase();
    let same = [
        ["/clients/".to_owned(), "/clients".to_owned()],
        ["/clients/".to_owned(), "/clients/?".to_owned()],
        ["/clients/".to_owned(), "/clients/?_=123".to_owned()],
        ["/clients/".to_owned(), "/%63lients/".to_owned()],
        [format!("/clients/{UUID}/"), format!("/clients/{upper}")],
        ["/clients/?provider_id=a&state=b".to_owned(), "/clients?state=b&provider%5Fid=%61".to_owned()],
        [format!("/clients/?provider_id={UUID}"), format!("/clients/?provider_id={upper}")],
    ];
    for [one, other] in same {
        assert_eq!(rooms.key(&format!("{PREFIX}{one}")), rooms.key(&format!("{PREFIX}{other}")), "{one} {other}");
    }
    let absolute = rooms.key(&format!("http://elsewhere.test{PREFIX}/clients/"));
    assert_eq!(absolute, rooms.key(&format!("{PREFIX}/clients/")));
}

#[test]
fn what_means_another_thing_has_another_key() {
    let rooms = rooms();
    let all = [
        "/clients/",
        "/clients/?provider_id=a",
        "/clients/?state=a",
        "/clients/?provider_id=a&state=b",
        "/clients/?provider_id=b&state=a",
        "/clients/a/",
        "/clients/A/",
        "/clients/a/providers/",
        "/clients/a/projects/",
        "/clients/a/resources/",
        "/clients/a/providers/b/resources/",
        "/clients/a/projects/b/resources/",
        "/clients/b/projects/a/resources/",
        "/clients/ab/projects/a/resources/",
        "/clients/a/projects/ba/resources/",
    ];
    let keys: Vec<Key> = all.iter().map(|target| rooms.key(&format!("{PREFIX}{target}")).0).collect();
    for (nth, key) in keys.iter().enumerate() {
        assert!(!keys[..nth].contains(key), "{}", all[nth]);
    }
}

#[test]
fn a_header_that_is_sent_on_is_keyed_and_its_parts_cannot_be_moved_about() {
    let rooms = rooms();
    let key = |pairs: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_static(value));
        }
        rooms.key_with(&format!("{PREFIX}/clients/"), &headers).unwrap().0
    };
    assert_eq!(key(&[]), key(&[("accept", "application/json"), ("x-else", "1")]));
    assert_ne!(key(&[]), key(&[("x-forwarded-a", "")]));
    assert_ne!(key(&[("x-forwarded-a", "1")]), key(&[("x-forwarded-b", "1")]));
    assert_ne!(key(&[("x-forwarded-a", "1"), ("x-forwarded-a", "2")]), key(&[("x-forwarded-a", "12")]));
    assert_ne!(key(&[("x-forwarded-a", "1x-forwarded-b2")]), key(&[("x-forwarded-a", "1"), ("x-forwarded-b", "2")]));
}

fn segment() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[A-Za-z0-9_-]{1,12}",
        1 => Just("clients".to_owned()),
        1 => Just("resources".to_owned()),
        1 => "[ -~]{0,8}",
        1 => "(%[0-9a-fA-F]{2}|%|\\.|;){0,4}",
    ]
}

fn target() -> impl Strategy<Value = String> {
    let path = prop::collection::vec(segment(), 0..7).prop_map(|parts| parts.join("/"));
    let prefix = prop_oneof![Just(PREFIX), Just("/reseller/account/v2"), Just(""), Just("/reseller/admin")];
    (prefix, path, prop::option::of("[ -~]{0,24}")).prop_map(|(prefix, path, query)| match query {
        None => format!("{prefix}/{path}"),
        Some(query) => format!("{prefix}/{path}?{query}"),
    })
}

fn id() -> impl Strategy<Value = String> {
    "[a-c_-]{1,3}"
}

fn resource() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/clients/".to_owned()),
        id().prop_map(|id| format!("/clients/?provider_id={id}")),
        id().prop_map(|id| format!("/clients/?state={id}")),
        (id(), id()).prop_map(|(a, b)| format!("/clients/?provider_id={a}&state={b}")),
        id().prop_map(|id| format!("/clients/{id}/")),
        (id(), prop_oneof![Just("providers"), Just("projects"), Just("resources")])
            .prop_map(|(id, kind)| format!("/clients/{id}/{kind}/")),
        (id(), prop_oneof![Just("providers"), Just("projects")], id())
            .prop_map(|(a, kind, b)| format!("/clients/{a}/{kind}/{b}/resources/")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_target_breaks_the_reader_and_what_is_sent_is_read_again_as_the_same(target in target()) {
        let rooms = rooms_once();
        if let Some((key, sent)) = rooms.key_with(&target, &HeaderMap::new()) {
            let again = rooms.key_with(&sent, &HeaderMap::new());
            prop_assert_eq!(again, Some((key, sent)));
        }
    }

    #[test]
    fn nothing_leads_to_the_partners_administration(rest in "[ -~]{0,24}") {
        let found = rooms_once().find(&format!("/reseller/admin/{rest}"));
        prop_assert!(found.is_none());
    }

    #[test]
    fn two_resources_share_a_key_only_if_they_are_one(a in resource(), b in resource()) {
        let rooms = rooms_once();
        let [(one, _), (other, _)] = [&a, &b].map(|target| rooms.key(&format!("{PREFIX}{target}")));
        prop_assert_eq!(one == other, a == b);
    }

    #[test]
    fn no_header_breaks_the_door(value in prop::collection::vec(any::<u8>(), 0..64), bearer in any::<bool>()) {
        let value = if bearer { [b"Bearer ".as_slice(), &value].concat() } else { value };
        if let Ok(value) = HeaderValue::from_bytes(&value) {
            let mut headers = HeaderMap::new();
            headers.append(if bearer { "authorization" } else { "x-reseller-api-key" }, value);
            prop_assert!(rooms_once().tokens.identify(&headers, NOW).is_err());
        }
    }
}

fn rooms_once() -> &'static Rooms {
    static ROOMS: std::sync::OnceLock<Rooms> = std::sync::OnceLock::new();
    ROOMS.get_or_init(rooms)
}
