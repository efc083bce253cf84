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

async fn revoke(ledger: &Ledger, jti: &str) -> Revocation {
    ledger.revoke(jti.to_owned(), NOON + 3600, "billing".to_owned(), NOON).await.unwrap()
}

fn present(names: &[&str]) -> Vec<Present> {
    let present = |name: &&str| Present { name: (*name).to_owned(), proofs: vec![format!("proof of {name}")] };
    names.iter().map(present).collect()
}

fn at(unix: u64) -> Moment {
    Moment { wall: unix, steady: unix, grace: 600 }
}

fn moved(caller: &str, fate: Fate, tokens: usize) -> Moved {
    Moved { caller: caller.to_owned(), fate, tokens }
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
        let taken = Revocation { tokens: vec![("b".to_owned(), NOON + 3600)], caller: None };
        assert_eq!(revoke(&ledger, "b").await, taken);
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
    let mut taken = revoke(&ledger, "a").await.tokens;
    assert_eq!(ledger.family("a", NOON + 3600).unwrap().len(), 3, "also before it is written");
    taken.sort();
    assert_eq!(taken.iter().map(|(jti, _)| jti.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(ledger.issue("f".into(), row("billing", from("c")), 0).await, Ok(Changed::ParentRevoked));
    assert_eq!(ledger.find("f").unwrap(), None);
    assert!(!ledger.find("e").unwrap().unwrap().revoked);
}

/// A save that left half of a file for a second ended every token of every caller in the other half.
#[tokio::test]
async fn a_caller_that_is_back_in_time_and_the_same_has_its_tokens_again() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.reconcile(present(&["billing", "support"]), at(NOON)).await.unwrap();
    ledger.issue("a".into(), row("support", How::Secret), 0).await.unwrap();
    let (both, one) = (present(&["billing", "support"]), present(&["billing"]));
    let left = vec![moved("support", Fate::Wait(NOON + 605), 1)];
    assert_eq!(ledger.foresee(one.clone(), at(NOON + 5)), Ok(left.clone()));
    assert_eq!(ledger.reconcile(one.clone(), at(NOON + 5)).await, Ok(left));
    assert_eq!(ledger.departed(), Ok(vec![("support".to_owned(), NOON + 5)]));
    assert_eq!(ledger.reconcile(one, at(NOON + 6)).await, Ok(vec![]), "once is enough");
    assert_eq!(ledger.end_departed(at(NOON + 604)).await, Ok(vec![]));
    let back = vec![moved("support", Fate::Live, 1)];
    assert_eq!(ledger.foresee(both.clone(), at(NOON + 604)), Ok(back.clone()));
    assert_eq!(ledger.reconcile(both.clone(), at(NOON + 604)).await, Ok(back));
    assert_eq!(ledger.reconcile(both, at(NOON + 605)).await, Ok(vec![]));
    assert_eq!((ledger.standing().unwrap().callers, ledger.departed()), (vec![], Ok(vec![])));
}

#[tokio::test]
async fn a_caller_that_is_back_late_or_as_somebody_else_begins_anew() {
    let somebody = |proofs: &[&str]| {
        let proofs = proofs.iter().map(|&proof| proof.to_owned()).collect();
        vec![Present { name: "app".to_owned(), proofs }]
    };
    let (fate, live) = (Fate::End(NOON + 9), Fate::Live);
    for (before, after, wanted) in [
        (&["a", "b"][..], &["b", "c"][..], live),
        (&["a"], &["b"], fate),
        (&["a"], &[], fate),
        (&[], &["a"], fate),
        (&[], &[], live),
    ] {
        let ledger = Ledger::in_memory().unwrap();
        ledger.reconcile(somebody(before), at(NOON)).await.unwrap();
        ledger.issue("x".into(), row("app", How::Secret), 0).await.unwrap();
        ledger.reconcile(vec![], at(NOON + 1)).await.unwrap();
        let back = ledger.reconcile(somebody(after), at(NOON + 9)).await;
        assert_eq!(back, Ok(vec![moved("app", wanted, 1)]), "{before:?} {after:?}");
        let last = if wanted == live { vec![] } else { vec![("app".to_owned(), NOON + 9)] };
        assert_eq!(ledger.standing().unwrap().callers, last);
    }
    // The time is over, whether or not somebody looked then.
    for looked in [true, false] {
        let ledger = Ledger::in_memory().unwrap();
        ledger.reconcile(somebody(&["a"]), at(NOON)).await.unwrap();
        ledger.reconcile(vec![], at(NOON + 1)).await.unwrap();
        if looked {
            let ended = ledger.end_departed(at(NOON + 601)).await;
            assert_eq!(ended, Ok(vec![moved("app", Fate::End(NOON + 601), 0)]));
        }
        ledger.reconcile(somebody(&["a"]), at(NOON + 700)).await.unwrap();
        let last = if looked { NOON + 601 } else { NOON + 700 };
        assert_eq!(ledger.standing().unwrap().callers, [("app".to_owned(), last)]);
    }
    // An operator's word ends them while they wait.
    let ledger = Ledger::in_memory().unwrap();
    ledger.reconcile(somebody(&["a"]), at(NOON)).await.unwrap();
    ledger.reconcile(vec![], at(NOON + 1)).await.unwrap();
    ledger.revoke_caller("app".into(), NOON + 2).await.unwrap();
    assert_eq!(ledger.reconcile(somebody(&["a"]), at(NOON + 3)).await, Ok(vec![]));
    assert_eq!(ledger.standing().unwrap().callers, [("app".to_owned(), NOON + 2)]);
    assert_eq!((ledger.knows("app"), ledger.knows("nobody")), (Ok(true), Ok(false)));
}

/// A clock that is ahead for a minute ends nobody's grace.
#[tokio::test]
async fn the_grace_is_measured_by_the_steady_clock_and_ends_are_dated_by_the_wall() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.reconcile(present(&["app"]), at(NOON)).await.unwrap();
    ledger.reconcile(vec![], at(NOON)).await.unwrap();
    let ahead = Moment { wall: NOON + 172_800, steady: NOON + 60, grace: 600 };
    assert_eq!(ledger.end_departed(ahead).await, Ok(vec![]));
    let over = Moment { wall: NOON + 660, steady: NOON + 600, grace: 600 };
    assert_eq!(ledger.end_departed(over).await, Ok(vec![moved("app", Fate::End(NOON + 660), 0)]));
}

