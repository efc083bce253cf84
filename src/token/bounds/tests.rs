//! Do bounds only ever narrow?
//! Given lists and details as operators, tokens and attackers write them, holds the sets to their laws.
//! Never signs anything: tokens with bounds are tested at the door.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const UUID: &str = "024c2b6d-cbb8-4056-9d3f-8055fa86659c";

fn only(names: &[&str]) -> Bound {
    Bound::of(names).unwrap()
}

#[test]
fn a_uuid_is_the_same_in_any_letter_case_and_other_identifiers_are_not() {
    let upper = UUID.to_ascii_uppercase();
    assert_eq!(only(&[UUID]), only(&[&upper]));
    assert!(only(&[&upper]).has(UUID) && only(&[UUID]).has(&upper));
    assert!(only(&["Acme"]).has("Acme") && !only(&["Acme"]).has("acme") && !only(&["acme"]).has("Acme"));
}

#[test]
fn a_star_alone_is_all_and_an_empty_list_is_none() {
    assert!(only(&["*"]).is_all() && only(&["*"]).has("anything"));
    assert!(!only(&[]).has("") && !only(&[]).has("a"));
    assert_eq!(Bound::of(&["*", "a"]), Err(NoBound::AllAmongOthers));
    for odd in ["", "a b", "a/b", "é", "a,b", "**", &"a".repeat(65)] {
        assert!(matches!(Bound::of(&[odd]), Err(NoBound::Identifier(_))), "{odd}");
    }
}

#[test]
fn details_that_are_not_understood_whole_are_not_understood_at_all() {
    let well = json!([{"type": "account-api", "clients": ["b", "a"], "providers": ["*"]}]);
    let bounds = Bounds::of_details(&well).unwrap();
    assert_eq!(bounds, Bounds { clients: only(&["a", "b"]), providers: Bound::All });
    assert_eq!(bounds.details(), json!([{"type": "account-api", "clients": ["a", "b"], "providers": ["*"]}]));
    let partly = json!([{"type": "account-api", "providers": []}]);
    assert_eq!(Bounds::of_details(&partly).unwrap(), Bounds { clients: Bound::All, providers: only(&[]) });
    for odd in [
        json!([]),
        json!({"type": "account-api"}),
        json!([{"type": "account-api"}, {"type": "account-api"}]),
        json!([{"type": "payment"}]),
        json!([{"clients": ["a"]}]),
        json!([{"type": "account-api", "client": ["a"]}]),
        json!([{"type": "account-api", "clients": "a"}]),
        json!([{"type": "account-api", "clients": [1]}]),
        json!([{"type": "account-api", "clients": ["a/b"]}]),
        json!([{"type": "account-api", "clients": ["*", "a"]}]),
        json!([{"type": "account-api", "clients": null}]),
        json!(null),
        json!("account-api"),
    ] {
        assert!(Bounds::of_details(&odd).is_err(), "{odd}");
    }
    let twice = r#"[{"type":"account-api","clients":["a"],"clients":["*"]}]"#;
    assert!(serde_json::from_str::<Bounds>(twice).is_err());
}

#[test]
fn what_is_beyond_a_set_is_named() {
    assert_eq!(only(&["a", "b"]).beyond(&only(&["b"])), None);
    assert_eq!(only(&["a", "b"]).beyond(&only(&["a", "c"])), Some("c"));
    assert_eq!(only(&["a"]).beyond(&Bound::All), Some(ALL));
    assert_eq!(Bound::All.beyond(&Bound::All), None);
}

fn bound() -> impl Strategy<Value = Bound> {
    let ids = prop::sample::subsequence(vec!["a", "b", "c", UUID, "Upper"], 0..=5);
    prop_oneof![1 => Just(Bound::All), 4 => ids.prop_map(|ids| only(&ids))]
}

proptest! {
    #[test]
    fn joining_is_an_intersection(one in bound(), two in bound(), three in bound()) {
        let both = one.intersect(&two);
        for id in ["a", "b", "c", UUID, "Upper", "other"] {
            prop_assert_eq!(both.has(id), one.has(id) && two.has(id));
        }
        prop_assert_eq!(&both, &two.intersect(&one));
        prop_assert_eq!(both.intersect(&three), one.intersect(&two.intersect(&three)));
        prop_assert_eq!(&one.intersect(&one), &one);
        prop_assert_eq!(one.beyond(&both), None);
        prop_assert_eq!(one == two, one.digest() == two.digest());
    }
}
