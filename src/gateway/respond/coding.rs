//! In which coding does a request want a document?
//! Given its headers, hands back whether gzip is welcome, and which of two codings that lie ready is the one to send.
//! Never codes anything.

use http::header::{ACCEPT_ENCODING, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};
use http::{HeaderMap, HeaderValue};

use crate::cache::Coding;
use crate::cache::policy::forbids_transform;
use crate::cache::tag::Tag;
use crate::http::q_list::{items, weighted};

/// Whether gzip is welcome (RFC 9110 §12.5.3): named or covered by `*` with a weight, and not less liked than what is
/// said of `identity`. `Cache-Control: no-transform` of a request forbids it.
pub fn welcomes_gzip(asked: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for item in items(asked, &ACCEPT_ENCODING) {
        let (name, weight) = weighted(item);
        // A weight that cannot be read is none.
        let weight = weight.unwrap_or(0);
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

#[cfg(test)]
mod tests {
    use http::header::{CACHE_CONTROL, HeaderName};

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
