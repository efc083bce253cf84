//! Does the page for callers know every refusal?
//! Given one of each, holds the tables of `src/guide/callers.md` and `deploy/OPERATING.md` to their words.
//! Never lists them by hand alone: whoever adds a refusal has to say here which follows it, or nothing compiles.

use super::*;
use crate::listen::BadHead;
use crate::route::Malformed;

#[path = "../../../../tests/pages/table.rs"]
mod table;

/// The refusal after this one, and the first after none.
fn next(refusal: Option<&Refusal>) -> Option<Refusal> {
    let retry = std::time::Duration::from_secs(1);
    let limited = |limit| Refusal::Limited { limit, retry };
    let closed = |reason| Refusal::Closed { retry, reason };
    Some(match refusal {
        None => Refusal::Malformed(Malformed::Form),
        Some(Refusal::Malformed(_)) => Refusal::Ambiguous,
        Some(Refusal::Ambiguous) => Refusal::Unidentified(Unidentified::Missing),
        Some(Refusal::Unidentified(why)) => match why {
            Unidentified::Missing => Refusal::Unidentified(Unidentified::Expired),
            Unidentified::Expired => Refusal::Unidentified(Unidentified::Revoked),
            Unidentified::Revoked => Refusal::Unidentified(Unidentified::UnknownCaller),
            Unidentified::Ambiguous | Unidentified::Bad(_) | Unidentified::UnknownCaller => Refusal::Ambient,
        },
        Some(Refusal::Ambient) => Refusal::Denied(Denied::Scope("clients:read".to_owned())),
        Some(Refusal::Denied(denied)) => match denied {
            Denied::Scope(_) => Refusal::Denied(Denied::Client),
            Denied::Client | Denied::Provider | Denied::ProviderQuery | Denied::Project | Denied::Bounded => {
                Refusal::HubRights
            }
        },
        Some(Refusal::HubRights) => Refusal::NoSuchRoute,
        Some(Refusal::NoSuchRoute) => Refusal::Method,
        Some(Refusal::Method) => Refusal::NotAcceptable,
        Some(Refusal::NotAcceptable) => Refusal::Precondition,
        Some(Refusal::Precondition) => Refusal::BodyTooLarge,
        Some(Refusal::BodyTooLarge) => Refusal::SlowBody,
        Some(Refusal::SlowBody) => Refusal::BrokenBody,
        Some(Refusal::BrokenBody) => Refusal::CallerLeft,
        Some(Refusal::CallerLeft) => Refusal::Beyond { length: 1 },
        Some(Refusal::Beyond { .. }) => limited(Limit::Requests),
        Some(Refusal::Limited { limit, .. }) => match limit {
            Limit::Requests => limited(Limit::Concurrent),
            Limit::Concurrent => limited(Limit::Upstream),
            Limit::Upstream => Refusal::BadTokens { retry },
        },
        Some(Refusal::BadTokens { .. }) => Refusal::Head(BadHead::TooLarge),
        Some(Refusal::Head(fault)) => match fault {
            BadHead::TooLarge => Refusal::Head(BadHead::Malformed),
            BadHead::Malformed => Refusal::Head(BadHead::Host),
            BadHead::Host => Refusal::Partner(Fault::Key),
        },
        Some(Refusal::Partner(fault)) => match fault {
            Fault::Key => Refusal::Partner(Fault::Token),
            Fault::Token => Refusal::Partner(Fault::TokenExpired),
            Fault::TokenExpired => Refusal::Partner(Fault::Failed(Failed::Connect)),
            Fault::Failed(Failed::Connect) => Refusal::Partner(Fault::Failed(Failed::Certificate)),
            Fault::Failed(Failed::Certificate) => Refusal::Partner(Fault::Failed(Failed::ProxyAuth)),
            Fault::Failed(Failed::ProxyAuth) => Refusal::Partner(Fault::Failed(Failed::ProxyRefuses)),
            Fault::Failed(Failed::ProxyRefuses) => Refusal::Partner(Fault::Failed(Failed::TooLarge)),
            Fault::Failed(Failed::TooLarge) => Refusal::Partner(Fault::Failed(Failed::Broken)),
            Fault::Failed(Failed::Broken | Failed::Timeout) => Refusal::Partner(Fault::Failed(Failed::Interim)),
            Fault::Failed(Failed::Interim) => Refusal::Partner(Fault::Status),
            Fault::Status => Refusal::Partner(Fault::Redirect),
            Fault::Redirect => Refusal::Partner(Fault::NotJson),
            Fault::NotJson => Refusal::Partner(Fault::Unasked),
            Fault::Unasked => Refusal::Partner(Fault::NotADocument),
            Fault::NotADocument => Refusal::Partner(Fault::DoubtfulAbsence),
            Fault::DoubtfulAbsence => Refusal::Partner(Fault::ToItself),
            Fault::ToItself => Refusal::NotUnderstood,
        },
        Some(Refusal::NotUnderstood) => Refusal::TooLargeToNarrow,
        Some(Refusal::TooLargeToNarrow) => Refusal::Busy { retry },
        Some(Refusal::Busy { .. }) => closed(Reason::PausedByPartner),
        Some(Refusal::Closed { reason, .. }) => match reason {
            Reason::PausedByPartner => closed(Reason::PausedByOperator),
            Reason::PausedByOperator => closed(Reason::Failing),
            Reason::Failing | Reason::KeyRefused => Refusal::Deadline,
        },
        Some(Refusal::Deadline) => Refusal::OnlyIfCached,
        Some(Refusal::OnlyIfCached) => Refusal::Loop,
        Some(Refusal::Loop) => Refusal::Status(StatusCode::IM_A_TEAPOT),
        Some(Refusal::Status(_)) => return None,
    })
}

