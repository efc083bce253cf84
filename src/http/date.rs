//! Dates of HTTP (RFC 9110 §5.6.7).
//! Given a value or a head, hands back the moment that it names, in whichever of the three forms; given a moment, the value.
//! Never guesses: what is no date is none.

use std::time::SystemTime;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

/// The moment that a value names.
pub fn parse(value: &[u8]) -> Option<SystemTime> {
    std::str::from_utf8(value).ok().and_then(|text| httpdate::parse_http_date(text.trim_ascii()).ok())
}

/// The moment that a field names; of several lines the first counts.
pub fn of(head: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    head.get(name).and_then(|value| parse(value.as_bytes()))
}

/// The moment that a field names which is to be as if it were not there where it has more than one value
/// (RFC 9110 §13.1.3, §13.1.4).
pub fn of_one(head: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut lines = head.get_all(name).iter();
    let (Some(line), None) = (lines.next(), lines.next()) else { return None };
    parse(line.as_bytes())
}

/// A moment as it stands in a field.
pub fn value(at: SystemTime) -> Option<HeaderValue> {
    HeaderValue::try_from(httpdate::fmt_http_date(at)).ok()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use http::header::DATE;

    use super::*;

    #[test]
    fn each_form_names_the_same_moment_and_nothing_else_names_one() {
        let at = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            " Sun, 06 Nov 1994 08:49:37 GMT ",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(at), "{text}");
        }
        for text in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37 CET", "784111777", "Sun, 36 Nov 1994 08:49:37 GMT"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        let date = value(at).unwrap();
        assert_eq!(date, "Sun, 06 Nov 1994 08:49:37 GMT");
        let mut head = HeaderMap::from_iter([(DATE, date)]);
        assert_eq!((of(&head, &DATE), of_one(&head, &DATE)), (Some(at), Some(at)));
        head.append(DATE, HeaderValue::from_static("yesterday"));
        assert_eq!((of(&head, &DATE), of_one(&head, &DATE)), (Some(at), None));
    }
}
