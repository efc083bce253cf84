//! Does a view hold what is inside the right, all of it, and nothing of the rest?
//! Given documents of the schema with noise in every place that is hidden, holds the projection to its laws.
//! Never looks at how it is done: bytes in, bytes out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// In every hidden value, so that one byte of it outside is found.
const HIDDEN: &str = "h1dd3n";

fn bound(ids: &[&str]) -> Bound {
    Bound::of(ids).unwrap()
}

fn see(endpoint: Endpoint, lens: &Lens, document: &str) -> Result<String, NotUnderstood> {
    let projected = project(endpoint, lens, &Allow::default(), document.as_bytes())?;
    Ok(String::from_utf8(projected.bytes).unwrap())
}

fn without_personal() -> Lens {
    Lens { hides_personal: true, ..Lens::default() }
}

#[test]
fn personal_data_reads_the_same_whoever_the_person_is() {
    let document = r#"{"client": {"id":"a", "email":"bill@example.org", "shoe_size": 44, "projects":["p"],
        "client_information":{"first_name":"Bill","nick":"B"}}}"#;
    let seen: Value = serde_json::from_str(&see(Endpoint::Client, &without_personal(), document).unwrap()).unwrap();
    let client = &seen["client"];
    assert_eq!((&client["id"], &client["projects"], &client["email"]), (&json!("a"), &json!(["p"]), &json!("")));
    assert!(client.get("shoe_size").is_none() && client["client_information"].get("nick").is_none());
    let information = client["client_information"].as_object().unwrap();
    assert!(information.len() == 12 && information.values().all(|value| value == ""));
    for other in [
        r#"{"client":{"client_information":{},"id":"a","projects":["p"]}}"#,
        r#"{"client":{"email":null,"email":["x"],"client_information":null,"projects":["p"],"id":"a"}}"#,
        r#"{"client":{"id":"a","signup_ip_address":{"v6":["::1"]},"projects":["p"],"client_information":7}}"#,
    ] {
        assert_eq!(
            see(Endpoint::Client, &without_personal(), other),
            see(Endpoint::Client, &without_personal(), document),
            "{other}"
        );
    }
}

#[test]
fn rows_of_others_are_absent_whatever_they_hold_and_the_rest_keeps_its_text() {
    let lens = Lens { clients: bound(&["a", "024C2B6D-cbb8-4056-9d3f-8055fa86659c"]), ..Lens::default() };
    let document = r#" { "count":3, "clients" : [ {"id":"b","email":5}, 7, null, {"id":["a"]}, {"id":"a","id":"a"},
        {"reseller_id" : "\u0041\/é", "id":"a","validated":true,"projects":[ "p" , "q" ]}, {"email":"a"}, [{"id":"a"}],
        {"id":"024c2b6d-CBB8-4056-9d3f-8055fa86659c"}, {"id":"\ud800"}, {"\u0069d":"b"} ] } "#;
    let seen = see(Endpoint::Clients, &lens, document).unwrap();
    assert_eq!(
        seen,
        r#"{"clients":[{"id":"a","projects":["p","q"],"reseller_id":"\u0041\/é","validated":true},{"id":"024c2b6d-CBB8-4056-9d3f-8055fa86659c"}]}"#
    );
    let nobody = Lens { clients: bound(&[]), ..Lens::default() };
    assert_eq!(see(Endpoint::Clients, &nobody, document).unwrap(), r#"{"clients":[]}"#);
}

#[test]
fn a_name_that_is_written_with_escapes_is_the_same_name() {
    let lens = Lens { clients: bound(&["a"]), hides_personal: true, ..Lens::default() };
    let plain = r#"{"clients":[{"id":"a","email":"x"},{"id":"b"}]}"#;
    let written = r#"{"client\u0073":[{"\u0069d":"\u0061","e\u006dail":"y"},{"i\u0064":"b"}]}"#;
    assert_eq!(
        see(Endpoint::Clients, &lens, plain).unwrap(),
        see(Endpoint::Clients, &lens, written).unwrap().replace("\\u0061", "a")
    );
}

