//! How is a value written?
//! Given a value, hands back what it means, or the reason why it means nothing.
//! Never repeats the value in a reason: it may be a secret in the wrong place.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytesize::ByteSize;
use http::Uri;
use jiff::SpanRelativeTo;
use jiff::fmt::friendly::SpanParser;

use super::page::time_text;
use super::tree::Value;
use crate::gcra::Rate;

/// No duration of the configuration is longer.
const LONGEST: Duration = Duration::from_secs(400 * 86_400);

/// A word of a closed list.
pub(super) trait Keyword: Copy + PartialEq + 'static {
    /// Every word and what it means.
    const KEYWORDS: &'static [(&'static str, Self)];

    /// The word for this.
    fn as_str(self) -> &'static str {
        Self::KEYWORDS.iter().find(|(_, meaning)| *meaning == self).map_or("", |(keyword, _)| *keyword)
    }
}

/// One word of the list.
pub(super) fn keyword<T: Keyword>(value: &Value) -> Result<T, String> {
    let text = text(value)?;
    T::KEYWORDS.iter().find(|(keyword, _)| *keyword == text).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let words: Vec<String> = T::KEYWORDS.iter().map(|(keyword, _)| format!("\"{keyword}\"")).collect();
        format!("one of {} is wanted", words.join(", "))
    })
}

/// Any text.
pub(super) fn text(value: &Value) -> Result<String, String> {
    match value {
        Value::Text(text) | Value::Loose(text) => Ok(text.clone()),
        _ => Err("a text is wanted, in quotes".to_owned()),
    }
}

/// A text that says something.
pub(super) fn filled(value: &Value) -> Result<String, String> {
    let text = text(value)?;
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("a text that is not empty and has no control characters is wanted".to_owned());
    }
    Ok(text)
}

/// A text, or nothing where it is empty.
pub(super) fn optional(value: &Value) -> Result<Option<String>, String> {
    if text(value)?.is_empty() { Ok(None) } else { filled(value).map(Some) }
}

/// `true` or `false`.
pub(super) fn truth(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::Loose(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::Loose(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err("true or false is wanted, without quotes".to_owned()),
    }
}

/// A whole number of the range.
pub(super) fn whole<T: TryFrom<i128>>(range: RangeInclusive<i128>) -> impl Fn(&Value) -> Result<T, String> {
    move |value| {
        let number = match value {
            Value::Whole(number) => Some(*number),
            Value::Loose(text) => text.trim().parse().ok(),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number)).and_then(|number| T::try_from(number).ok());
        number.ok_or_else(|| format!("a whole number from {} to {} is wanted", range.start(), range.end()))
    }
}

/// A number from 0 to 1.
pub(super) fn share(value: &Value) -> Result<f64, String> {
    let number = match value {
        Value::Whole(0) => Some(0.0),
        Value::Whole(1) => Some(1.0),
        Value::Real(number) => Some(*number),
        Value::Loose(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| (0.0..=1.0).contains(number)).ok_or_else(|| "a number from 0 to 1 is wanted".to_owned())
}

/// A time that may be nothing.
pub(super) fn duration(value: &Value) -> Result<Duration, String> {
    time(&text(value).unwrap_or_default())
}

/// A time as files and flags write it.
///
/// # Errors
/// How it is written.
pub fn time(text: &str) -> Result<Duration, String> {
    let read = || {
        let span = SpanParser::new().parse_span(text.trim()).ok()?;
        let signed = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
        Duration::try_from(signed).ok()
    };
    read().filter(|time| *time <= LONGEST).ok_or_else(|| {
        "a time is written as \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"30d\"; at most 400 days".to_owned()
    })
}

/// A time of at least one millisecond.
pub(super) fn some_time(value: &Value) -> Result<Duration, String> {
    let time = duration(value)?;
    if time < Duration::from_millis(1) {
        return Err("a time of at least \"1ms\" is wanted here".to_owned());
    }
    Ok(time)
}

/// A time of the range.
pub(super) fn time_within(range: RangeInclusive<Duration>) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let time = Some(duration(value)?).filter(|time| range.contains(time));
        let (least, most) = (time_text(*range.start()), time_text(*range.end()));
        time.ok_or_else(|| format!("a time from \"{least}\" to \"{most}\" is wanted here"))
    }
}

