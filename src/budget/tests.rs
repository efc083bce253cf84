//! Who may call, and when?
//! Given budgets and moments, claims who gets a permit; and, for any schedule at all, how many calls start.
//! Never waits: every moment is handed in.

use proptest::prelude::*;

use super::*;

const ASKER: Asker = Asker { lane: Lane::Interactive, who: 1, resource: 1, payer: None, scope: Scope::Documented };
const BREAKER: breaker::Settings =
    breaker::Settings { failures: 5, cool_down: Duration::from_secs(2), cool_down_max: Duration::from_secs(30) };

fn budget(interval_ms: u64, burst: u32, max_in_flight: usize) -> Arc<Budget> {
    let rate = Rate::Every(Duration::from_millis(interval_ms));
    Budget::new(Settings {
        quota: Quota { rate, burst },
        max_in_flight,
        max_wait: Duration::from_secs(2),
        shared: false,
        breaker: BREAKER,
    })
}

/// A limit of which nothing is left until then.
fn paused(until: Tick) -> Verdict {
    let pause = signal::Pause { until, named: true, forbidden: false, excerpt: None, capped: false };
    Verdict::Paused { pause, refused: false }
}

fn opaque(asker: Asker) -> Asker {
    Asker { scope: Scope::Opaque, ..asker }
}

fn permit(budget: &Arc<Budget>, asker: Asker, now: Tick) -> Permit {
    match budget.ask(asker, now) {
        Asked::Permit(permit) => permit,
        Asked::Queued(_) => panic!("it has to wait"),
        Asked::Closed { .. } => panic!("the breaker is open"),
    }
}

fn of(who: Who) -> Asker {
    Asker { who, resource: who, payer: Some(who as usize), ..ASKER }
}

/// A budget that several callers share.
fn shared(interval_ms: u64, burst: u32, max_in_flight: usize) -> Arc<Budget> {
    let budget = budget(interval_ms, burst, max_in_flight);
    let settings = Settings { shared: true, ..budget.state.lock().settings };
    budget.reconfigure(settings, at(0));
    budget
}

/// A path that answered 429, 401 or not at all closed the upstream for those who asked for documents.
#[test]
fn what_is_heard_on_an_opaque_route_decides_for_opaque_routes_alone() {
    let budget = budget(0, 1, 9);
    permit(&budget, opaque(ASKER), at(0)).settle(paused(at(30_000)), at(0), 0);
    assert!(matches!(budget.ask(opaque(ASKER), at(1)), Asked::Closed { .. }));
    for resource in 0..9 {
        let asker = Asker { resource, ..ASKER };
        permit(&budget, asker, at(1)).settle(Verdict::Answered, at(1), 0);
    }
    assert!(matches!(budget.ask(opaque(ASKER), at(2)), Asked::Closed { .. }), "a document says nothing of it");
    permit(&budget, opaque(ASKER), at(30_000)).settle(Verdict::Answered, at(30_000), 0);
    assert!(matches!(budget.ask(opaque(ASKER), at(30_000)), Asked::Permit(_)));
}

#[test]
fn what_is_heard_on_a_documented_route_decides_for_all_and_its_probe_opens_for_all() {
    let budget = budget(0, 1, 9);
    permit(&budget, ASKER, at(0)).settle(paused(at(30_000)), at(0), 0);
    assert!(matches!(budget.ask(opaque(ASKER), at(30_000)), Asked::Closed { .. }), "a document is asked for first");
    permit(&budget, ASKER, at(30_000)).settle(Verdict::Answered, at(30_001), 0);
    assert!(matches!(budget.ask(opaque(ASKER), at(30_001)), Asked::Permit(_)));
    permit(&budget, ASKER, at(30_001)).settle(paused(at(60_000)), at(30_001), 0);
    assert!(matches!(budget.ask(opaque(ASKER), at(61_000)), Asked::Permit(_)), "nobody asked for a document");
}