fn every() -> Vec<Refusal> {
    let mut all: Vec<Refusal> = Vec::new();
    while let Some(refusal) = next(all.last()) {
        all.push(refusal);
    }
    all
}

/// What is said by a listener before there is a request: no refusal of the gateway's.
const CLEAR_TEXT: [&str; 3] = ["400", "clear-text", "TLS is spoken here"];

#[test]
fn the_pages_table_of_refusals_has_each_with_its_status_and_title() {
    assert!(include_str!("../../../listen/greet.rs").contains(&CLEAR_TEXT[1..].join("\",\n    title: \"")));
    let mut all: Vec<[String; 3]> = vec![CLEAR_TEXT.map(str::to_owned)];
    for refusal in every() {
        let problem = problem_of(&refusal);
        let status = match refusal {
            Refusal::Status(_) => "the partner's".to_owned(),
            _ => problem.status.as_u16().to_string(),
        };
        let row = [status, problem.slug.to_owned(), problem.title.to_owned()];
        // One word has one row, whatever led to it.
        if all.iter().all(|other| other[1] != row[1]) {
            all.push(row);
        }
    }
    all.sort_by(|one, other| one[0].cmp(&other[0]));
    table::holds("src/guide/callers.md", "problems", &["status", "word", "title", "what to do"], |before| {
        let row = |[status, word, title]: [String; 3]| {
            let word = format!("`{word}`");
            let old = before.iter().find(|old| old.get(1) == Some(&word)).and_then(|old| old.get(3));
            let what = old.unwrap_or_else(|| panic!("{word} says nothing on the page; write what a caller does then"));
            vec![status, word, title, what.clone()]
        };
        all.into_iter().map(row).collect()
    });
}

#[test]
fn every_cause_that_the_operators_page_explains_is_one() {
    let page = include_str!("../../../../deploy/OPERATING.md");
    let table = page.split("\n## Causes\n").nth(1).unwrap().split("\n## ").next().unwrap();
    let causes: Vec<&str> = every().iter().map(crate::gateway::respond::cause_of_refusal).collect();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 15, "{}", rows.len());
    for cause in rows
        .iter()
        .flat_map(|row| row.split(" | ").next().unwrap().split('(').next().unwrap().split('`').skip(1).step_by(2))
    {
        assert!(causes.contains(&cause), "no request has the cause {cause}");
    }
}

#[test]
fn every_problem_keeps_its_status_type_title_and_cause() {
    let mut all = every();
    // The same words under another status or title.
    all.push(Refusal::Malformed(Malformed::Identifier("client".to_owned())));
    all.extend([StatusCode::NOT_FOUND, StatusCode::GONE].map(Refusal::Status));
    let row = |refusal: &Refusal| {
        let Problem { status, slug, title, .. } = problem_of(refusal);
        let cause = crate::gateway::respond::cause_of_refusal(refusal);
        format!("{} urn:reseller-gateway:problem:{slug} \"{title}\" cause={cause}\n", status.as_u16())
    };
    let mut rows: Vec<String> = all.iter().map(row).collect();
    let [status, slug, title] = CLEAR_TEXT;
    rows.push(format!("{status} urn:reseller-gateway:problem:{slug} \"{title}\", before there is a request\n"));
    rows.sort();
    rows.dedup();
    crate::golden::is_unchanged("problems.txt", &rows.concat());
}

#[test]
fn every_closed_word_of_cache_status_and_the_log_stays() {
    use crate::budget::{Cause, breaker};
    use crate::cache::reason::{Detail, Why};
    use crate::trail::Outcome;
    fn line<T>(what: &str, all: &[T], word: impl Fn(&T) -> &'static str) -> String {
        format!("{what}: {}\n", all.iter().map(word).collect::<Vec<_>>().join(" "))
    }
    let why = [Why::UriMiss, Why::VaryMiss, Why::Stale, Why::Request, Why::Bypass, Why::Method];
    let mut causes: Vec<&str> = every().iter().map(crate::gateway::respond::cause_of_refusal).collect();
    causes.sort_unstable();
    causes.dedup();
    let text = [
        line("Cache-Status fwd", &why, |why| why.as_str()),
        line("Cache-Status detail, cause of an answer", &Detail::ALL, |detail| detail.as_str()),
        line("cause of a refusal", &causes, |cause| cause),
        line("outcome", &Outcome::ALL, |outcome| outcome.as_str()),
        line("cause of a call", &Cause::ALL, |cause| cause.as_str()),
        line("why calls have to wait", &breaker::Reason::ALL, |reason| reason.as_str()),
        line("a caller's own limit", &Limit::ALL, |limit| limit.as_str()),
    ];
    crate::golden::is_unchanged("words.txt", &text.concat());
}
