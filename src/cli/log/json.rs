//! How does a line of the process log look?
//! Given an event, writes one JSON object whose members are called as in the access log, and whose lists are lists.
//! Never decides which events are written.

use std::fmt::{self, Write as _};

use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;

/// One object for each event: `time`, `level`, `message`, and what else it says.
pub(super) struct Json(pub(super) Clock);

impl<S, N> FormatEvent<S, N> for Json
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let unix_ms = i64::try_from(self.0.now().unix_ms).unwrap_or_default();
        let time = jiff::Timestamp::from_millisecond(unix_ms).unwrap_or_default();
        let mut members = Members::default();
        event.record(&mut members);
        let Members { message, rest } = members;
        let level = event.metadata().level().as_str();
        write!(out, r#"{{"time":"{time:.3}","level":"{level}","message":{}"#, message.unwrap_or_else(|| json!("")))?;
        for (name, value) in rest {
            write!(out, ",{}:{value}", json!(name))?;
        }
        writeln!(out, "}}")
    }
}

/// What an event says, in its order.
#[derive(Default)]
struct Members {
    message: Option<Value>,
    rest: Vec<(&'static str, Value)>,
}

impl Members {
    fn put(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => self.message = Some(value),
            name => self.rest.push((name, value)),
        }
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        // A list of texts is written by `Debug` as JSON writes it.
        let list = Some(text.as_str()).filter(|text| text.starts_with('[') && field.name() != "message");
        let list = list.and_then(|text| serde_json::from_str::<Vec<Value>>(text).ok()).map(Value::Array);
        self.put(field, list.unwrap_or(Value::String(text)));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// The time was called `timestamp` here and `time` in the access log, and a list was a text with brackets in it.
    #[test]
    fn a_line_is_json_whose_time_is_called_time_and_whose_lists_are_lists() {
        let kept = Kept::default();
        let writer = kept.clone();
        let log =
            tracing_subscriber::fmt().event_format(Json(Clock::real())).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(log, || {
            let keys = ["server.workers", "a \"quoted\" one"];
            tracing::info!(keys = ?keys, seconds = 3, ok = true, who = "me", error = %"[broken", "say \"it\"\nthus");
        });
        let line = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(line.matches('\n').count(), 1, "{line}");
        assert!(line.starts_with("{\"time\":\"20") && line.contains("Z\",\"level\":\"INFO\",\"message\":"), "{line}");
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["keys"], json!(["server.workers", "a \"quoted\" one"]));
        assert_eq!((&read["seconds"], &read["ok"], &read["who"]), (&json!(3), &json!(true), &json!("me")));
        assert_eq!((&read["error"], &read["message"]), (&json!("[broken"), &json!("say \"it\"\nthus")));
        assert!(read["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    }
}
