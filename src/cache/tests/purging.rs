//! What does a purge take, and what does it leave?
//! Given stores with many keys, claims which are meant, what becomes of them, and what may come in afterwards.
//! Never waits: every moment is handed in.

use super::super::key::named::{Named, Which};
use super::super::purge::How;
use super::*;

const CLIENT: &str = "0b7c1a52-9a44-4c53-8f62-2b1c0a8e77d1";

fn kept(store: &Store, asker: &Asker, paths: &[&str]) -> Vec<Key> {
    let keys: Vec<Key> = paths.iter().map(|path| asker.key(path, &HeaderMap::new())).collect();
    for key in &keys {
        store.keep(key.clone(), document(b"{}", "max-age=60"), now(0).tick).unwrap();
    }
    keys
}

fn which(asker: &Asker, path: &str) -> Which {
    let grant = asker.grant(&Method::GET, &format!("{PREFIX}{path}")).0;
    Which::resource(grant.wanted().route(), 0, grant.wanted().resource())
}

fn client(id: &str) -> Which {
    Which::Client(id.as_bytes().into())
}

const PATHS: [&str; 9] = [
    "/clients/",
    "/clients/?provider_id=p1",
    "/clients/c1/",
    "/clients/c10/",
    "/clients/c1/providers/",
    "/clients/c1/projects/",
    "/clients/c2/resources/",
    "/clients/c2/providers/c1/resources/",
    "/clients/c1/projects/p1/resources/",
];

/// The paths that a purge takes out.
fn taken(of: &dyn Fn(&Asker) -> Which) -> Vec<&'static str> {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let keys = kept(&store, &asker, &PATHS);
    let many = store.purge(&of(&asker), How::Hard, false, now(1));
    let absent = |key: &Key| matches!(store.look(key, now(1)), Lookup::Absent);
    let taken: Vec<_> = PATHS.iter().zip(&keys).filter(|(_, key)| absent(key)).map(|(path, _)| *path).collect();
    assert_eq!(taken.len(), many);
    taken
}

#[test]
fn a_purge_takes_what_is_meant_and_nothing_else() {
    assert_eq!(taken(&|_| Which::All), PATHS);
    assert_eq!(taken(&|_| Which::Route(Endpoint::Clients as usize)), PATHS[..2]);
    assert_eq!(taken(&|asker| which(asker, "/clients/c1")), ["/clients/c1/"]);
    assert_eq!(taken(&|asker| which(asker, "/clients/")), ["/clients/"]);
    let own = ["/clients/c1/", "/clients/c1/providers/", "/clients/c1/projects/", "/clients/c1/projects/p1/resources/"];
    let with_lists: Vec<_> = PATHS[..2].iter().chain(&own).copied().collect();
    assert_eq!(taken(&|_| client("c1")), with_lists);
    assert_eq!(taken(&|_| client("c3")), PATHS[..2]);
}

#[test]
fn a_resource_is_purged_with_all_that_forwarded_headers_made_of_it() {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let name = HeaderName::from_static;
    let keys = [vec![], vec![(name("x-a"), "1")], vec![(name("x-a"), "1"), (name("x-b"), "")]]
        .map(|lines| asker.key("/clients/c1/", &head(&lines)));
    for key in &keys {
        store.keep(key.clone(), document(b"{}", ""), now(0).tick).unwrap();
    }
    assert_eq!(store.purge(&which(&asker, "/clients/c1/"), How::Hard, false, now(0)), 3);
    assert!(keys.iter().all(|key| matches!(store.look(key, now(0)), Lookup::Absent)));
}

#[test]
fn a_soft_purge_ends_the_lifetime_and_begins_the_stale_windows() {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let keys = kept(&store, &asker, &["/clients/", "/clients/c1/"]);
    let only = which(&asker, "/clients/");
    assert_eq!(store.purge(&only, How::Soft, true, now(30)), 1);
    assert!(matches!(store.look(&keys[0], now(30)), Lookup::Stored(entry) if entry.body() == "{}"));
    assert_eq!(stage(&store, &keys[0], now(30)), Some(Stage::Stale));
    assert_eq!(stage(&store, &keys[0], now(29 + SWR)), Some(Stage::Stale));
    assert_eq!(stage(&store, &keys[0], now(30 + SWR)), Some(Stage::OnError));
    assert_eq!(stage(&store, &keys[0], now(30 + SIE)), Some(Stage::Over));
    assert_eq!(stage(&store, &keys[1], now(30)), Some(Stage::Fresh));
    // What is stale already stays as it is: its windows do not begin anew.
    assert_eq!(store.purge(&only, How::Soft, true, now(200)), 1);
    assert_eq!(stage(&store, &keys[0], now(30 + SWR)), Some(Stage::OnError));
}

