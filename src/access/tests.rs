//! Is each cell of the table of rights (product.md §5) decided as it says?
//! Given callers with bounds and the targets they ask for, holds the rules to their answers.
//! Never opens a socket; tokens are real ones.

use http::{HeaderMap, HeaderValue, Method};

use super::*;
use crate::account_api::PREFIX;
use crate::clock::{Now, Tick};
use crate::route::{Mode, Routes, Target, Terms};
use crate::token::bounds::{Bound, Bounds};
use crate::token::ring::Ring;
use crate::token::{Policy, Settings, TokenSpec, Tokens};

const NOW: Now = Now { tick: Tick::from_nanos(0), unix_ms: 1_800_000_000_000 };
const MINE: &str = "024c2b6d-cbb8-4056-9d3f-8055fa86659c";
const ALL: &[&str] = &["*"];

struct Rooms {
    routes: Routes,
    rules: Rules,
    names: Arc<ScopeNames>,
}

fn rooms() -> Rooms {
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    let names = Arc::new(ScopeNames::new(["read"]).unwrap());
    let route = |name: &str, stored: bool, open_to_narrowed: bool| Route {
        name: name.to_owned(),
        scope: names.set_of(["read"]),
        scope_name: "read".to_owned(),
        mode: if stored { Mode::Api } else { Mode::Standard { forward_authorization: false } },
        stored,
        terms: Terms {
            ttl: std::time::Duration::ZERO,
            stale_while_revalidate: std::time::Duration::ZERO,
            stale_if_error: std::time::Duration::ZERO,
            negative_ttl: std::time::Duration::ZERO,
            overrides: false,
        },
        query: if name == "clients" { vec!["page".to_owned(), "provider_id".to_owned()] } else { Vec::new() },
        ignore_query: Vec::new(),
        forward_headers: Vec::new(),
        documents_only: true,
        open_to_narrowed,
        edition: 0,
    };
    let mut built_in: Vec<Route> = Endpoint::ALL.iter().map(|endpoint| route(endpoint.name(), true, false)).collect();
    built_in.push(route("other", false, false));
    let open = ("/open/{*rest}".to_owned(), route("open", true, true));
    Rooms { routes: Routes::new(built_in, vec![open]).unwrap(), rules: Rules::new(&names), names }
}

impl Rooms {
    /// A caller whose policy and token have these bounds: clients, providers of each.
    fn caller(&self, scopes: &[&str], policy: [&[&str]; 2], token: [&[&str]; 2]) -> Arc<Caller> {
        let bounds = |[clients, providers]: [&[&str]; 2]| Bounds {
            clients: Bound::of(clients).unwrap(),
            providers: Bound::of(providers).unwrap(),
        };
        let scopes: Vec<String> = scopes.iter().map(|&scope| scope.to_owned()).collect();
        let settings = |bounds| Settings {
            issuer: "http://gateway.test".to_owned(),
            audience: "account-api".to_owned(),
            accept_api_key_header: true,
            callers: vec![Policy {
                name: "app".to_owned(),
                scopes: scopes.clone(),
                bounds,
                priority: Default::default(),
            }],
        };
        let ring = Arc::new(Ring::in_memory().unwrap());
        let wish = TokenSpec {
            caller: "app".to_owned(),
            scopes: scopes.clone(),
            bounds: bounds(token),
            ttl: std::time::Duration::from_secs(60),
        };
        // Issued when the policy was wide, used when it is narrow: what counts is what is in both.
        let wide = Tokens::new(settings(Bounds::default()), Arc::clone(&ring), Arc::clone(&self.names));
        let token = wide.issue(&wish, NOW).unwrap().token;
        let door = Tokens::new(settings(bounds(policy)), ring, Arc::clone(&self.names));
        let mut headers = HeaderMap::new();
        headers.insert("x-reseller-api-key", HeaderValue::from_str(&token).unwrap());
        door.identify(&headers, NOW).unwrap()
    }

    fn decide(&self, caller: &Arc<Caller>, target: &str) -> Result<Decision, Denied> {
        let uri = target.replace('~', PREFIX).parse().unwrap();
        let wanted = self.routes.find(&Method::GET, &Target::parse(&uri).unwrap()).unwrap();
        let route = self.routes.at(wanted.route()).unwrap();
        self.rules.decide(Arc::clone(caller), wanted, route)
    }

