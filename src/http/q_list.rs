//! What does a client like best?
//! Given an item of `Accept`, `Accept-Encoding` or `Accept-Language`, hands back its name and its weight (RFC 9110 §12.4.2).
//! Never guesses at a weight that cannot be read: what that means is for who asks.

use http::HeaderMap;
use http::header::HeaderName;

/// The greatest weight, in thousandths: that of an item which names none.
pub const MOST: u16 = 1000;

/// The items of a header's lines; none of these headers has commas within quotes.
pub fn items<'a>(head: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    head.get_all(name).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// An item's name and its weight in thousandths; `None` for a weight that cannot be read.
pub fn weighted(item: &[u8]) -> (&[u8], Option<u16>) {
    let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    (name, parts.find_map(weight).map_or(Some(MOST), thousandths))
}

/// The text of a weight, if that is what a parameter is.
pub fn weight(parameter: &[u8]) -> Option<&[u8]> {
    parameter.strip_prefix(b"q=").or_else(|| parameter.strip_prefix(b"Q="))
}

/// `0` or `1`, a point and up to three digits; nothing beyond 1.
pub fn thousandths(weight: &[u8]) -> Option<u16> {
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
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_weight_is_read_as_the_grammar_has_it_and_nothing_else_is_one() {
        for (item, name, weight) in [
            ("gzip", "gzip", Some(1000)),
            ("gzip;q=1", "gzip", Some(1000)),
            ("gzip ; Q=0.5", "gzip", Some(500)),
            ("a/b;level=1;q=0.001", "a/b", Some(1)),
            ("a;q=0", "a", Some(0)),
            ("a;q=0.", "a", Some(0)),
            ("a;q=0.000", "a", Some(0)),
            ("a;q=1.000", "a", Some(1000)),
            ("a;q=1.001", "a", None),
            ("a;q=0.0001", "a", None),
            ("a;q=2", "a", None),
            ("a;q=", "a", None),
            ("a;q=.5", "a", None),
            ("a;q=-1", "a", None),
            ("a; q =1", "a", Some(1000)),
            ("", "", Some(1000)),
        ] {
            assert_eq!(weighted(item.as_bytes()), (name.as_bytes(), weight), "{item}");
        }
    }

    proptest! {
        #[test]
        fn every_thousandth_is_read_back_and_no_bytes_break_it(of in 0..=1000_u16, any in any::<Vec<u8>>()) {
            let text = format!("{}.{:03}", of / 1000, of % 1000);
            prop_assert_eq!(thousandths(text.as_bytes()), Some(of));
            prop_assert!(weighted(&any).1.is_none_or(|weight| weight <= MOST));
        }
    }
}