/// Who was asked for a token just before its caller was taken out, and answers after, would hand out one that lives on
/// when the name is back.
#[tokio::test]
async fn who_goes_by_callers_from_before_a_departure_issues_nothing_for_the_one_that_left() {
    let ledger = Ledger::in_memory().unwrap();
    let at_once = |unix| Moment { grace: 0, ..at(unix) };
    let both = || present(&["billing", "support"]);
    ledger.reconcile(both(), at(NOON)).await.unwrap();
    assert!(ledger.departures().is_empty());
    // All of its tokens were taken back in this second, so that a new one is of the next.
    ledger.revoke_caller("support".into(), NOON).await.unwrap();
    let left = ledger.reconcile(present(&["billing"]), at_once(NOON)).await.unwrap();
    assert_eq!(left, [moved("support", Fate::End(NOON + 1), 0)]);
    assert_eq!(ledger.issue("a".into(), row("support", How::Secret), 0).await, Ok(Changed::Left));
    ledger.reconcile(both(), at(NOON + 1)).await.unwrap();
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

/// They were remembered for a day after that, and nothing bounded them.
#[tokio::test]
async fn what_expired_is_swept_and_revoked_ones_leave_how_far_they_went() {
    let ledger = Ledger::in_memory().unwrap();
    ledger.issue("a".into(), row("billing", How::Secret), 0).await.unwrap();
    ledger.issue("b".into(), Row { expires: NOON + 7200, ..row("billing", How::Secret) }, 0).await.unwrap();
    revoke(&ledger, "a").await;
    // Never noted, as of a version without a ledger: its tombstone is swept like others.
    revoke(&ledger, "z").await;
    let left = || (ledger.list(None, None, 10).unwrap().len(), ledger.standing().unwrap().tokens.len());
    let swept = |rows, forgotten| Ok(Swept { rows, forgotten });
    assert_eq!((ledger.sweep(NOON + 3600).await, left()), (swept(0, 0), (2, 2)));
    assert_eq!((ledger.sweep(NOON + 3601).await, left()), (swept(2, NOON + 3600), (1, 0)));
    assert_eq!((ledger.sweep(NOON + 7201).await, left()), (swept(1, NOON + 3600), (0, 0)));
    assert_eq!(ledger.standing().unwrap().forgotten, NOON + 3600, "so that a clock that is set back revives none");
}

#[tokio::test]
async fn a_caller_with_too_many_revoked_tokens_has_all_of_them_revoked_and_nobody_else() {
    let ledger = Ledger::in_memory().unwrap();
    for nth in 0..150 {
        ledger.issue(format!("t{nth:03}"), row("billing", How::Secret), 0).await.unwrap();
    }
    ledger.issue("other".into(), row("support", How::Secret), 0).await.unwrap();
    ledger.revoke("other".into(), NOON + 3600, "support".into(), NOON).await.unwrap();
    for nth in 0..100 {
        assert_eq!(revoke(&ledger, &format!("t{nth:03}")).await.caller, None, "{nth}");
    }
    assert_eq!(ledger.standing().unwrap().tokens.len(), 101);
    let ended = ledger.revoke("t100".into(), NOON + 3600, "billing".into(), NOON + 5).await.unwrap().caller.unwrap();
    assert_eq!((ended.caller.as_str(), ended.last, ended.covered.len()), ("billing", NOON + 5, 100));
    let standing = ledger.standing().unwrap();
    assert_eq!(standing.callers, [("billing".to_owned(), NOON + 5)]);
    let mut ids: Vec<_> = standing.tokens.iter().map(|(jti, _)| jti.as_str()).collect();
    ids.sort_unstable();
    assert_eq!(ids, ["other", "t100"]);
    assert_eq!(revoke(&ledger, "t101").await.caller, None, "there is room again");
}

#[tokio::test]
async fn a_caller_that_gets_a_token_for_each_request_is_stopped_and_no_other_is() {
    let ledger = Ledger::in_memory().unwrap();
    for nth in 0..300 {
        assert_eq!(ledger.issue(format!("t{nth}"), row("billing", How::Secret), 0).await, Ok(Changed::Done));
    }
    assert_eq!(ledger.issue("one-more".into(), row("billing", How::Secret), 0).await, Ok(Changed::Full));
    assert_eq!(ledger.issue("another".into(), row("support", How::Secret), 0).await, Ok(Changed::Done));
    assert_eq!(ledger.sweep(NOON + 3601).await, Ok(Swept { rows: 301, forgotten: 0 }));
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

/// Whatever page is damaged: the ledger says so, or knows every revocation that it answered. With one phase to a commit it went
/// back by one, and said nothing.
#[tokio::test]
async fn a_damaged_page_never_takes_a_revocation_with_it_in_silence() {
    const PAGE: usize = 4096;
    let folder = tempfile::tempdir().unwrap();
    let (ledger, _) = Ledger::open(folder.path()).unwrap();
    for nth in 0..20 {
        ledger.issue(format!("token-{nth}"), row("billing", How::Secret), 0).await.unwrap();
    }
    for nth in 0..15 {
        revoke(&ledger, &format!("token-{nth}")).await;
    }
    // As a kill would leave it.
    let good = std::fs::read(folder.path().join(FILE)).unwrap();
    let (mut told, mut sound) = (0, 0);
    for page in 0..good.len() / PAGE {
        let mut bent = good.clone();
        bent[page * PAGE..(page + 1) * PAGE].fill(0);
        if bent == good {
            continue;
        }
        let copy = tempfile::tempdir().unwrap();
        std::fs::write(copy.path().join(FILE), bent).unwrap();
        match Ledger::open(copy.path()) {
            Err(Unreadable::Damaged(..)) => told += 1,
            Err(other) => panic!("{other}"),
            Ok((ledger, _)) => {
                assert_eq!(ledger.standing().unwrap().tokens.len(), 15, "page {page}");
                sound += 1;
            }
        }
    }
    assert!(told > 0, "{told} told, {sound} sound");
}

/// The bytes of a sound file, once nobody has it open.
fn settled(path: &Path) -> Vec<u8> {
    for _ in 0..10_000_000 {
        match Database::open(path) {
            Err(DatabaseError::DatabaseAlreadyOpen) => std::thread::yield_now(),
            other => return other.map(|_| std::fs::read(path).unwrap()).unwrap(),
        }
    }
    panic!("still busy");
}

/// Without a backup there was nothing but to throw all of it away.
#[tokio::test]
async fn of_a_damaged_ledger_what_can_be_read_is_taken_and_nothing_older_lives() {
    let folder = tempfile::tempdir().unwrap();
    {
        let (ledger, _) = Ledger::open(folder.path()).unwrap();
        ledger.reconcile(present(&["billing", "support"]), at(NOON)).await.unwrap();
        for nth in 0..200 {
            ledger.issue(format!("token-{nth:03}"), row("billing", How::Secret), 0).await.unwrap();
        }
        revoke(&ledger, "token-007").await;
    }
    drop(reopened(folder.path()));
    let path = folder.path().join(FILE);
    let good = settled(&path);
    assert!(matches!(salvage(folder.path(), NOON + 9), Err(NotSalvaged::Sound(_))));
    let _ = settled(&path);
    let row = good.windows(9).position(|window| window == b"token-150").unwrap();
    type Bend<'b> = &'b dyn Fn(&mut Vec<u8>);
    let bends: [Bend<'_>; 4] = [
        &|bytes| bytes[row + 6] ^= 1,
        &|bytes| bytes[row / 4096 * 4096..][..4096].fill(0),
        &|bytes| bytes.truncate(bytes.len() / 2),
        &|bytes| *bytes = b"not a ledger at all".to_vec(),
    ];
    for (nth, bend) in bends.into_iter().enumerate() {
        let mut bent = good.clone();
        bend(&mut bent);
        std::fs::write(&path, &bent).unwrap();
        assert!(matches!(Ledger::open(folder.path()), Err(Unreadable::Damaged(..))), "{nth}");
        let damaged = std::fs::read(&path).unwrap();
        let done = salvage(folder.path(), NOON + 100 + nth as u64).unwrap();
        assert_eq!(std::fs::read(&done.aside).unwrap(), damaged);
        assert_eq!(done.nothing_until, NOON + 100 + nth as u64);
        let ledger = reopened(folder.path());
        let standing = ledger.standing().unwrap();
        assert_eq!(standing.floor, Some(done.nothing_until));
        assert!(ledger.list(None, None, 1000).unwrap().iter().all(|row| row.revoked));
        assert_eq!(ledger.list(None, None, 1000).unwrap().len(), done.tokens);
        assert!(nth != 0 || done.tokens >= 199 && done.callers == 2, "{done:?}");
        drop(ledger);
        let _ = settled(&path);
    }
}

/// Where a flush took longer than whoever asked would wait, it was done, and nothing said by whom.
#[tokio::test]
async fn a_revocation_that_nobody_waits_for_any_more_is_in_force_at_once_and_goes_on() {
    use crate::authority::{Authority, Member, Settings};
    use crate::token::{self, Tokens, bounds::Bounds, revoked::Life, ring::Ring, scope::ScopeNames};
    let policy = token::Policy {
        name: "billing".to_owned(),
        scopes: Vec::new(),
        bounds: Bounds::default(),
        priority: token::Priority::default(),
    };
    let settings = token::Settings {
        issuer: "i".to_owned(),
        audience: "a".to_owned(),
        accept_api_key_header: true,
        callers: vec![policy],
    };
    let names = Arc::new(ScopeNames::new(["clients:read"]).unwrap());
    let tokens = Arc::new(Tokens::new(settings, Arc::new(Ring::in_memory().unwrap()), names));
    let day = std::time::Duration::from_secs(86_400);
    let member = Member { name: "billing".to_owned(), ttl: day, secrets: Vec::new(), subjects: Vec::new() };
    let settings = Settings {
        members: vec![member],
        trust: Vec::new(),
        max_ttl: day,
        key_max_age: day,
        removed_grace: day,
        patience: day,
    };
    let ledger = Ledger::in_memory().unwrap();
    let clock = crate::clock::Clock::moved_by_hand(NOON * 1000);
    let authority = Authority::new(settings, Arc::clone(&tokens), ledger.clone(), clock);
    // The flush before it takes for ever.
    let (go_on, held) = std::sync::mpsc::channel::<()>();
    let theirs = ledger.clone();
    let slow = tokio::spawn(async move { theirs.change(move |_| Ok(held.recv().is_ok())).await });
    tokio::task::yield_now().await;
    tokio::select! {
        biased;
        done = authority.revoke_all("billing", "ops") => panic!("{done:?}"),
        () = tokio::task::yield_now() => {}
    }
    let life = Life { issued: NOON, expires: NOON + 60 };
    while !tokens.revoked().refuses("billing", "x", life) {
        tokio::task::yield_now().await;
    }
    assert_eq!(ledger.standing().unwrap().callers, []);
    go_on.send(()).unwrap();
    slow.await.unwrap().unwrap();
    while ledger.standing().unwrap().callers != [("billing".to_owned(), NOON)] {
        tokio::task::yield_now().await;
    }
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
                    revoke(&ledger, &target.to_string()).await;
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
