//! What a request takes: `Accept` and `Accept-Encoding` (RFC 9110 §12.5).
//! Given its head, hands back whether JSON and whether gzip is welcome.
//! Never chooses: what is sent is for whoever has it.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};

use super::cache_control::forbids_transform;
use super::q_list;

/// Whether gzip is welcome (RFC 9110 §12.5.3): named or covered by `*` with a weight, and not less liked than what is
/// said of `identity`. `Cache-Control: no-transform` of a request forbids it.
pub fn welcomes_gzip(asked: &HeaderMap) -> bool {
    let (mut gzip, mut any, mut identity) = (None, None, None);
    for element in q_list::elements(asked, &ACCEPT_ENCODING) {
        let (name, weight) = q_list::weighted(element);
        // A weight that cannot be read is none.
        let weight = weight.unwrap_or(0);
        let is = |coding: &[u8]| name.eq_ignore_ascii_case(coding);
        match () {
            () if is(b"gzip") || is(b"x-gzip") => gzip = gzip.max(Some(weight)),
            () if is(b"identity") => identity = Some(weight),
            () if is(b"*") => any = Some(weight),
            () => {}
        }
    }
    let weight = gzip.or(any).unwrap_or(0);
    // What `*` says goes for every coding that is not named; what nobody speaks of is the last resort.
    weight > 0 && weight >= identity.or(any).unwrap_or(0) && !forbids_transform(asked)
}

/// Whether a request takes JSON (RFC 9110 §12.5.1); without `Accept` it takes anything.
pub fn accepts_json(asked: &HeaderMap) -> bool {
    // The most specific range that fits decides. What is no range says nothing, and where none is one all is welcome.
    let mut best: Option<(u8, bool)> = None;
    let mut is_readable = false;
    for element in q_list::elements(asked, &ACCEPT) {
        let (range, weight) = q_list::weighted(element);
        let is = |other: &[u8]| range.eq_ignore_ascii_case(other);
        let rank = match () {
            () if is(b"application/json") => 3,
            () if is(b"application/*") => 2,
            // Some libraries write all types as one star.
            () if is(b"*/*") || is(b"*") || is(b"") => 1,
            () => {
                is_readable |= is_media_type(range);
                continue;
            }
        };
        if best.is_none_or(|(other, _)| rank > other) {
            // A weight that cannot be read refuses nothing.
            best = Some((rank, weight != Some(0)));
        }
    }
    best.map_or(!is_readable, |(_, taken)| taken)
}

/// Whether a range names types that are not JSON: `text/html` or `text/*`, but no `*/json` or `application/*+json`.
fn is_media_type(range: &[u8]) -> bool {
    let mut parts = range.split(|&byte| byte == b'/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(kind), Some(subtype), None) => {
            !kind.is_empty() && !kind.contains(&b'*') && (subtype == b"*" || !subtype.contains(&b'*'))
        }
        _ => false,
    }
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
    fn an_accept_that_takes_json_is_told_from_one_that_does_not() {
        let rows: [(&[&str], bool); 31] = [
            (&[], true),
            (&[""], true),
            (&["application/json"], true),
            (&["Application/JSON"], true),
            (&["application/json;charset=utf-8"], true),
            (&["application/*"], true),
            (&["*/*"], true),
            (&["text/html, */*;q=0.1"], true),
            (&["text/html", "application/json"], true),
            (&["text/html,application/json;q=0.001"], true),
            (&["text/html"], false),
            (&["text/*, image/png"], false),
            (&["application/problem+json"], false),
            (&["application/jsonp"], false),
            (&["application/json;q=0"], false),
            (&["application/json; q=0.000"], false),
            (&["application/json;Q=0.0"], false),
            (&["*/*;q=0"], false),
            (&["application/json;q=0, */*"], false),
            (&["*/*, application/*;q=0"], false),
            (&["*/*;q=0, application/json"], true),
            (&["application/*;q=0, application/json;q=0.5"], true),
            // As some libraries write it; a client of theirs got 406 for all that it asked.
            (&["*"], true),
            (&["text/html, image/gif, *; q=.2"], true),
            (&["*;q=0"], false),
            (&["*, application/json;q=0"], false),
            // What is no range is as if it were not there.
            (&["abc"], true),
            (&["*/json"], true),
            (&["application/*+json"], true),
            (&["abc, text/html"], false),
            (&["text/x; a=\",\", application/json"], true),
        ];
        for (lines, taken) in rows {
            let lines: Vec<_> = lines.iter().map(|&line| (ACCEPT, line)).collect();
            assert_eq!(accepts_json(&asked(&lines)), taken, "{lines:?}");
        }
    }
}