/// Sixteen slow calls of one caller left no place for anybody else.
#[test]
fn one_caller_leaves_a_quarter_of_the_places_to_the_others() {
    let budget = shared(0, 1, 16);
    let hers: Vec<_> = (0..12).map(|_| permit(&budget, of(1), at(0))).collect();
    let Asked::Queued(mut thirteenth) = budget.ask(of(1), at(0)) else { panic!("all but a quarter") };
    assert_eq!(thirteenth.claim(at(0)).err(), Some(Later::Woken));
    let theirs: Vec<_> = (2..6).map(|who| permit(&budget, of(who), at(0))).collect();
    let Asked::Queued(mut full) = budget.ask(of(7), at(0)) else { panic!("sixteen are under way") };
    drop(hers);
    assert!(full.claim(at(0)).is_err(), "whoever came before goes first");
    assert!(thirteenth.claim(at(0)).is_ok() && full.claim(at(0)).is_ok());
    drop(theirs);
    let alone = budget.state.lock().settings;
    budget.reconfigure(Settings { shared: false, ..alone }, at(0));
    let all: Vec<_> = (0..16).map(|_| permit(&budget, of(1), at(0))).collect();
    assert_eq!(all.len(), 16, "with nobody else all are its own");
    for (most, one) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6)] {
        assert_eq!(share::most_of_one(most), one, "{most}");
    }
}

#[test]
fn a_caller_that_uses_less_than_half_of_the_rate_never_waits_for_one_that_uses_all_it_gets() {
    let budget = shared(100, 20, 1000);
    let mut tickets: Vec<Ticket> = Vec::new();
    for now in (0..10_000).step_by(10) {
        if let Asked::Queued(ticket) = budget.ask(of(1), at(now)) {
            tickets.push(ticket);
        }
        tickets.retain_mut(|ticket| ticket.claim(at(now)).is_err());
        if now % 250 == 0 {
            assert!(matches!(budget.ask(of(2), at(now)), Asked::Permit(_)), "at {now} ms");
        }
    }
}

#[test]
fn a_pause_by_hand_stands_above_all_and_leaves_nothing_behind_and_resume_makes_the_next_call_the_probe() {
    let budget = budget(0, 1, 9);
    budget.pause(OperatorPause { until: at(5_000), why: "maintenance".into() });
    let Asked::Closed { until, reason: Reason::PausedByOperator } = budget.ask(ASKER, at(0)) else { panic!("paused") };
    assert_eq!(until, at(5_000));
    let standing = budget.figures(at(1)).documented.unwrap();
    assert_eq!(standing.excerpt, Some(("maintenance".into(), false)));
    let (first, second) = (budget.ask(ASKER, at(5_000)), budget.ask(ASKER, at(5_000)));
    assert!(matches!((first, second), (Asked::Permit(_), Asked::Permit(_))), "it ends without a probe");
    budget.pause(OperatorPause { until: at(9_000), why: "again".into() });
    assert!(budget.resume(at(6_000)));
    let (probe, second) = (permit(&budget, ASKER, at(6_000)), budget.ask(ASKER, at(6_000)));
    assert!(probe.started.is_some_and(Started::is_probe) && matches!(second, Asked::Queued(_)));
    drop((probe, second));
    permit(&budget, ASKER, at(6_000)).settle(Verdict::Answered, at(6_000), 0);
    assert!(!budget.resume(at(7_000)), "there is nothing to end");
    permit(&budget, ASKER, at(7_000)).settle(paused(at(60_000)), at(7_000), 0);
    assert!(budget.resume(at(8_000)));
    assert!(permit(&budget, ASKER, at(8_000)).started.is_some_and(Started::is_probe), "the partner's pause too");
}

fn at(millis: u64) -> Tick {
    Tick::from_nanos(millis * 1_000_000)
}

#[test]
fn the_first_in_the_queue_is_served_first_and_at_the_moment_it_was_told() {
    let budget = budget(100, 1, 9);
    let Asked::Permit(_first) = budget.ask(ASKER, at(0)) else { panic!("full budget") };
    let (Asked::Queued(mut second), Asked::Queued(mut third)) = (budget.ask(ASKER, at(0)), budget.ask(ASKER, at(0)))
    else {
        panic!("spent")
    };
    assert_eq!(third.claim(at(100)).err(), Some(Later::Woken));
    assert_eq!(second.claim(at(0)).err(), Some(Later::At(at(100))));
    assert!(second.claim(at(100)).is_ok());
    drop(second);
    assert_eq!(third.claim(at(100)).err(), Some(Later::At(at(200))));
}

