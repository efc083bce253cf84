//! In which coding does a request want a document?
//! Given its headers, hands back whether gzip is welcome, and which of two codings that lie ready is the one to send.
//! Never codes anything.

use http::header::{ACCEPT_ENCODING, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::cache::Coding;
use crate::cache::policy::forbids_transform;
use crate::cache::tag::Tag;

/// Whether gzip is welcome (RFC 9110 §12.5.3): named or covered by `*` with a weight, and not less liked than what is
/// said of `identity`. `Cache-Control: no-transform` of a request forbids it.
pub fn welcomes_gzip(asked: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for item in items(asked, &ACCEPT_ENCODING) {
        let (name, weight) = weighted(item);
        match name.to_ascii_lowercase().as_slice() {
            b"gzip" | b"x-gzip" => gzip = gzip.max(Some(weight)),
            b"identity" => identity = Some(weight),
            b"*" => any = Some(weight),
            _ => {}
        }
    }
    let weight = gzip.or(any).unwrap_or(0);
    // What `*` says goes for every coding that is not named; what nobody speaks of is the last resort.
    weight > 0 && weight >= identity.or(any).unwrap_or(0) && !forbids_transform(asked)
}

/// Which of the two to send where gzip is welcome.
///
/// A request that names one of our tags speaks of these bytes: it is answered with that coding, so that who holds the
/// plain form is told it has not changed, and who resumes a download gets the rest of what it began. A range without a
/// tag is one of the plain form, whatever the earlier ranges were answered with.
pub fn chosen(asked: &HeaderMap, plain: &Tag, gzip: &Tag) -> Coding {
    if names(asked, gzip) {
        return Coding::Gzip;
    }
    match names(asked, plain) || asked.contains_key(RANGE) {
        true => Coding::Identity,
        false => Coding::Gzip,
    }
}

fn names(asked: &HeaderMap, tag: &Tag) -> bool {
    let text = tag.text();
    let line_names = |line: &HeaderValue| line.as_bytes().windows(text.len()).any(|window| window == text);
    [IF_NONE_MATCH, IF_MATCH, IF_RANGE].iter().any(|name| asked.get_all(name).iter().any(line_names))
}

fn items<'a>(head: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> {
    head.get_all(name).iter().flat_map(|line| line.as_bytes().split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

/// A name and its weight in thousandths (RFC 9110 §12.4.2); a weight that cannot be read is none.
fn weighted(item: &[u8]) -> (&[u8], u16) {
    let mut parts = item.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|part| part.strip_prefix(b"q=").or_else(|| part.strip_prefix(b"Q=")));
    (name, weight.map_or(1000, thousandths))
}

fn thousandths(weight: &[u8]) -> u16 {
    let (whole, rest) = weight.split_at_checked(1).unwrap_or_default();
    let digits = match rest {
        [] => rest,
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return 0,
    };
    let part = digits.iter().chain(b"000").take(3).fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b"0" => part,
        b"1" if part == 0 => 1000,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::header::CACHE_CONTROL;

    use super::*;

    fn asked(lines: &[(HeaderName, &str)]) -> HeaderMap {
        let mut asked = HeaderMap::new();
        for (name, value) in lines {
            asked.append(name, value.parse().unwrap());
        }
        asked
    }

    #[test]
    fn gzip_is_welcome_where_its_weight_says_so() {
        let rows: [(&[&str], bool); 29] = [
            (&[], false),
            (&[""], false),
            (&["gzip"], true),
            (&["GZip"], true),
            (&["x-gzip"], true),
            (&["deflate, gzip, br"], true),
            (&["br", "gzip"], true),
            (&["gzip;q=1.0, identity; q=0.5, *;q=0"], true),
            (&["gzip;q=0.001"], true),
            (&["gzip; q=0.5"], true),
            (&["gzip;Q=0.5"], true),
            (&["*"], true),
            (&["*;q=0.1"], true),
            (&["br, *"], true),
            (&["gzip;q=0.5, identity;q=0.5"], true),
            (&["gzip, identity;q=0"], true),
            (&["identity"], false),
            (&["br, deflate"], false),
            (&["gzip;q=0"], false),
            (&["gzip;q=0.000"], false),
            (&["*;q=0"], false),
            (&["*, gzip;q=0"], false),
            (&["gzip;q=0.5, identity"], false),
            (&["gzip;q=0.4, *;q=0.5"], false),
            (&["gzip;q=2"], false),
            (&["gzip;q=1.5"], false),
            (&["gzip;q=0.1234"], false),
            (&["gzip;q=-1"], false),
            (&["gzipped"], false),
        ];
        for (lines, expected) in rows {
            let lines: Vec<_> = lines.iter().map(|&line| (ACCEPT_ENCODING, line)).collect();
            assert_eq!(welcomes_gzip(&asked(&lines)), expected, "{lines:?}");
        }
    }

    #[test]
    fn who_forbids_transformation_gets_the_bytes_as_they_are() {
        let both = [(ACCEPT_ENCODING, "gzip"), (CACHE_CONTROL, "max-age=5, No-Transform")];
        assert!(!welcomes_gzip(&asked(&both)));
        assert!(!forbids_transform(&asked(&[(CACHE_CONTROL, "x-no-transform, no-transformation")])));
    }

    #[test]
    fn a_request_that_names_a_tag_is_answered_with_those_bytes() {
        let (plain, gzip) = (Tag::of(b"plain"), Tag::of(b"gzip"));
        let text = |tag: &Tag| String::from_utf8(tag.text().to_vec()).unwrap();
        let (p, g) = (text(&plain), text(&gzip));
        let both = format!("{p}, W/{g}");
        let weak = format!("W/{p}");
        let rows: [(&[(HeaderName, &str)], Coding); 13] = [
            (&[], Coding::Gzip),
            (&[(IF_NONE_MATCH, "\"a\"")], Coding::Gzip),
            (&[(IF_NONE_MATCH, "*")], Coding::Gzip),
            (&[(IF_NONE_MATCH, &p)], Coding::Identity),
            (&[(IF_NONE_MATCH, &weak)], Coding::Identity),
            (&[(IF_NONE_MATCH, &g)], Coding::Gzip),
            (&[(IF_NONE_MATCH, &both)], Coding::Gzip),
            (&[(IF_MATCH, &p)], Coding::Identity),
            (&[(IF_MATCH, &g)], Coding::Gzip),
            (&[(RANGE, "bytes=0-1")], Coding::Identity),
            (&[(RANGE, "bytes=0-1"), (IF_RANGE, &p)], Coding::Identity),
            (&[(RANGE, "bytes=0-1"), (IF_RANGE, &g)], Coding::Gzip),
            (&[(RANGE, "bytes=0-1"), (IF_RANGE, "\"a\"")], Coding::Identity),
        ];
        for (lines, expected) in rows {
            assert_eq!(chosen(&asked(lines), &plain, &gzip), expected, "{lines:?}");
        }
    }
}

#[cfg(test)]
mod equal {
    use crate::http::{conditional, q_list};

    proptest::proptest! {
        #[test]
        fn both_readings_of_a_weight_agree(item in "[a-z*]{0,4}( ?; ?([qQ]|v)=[0-9.]{0,6}){0,3}") {
            let (name, weight) = q_list::weighted(item.as_bytes());
            proptest::prop_assert_eq!(super::weighted(item.as_bytes()), (name, weight.unwrap_or(0)));
        }

        #[test]
        fn both_readings_of_tags_agree(at in 0..4usize, weak: bool, before in "(W/)?\"[a-z]{1,3}\"") {
            let tag = super::Tag::of(b"x");
            let text = String::from_utf8(tag.text().to_vec()).unwrap();
            let mut list = vec![before.clone(), before];
            if at < 3 { list.insert(at, format!("{}{text}", if weak { "W/" } else { "" })); }
            let mut head = http::HeaderMap::new();
            head.insert(super::IF_MATCH, list.join(", ").parse().unwrap());
            proptest::prop_assert_eq!(super::names(&head, &tag), conditional::names(&head, &super::IF_MATCH, tag.text()));
            for (weak, how) in [(true, conditional::Comparison::Weak), (false, conditional::Comparison::Strong)] {
                let new = conditional::matches(&head, &super::IF_MATCH, Some(tag.text()), how);
                proptest::prop_assert_eq!(super::super::names(&head, &super::IF_MATCH, &tag, weak), new);
            }
        }
    }
}