    fn lens(&self, caller: &Arc<Caller>, target: &str) -> Lens {
        match self.decide(caller, target).unwrap().granted().unwrap().sight {
            Sight::Narrow(lens) => lens,
            Sight::Full => panic!("{target} is shown whole"),
        }
    }

    fn denied(&self, caller: &Arc<Caller>, target: &str) -> Denied {
        self.decide(caller, target).expect_err(target)
    }
}

fn only(names: &[&str]) -> Bound {
    Bound::of(names).unwrap()
}

#[test]
fn without_bounds_and_with_personal_data_everything_is_shown_whole() {
    let rooms = rooms();
    let caller = rooms.caller(&["read", "pii:read"], [ALL, ALL], [ALL, ALL]);
    for target in ["~/clients/", "~/clients/a/", "~/clients/a/projects/p/resources/", "~/else", "/open/x"] {
        let grant = rooms.decide(&caller, target).unwrap().granted().unwrap();
        assert_eq!((grant.sight(), grant.right()), (&Sight::Full, Right::FULL), "{target}");
    }
}

#[test]
fn a_right_bound_to_clients_reaches_no_other_client_and_sees_no_other_row() {
    let rooms = rooms();
    let caller = rooms.caller(&["read", "pii:read"], [&["a", MINE], ALL], [ALL, ALL]);
    let below = ["", "providers/", "projects/", "resources/", "providers/p/resources/", "projects/p/resources/"];
    for rest in below {
        assert_eq!(rooms.denied(&caller, &format!("~/clients/b/{rest}")), Denied::Client, "{rest}");
        assert!(rooms.decide(&caller, &format!("~/clients/a/{rest}")).is_ok(), "{rest}");
        assert!(rooms.decide(&caller, &format!("~/clients/{}/{rest}", MINE.to_ascii_uppercase())).is_ok(), "{rest}");
    }
    let rows = Lens { clients: only(&["a", MINE]), ..Lens::default() };
    assert_eq!(rooms.lens(&caller, "~/clients/"), rows);
    assert_eq!(rooms.lens(&caller, "~/clients/a/"), rows);
    assert_eq!(rooms.lens(&caller, "~/clients/a/resources/"), Lens::default());
}

#[test]
fn a_right_bound_to_providers_reaches_no_other_provider_and_sees_no_other_row() {
    let rooms = rooms();
    let caller = rooms.caller(&["read", "pii:read"], [ALL, &["p", MINE]], [ALL, ALL]);
    assert_eq!(rooms.denied(&caller, "~/clients/a/providers/q/resources/"), Denied::Provider);
    let rows = Lens { providers: only(&["p", MINE]), ..Lens::default() };
    for rest in ["providers/", "projects/", "resources/", "providers/p/resources/"] {
        assert_eq!(rooms.lens(&caller, &format!("~/clients/a/{rest}")), rows, "{rest}");
    }
    let blanked = Lens { hides_projects: true, ..Lens::default() };
    assert_eq!(rooms.lens(&caller, "~/clients/a/"), blanked);
    assert_eq!(rooms.lens(&caller, "~/clients/?provider_id=p"), blanked);
    assert_eq!(rooms.lens(&caller, "~/clients/?page=2&provider%5Fid=%70"), blanked);
    assert_eq!(rooms.lens(&caller, &format!("~/clients/?provider_id={}", MINE.to_ascii_uppercase())), blanked);
    assert_eq!(rooms.denied(&caller, "~/clients/"), Denied::ProviderQuery);
    assert_eq!(rooms.denied(&caller, "~/clients/?page=p"), Denied::ProviderQuery);
    assert_eq!(rooms.denied(&caller, "~/clients/?provider_id=q"), Denied::Provider);
    assert_eq!(rooms.denied(&caller, "~/clients/?provider_id=P"), Denied::Provider);
}