#[test]
fn another_setting_counts_at_once_and_what_waits_or_is_under_way_stays() {
    let budget = budget(3_600_000, 1, 1);
    let Asked::Permit(first) = budget.ask(ASKER, at(0)) else { panic!("full budget") };
    let Asked::Queued(mut second) = budget.ask(ASKER, at(0)) else { panic!("spent") };
    let quota = Quota { rate: Rate::Every(Duration::from_millis(100)), burst: 1 };
    budget.reconfigure(
        Settings { quota, max_in_flight: 2, max_wait: Duration::ZERO, shared: false, breaker: BREAKER },
        at(0),
    );
    assert_eq!(second.deadline(), at(2000), "it was told how long it may wait");
    assert_eq!(second.claim(at(0)).err(), Some(Later::At(at(100))), "an hour is a tenth of a second now");
    let third = second.claim(at(100)).unwrap();
    assert_eq!(budget.figures(at(100)).in_flight, 2);
    drop((first, third));
    assert_eq!(budget.figures(at(100)).in_flight, 0);
}

#[test]
fn a_caller_that_leaves_the_queue_frees_its_place() {
    let budget = budget(100, 1, 9);
    let Asked::Permit(_first) = budget.ask(ASKER, at(0)) else { panic!("full budget") };
    let (Asked::Queued(second), Asked::Queued(mut third)) = (budget.ask(ASKER, at(0)), budget.ask(ASKER, at(0))) else {
        panic!("spent")
    };
    drop(second);
    assert!(third.claim(at(100)).is_ok());
}

#[test]
fn a_permit_gives_its_place_in_flight_back() {
    let budget = budget(0, 1, 1);
    let Asked::Permit(first) = budget.ask(ASKER, at(0)) else { panic!("full budget") };
    let Asked::Queued(mut second) = budget.ask(ASKER, at(0)) else { panic!("one in flight") };
    assert_eq!(second.claim(at(5)).err(), Some(Later::Woken));
    drop(first);
    assert!(second.claim(at(5)).is_ok());
}

#[test]
fn nothing_starts_while_the_partner_wants_to_be_left_alone_and_then_one_at_a_time_until_one_succeeds() {
    let budget = budget(0, 1, 2);
    let Asked::Permit(mut first) = budget.ask(ASKER, at(0)) else { panic!("full budget") };
    let Asked::Permit(second) = budget.ask(ASKER, at(0)) else { panic!("two in flight") };
    let Asked::Queued(mut third) = budget.ask(ASKER, at(0)) else { panic!("two in flight") };
    first.settle(paused(at(30_000)), at(1), 0);
    assert_eq!(third.claim(at(1)).err(), Some(Later::Closed { until: at(30_000), reason: Reason::PausedByPartner }));
    assert!(matches!(budget.ask(ASKER, at(29_999)), Asked::Closed { until, .. } if until == at(30_000)));
    drop((first, second, third));
    let Asked::Permit(mut probe) = budget.ask(ASKER, at(30_000)) else { panic!("the next call is the probe") };
    let Asked::Queued(mut waits) = budget.ask(ASKER, at(30_000)) else { panic!("a second probe") };
    assert_eq!(waits.claim(at(30_001)).err(), Some(Later::Woken));
    probe.settle(Verdict::Answered, at(30_002), 0);
    assert!(waits.claim(at(30_002)).is_ok());
}

