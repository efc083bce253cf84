//! Does the ledger keep what it said?
//! Given changes, reopened files and damage, claims what is known afterwards.
//! Never kills a process: that is done to the real binary.

use super::*;

const NOON: u64 = 1_800_000_000;

fn row(caller: &str, how: How) -> Row {
    Row {
        caller: caller.to_owned(),
        scope: "clients:read".to_owned(),
        bounds: None,
        issued: NOON,
        expires: NOON + 3600,
        kid: "k1".to_owned(),
        how,
        last_used: None,
    }
}

fn from(jti: &str) -> How {
    How::Exchange { from: jti.to_owned() }
}

fn reopened(folder: &Path) -> Ledger {
    // The writing thread lets go of the file a moment after the last handle.
    for _ in 0..10_000_000 {
        match Ledger::open(folder) {
            Err(Unreadable::Busy(_)) => std::thread::yield_now(),
            other => return other.unwrap().0,
        }
    }
    panic!("still busy");
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (ledger, found) = Ledger::open(&folder.path().join("state")).unwrap();
        assert!(!found);
        assert_eq!(ledger.issue("a".into(), row("billing", How::Secret), 0).await, Ok(Changed::Done));
        assert_eq!(ledger.issue("b".into(), row("billing", How::Command), 0).await, Ok(Changed::Done));
        assert_eq!(ledger.revoke("b".into(), NOON + 3600).await, Ok(Revocation(vec![("b".to_owned(), NOON + 3600)])));
        ledger.revoke_caller("support".into(), NOON).await.unwrap();
        ledger.used(vec![("a".into(), NOON + 60), ("nobody".into(), 1)]).await.unwrap();
    }
    let ledger = reopened(&folder.path().join("state"));
    let standing = ledger.standing().unwrap();
    assert_eq!(standing.tokens, [("b".to_owned(), NOON + 3600)]);
    assert_eq!(standing.callers, [("support".to_owned(), NOON)]);
    let a = ledger.find("a").unwrap().unwrap();
    assert_eq!((a.revoked, a.row.last_used), (false, Some(NOON + 60)));
    assert!(ledger.find("b").unwrap().unwrap().revoked);
    assert_eq!(ledger.find("nobody").unwrap(), None);
}