/// A number of bytes of the range.
pub(super) fn size(range: RangeInclusive<u64>) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let bytes = match value {
            Value::Whole(bytes) => u64::try_from(*bytes).ok(),
            Value::Text(text) | Value::Loose(text) => text.trim().parse::<ByteSize>().ok().map(|size| size.as_u64()),
            _ => None,
        };
        bytes.filter(|bytes| range.contains(bytes)).ok_or_else(|| {
            let (least, most) = (ByteSize(*range.start()), ByteSize(*range.end()));
            format!("a size is written as \"16KiB\" or \"256MiB\", or in bytes; from {least} to {most}")
        })
    }
}

/// So many in so much time.
pub(super) fn rate(value: &Value) -> Result<Rate, String> {
    match value {
        Value::Text(text) | Value::Loose(text) => text.parse().map_err(|error| format!("{error}")),
        _ => Err("a rate is a text, as in \"10/s\" or \"unlimited\"".to_owned()),
    }
}

/// An address of this machine to listen on.
pub(super) fn address(value: &Value) -> Result<SocketAddr, String> {
    listen_address(&text(value)?)
}

/// The same as files and flags write it.
///
/// # Errors
/// How it is written.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let text = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    text.parse().map_err(|_| {
        "an address is written as \"127.0.0.1:8080\", \"[::1]:8080\", \"localhost:8080\" or \"0.0.0.0:8080\"".to_owned()
    })
}

/// An http or https address of a host, without path, query or user. The port is added where `port` is given.
pub(super) fn origin(text: &str, port: Option<u16>) -> Result<Uri, String> {
    const WANTED: &str = "an address is written as \"https://host\" or \"https://host:port\"";
    let uri: Uri = text.parse().map_err(|_| WANTED.to_owned())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else { return Err(WANTED.to_owned()) };
    if scheme != "http" && scheme != "https" {
        return Err(format!("{WANTED}, or with http://"));
    }
    if authority.as_str().contains('@') {
        return Err(format!("{WANTED}, without a user or password"));
    }
    if uri.path() != "/" || uri.query().is_some() || text.contains('#') {
        return Err(format!("{WANTED}, without a path"));
    }
    let host = authority.host();
    // An unread port ("https://host:") is no port; http::Uri lets it pass.
    let named = authority.port_u16();
    if host.is_empty() || named == Some(0) || (named.is_none() && authority.as_str() != host) {
        return Err(WANTED.to_owned());
    }
    let port = named.or(port).map_or_else(String::new, |port| format!(":{port}"));
    format!("{scheme}://{host}{port}").parse().map_err(|_| WANTED.to_owned())
}

/// Whether the host is this machine alone.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

/// A name of 1 to 64 letters, digits, `.`, `_`, `-`.
pub(super) fn name(text: &str) -> Result<String, String> {
    let allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
    named(text, allowed).ok_or_else(|| "a name has 1 to 64 letters, digits, `.`, `_` or `-`".to_owned())
}

/// An identifier of the partner: 1 to 64 letters, digits, `_`, `-`.
pub(super) fn identifier(text: &str) -> Result<String, String> {
    let allowed = |letter: u8| letter.is_ascii_alphanumeric() || b"_-".contains(&letter);
    named(text, allowed).ok_or_else(|| "an identifier has 1 to 64 letters, digits, `_` or `-`".to_owned())
}

fn named(text: &str, allowed: impl Fn(u8) -> bool) -> Option<String> {
    ((1..=64).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
}

/// A scope: `word` or `word:word`, of small letters, digits, `_`, `-`; at most 64 bytes.
pub(super) fn scope(text: &str) -> Result<String, String> {
    let part = |part: &str| {
        let allowed = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || b"_-".contains(&letter);
        !part.is_empty() && part.bytes().all(allowed)
    };
    let well = match text.split_once(':') {
        Some((object, right)) => part(object) && part(right),
        None => part(text),
    };
    if well && text.len() <= 64 {
        return Ok(text.to_owned());
    }
    Err("a scope is written as \"clients:read\": small letters, digits, `_`, `-`, at most one `:`, at most 64 bytes"
        .to_owned())
}

/// The known name that was most likely meant.
pub fn nearest<'k>(name: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let far = (name.chars().count() / 3).clamp(1, 3);
    let measured = known.into_iter().map(|other| (strsim::damerau_levenshtein(name, other), other));
    measured.filter(|(distance, _)| *distance <= far).min().map(|(_, other)| other)
}