#[test]
fn a_place_moves_up_when_somebody_more_urgent_waits_too() {
    let budget = budget(100, 1, 9);
    let Asked::Permit(_first) = budget.ask(ASKER, at(0)) else { panic!("full budget") };
    let refresh = Asker { lane: Lane::Refresh, who: 0, resource: 2, payer: None, scope: Scope::Documented };
    let Asked::Queued(mut refresh) = budget.ask(refresh, at(0)) else { panic!("spent") };
    let Asked::Queued(mut batch) = budget.ask(Asker { lane: Lane::Batch, ..ASKER }, at(0)) else { panic!("spent") };
    assert_eq!(refresh.claim(at(100)).err(), Some(Later::Woken));
    refresh.raise(Lane::Interactive, 7);
    assert!(refresh.claim(at(100)).is_ok());
    assert!(batch.claim(at(200)).is_ok());
}

/// A miss that joined a flight of a caller with a long line waited in that line, and was refused at its end.
#[test]
fn a_flight_waits_in_the_best_line_of_all_who_want_it() {
    let budget = budget(100, 1, 9);
    let _first = permit(&budget, of(1), at(0));
    let queued = |who| match budget.ask(of(who), at(0)) {
        Asked::Queued(ticket) => ticket,
        _ => panic!("spent"),
    };
    let mut tickets: Vec<_> = (0..6).map(|_| queued(1)).collect();
    let mut joined = tickets.pop().unwrap();
    joined.raise(Lane::Interactive, 1);
    assert_eq!(joined.claim(at(100)).err(), Some(Later::Woken), "its own line is no better place");
    joined.raise(Lane::Interactive, 2);
    assert!(tickets[0].claim(at(100)).is_ok(), "who came first goes first");
    let permit = joined.claim(at(200)).unwrap();
    assert_eq!(permit.asker().who, 2, "it is the other's call now");
    joined = queued(2);
    joined.raise(Lane::Interactive, 1);
    assert_eq!(joined.asker.who, 2, "nobody is sent to the end of a longer line");
    assert_eq!(tickets[1].claim(at(300)).err(), None);
    assert!(joined.claim(at(400)).is_ok());
}

/// A caller with all that one may have under way could have joined another's flight, and have held it up in its own line.
#[test]
fn who_joins_a_flight_never_makes_it_wait_longer() {
    let budget = shared(0, 1, 16);
    let _hers: Vec<_> = (0..12).map(|_| permit(&budget, of(1), at(0))).collect();
    let theirs: Vec<_> = (3..7).map(|who| permit(&budget, of(who), at(0))).collect();
    let queued = |who| match budget.ask(of(who), at(0)) {
        Asked::Queued(ticket) => ticket,
        _ => panic!("sixteen are under way"),
    };
    let (mut first, mut second) = (queued(2), queued(2));
    second.raise(Lane::Interactive, 1);
    assert_eq!(second.asker.who, 1, "its line is the shorter one");
    drop(theirs);
    let _first = first.claim(at(1)).unwrap();
    assert_eq!(second.claim(at(1)).unwrap().asker().who, 2);
}

/// Bursts of eight, and single calls at random, waited for a caller that took all that was left each time.
#[test]
fn a_burst_of_the_others_finds_most_of_the_budget_there_whatever_one_caller_takes() {
    let budget = shared(100, 10, 1000);
    let mut tickets: Vec<Ticket> = Vec::new();
    let mut hers = 0;
    for now in (0..20_000).step_by(10) {
        if let Asked::Queued(ticket) = budget.ask(of(1), at(now)) {
            tickets.push(ticket);
        }
        tickets.retain_mut(|ticket| match ticket.claim(at(now)) {
            Ok(_) => {
                hers += 1;
                false
            }
            Err(_) => true,
        });
        if now % 2000 == 1990 {
            for who in 2..10 {
                assert!(matches!(budget.ask(of(who), at(now)), Asked::Permit(_)), "the {who}th at {now} ms");
            }
        }
    }
    assert!(hers > 100, "what nobody else wants is not wasted: {hers}");
}

#[test]
fn refreshes_leave_four_fifths_of_the_burst_to_those_who_wait() {
    let budget = shared(100, 10, 1000);
    let refresh = Asker { lane: Lane::Refresh, who: 0, ..ASKER };
    let started = (0..10).filter(|_| matches!(budget.ask(refresh, at(0)), Asked::Permit(_))).count();
    assert_eq!(started, 2);
    let others = (2..12).filter(|who| matches!(budget.ask(of(*who), at(0)), Asked::Permit(_))).count();
    assert_eq!(others, 8);
}

