//! Pausing and resuming calls to the upstream by hand.
//! Given a body, hands back until when nothing is asked, or that calls go on, and what the audit line says of it.
//! Never pauses without an end or without a reason: both are what whoever finds it paused wants to know.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::budget::OperatorPause;
use crate::gateway::{Dials, Gateway};

use super::reply::{Refused, Reply};

/// Longer pauses are a change of the configuration.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// Bytes of a reason.
const MAX_REASON: usize = 256;

const SHAPE: &str = "Send {\"seconds\": 600, \"reason\": \"why\"}: from 1 to 2592000 seconds, and a reason of at most 256 \
                     bytes on one line.";

/// `POST /admin/v1/pause`.
pub(super) fn pause<C: Dials>(gateway: &Arc<Gateway<C>>, body: &[u8], by: &str) -> Result<Reply, Refused> {
    let (time, why) = read(body)?;
    let now = gateway.clock().tick();
    tracing::warn!(by, seconds = time.as_secs(), reason = %why.escape_debug(), "calls to the partner are paused by hand");
    let done = format!("calls paused for {} s: {}", time.as_secs(), why.escape_debug());
    gateway.calls().budget().pause(OperatorPause { until: now.plus(time), why: why.as_str().into() });
    Ok(Reply { body: json!({"paused": true, "seconds": time.as_secs(), "reason": why}), done })
}

/// `POST /admin/v1/resume`.
pub(super) fn resume<C: Dials>(gateway: &Arc<Gateway<C>>, by: &str) -> Reply {
    let ended = gateway.calls().budget().resume(gateway.clock().tick());
    if ended {
        tracing::warn!(by, "calls to the partner are resumed by hand; the next one is the probe");
    }
    let done = if ended { "calls resumed; the next one is the probe" } else { "nothing was paused" };
    Reply { body: json!({"paused": false, "resumed": ended}), done: done.to_owned() }
}

fn read(body: &[u8]) -> Result<(Duration, String), Refused> {
    let malformed = || Refused::Malformed(SHAPE.to_owned());
    let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return Err(malformed()) };
    if members.keys().any(|name| name != "seconds" && name != "reason") {
        return Err(malformed());
    }
    let seconds =
        members.get("seconds").and_then(Value::as_u64).filter(|seconds| (1..=LONGEST.as_secs()).contains(seconds));
    let reason = members.get("reason").and_then(Value::as_str).map(str::trim);
    let reason = reason.filter(|reason| (1..=MAX_REASON).contains(&reason.len()) && !reason.contains(char::is_control));
    match (seconds, reason) {
        (Some(seconds), Some(reason)) => Ok((Duration::from_secs(seconds), reason.to_owned())),
        _ => Err(malformed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_has_an_end_and_a_reason() {
        let long = format!(r#"{{"seconds": 9, "reason": "{}"}}"#, "x".repeat(257));
        for bad in [
            "",
            "{}",
            r#"{"seconds": 9}"#,
            r#"{"reason": "x"}"#,
            r#"{"seconds": 0, "reason": "x"}"#,
            r#"{"seconds": 2592001, "reason": "x"}"#,
            r#"{"seconds": -1, "reason": "x"}"#,
            r#"{"seconds": 9, "reason": " "}"#,
            r#"{"seconds": 9, "reason": "a\nb"}"#,
            r#"{"seconds": 9, "reason": "x", "more": 1}"#,
            &long,
        ] {
            assert!(matches!(read(bad.as_bytes()), Err(Refused::Malformed(_))), "{bad}");
        }
        let good = read(br#"{"seconds": 600, "reason": " their move "}"#).unwrap();
        assert_eq!(good, (Duration::from_secs(600), "their move".to_owned()));
    }
}