#[test]
fn where_staleness_is_forbidden_a_soft_purge_makes_it_be_asked_for_first() {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let keys = kept(&store, &asker, &["/clients/", "/clients/c1/"]);
    store.keep(keys[1].clone(), document(b"{}", "max-age=60, must-revalidate"), now(0).tick).unwrap();
    store.purge(&Which::All, How::Soft, false, now(1));
    assert_eq!(stage(&store, &keys[1], now(1)), Some(Stage::Over));
}

#[test]
fn what_was_asked_for_before_a_purge_of_its_key_stays_out() {
    for how in [How::Hard, How::Soft] {
        let (store, asker) = (store(1 << 20, 1 << 16), asker());
        let keys = kept(&store, &asker, &["/clients/c1/", "/clients/c2/"]);
        store.purge(&which(&asker, "/clients/c1/"), how, true, now(5));
        let keep = |key: &Key, asked| store.keep(key.clone(), document(b"[]", "max-age=60"), now(asked).tick);
        for asked in [0, 4, 5] {
            assert_eq!(keep(&keys[0], asked), Err(Detail::Purged));
            assert_eq!(keep(&keys[1], asked), Ok(()), "another key's purge is none of its");
        }
        store.remember_uncacheable(keys[0].clone(), now(5), now(4).tick);
        assert!(!matches!(store.look(&keys[0], now(5)), Lookup::Uncacheable));
        assert_eq!(keep(&keys[0], 6), Ok(()));
        store.purge(&client("c2"), how, false, now(7));
        assert_eq!((keep(&keys[0], 6), keep(&keys[1], 6)), (Ok(()), Err(Detail::Purged)));
    }
}

#[test]
fn older_than_all_purges_that_are_remembered_is_purged() {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let key = asker.key("/clients/c1/", &HeaderMap::new());
    let keep = |asked| store.keep(key.clone(), document(b"{}", ""), now(asked).tick);
    for nth in 0..1024 {
        store.purge(&client("other"), How::Hard, false, now(10 + nth));
    }
    assert_eq!(keep(0), Ok(()));
    store.purge(&client("other"), How::Hard, false, now(2000));
    assert_eq!((keep(10), keep(11)), (Err(Detail::Purged), Ok(())));
}

/// Storers that asked before, while purges run: nothing older than its purge may be left as if nothing had been.
#[test]
fn storing_and_purging_at_once_leaves_nothing_that_is_older_than_its_purge() {
    let (store, asker) = (store(8 << 20, 1 << 16), asker());
    let keys: Vec<Key> = (0..64).map(|nth| asker.key(&format!("/clients/c{nth}/"), &HeaderMap::new())).collect();
    let one = which(&asker, "/clients/c7/");
    let at = |nanos: u64| Now { tick: CAME.plus(Duration::from_nanos(nanos)), unix_ms: 0 };
    for round in 0..300 {
        let begin = round * 10;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for key in &keys {
                    let _ = store.keep(key.clone(), document(b"{}", ""), at(begin + 1).tick);
                }
            });
            scope.spawn(|| store.purge(&Which::All, How::Hard, false, at(begin + 2)));
        });
        assert!(keys.iter().all(|key| matches!(store.look(key, at(begin + 2)), Lookup::Absent)), "round {round}");
        let newer = store.keep(keys[7].clone(), document(b"{}", ""), at(begin + 3).tick);
        assert_eq!(newer, Ok(()));
        std::thread::scope(|scope| {
            scope.spawn(|| store.purge(&one, How::Soft, true, at(begin + 5)));
            let _ = store.keep(keys[7].clone(), document(b"{}", ""), at(begin + 4).tick);
        });
        assert_eq!(stage(&store, &keys[7], at(begin + 5)), Some(Stage::Stale), "round {round}");
    }
}

#[test]
fn the_list_goes_through_all_keys_once_whatever_the_page() {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let keys = kept(&store, &asker, &PATHS);
    for most in [1, 2, 4, 100] {
        let (mut seen, mut after) = (Vec::new(), Vec::new());
        loop {
            let rows = store.list(&Which::All, &after, most, now(10));
            assert!(rows.len() <= most);
            let Some(last) = rows.last() else { break };
            after.clone_from(&last.at);
            seen.extend(rows);
        }
        let mut listed: Vec<_> = seen.iter().map(|row| row.at.clone()).collect();
        listed.dedup();
        assert_eq!(listed.len(), PATHS.len());
        assert!(keys.iter().all(|key| listed.iter().any(|at| at == key.as_bytes())));
        assert!(seen.iter().all(|row| (row.age.as_secs(), row.ttl, row.status) == (10, 50, 200)));
    }
    assert_eq!(store.list(&Which::Route(Endpoint::Clients as usize), &[], 9, now(0)).len(), 2);
}