/// Twelve of sixteen slow calls were one caller's, and four were too few for the others.
#[test]
fn the_more_the_others_have_under_way_the_fewer_may_one_caller_have() {
    let most = |budget: &Arc<Budget>, now| {
        let hers: Vec<_> = (0..17).map(|_| budget.ask(of(1), at(now))).collect();
        hers.iter().filter(|asked| matches!(asked, Asked::Permit(_))).count()
    };
    let budget = shared(0, 1, 16);
    assert_eq!(most(&budget, 0), 12, "nobody else calls");
    drop(permit(&budget, of(2), at(1000)));
    assert_eq!(most(&budget, 2000), 8, "another one calls");
    let _hers: Vec<_> = (0..3).map(|_| permit(&budget, of(1), at(3000))).collect();
    let theirs: Vec<_> = (2..7).map(|who| permit(&budget, of(who), at(3000))).collect();
    drop((_hers, theirs));
    assert_eq!(most(&budget, 4000), 6, "others had five under way");
    assert_eq!(most(&budget, 70_000), 12, "a minute later");
}

#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Ask(u8, u64),
    Claim(usize),
    Leave(usize),
    End(usize, Ending),
}

#[derive(Debug, Clone, Copy)]
enum Ending {
    Answered,
    Failed,
    Told(u64),
    Vanished,
}

fn step() -> impl Strategy<Value = Step> {
    let ending = prop_oneof![
        6 => Just(Ending::Answered),
        2 => Just(Ending::Failed),
        1 => (0..400_u64).prop_map(Ending::Told),
        1 => Just(Ending::Vanished),
    ];
    prop_oneof![
        3 => (0..60_u64).prop_map(Step::Wait),
        4 => (0..3_u8, 0..4_u64).prop_map(|(lane, who)| Step::Ask(lane, who)),
        4 => (0..8_usize).prop_map(Step::Claim),
        1 => (0..8_usize).prop_map(Step::Leave),
        3 => (0..8_usize, ending).prop_map(|(nth, ending)| Step::End(nth, ending)),
    ]
}