#[tokio::test]
async fn with_a_token_go_all_that_were_exchanged_from_it() {
    let ledger = Ledger::in_memory().unwrap();
    for (jti, how) in [("a", How::Secret), ("b", from("a")), ("c", from("b")), ("d", How::Secret), ("e", from("d"))] {
        assert_eq!(ledger.issue(jti.into(), row("billing", how), 0).await, Ok(Changed::Done));
    }
    let Revocation(mut taken) = ledger.revoke("a".into(), NOON + 3600).await.unwrap();
    taken.sort();
    assert_eq!(taken.iter().map(|(jti, _)| jti.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(ledger.issue("f".into(), row("billing", from("c")), 0).await, Ok(Changed::ParentRevoked));
    assert_eq!(ledger.find("f").unwrap(), None);
    assert!(!ledger.find("e").unwrap().unwrap().revoked);
}

#[tokio::test]
async fn a_caller_that_left_the_file_gets_nothing_before_that_and_keeps_it_when_it_returns() {
    let ledger = Ledger::in_memory().unwrap();
    let both = || vec!["billing".to_owned(), "support".to_owned()];
    assert_eq!(ledger.reconcile(both(), NOON).await, Ok(vec![]));
    assert_eq!(
        ledger.reconcile(vec!["billing".to_owned()], NOON + 5).await,
        Ok(vec![("support".to_owned(), NOON + 5)])
    );
    assert_eq!(ledger.reconcile(vec!["billing".to_owned()], NOON + 6).await, Ok(vec![]), "once is enough");
    assert_eq!(ledger.reconcile(both(), NOON + 9).await, Ok(vec![]));
    assert_eq!(ledger.standing().unwrap().callers, [("support".to_owned(), NOON + 5)]);
}

/// Who was asked for a token just before its caller was taken out, and answers after, would hand out one that lives on
/// when the name is back.
#[tokio::test]
async fn who_goes_by_callers_from_before_a_departure_issues_nothing_for_the_one_that_left() {
    let ledger = Ledger::in_memory().unwrap();
    let both = || vec!["billing".to_owned(), "support".to_owned()];
    ledger.reconcile(both(), NOON).await.unwrap();
    assert!(ledger.departures().is_empty());
    // All of its tokens were taken back in this second, so that a new one is of the next.
    ledger.revoke_caller("support".into(), NOON).await.unwrap();
    let left = ledger.reconcile(vec!["billing".to_owned()], NOON).await.unwrap();
    assert_eq!(left, [("support".to_owned(), NOON + 1)]);
    assert_eq!(ledger.issue("a".into(), row("support", How::Secret), 0).await, Ok(Changed::Left));
    ledger.reconcile(both(), NOON + 1).await.unwrap();
    assert_eq!(ledger.issue("b".into(), row("support", How::Secret), 0).await, Ok(Changed::Left));
    assert_eq!(ledger.issue("c".into(), row("billing", How::Secret), 0).await, Ok(Changed::Done));
    let now = ledger.departures()["support"];
    assert_eq!(ledger.issue("d".into(), row("support", How::Secret), now).await, Ok(Changed::Done));
}

#[tokio::test]
async fn a_revocation_of_a_caller_never_moves_back() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.revoke_caller("billing".into(), NOON).await.unwrap();
    ledger.revoke_caller("billing".into(), NOON - 50).await.unwrap();
    assert_eq!(ledger.standing().unwrap().callers, [("billing".to_owned(), NOON)]);
}

#[tokio::test]
async fn rows_are_swept_when_they_expired_and_tombstones_a_day_later() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.issue("a".into(), row("billing", How::Secret), 0).await.unwrap();
    ledger.issue("b".into(), Row { expires: NOON + 7200, ..row("billing", How::Secret) }, 0).await.unwrap();
    ledger.revoke("a".into(), NOON + 3600).await.unwrap();
    // Never noted, as of a version without a ledger: its tombstone is swept like others.
    ledger.revoke("z".into(), NOON + 3600).await.unwrap();
    let left = || (ledger.list(None, None, 10).unwrap().len(), ledger.standing().unwrap().tokens.len());
    assert_eq!((ledger.sweep(NOON + 3600).await, left()), (Ok(0), (2, 2)));
    assert_eq!((ledger.sweep(NOON + 3601).await, left()), (Ok(1), (1, 2)));
    ledger.sweep(NOON + 3600 + 86_400).await.unwrap();
    assert_eq!(left(), (0, 2));
    ledger.sweep(NOON + 3601 + 86_400).await.unwrap();
    assert_eq!(left(), (0, 0));
}

#[tokio::test]
async fn a_caller_that_gets_a_token_for_each_request_is_stopped_and_no_other_is() {
    let ledger = Ledger::in_memory().unwrap();
    for nth in 0..300 {
        assert_eq!(ledger.issue(format!("t{nth}"), row("billing", How::Secret), 0).await, Ok(Changed::Done));
    }
    assert_eq!(ledger.issue("one-more".into(), row("billing", How::Secret), 0).await, Ok(Changed::Full));
    assert_eq!(ledger.issue("another".into(), row("support", How::Secret), 0).await, Ok(Changed::Done));
    assert_eq!(ledger.sweep(NOON + 3601).await, Ok(301));
    assert_eq!(ledger.issue("one-more".into(), row("billing", How::Secret), 0).await, Ok(Changed::Done));
}

#[tokio::test]
async fn a_list_goes_on_where_it_ended_and_is_of_one_caller_if_wanted() {
    let ledger = Ledger::in_memory().unwrap();
    for jti in ["a", "b", "c", "d"] {
        let caller = if jti == "b" { "support" } else { "billing" };
        ledger.issue(jti.into(), row(caller, How::Secret), 0).await.unwrap();
    }
    let ids = |caller, after, most| {
        ledger.list(caller, after, most).unwrap().into_iter().map(|row| row.jti).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, None, 3), ["a", "b", "c"]);
    assert_eq!(ids(None, Some("c"), 3), ["d"]);
    assert_eq!(ids(Some("billing"), None, 2), ["a", "c"]);
}

#[tokio::test]
async fn a_key_is_needed_as_long_as_a_token_it_signed_lives() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.issue("a".into(), row("billing", How::Secret), 0).await.unwrap();
    assert_eq!(ledger.needs_key("k1", NOON + 3599), Ok(true));
    assert_eq!(ledger.needs_key("k1", NOON + 3600), Ok(false));
    assert_eq!(ledger.needs_key("k2", NOON), Ok(false));
}