#[test]
fn a_right_bound_to_providers_sees_no_project_of_a_client_and_no_row_of_another_provider() {
    let blanked = Lens { hides_projects: true, ..Lens::default() };
    let client = r#"{"client":{"id":"a","projects":["x"],"default_project_id":"x","email":"e"}}"#;
    let expected = r#"{"client":{"default_project_id":"","email":"e","id":"a","projects":[]}}"#;
    assert_eq!(see(Endpoint::Client, &blanked, client).unwrap(), expected);
    assert_eq!(see(Endpoint::Client, &blanked, r#"{"client":{"email":"e","id":"a"}}"#).unwrap(), expected);

    let mine = Lens { providers: bound(&["p"]), ..Lens::default() };
    let providers = r#"{"providers":[{"id":"q","name":"Q"},{"id":"p","name":"P","projects":[{"id":"j","name":""}]}]}"#;
    let expected = r#"{"providers":[{"id":"p","name":"P","projects":[{"id":"j","name":""}]}]}"#;
    assert_eq!(see(Endpoint::ClientProviders, &mine, providers).unwrap(), expected);
    let resources = r#"{"providers":[{"id":"p","name":"P","projects":[{"id":"j","name":"","resources":{
        "servers":[{"id":"s","gpu":1}],"object_storage":{"bytes_used":123456789012345678901234567890,"object_count":-0.50e-3},
        "quantum_chips":[]}}]},{"id":"q"}]}"#;
    let expected = r#"{"providers":[{"id":"p","name":"P","projects":[{"id":"j","name":"","resources":{"object_storage":{"bytes_used":123456789012345678901234567890,"object_count":-0.50e-3},"servers":[{"id":"s"}]}}]}]}"#;
    assert_eq!(see(Endpoint::ClientResources, &mine, resources).unwrap(), expected);
    let projects =
        r#"{"projects":[{"id":"j","provider":"q","name":"J"},{"id":"k","provider":"p","name":"K"},{"id":"p"}]}"#;
    assert_eq!(
        see(Endpoint::ClientProjects, &mine, projects).unwrap(),
        r#"{"projects":[{"id":"k","provider":"p","name":"K"}]}"#
    );
    let foreign = r#"{"provider":{"id":"q","name":"Q","projects":[]}}"#;
    assert_eq!(see(Endpoint::ProviderResources, &mine, foreign), Err(NotUnderstood));
}