proptest! {
    #[test]
    fn for_any_schedule_calls_keep_within_rate_burst_places_and_the_partners_word(
        steps in prop::collection::vec(step(), 0..200),
        interval in 1..50_u64,
        burst in 1..6_u32,
        places in 1..5_usize,
    ) {
        let budget = budget(interval, burst, places);
        let (mut now, mut told) = (0, 0);
        let (mut queued, mut under_way, mut starts) = (Vec::new(), Vec::new(), Vec::<u64>::new());
        for step in steps {
            let started = match step {
                Step::Wait(millis) => {
                    now += millis;
                    None
                }
                Step::Ask(lane, who) => {
                    let lane = [Lane::Interactive, Lane::Batch, Lane::Refresh][usize::from(lane)];
                    match budget.ask(Asker { lane, who, resource: who, payer: None, scope: Scope::Documented }, at(now)) {
                        Asked::Permit(permit) => Some(permit),
                        Asked::Queued(ticket) => {
                            queued.push(ticket);
                            None
                        }
                        Asked::Closed { until, .. } => {
                            prop_assert!(until > at(now), "closed until a moment that is over");
                            None
                        }
                    }
                }
                Step::Claim(nth) if nth < queued.len() => match queued[nth].claim(at(now)) {
                    Ok(permit) => {
                        drop(queued.remove(nth));
                        Some(permit)
                    }
                    Err(_) => None,
                },
                Step::Leave(nth) if nth < queued.len() => {
                    drop(queued.remove(nth));
                    None
                }
                Step::End(nth, ending) if nth < under_way.len() => {
                    let mut permit: Permit = under_way.remove(nth);
                    match ending {
                        Ending::Answered => drop(permit.settle(Verdict::Answered, at(now), 0)),
                        Ending::Failed => drop(permit.settle(Verdict::Failed, at(now), 0)),
                        Ending::Told(millis) => {
                            told = told.max(now + millis);
                            let _ = permit.settle(paused(at(now + millis)), at(now), 0);
                        }
                        Ending::Vanished => {}
                    }
                    None
                }
                _ => None,
            };
            if let Some(permit) = started {
                prop_assert!(now >= told, "a call started before the time that the partner named");
                starts.push(now);
                under_way.push(permit);
            }
            prop_assert!(under_way.len() <= places);
            prop_assert_eq!(budget.figures(at(now)).in_flight, under_way.len());
        }
        for (nth, from) in starts.iter().enumerate() {
            for (many, to) in starts.iter().skip(nth).enumerate() {
                let most = (to - from) / interval + u64::from(burst);
                prop_assert!((many as u64) < most, "{} calls in {} ms", many + 1, to - from);
            }
        }
    }

    #[test]
    fn who_comes_back_when_told_is_let_through_and_a_moment_sooner_is_not(
        taken in 1..20_u32, interval in 1..500_u64, burst in 1..6_u32, now in 0..1_000_u64,
    ) {
        let budget = budget(interval, burst, 100);
        let permits: Vec<_> = (0..taken).map(|_| budget.ask(ASKER, at(now))).collect();
        let mut queued: Vec<_> = permits.into_iter().filter_map(|asked| match asked {
            Asked::Queued(ticket) => Some(ticket),
            _ => None,
        }).collect();
        queued.truncate(1);
        let Some(ticket) = queued.first_mut() else { return Ok(()) };
        let Err(Later::At(then)) = ticket.claim(at(now)) else { panic!("the budget is spent") };
        let sooner = Tick::from_nanos(then.as_nanos() - 1);
        prop_assert_eq!(ticket.claim(sooner).err(), Some(Later::At(then)));
        // It is what those are told who are not let wait, the queue before them included.
        prop_assert_eq!(budget.opens(ASKER.who, ASKER.scope, at(now)), then.plus(Duration::from_millis(interval)));
        prop_assert!(ticket.claim(then).is_ok());
        queued.clear();
        let next = budget.opens(ASKER.who, ASKER.scope, then);
        prop_assert!(matches!(budget.ask(ASKER, Tick::from_nanos(next.as_nanos() - 1)), Asked::Queued(_)));
        prop_assert!(matches!(budget.ask(ASKER, next), Asked::Permit(_)));
    }
}

proptest::proptest! {
    #[test]
    fn what_is_foreseen_is_what_is_then_told(
        steps in proptest::collection::vec((0u64..400, 0u8..4), 1..60), burst in 1u32..4, places in 1usize..4,
    ) {
        let budget = budget(100, burst, places);
        let (mut now, mut permits, mut tickets) = (0, Vec::<Permit>::new(), Vec::new());
        for (gap, step) in steps {
            now += gap;
            let foreseen = budget.foresee(ASKER.who, ASKER.scope, at(now));
            assert_eq!(foreseen, budget.foresee(ASKER.who, ASKER.scope, at(now)), "looking changes nothing");
            match (step, permits.is_empty()) {
                (0, false) => drop(permits.remove(0)),
                (1, false) => {
                    let mut permit = permits.remove(0);
                    permit.settle(paused(at(now + 300)), at(now), 0);
                }
                (2, false) => {
                    let mut permit = permits.remove(0);
                    permit.settle(Verdict::Answered, at(now), 0);
                }
                _ => match (budget.ask(ASKER, at(now)), foreseen) {
                    (Asked::Permit(permit), Prospect::Call { probe }) => {
                        assert_eq!(permit.started.map(Started::is_probe), Some(probe));
                        permits.push(permit);
                    }
                    (Asked::Queued(ticket), Prospect::Waits { .. }) => tickets.push(ticket),
                    (Asked::Closed { until, reason }, foreseen) => {
                        assert_eq!(foreseen, Prospect::Closed { until, reason });
                    }
                    (_, foreseen) => panic!("not as foreseen: {foreseen:?}"),
                },
            }
            if step == 3 {
                tickets.clear();
            }
        }
    }
}
