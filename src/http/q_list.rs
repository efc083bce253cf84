//! Preferences with weights: `Accept` and its kin (RFC 9110 §12.4.2).
//! Given a head or an element of such a list, hands back what is named and how much it is liked, in thousandths.
//! Never guesses a weight: what cannot be read is `None`, and the reader takes the safe side.

use http::HeaderMap;
use http::header::HeaderName;

use super::list;

/// The weight of what is named without one.
pub const MOST: u16 = 1000;

/// The elements of all lines of a field.
pub fn elements<'a>(head: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    head.get_all(name).iter().flat_map(|line| list::elements(line.as_bytes()))
}

/// What an element names, without parameters, and its weight.
pub fn weighted(element: &[u8]) -> (&[u8], Option<u16>) {
    let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    (name, parts.find_map(weight).map_or(Some(MOST), thousandths))
}

/// An element in the one spelling that all have in common that mean the same: no spaces around semicolons, the weight in
/// its fewest digits, and none where it is 1. A weight that cannot be read stays as it is.
pub fn canonical(element: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = Vec::with_capacity(element.len());
    for part in element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii) {
        let Some(weight) = weight(part) else {
            if !text.is_empty() {
                text.push(b';');
            }
            text.extend_from_slice(part);
            continue;
        };
        let read = thousandths(weight);
        if read == Some(MOST) {
            continue;
        }
        text.extend_from_slice(b";q=");
        match read {
            Some(0) => text.push(b'0'),
            Some(number) => text.extend_from_slice(format!("0.{number:03}").trim_end_matches('0').as_bytes()),
            None => text.extend_from_slice(weight),
        }
    }
    text
}

/// The value of a parameter that is a weight.
fn weight(parameter: &[u8]) -> Option<&[u8]> {
    parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))
}

/// `qvalue`: 0 or 1 with at most three digits behind the point, and not more than 1.
fn thousandths(weight: &[u8]) -> Option<u16> {
    let (whole, rest) = weight.split_at_checked(1)?;
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return None,
    };
    let part = digits.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b"0" => Some(part),
        b"1" if part == 0 => Some(MOST),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_read_as_the_grammar_has_it() {
        let rows: [(&str, &str, Option<u16>, &str); 16] = [
            ("gzip", "gzip", Some(1000), "gzip"),
            ("", "", Some(1000), ""),
            ("gzip;q=1", "gzip", Some(1000), "gzip"),
            ("gzip;q=1.000", "gzip", Some(1000), "gzip"),
            ("gzip ; Q=0.50", "gzip", Some(500), "gzip;q=0.5"),
            ("gzip;q=0.001", "gzip", Some(1), "gzip;q=0.001"),
            ("gzip;q=0", "gzip", Some(0), "gzip;q=0"),
            ("gzip;q=0.", "gzip", Some(0), "gzip;q=0"),
            ("gzip;q=0.000", "gzip", Some(0), "gzip;q=0"),
            ("a/b; v=1;q=0.3", "a/b", Some(300), "a/b;v=1;q=0.3"),
            ("gzip;q=1.001", "gzip", None, "gzip;q=1.001"),
            ("gzip;q=2", "gzip", None, "gzip;q=2"),
            ("gzip;q=0.1234", "gzip", None, "gzip;q=0.1234"),
            ("gzip;q=.5", "gzip", None, "gzip;q=.5"),
            ("gzip;q=", "gzip", None, "gzip;q="),
            ("gzip;q=-1", "gzip", None, "gzip;q=-1"),
        ];
        for (element, name, weight, spelt) in rows {
            assert_eq!(weighted(element.as_bytes()), (name.as_bytes(), weight), "{element}");
            assert_eq!(canonical(element.as_bytes()), spelt.as_bytes(), "{element}");
        }
    }

    proptest::proptest! {
        #[test]
        fn the_common_spelling_means_the_same(element in "[a-z*/]{0,4}( ?; ?(q|v)=[0-9.]{0,6}){0,3}") {
            let spelt = canonical(element.as_bytes());
            proptest::prop_assert_eq!(canonical(&spelt), spelt.clone());
        }
    }

    proptest::proptest! {
        #[test]
        fn every_thousandth_is_read_back_and_no_bytes_break_it(of in 0..=1000_u16, any in proptest::arbitrary::any::<Vec<u8>>()) {
            let text = format!("{}.{:03}", of / 1000, of % 1000);
            proptest::prop_assert_eq!(thousandths(text.as_bytes()), Some(of));
            proptest::prop_assert!(weighted(&any).1.is_none_or(|weight| weight <= MOST));
        }
    }
}
