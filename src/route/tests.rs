//! Which targets lead where?
//! Given request lines as they may come, holds the table to what product.md §3 promises.
//! Never asserts what is sent: that is rebuilt one room further down.

use proptest::prelude::*;

use super::*;
use crate::token::scope::ScopeNames;

const LOWER: &str = "0b7c1a52-9a44-4c53-8f62-2b1c0a8e77d1";
const UPPER: &str = "0B7C1A52-9A44-4C53-8F62-2B1C0A8E77D1";

fn route(name: &str, stored: bool, query: &[&str], ignore_query: &[&str]) -> Route {
    let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
    Route {
        name: name.to_owned(),
        scope: ScopeNames::new([]).unwrap().set_of([]),
        scope_name: "x:read".to_owned(),
        mode: if stored { Mode::Api } else { Mode::Standard { forward_authorization: false } },
        stored,
        terms: Terms {
            ttl: Duration::from_secs(60),
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            negative_ttl: Duration::ZERO,
            overrides: false,
        },
        query: own(query),
        ignore_query: own(ignore_query),
        forward_headers: Vec::new(),
        documents_only: true,
        open_to_narrowed: false,
        edition: 0,
    }
}

fn table(extra: &[&str]) -> Routes {
    let mut built_in: Vec<Route> = Endpoint::ALL.iter().map(|one| route(one.name(), true, &[], &[])).collect();
    built_in[0] = route("clients", true, &["provider_id", "page"], &["_"]);
    built_in.push(route("other", false, &[], &[]));
    let extra = extra.iter().map(|&template| (template.to_owned(), route(template, false, &[], &[])));
    Routes::new(built_in, extra.collect()).unwrap()
}