#[test]
fn hits_are_counted_for_each_entry_and_kept_by_a_soft_purge() {
    let (store, asker) = (store(1 << 20, 1 << 16), asker());
    let keys = kept(&store, &asker, &["/clients/", "/clients/c1/"]);
    let served = store.stored_entry(&keys[0]).unwrap();
    (0..5).for_each(|_| served.was_hit());
    let hits = |at: usize| {
        store.list(&Which::All, &[], 9, now(1)).iter().find(|row| row.at == keys[at].as_bytes()).map(|row| row.hits)
    };
    assert_eq!((hits(0), hits(1)), (Some(5), Some(0)));
    store.purge(&Which::All, How::Soft, false, now(1));
    assert_eq!(hits(0), Some(5));
    let _ = store.list(&Which::All, &[], 9, now(1));
    assert_eq!(hits(0), Some(5), "being listed is no hit");
}

#[test]
fn a_key_reads_back_as_what_it_was_made_of() {
    let asker = asker();
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(1024));
    let law = runner.run(&(path(), prop::option::of("[a-z]{0,3}")), |(path, value)| {
        let lines: Vec<_> = value.iter().map(|value| (HeaderName::from_static("x-b"), value.as_str())).collect();
        let (grant, route) = asker.grant(&Method::GET, &format!("{PREFIX}{path}"));
        let key = Key::of(&grant, route, &head(&lines)).unwrap();
        let headers = value.iter().map(|value| ("x-b".to_owned(), value.clone())).collect();
        let wanted = grant.wanted();
        let named = Named { route: wanted.route(), edition: 0, resource: wanted.resource().clone(), headers };
        prop_assert_eq!(key.decode(), Some(named));
        prop_assert!(which(&asker, &path).means(&key));
        Ok(())
    });
    law.unwrap();
    let (grant, route) = asker.grant(&Method::GET, &format!("/extra3/{CLIENT}/x?y=%20z"));
    let named = Key::of(&grant, route, &HeaderMap::new()).unwrap().decode().unwrap();
    assert_eq!(key::target_of(&named.resource, route), format!("/extra3/{CLIENT}/x?y=%20z"));
}

/// A route of the seven in standard mode has targets as they came in its keys.
#[test]
fn targets_as_they_came_are_read_and_purged_by_their_client_too() {
    for endpoint in Endpoint::ALL {
        let path = endpoint.template().replace("{client_id}", CLIENT).replace("{provider_id}", "p1");
        let path = path.replace("{project_id}", "p1");
        let long = "x".repeat(300);
        for target in [format!("{PREFIX}{path}"), format!("{PREFIX}{}?a={long}", path.replace("0b7c", "%30B7C"))] {
            let resource = Resource::Opaque(target);
            let Which::Resource(key) = Which::resource(endpoint as usize, 0, &resource) else { panic!("a resource") };
            let named = Named { route: endpoint as usize, edition: 0, resource, headers: Vec::new() };
            assert_eq!(key.decode(), Some(named));
            assert!(client(CLIENT).means(&key), "{endpoint:?}");
            assert_eq!(client("c1").means(&key), endpoint == Endpoint::Clients);
        }
    }
}

#[test]
fn another_edition_of_a_route_reaches_nothing_of_the_one_before_and_what_is_outside_is_told_apart() {
    let asker = asker();
    let (grant, route) = asker.grant(&Method::GET, &format!("{PREFIX}/clients/{CLIENT}/"));
    let before = Key::of(&grant, route, &HeaderMap::new()).unwrap();
    let after = Key::of(&grant, &Route { edition: 1, ..route.clone() }, &HeaderMap::new()).unwrap();
    assert_ne!(before, after);
    assert_eq!(after.decode().unwrap(), Named { edition: 1, ..before.decode().unwrap() });
    // Given up by their client or their route, in whichever edition.
    for which in [client(CLIENT), Which::Route(grant.wanted().route()), Which::All] {
        assert!(which.means(&before) && which.means(&after));
    }
    let at = grant.wanted().route();
    let outside = |editions: &[u32]| Which::Outside(editions.into());
    let now: Vec<u32> = (0..=at).map(|nth| u32::from(nth == at)).collect();
    assert!(outside(&now).means(&before) && !outside(&now).means(&after));
    assert!(outside(&now[..at]).means(&after), "a route that is gone");
}

proptest! {
    #[test]
    fn a_purge_of_one_resource_means_no_other(one in path(), other in path()) {
        let asker = asker();
        let same = asker.resource(&one) == asker.resource(&other);
        prop_assert_eq!(which(&asker, &one).means(&asker.key(&other, &HeaderMap::new())), same);
    }

    #[test]
    fn bytes_that_are_no_key_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let key = Key(bytes.into());
        let _ = (key.decode(), client("c1").means(&key), Which::Route(0).means(&key));
    }
}