#[test]
fn a_second_process_is_told_that_a_gateway_runs() {
    let folder = tempfile::tempdir().unwrap();
    let _held = Ledger::open(folder.path()).unwrap();
    let refused = Ledger::open(folder.path()).err().unwrap();
    assert!(matches!(refused, Unreadable::Busy(_)), "{refused}");
}

#[test]
fn half_a_file_of_a_killed_start_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ledger.new"), "redb, or the half of it").unwrap();
    let (_, found) = Ledger::open(folder.path()).unwrap();
    assert!(!found);
}

#[test]
fn a_file_of_a_later_version_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    drop(Ledger::open(folder.path()).unwrap());
    reopened(folder.path());
    let database = loop {
        if let Ok(database) = Database::open(folder.path().join(FILE)) {
            break database;
        }
    };
    let writing = database.begin_write().unwrap();
    writing.open_table(ABOUT).unwrap().insert("format", 2).unwrap();
    writing.commit().unwrap();
    drop(database);
    let refused = Ledger::open(folder.path()).err().unwrap();
    assert!(matches!(refused, Unreadable::Newer(_, 2)), "{refused}");
    assert!(refused.to_string().contains("run the version that wrote it"), "{refused}");
}

#[tokio::test]
async fn a_damaged_file_is_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (ledger, _) = Ledger::open(folder.path()).unwrap();
        for nth in 0..200 {
            ledger.issue(format!("token-{nth}"), row("billing", How::Secret), 0).await.unwrap();
        }
    }
    drop(reopened(folder.path()));
    let path = folder.path().join(FILE);
    let mut tries = 0;
    let good = loop {
        if Database::open(&path).is_ok() {
            break std::fs::read(&path).unwrap();
        }
        tries += 1;
        assert!(tries < 10_000_000);
    };
    let refused = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        Ledger::open(folder.path()).err()
    };
    for bytes in [&b""[..], b"not a ledger at all, but some text of an operator", &good[..good.len() / 2]] {
        let fault = refused(bytes).expect("refused");
        assert!(matches!(fault, Unreadable::Damaged(..)), "{} bytes: {fault:?}", bytes.len());
        assert!(fault.to_string().contains("restore it from a backup"), "{fault}");
    }
    // A row's own bytes: only checksums tell.
    let at = good.windows(8).position(|window| window == b"token-15").unwrap();
    let mut bent = good.clone();
    bent[at + 6] ^= 1;
    assert!(matches!(refused(&bent), Some(Unreadable::Damaged(..))));
    assert!(refused(&good).is_none());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    /// Whatever is exchanged from what, and in which order revocations come: with a token all go that came from it,
    /// those that were noted before, and none is noted after; and no other goes.
    #[test]
    fn a_revocation_reaches_all_descendants_and_nobody_else(
        parents in proptest::collection::vec(proptest::option::of(0usize..20), 20),
        revoked in proptest::collection::vec((0usize..20, 0usize..20), 0..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let ledger = Ledger::in_memory().unwrap();
            let mut gone = [false; 20];
            let mut noted = [false; 20];
            for (nth, parent) in parents.iter().enumerate() {
                let parent = parent.filter(|parent| *parent < nth && noted[*parent]);
                let how = parent.map_or(How::Secret, |parent| from(&parent.to_string()));
                let changed = ledger.issue(nth.to_string(), row("billing", how), 0).await.unwrap();
                let refused = parent.is_some_and(|parent| gone[parent]);
                assert_eq!(changed == Changed::ParentRevoked, refused);
                noted[nth] = !refused;
                for (_, target) in revoked.iter().filter(|(when, target)| *when == nth && noted[*target]) {
                    ledger.revoke(target.to_string(), NOON + 3600).await.unwrap();
                    gone[*target] = true;
                    for child in 0..=nth {
                        let up = parents[child].filter(|parent| *parent < child && noted[*parent]);
                        gone[child] |= noted[child] && up.is_some_and(|parent| gone[parent]);
                    }
                }
            }
            let standing = ledger.standing().unwrap().tokens;
            for nth in (0..20).filter(|nth| noted[*nth]) {
                let is_gone = standing.iter().any(|(jti, _)| *jti == nth.to_string());
                assert_eq!(is_gone, gone[nth], "{nth} of {parents:?} with {revoked:?}");
            }
        });
    }
}
