//! What would the gateway do with an answer, in words?
//! Given what became of it, hands back one sentence: for how long it is used and whose terms say so, or why it is not.
//! Never judges: that was done by the rooms of the path.

use std::time::Duration;

use http::StatusCode;

use crate::cache::freshness::Life;
use crate::cache::reason::Detail;
use crate::config::time_text;
use crate::gateway::probe::{Disposition, Probe, TermsSource};
use crate::gateway::refusal::{Fault, Refusal};
use crate::upstream::Failed;

/// The sentence.
pub(super) fn describe(trial: &Probe) -> String {
    match &trial.disposition {
        Disposition::Stored(life, winner) if trial.status == StatusCode::OK => stored(life, *winner),
        Disposition::Stored(life, _) => format!("stored for {} (the route's negative_ttl)", time_text(life.lifetime)),
        Disposition::NotStored(why) => not_stored(*why, trial.status),
        Disposition::Refused(refusal) => format!("not given to anybody: {}", refused(refusal)),
        Disposition::Standard => {
            "the route is in standard mode: Cache-Control and Expires decide, request by request (RFC 9111)".to_owned()
        }
    }
}

fn stored(life: &Life, winner: TermsSource) -> String {
    let whose = match winner {
        TermsSource::Partner => "the partner's own lifetime stands above the route's ttl",
        TermsSource::Route => "the route's ttl; the partner names no lifetime",
        TermsSource::Override => "the route's ttl; override = true, so what the partner says is not looked at",
    };
    let mut text = match life.ask_first {
        true => "stored, and confirmed by the partner at each request, as its head wants".to_owned(),
        false => format!("stored, fresh for {} ({whose})", time_text(life.lifetime)),
    };
    let age = life.initial_age.as_secs();
    if age > 0 {
        text += &format!(", of which {age}s are over when it comes");
    }
    let behind = if life.ask_first { Duration::ZERO } else { life.stale.while_revalidate };
    for (window, when) in [(behind, "while it is refreshed"), (life.stale.if_error, "when the partner fails")] {
        if !window.is_zero() {
            text += &format!("; up to {} longer {when}", time_text(window));
        }
    }
    text
}

fn not_stored(why: Detail, status: StatusCode) -> String {
    match why {
        Detail::NoStore | Detail::Private | Detail::Vary => format!(
            "not stored, so each request is a call: the partner forbids it ({}); `override = true` on the route would store it",
            why.as_str()
        ),
        Detail::Status => format!("passed to who asked and not stored: a {} is no document", status.as_u16()),
        Detail::TooLarge => "not stored, and not narrowed for anybody: it is larger than cache.max_object".to_owned(),
        Detail::Route => "not stored: the route says `store = false`".to_owned(),
        Detail::Purged => "not stored: purged while it was under way".to_owned(),
        why => format!("not stored: {}", why.as_str()),
    }
}

/// Why there is no answer, or none that anybody gets.
pub(super) fn refused(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Partner(Fault::NotJson) => {
            "it is not a whole JSON document of type application/json, so callers get 502".to_owned()
        }
        Refusal::Partner(Fault::Status) => {
            "5xx of the partner's: callers get what is stored, if it may still be shown, or 502".to_owned()
        }
        Refusal::Partner(Fault::Redirect) => {
            "redirects are not followed, so callers get 502; is upstream.url what the partner documents?".to_owned()
        }
        Refusal::Partner(Fault::Unasked) => "a 206 or 304 that nobody asked for, so callers get 502".to_owned(),
        Refusal::Partner(Fault::Failed(Failed::TooLarge)) => "the body is larger than upstream.max_response".to_owned(),
        Refusal::Partner(Fault::Failed(failed)) => failed.to_string(),
        Refusal::Deadline => "no whole answer within upstream.timeout".to_owned(),
        Refusal::Closed { retry, .. } => {
            format!("the partner wants to be left alone for {}s; until then nobody asks", seconds(*retry))
        }
        Refusal::Busy { retry } => {
            format!("upstream.budget has no room for another {}s", seconds(*retry))
        }
        other => format!("the gateway refuses it ({other:?})"),
    }
}

/// Rounded up: whoever comes back then does not come too early.
pub(super) fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