#[test]
fn a_route_that_means_another_has_an_edition_that_no_other_ever_had() {
    let editions = |routes: &Routes| routes.all().iter().map(|route| route.edition).collect::<Vec<_>>();
    let (one, two) = ("/one/{*rest}", "/two/{*rest}");
    let first = table(&[one, two]);
    let nothing = |_: &Route| false;
    assert_eq!(editions(&first.reconfigured(table(&[one, two]), nothing).unwrap()), [0; 10]);
    // In the other's place.
    let second = first.reconfigured(table(&[two, one]), nothing).unwrap();
    assert_eq!(editions(&second), [0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
    let third = second.reconfigured(table(&[two]), nothing).unwrap();
    let fourth = third.reconfigured(table(&[two, one]), nothing).unwrap();
    assert_eq!(editions(&fourth), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2], "that it was there before counts for nothing");
    let fifth = fourth.reconfigured(table(&[two, one]), |route| route.name == "clients").unwrap();
    assert_eq!(editions(&fifth), [3, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
    let last = Routes { edition: MOST_EDITIONS, ..fifth };
    assert!(
        last.reconfigured(table(&[one]), nothing).is_err() && last.reconfigured(table(&[two, one]), nothing).is_ok()
    );
    // Lifetimes and scopes are nothing of what is stored.
    let mut other = route("clients", true, &["provider_id", "page"], &["_", "x"]);
    other.terms.ttl = Duration::from_secs(1);
    other.scope_name = "y:read".to_owned();
    let before = route("clients", true, &["provider_id", "page"], &["_"]);
    assert!(other.means_the_same(&before));
    let means = |change: fn(&mut Route)| {
        let mut other = before.clone();
        change(&mut other);
        other.means_the_same(&before)
    };
    assert!(!means(|route| route.query.swap(0, 1)) && !means(|route| route.stored = false));
    assert!(!means(|route| route.mode = Mode::Standard { forward_authorization: true }));
    assert!(!means(|route| route.forward_headers.push(http::header::ACCEPT_LANGUAGE)));
}

/// Where a target leads: the route's name and the resource in one line, or why it leads nowhere.
fn led(routes: &Routes, method: &Method, target: &str) -> String {
    let Ok(uri) = target.parse::<http::Uri>() else { return "no target".to_owned() };
    let target = match Target::parse(&uri) {
        Err(malformed) => return format!("{malformed:?}"),
        Ok(target) => target,
    };
    let found = match routes.find(method, &target) {
        Err(Miss::Route(NoSuchRoute::Path)) => return "nowhere".to_owned(),
        Err(Miss::Route(NoSuchRoute::Method(index))) => {
            return format!("{} has other methods", routes.routes[index].name);
        }
        Err(Miss::Target(malformed)) => return format!("{malformed:?}"),
        Ok(found) => found,
    };
    let text = |word: &Word| String::from_utf8(word.to_vec()).unwrap();
    let resource = match found.resource() {
        Resource::Opaque(raw) => format!("as sent {raw}"),
        Resource::Documented { endpoint, ids, query } => {
            assert_eq!(*endpoint as usize, found.route());
            let ids: Vec<String> = ids.iter().map(text).collect();
            let query: Vec<String> = query.iter().map(|(at, value)| format!("{at}={}", text(value))).collect();
            format!("{} {}", ids.join(","), query.join("&"))
        }
    };
    format!("{}: {}", routes.at(found.route()).unwrap().name, resource.trim()).trim_end().to_owned()
}

#[track_caller]
fn each(routes: &Routes, rows: &[(&str, &str)]) {
    for (target, expected) in rows {
        assert_eq!(led(routes, &Method::GET, target), *expected, "{target}");
    }
}

fn below(rest: &str) -> String {
    format!("{PREFIX}{rest}")
}

#[test]
fn the_seven_are_found_with_their_values() {
    let routes = table(&[]);
    let rows = [
        ("/clients/", "clients:"),
        ("/clients/c1/", "client: c1"),
        ("/clients/c1/providers/", "client_providers: c1"),
        ("/clients/c1/projects/", "client_projects: c1"),
        ("/clients/c1/resources/", "client_resources: c1"),
        ("/clients/c1/providers/p-1_X/resources/", "provider_resources: c1,p-1_X"),
        ("/clients/c1/projects/p1/resources/", "project_resources: c1,p1"),
        ("/clients/?provider_id=p1", "clients: 0=p1"),
        // An identifier may be called like a segment of a template.
        ("/clients/clients/", "client: clients"),
        ("/clients/providers/providers/", "client_providers: providers"),
        ("/clients/c1/providers/resources/resources/", "provider_resources: c1,resources"),
    ];
    for (path, expected) in rows {
        assert_eq!(led(&routes, &Method::GET, &below(path)), expected, "{path}");
        assert_eq!(led(&routes, &Method::HEAD, &below(path)), expected, "{path}");
        let absolute = format!("http://gateway.example:8080{}", below(path));
        assert_eq!(led(&routes, &Method::GET, &absolute), expected, "{absolute}");
    }
}

#[test]
fn ways_to_write_one_resource_are_one() {
    let routes = table(&[]);
    let rows = [
        (below("/clients"), "clients:".to_owned()),
        (below("/clients?provider_id=p1"), "clients: 0=p1".to_owned()),
        (below("/clients/c1/projects/p1/resources"), "project_resources: c1,p1".to_owned()),
        (below(&format!("/clients/{UPPER}/")), format!("client: {LOWER}")),
        (below(&format!("/clients/?provider_id={UPPER}")), format!("clients: 0={LOWER}")),
        (below("/%63lients/%63%31/"), "client: c1".to_owned()),
        ("/r%65seller/acc%6Funt/v%31/clients/".to_owned(), "clients:".to_owned()),
        (below("/clients/?%70rovider_id=%70%31"), "clients: 0=p1".to_owned()),
        (below("/clients/?provider_id=p1&page=2"), "clients: 0=p1&1=2".to_owned()),
        (below("/clients/?page=2&provider_id=p1"), "clients: 0=p1&1=2".to_owned()),
        (below("/clients/?&provider_id=p1&"), "clients: 0=p1".to_owned()),
        (below("/clients/?"), "clients:".to_owned()),
        (below("/clients/?_=1700000000"), "clients:".to_owned()),
        (below("/clients/?_=a%20b&_=c"), "clients:".to_owned()),
    ];
    for (target, expected) in rows {
        assert_eq!(led(&routes, &Method::GET, &target), expected, "{target}");
    }
}

#[test]
fn ids_that_are_no_uuids_keep_their_letters() {
    let routes = table(&[]);
    let almost = UPPER.replace("0B7C", "0G7C");
    for id in ["ABC", "Ab-C_9", almost.as_str(), &UPPER.replace('-', "_"), &"A".repeat(36)] {
        assert_eq!(led(&routes, &Method::GET, &below(&format!("/clients/{id}/"))), format!("client: {id}"));
    }
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let routes = table(&["/{*rest}"]);
    let rows = [
        ("/clients/%", "Escape"),
        ("/clients/%4", "Escape"),
        ("/clients/%zz/", "Escape"),
        ("/clients/%+1/", "Escape"),
        ("/clients/%ff/", "Escape"),
        ("/clients/%c3%28/", "Escape"),
        ("/clients/%252e/", "Twice"),
        ("/clients/%2563/", "Twice"),
        ("/clients/%25%32%65/", "Twice"),
        ("/clients/%25/", "Twice"),
        ("/clients//", "Segment"),
        ("//clients/", "Segment"),
        ("/clients/./", "Segment"),
        ("/clients/../", "Segment"),
        ("/clients/..", "Segment"),
        ("/clients/.", "Segment"),
        ("/clients/%2e%2e/", "Segment"),
        ("/clients/.%2E/", "Segment"),
        ("/clients/a%2fb/", "Character"),
        ("/clients/a%2Fb/", "Character"),
        ("/clients/a%5cb/", "Character"),
        ("/clients/a\\b/", "Character"),
        ("/clients/a;b/", "Character"),
        ("/clients/a%3bb/", "Character"),
        ("/clients/a%00/", "Character"),
        ("/clients/a%0d%0ax/", "Character"),
        ("/clients/a%7f/", "Character"),
        ("/clients/?provider_id=%2", "Escape"),
        ("/clients/?provider_id=%2531", "Twice"),
        ("/clients/?provider_id=a%2fb", "Character"),
        ("/clients/?%zz=1", "Escape"),
    ];
    for (path, expected) in rows {
        assert_eq!(led(&routes, &Method::GET, &below(path)), expected, "{path}");
    }
    each(&routes, &[("*", "Form"), ("gateway.example:8080", "Form"), ("//", "Segment")]);
}

#[test]
fn a_query_the_route_does_not_take_is_refused_by_name() {
    let routes = table(&[]);
    let rows = [
        ("/clients/?provider=p1", r#"Parameter { parameter: "provider", table: "[routes.clients]" }"#),
        ("/clients/?Provider_id=p1", r#"Parameter { parameter: "Provider_id", table: "[routes.clients]" }"#),
        ("/clients/?provider_id=a&provider_id=a", r#"Repeated("provider_id")"#),
        ("/clients/?provider_id=a&%70rovider_id=b", r#"Repeated("provider_id")"#),
        ("/clients/?provider_id=", "clients:"),
        ("/clients/?provider_id", "clients:"),
        ("/clients/?provider_id=&provider_id=a", r#"Repeated("provider_id")"#),
        ("/clients/?provider_id=a+b", r#"Value("provider_id")"#),
        ("/clients/?provider_id=a=b", r#"Value("provider_id")"#),
        ("/clients/?=a", r#"Parameter { parameter: "", table: "[routes.clients]" }"#),
        ("/clients/c1/?provider_id=p1", r#"Parameter { parameter: "provider_id", table: "[routes.client]" }"#),
        ("/clients/c1/?_=1", r#"Parameter { parameter: "_", table: "[routes.client]" }"#),
    ];
    for (path, expected) in rows {
        assert_eq!(led(&routes, &Method::GET, &below(path)), expected, "{path}");
    }
    let long = below(&format!("/clients/?{}=1", "n".repeat(3000)));
    assert_eq!(
        led(&routes, &Method::GET, &long),
        format!("Parameter {{ parameter: {:?}, table: \"[routes.clients]\" }}", "n".repeat(64))
    );
    let fits = below(&format!("/clients/?provider_id={}", "v".repeat(64)));
    assert_eq!(led(&routes, &Method::GET, &fits), format!("clients: 0={}", "v".repeat(64)));
    assert_eq!(led(&routes, &Method::GET, &format!("{fits}v")), r#"Value("provider_id")"#);
}

#[test]
fn a_path_like_one_of_the_seven_is_never_passed_as_another_route() {
    let routes = table(&["/{*rest}"]);
    for id in ["a.b", "a%20b", "a@b", "%C3%A9", &"a".repeat(65)] {
        let outer = led(&routes, &Method::GET, &below(&format!("/clients/{id}/")));
        assert!(outer.starts_with("Identifier("), "{outer}");
        let inner = below(&format!("/clients/c1/providers/{id}/resources/"));
        let led = led(&routes, &Method::GET, &inner);
        assert!(led.starts_with("Identifier("), "{led}");
    }
}

/// A partner that does not tell letter cases apart would have served it by the right of a wider route: `other:read` opened lists
/// of clients, and whatever an extra route says of its own.
#[test]
fn what_is_a_narrower_route_in_another_letter_case_leads_nowhere() {
    let wide = table(&["/reseller/account/{v}/{*rest}"]);
    for path in ["/Clients/", "/CLIENTS", "/clients/c1/Providers/", "/clients/c1/projects/p1/RESOURCES/"] {
        assert_eq!(led(&table(&[]), &Method::GET, &below(path)), "nowhere", "{path}");
        assert_eq!(led(&wide, &Method::GET, &below(path)), "nowhere", "{path}");
    }
    assert_eq!(led(&wide, &Method::GET, "/reseller/account/V1/clients/"), "nowhere");
    let extra = table(&[&below("/bills/{id}/pay"), &below("/files/{*rest}"), "/bills/{*rest}"]);
    let rows = [
        ("/bills/1/pay", "/reseller/account/v1/bills/{id}/pay: as sent /reseller/account/v1/bills/1/pay"),
        ("/Bills/1/pay", "nowhere"),
        ("/bills/1/PAY", "nowhere"),
        ("/FILES/a/b", "nowhere"),
        ("/FILES/", "other: as sent /reseller/account/v1/FILES/"),
        ("/bills/1", "other: as sent /reseller/account/v1/bills/1"),
    ];
    for (path, expected) in rows {
        assert_eq!(led(&extra, &Method::GET, &below(path)), expected, "{path}");
    }
}

#[test]
fn what_is_left_below_the_prefix_is_other_and_goes_as_it_came() {
    each(
        &table(&[]),
        &[
            ("/reseller/account/v1", "other: as sent /reseller/account/v1"),
            ("/reseller/account/v1/", "other: as sent /reseller/account/v1/"),
            ("/reseller/account/v1/Clients/c1/x/", "other: as sent /reseller/account/v1/Clients/c1/x/"),
            ("/reseller/account/v1/clients/c1/x/", "other: as sent /reseller/account/v1/clients/c1/x/"),
            ("/reseller/account/v1/%66oo?b=%2F&a", "other: as sent /reseller/account/v1/%66oo?b=%2F&a"),
            ("/reseller/account/v1?x=1", "other: as sent /reseller/account/v1?x=1"),
        ],
    );
}

#[test]
fn what_only_looks_like_the_prefix_leads_nowhere() {
    let rows = [
        "/reseller/account/v10/clients/",
        "/reseller/account/v1clients/",
        "/reseller/account/v1.0/clients/",
        "/reseller/account/v1%20/clients/",
        "/Reseller/account/v1/clients/",
        "/reseller/account/V1/clients/",
        "/x/reseller/account/v1/clients/",
        "/reseller/account/clients/",
        "/",
        "/clients/",
    ]
    .map(|target| (target, "nowhere"));
    each(&table(&[]), &rows);
}

#[test]
fn an_extra_route_takes_what_its_template_says_and_nothing_of_the_seven() {
    let routes =
        table(&["/reseller/account/v2/{*rest}", "/reseller/account/v1/reports/{id}", "/reseller/{x}/v1/clients/"]);
    each(
        &routes,
        &[
            (
                "/reseller/account/v2/clients/?a=1",
                "/reseller/account/v2/{*rest}: as sent /reseller/account/v2/clients/?a=1",
            ),
            ("/reseller/account/v2/", "nowhere"),
            (
                "/reseller/account/v1/reports/7",
                "/reseller/account/v1/reports/{id}: as sent /reseller/account/v1/reports/7",
            ),
            ("/reseller/account/v1/reports/7/8", "other: as sent /reseller/account/v1/reports/7/8"),
            ("/reseller/account/v1/clients/", "clients:"),
            ("/reseller/other/v1/clients/", "/reseller/{x}/v1/clients/: as sent /reseller/other/v1/clients/"),
        ],
    );
}

#[test]
fn the_partners_administration_is_never_routed() {
    let routes = table(&["/{*rest}"]);
    let rows = [
        "/reseller/admin",
        "/reseller/admin/",
        "/reseller/admin/keys?x=1",
        "/reseller/%61dmin/keys",
        "/%72eseller/adm%69n",
        "/Reseller/ADMIN/keys",
        "/reseller/aDmin",
    ]
    .map(|target| (target, "nowhere"));
    each(&routes, &rows);
    each(&routes, &[("/reseller/administrators/", "/{*rest}: as sent /reseller/administrators/")]);
}

#[test]
fn methods_are_those_of_the_route() {
    let routes = table(&["/extra/{*rest}"]);
    let other = below("/other");
    let rows = [
        (Method::POST, below("/clients/"), "clients has other methods"),
        (Method::OPTIONS, below("/clients/c1/"), "client has other methods"),
        (Method::DELETE, below("/clients/c1/"), "client has other methods"),
        (Method::TRACE, below("/clients/"), "clients has other methods"),
        (Method::TRACE, other.clone(), "other has other methods"),
        (Method::CONNECT, other.clone(), "other has other methods"),
        (Method::TRACE, "/extra/x".to_owned(), "/extra/{*rest} has other methods"),
        (Method::POST, other.clone(), "other: as sent /reseller/account/v1/other"),
        (Method::from_bytes(b"PURGE").unwrap(), other, "other: as sent /reseller/account/v1/other"),
        (Method::from_bytes(b"get").unwrap(), below("/clients/"), "clients has other methods"),
        // The method is judged before the query: 405 tells nothing of parameters.
        (Method::POST, below("/clients/?x=1"), "clients has other methods"),
    ];
    for (method, target, expected) in rows {
        assert_eq!(led(&routes, &method, &target), expected, "{method} {target}");
    }
}

#[test]
fn a_template_that_overlaps_is_refused() {
    let built_in = || table(&[]).routes;
    for extra in [&["/a/{x}", "/a/{y}"][..], &["/a/{x"], &["/a/{*rest}/b"]] {
        let extra = extra.iter().map(|&template| (template.to_owned(), route(template, false, &[], &[])));
        assert!(Routes::new(built_in(), extra.collect()).is_err());
    }
}

proptest! {
    #[test]
    fn no_target_breaks_the_table(target in ".{0,80}", tail in "[ -~]{0,60}") {
        let routes = table(&["/{*rest}"]);
        for target in [target.clone(), tail.clone(), format!("/{tail}"), below(&tail), below(&format!("/clients/{tail}"))] {
            led(&routes, &Method::GET, &target);
        }
    }

    #[test]
    fn ids_and_values_of_the_seven_hold_nothing_else(
        id in "[A-Za-z0-9_./%;~ -]{0,70}", inner in "[A-Za-z0-9_%-]{0,70}", value in "[A-Za-z0-9_.%&=-]{0,70}",
    ) {
        let routes = table(&[]);
        for path in [format!("/clients/{id}/?provider_id={value}"), format!("/clients/?provider_id={value}"),
            format!("/clients/{id}/projects/{inner}/resources/")] {
            let Ok(uri) = below(&path).parse::<http::Uri>() else { continue };
            let Ok(target) = Target::parse(&uri) else { continue };
            let Ok(found) = routes.find(&Method::GET, &target) else { continue };
            if let Resource::Documented { ids, query, .. } = found.resource() {
                for word in ids.iter().chain(query.iter().map(|(_, value)| value)) {
                    prop_assert!((1..=64).contains(&word.len()));
                    prop_assert!(word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(byte)));
                }
            }
        }
    }
}