#[test]
fn a_right_without_personal_data_sees_what_is_documented_and_of_that_nothing_personal() {
    let rooms = rooms();
    let caller = rooms.caller(&["read"], [ALL, ALL], [ALL, ALL]);
    let blanked = Lens { hides_personal: true, ..Lens::default() };
    assert_eq!(rooms.lens(&caller, "~/clients/"), blanked);
    assert_eq!(rooms.lens(&caller, "~/clients/a/"), blanked);
    for rest in ["providers/", "projects/", "resources/", "providers/p/resources/", "projects/p/resources/"] {
        assert_eq!(rooms.lens(&caller, &format!("~/clients/a/{rest}")), Lens::default(), "{rest}");
    }
}

#[test]
fn what_nothing_narrows_is_closed_to_narrowed_rights_unless_the_route_says_otherwise() {
    let rooms = rooms();
    let everything = ["read", "pii:read", "write"];
    for bounds in [[&["a"][..], ALL], [ALL, &["p"]], [&[], &[]]] {
        let caller = rooms.caller(&everything, [ALL, ALL], bounds);
        assert_eq!(rooms.denied(&caller, "~/clients/a/else"), Denied::Bounded);
        assert!(rooms.decide(&caller, "/open/x").is_ok());
    }
    let caller = rooms.caller(&["read"], [ALL, ALL], [ALL, ALL]);
    assert_eq!(rooms.denied(&caller, "~/else"), Denied::Scope("pii:read".to_owned()));
}

#[test]
fn a_project_is_decided_by_its_providers_and_a_foreign_one_is_like_none() {
    let rooms = rooms();
    let caller = rooms.caller(&["read"], [ALL, &["p", MINE]], [ALL, ALL]);
    let question = || match rooms.decide(&caller, "~/clients/a/projects/j/resources/").unwrap() {
        Decision::Needs(question) => *question,
        Decision::Granted(_) => panic!("decided without a look"),
    };
    let list = question().list().wanted().resource().clone();
    let asked = rooms
        .routes
        .find(&Method::GET, &Target::parse(&format!("{PREFIX}/clients/a/projects/").parse().unwrap()).unwrap());
    assert_eq!(list, asked.unwrap().resource().clone());
    assert_eq!(question().project(), "j");
    assert!(matches!(question().settle(&[Some("p")]).unwrap().sight(), Sight::Narrow(_)));
    assert!(question().settle(&[Some(MINE.to_ascii_uppercase())]).is_ok());
    for foreign in [&[][..], &[Some("q")], &[None], &[Some("p"), Some("q")], &[Some("p"), None]] {
        assert_eq!(question().settle(foreign).unwrap_err(), Denied::Project, "{foreign:?}");
    }
}

#[test]
fn the_right_is_what_token_and_policy_both_have() {
    let rooms = rooms();
    let caller = rooms.caller(&["read"], [&["a", "b"], &["p"]], [&["b", "c"], ALL]);
    assert_eq!(caller.bounds(), &Bounds { clients: only(&["b"]), providers: only(&["p"]) });
    assert_eq!(rooms.denied(&caller, "~/clients/a/"), Denied::Client);
    assert_eq!(rooms.denied(&caller, "~/clients/c/"), Denied::Client);
}

#[test]
fn rights_that_see_the_same_are_equal_and_others_are_not() {
    let rooms = rooms();
    let right = |bounds: [&[&str]; 2], target: &str| {
        let caller = rooms.caller(&["read", "pii:read"], [ALL, ALL], bounds);
        rooms.decide(&caller, target).unwrap().granted().unwrap().right()
    };
    let (one, two) = (right([&["a"], ALL], "~/clients/"), right([&["a", "b"], ALL], "~/clients/"));
    assert_ne!(one, two);
    assert_eq!(two, right([&["b", "a", "a"], ALL], "~/clients/"));
    // Which clients a caller may reach besides this one does not show in this one's resources.
    assert_eq!(right([&["a"], ALL], "~/clients/a/resources/"), right([&["a", "b"], ALL], "~/clients/a/resources/"));
    assert_ne!(right([&["a"], ALL], "~/clients/a/resources/"), Right::FULL);
    assert_ne!(right([ALL, &["p"]], "~/clients/a/resources/"), right([ALL, &["q"]], "~/clients/a/resources/"));
}