#[test]
fn a_shape_that_is_not_understood_where_it_would_be_shown_is_not_shown() {
    for odd in [
        "[]",
        "{}",
        "null",
        r#"{"klient":{}}"#,
        r#"{"client":[]}"#,
        r#"{"client":null}"#,
        r#"{"client":{},"client":{}}"#,
        r#"{"client":{"id":{}}}"#,
        r#"{"client":{"id":1}}"#,
        r#"{"client":{"id":"a","id":"a"}}"#,
        r#"{"client":{"projects":"p"}}"#,
        r#"{"client":{"projects":[1]}}"#,
        r#"{"client":{"validated":"yes"}}"#,
        r#"{"client":{"id":"a"}} {}"#,
        r#"{"client":{"id":"a""#,
        r#"{"client":{"id":"a",}}"#,
        r#"{"client" {}}"#,
        "",
    ] {
        assert_eq!(see(Endpoint::Client, &without_personal(), odd), Err(NotUnderstood), "{odd}");
    }
    assert_eq!(see(Endpoint::Client, &Lens::default(), r#"{"client":{"client_information":[]}}"#), Err(NotUnderstood));
    for (endpoint, odd) in [
        (Endpoint::Clients, r#"{"clients":{}}"#),
        (Endpoint::Clients, r#"{"clients":[null]}"#),
        (Endpoint::ClientResources, r#"{"providers":[{"projects":[{"resources":[]}]}]}"#),
        (Endpoint::ClientResources, r#"{"providers":[{"projects":[{"resources":{"servers":[1]}}]}]}"#),
        (Endpoint::ClientResources, r#"{"providers":[{"projects":[{"resources":{"object_storage":[]}}]}]}"#),
        (
            Endpoint::ClientResources,
            r#"{"providers":[{"projects":[{"resources":{"object_storage":{"bytes_used":"1"}}}]}]}"#,
        ),
    ] {
        assert_eq!(see(endpoint, &Lens::default(), odd), Err(NotUnderstood), "{odd}");
    }
    let invalid = [br#"{"client":{"id":""#.as_slice(), &[0xff], br#""}}"#].concat();
    assert_eq!(project(Endpoint::Client, &Lens::default(), &Allow::default(), &invalid), Err(NotUnderstood));
}

#[test]
fn unknown_fields_are_counted_and_an_allowed_one_is_shown_as_it_is() {
    let document = r#"{"clients":[{"is_test_account":{"since" : 1e2},"id":"a","tier":1},{"id":"b","is_test_account":2}],"total":2}"#;
    let lens = Lens { clients: bound(&["a"]), ..Lens::default() };
    let seen = project(Endpoint::Clients, &lens, &Allow::default(), document.as_bytes()).unwrap();
    assert_eq!((seen.unknown, seen.bytes.as_slice()), (3, br#"{"clients":[{"id":"a"}]}"#.as_slice()));
    let mut allow = Allow::default();
    allow.add("clients[].is_test_account").unwrap();
    let seen = project(Endpoint::Clients, &lens, &allow, document.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(seen.bytes).unwrap(), r#"{"clients":[{"id":"a","is_test_account":{"since" : 1e2}}]}"#);
    let twice = br#"{"clients":[{"id":"a","is_test_account":1,"is_test_account":2}]}"#;
    assert_eq!(project(Endpoint::Clients, &lens, &allow, twice), Err(NotUnderstood));
    let deep = br#"{"provider":{"id":"p","projects":[{"resources":{"servers":[{"id":"s","gpu":2}]}}]}}"#;
    allow.add("provider.projects[].resources.servers[].gpu").unwrap();
    let seen = project(Endpoint::ProviderResources, &Lens::default(), &allow, deep).unwrap();
    assert_eq!(seen.bytes, deep);
    for (path, why) in [
        ("total", BadPath::Form),
        ("clients[].", BadPath::Form),
        ("clients[].a\"b", BadPath::Form),
        ("clients[].email", BadPath::Documented),
        ("clients[].client_information.email", BadPath::Form),
    ] {
        let told = allow.add(path);
        if path.ends_with("information.email") {
            assert_eq!(told, Ok(()))
        } else {
            assert_eq!(told, Err(why), "{path}")
        }
    }
    for path in ["clients.a", "client[].a", "clients[].projects[].a", "servers[].a", ".a", "clients[]..a"] {
        assert!(matches!(allow.add(path), Err(BadPath::Place(..))), "{path}");
    }
}

#[test]
fn the_providers_of_a_project_are_all_that_any_row_names() {
    let list = r#"{"page":1,"projects":[7,{"id":"j","provider":"p"},{"id":"k","provider":"q"},{"id":"J"},
        {"provider":"q","id":"j"},{"id":"j","provider":null},{"id":"j"},{"id":"j","provider":"p","provider":"p"}]}"#;
    let of = |project: &str| providers_of(project, list.as_bytes()).unwrap();
    assert_eq!(of("j"), [Some("p".into()), Some("q".into()), None, None, None]);
    assert_eq!(of("k"), [Some("q".into())]);
    assert_eq!(of("x"), []);
    for odd in ["[]", "{}", r#"{"projects":{}}"#, r#"{"projects":[],"projects":[]}"#] {
        assert_eq!(providers_of("j", odd.as_bytes()), Err(NotUnderstood), "{odd}");
    }
}

/// Writes documents: what is visible by one dice, and noise wherever something is hidden by another.
struct Scribe<'l> {
    lens: &'l Lens,
    visible: u64,
    noise: Option<u64>,
}

fn roll(dice: &mut u64, sides: u64) -> u64 {
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    *dice % sides
}

impl Scribe<'_> {
    fn seen(&mut self, sides: u64) -> u64 {
        roll(&mut self.visible, sides)
    }

    fn noise(&mut self, sides: u64) -> u64 {
        self.noise.as_mut().map_or(0, |dice| roll(dice, sides))
    }

    fn space(&mut self) -> &'static str {
        match self.noise(12) {
            1 => " ",
            2 => "\n\t",
            _ => "",
        }
    }

    /// A name, now and then written with an escape.
    fn name(&mut self, name: &str) -> String {
        let (first, rest) = name.split_at(1);
        let first = if self.noise(6) == 1 { format!("\\u{:04x}", first.as_bytes()[0]) } else { first.to_owned() };
        format!("\"{first}{rest}\"{}:{}", self.space(), self.space())
    }

    /// Anything at all, but for the ids that are inside the right.
    fn odd(&mut self, deep: u64) -> String {
        match self.noise(if deep > 6 { 6 } else { 9 }) {
            0 => format!("\"{HIDDEN}\""),
            1 => format!("\"\\\"{HIDDEN}\\\\ \\ud800 }}]\""),
            2 => "-1234567890123456789012345678901234567890.5e99".to_owned(),
            3 => "null".to_owned(),
            4 => "true".to_owned(),
            5 => "[]".to_owned(),
            6 => format!("[{},{}{}]", self.odd(deep + 1), self.space(), self.odd(deep + 1)),
            7 => format!("{{\"{HIDDEN}\":{}}}", self.odd(deep + 1)),
            _ => format!("{{\"id\":{0},\"id\":{0},\"\":{1}}}", self.odd(deep + 1), self.odd(deep + 1)),
        }
    }

    /// Members no schema knows.
    fn unknown(&mut self, members: &mut Vec<String>) {
        while self.noise(5) == 1 {
            let name = match self.noise(5) {
                0 => format!("\"{HIDDEN}\":"),
                1 => "\"\\ud800\":".to_owned(),
                2 => "\"ID\":".to_owned(),
                3 => "\"\":".to_owned(),
                _ => "\"emails\":".to_owned(),
            };
            let member = name + &self.odd(0);
            let at = self.noise(members.len() as u64 + 1) as usize;
            members.insert(at, member);
        }
    }

    fn text(&mut self) -> String {
        ["\"\"", "\"v\"", "\"\\u00e9\\n\"", "\"é\"", "null"][self.seen(5) as usize].to_owned()
    }

    fn value(&mut self, field: &Field) -> String {
        match field.kind {
            Kind::Bool => ["true", "false"][self.seen(2) as usize].to_owned(),
            Kind::String | Kind::NullableString => self.text(),
            Kind::Integer => ["0", "-7", "1.50e3", "99999999999999999999999"][self.seen(4) as usize].to_owned(),
            Kind::StringArray => format!("[{}\"s\"{},\"t\"]", self.space(), self.space()),
            Kind::Object(fields) => self.object(fields, None),
            Kind::Rows(fields) => {
                let rows: Vec<String> = (0..self.seen(3)).map(|_| self.object(fields, None)).collect();
                format!("[{}]", rows.join(","))
            }
        }
    }

    /// An object, its identifying member given.
    fn object(&mut self, fields: &[Field], whose: Option<(&str, &str)>) -> String {
        let mut members = Vec::new();
        for field in fields {
            if let Some((_, id)) = whose.filter(|(name, _)| *name == field.name) {
                members.push(self.name(field.name) + &format!("\"{id}\""));
            } else if self.lens.hides(field) {
                for _ in 0..self.noise(3) {
                    let member = self.name(field.name) + &self.odd(0);
                    let at = self.noise(members.len() as u64 + 1) as usize;
                    members.insert(at, member);
                }
            } else if self.seen(8) > 0 {
                let member = self.name(field.name) + &self.value(field);
                members.push(member);
            }
        }
        self.unknown(&mut members);
        format!("{{{}}}", members.join(","))
    }

    /// A row that is nobody's or another's.
    fn foreign(&mut self, fields: &[Field], name: &str) -> String {
        match self.noise(4) {
            0 => self.odd(0),
            1 => format!("{{\"{name}\":{}}}", self.odd(0)),
            2 => self.object(fields, Some((name, HIDDEN))),
            _ => format!("{{\"{name}\":\"mine\",\"{HIDDEN}\":1,\"{name}\":\"mine\"}}"),
        }
    }

    fn document(mut self, endpoint: Endpoint) -> String {
        let top = shape(endpoint).member;
        let whose = whose(endpoint, self.lens);
        let mine = whose.map(|(name, _)| (name, "mine"));
        let body = match top.kind {
            Kind::Rows(fields) => {
                let mut rows: Vec<String> = (0..self.seen(4)).map(|_| self.object(fields, mine)).collect();
                if let Some((name, _)) = whose {
                    while self.noise(3) == 1 {
                        let row = self.foreign(fields, name);
                        let at = self.noise(rows.len() as u64 + 1) as usize;
                        rows.insert(at, row);
                    }
                }
                format!("[{}]", rows.join(","))
            }
            Kind::Object(fields) => self.object(fields, mine),
            _ => unreachable!("documents are lists or objects"),
        };
        let mut members = vec![self.name(top.name) + &body];
        self.unknown(&mut members);
        format!("{}{{{}}}{}", self.space(), members.join(","), self.space())
    }
}

#[test]
fn a_project_that_was_not_asked_for_is_not_shown_to_a_right_of_some_providers() {
    let lens = Lens { project: Some("j1".to_owned()), ..Lens::default() };
    let of = |id: &str| format!(r#"{{"project":{{"id":"{id}","name":"","resources":{{}}}}}}"#);
    assert!(see(Endpoint::ProjectResources, &lens, &of("j1")).is_ok());
    for other in [of("j2"), of("J1"), r#"{"project":{"name":"","resources":{}}}"#.to_owned()] {
        assert!(see(Endpoint::ProjectResources, &lens, &other).is_err(), "{other}");
    }
}

fn lens() -> impl Strategy<Value = (Endpoint, Lens)> {
    let set = prop_oneof![Just(Bound::All), Just(bound(&["mine"])), Just(bound(&["mine", "more"]))];
    (0..7_usize, any::<bool>(), any::<bool>(), set.clone(), set).prop_map(
        |(endpoint, personal, projects, clients, providers)| {
            let endpoint = Endpoint::ALL[endpoint];
            let holds_clients = endpoint.holds_personal_data();
            let (clients, providers) = if holds_clients { (clients, Bound::All) } else { (Bound::All, providers) };
            let (hides_personal, hides_projects) = (personal && holds_clients, projects && holds_clients);
            (endpoint, Lens { hides_personal, hides_projects, clients, providers, project: None })
        },
    )
}

/// Both at once.
fn through_both(one: &Lens, two: &Lens) -> Lens {
    Lens {
        hides_personal: one.hides_personal || two.hides_personal,
        hides_projects: one.hides_projects || two.hides_projects,
        clients: one.clients.intersect(&two.clients),
        providers: one.providers.intersect(&two.providers),
        project: one.project.clone().or_else(|| two.project.clone()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn what_is_hidden_changes_nothing_of_what_is_shown((endpoint, lens) in lens(), visible in 1_u64.., noise: [u64; 2]) {
        let write = |noise| Scribe { lens: &lens, visible, noise }.document(endpoint);
        let clean = see(endpoint, &lens, &write(None)).unwrap();
        for noise in noise {
            let document = write(Some(noise | 1));
            prop_assert!(serde_json::from_str::<serde::de::IgnoredAny>(&document).is_ok(), "{document}");
            prop_assert_eq!(see(endpoint, &lens, &document), Ok(clean.clone()), "{}", document);
        }
        prop_assert!(!clean.contains(HIDDEN), "{clean}");
    }

    #[test]
    fn what_is_inside_is_shown_as_it_came((endpoint, lens) in lens(), visible in 1_u64..) {
        let document = Scribe { lens: &lens, visible, noise: None }.document(endpoint);
        let (seen, came): (Value, Value) =
            (serde_json::from_str(&see(endpoint, &lens, &document).unwrap()).unwrap(), serde_json::from_str(&document).unwrap());
        prop_assert!(holds(&seen, &came), "{seen} {came}");
    }

    #[test]
    fn narrowing_twice_is_narrowing_once_by_both((endpoint, one) in lens(), (_, other) in lens(), visible in 1_u64.., noise: u64) {
        let document = Scribe { lens: &one, visible, noise: Some(noise | 1) }.document(endpoint);
        let first = see(endpoint, &one, &document).unwrap();
        prop_assert_eq!(see(endpoint, &one, &first), Ok(first.clone()));
        let two = Lens {
            clients: if endpoint.holds_personal_data() { other.clients } else { Bound::All },
            providers: if endpoint.holds_personal_data() { Bound::All } else { other.providers },
            ..other
        };
        if let Ok(second) = see(endpoint, &two, &first) {
            prop_assert_eq!(see(endpoint, &through_both(&one, &two), &document), Ok(second));
        }
    }

    #[test]
    fn no_bytes_break_it((endpoint, lens) in lens(), bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(br#"{}[]":,\ "#.to_vec())], 0..80)) {
        let _ = project(endpoint, &lens, &Allow::default(), &bytes);
        let _ = providers_of("j", &bytes);
    }
}

/// Whether all that came is there; what is there besides is blank.
fn holds(seen: &Value, came: &Value) -> bool {
    match (seen, came) {
        (Value::Object(seen), Value::Object(came)) => {
            came.iter().all(|(name, value)| seen.get(name).is_some_and(|seen| holds(seen, value)))
                && seen.iter().all(|(name, value)| came.contains_key(name) || is_blank(value))
        }
        (Value::Array(seen), Value::Array(came)) => {
            seen.len() == came.len() && seen.iter().zip(came).all(|(seen, came)| holds(seen, came))
        }
        (seen, came) => seen == came,
    }
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().all(is_blank),
        Value::Array(items) => items.is_empty(),
        value => value == "",
    }
}
