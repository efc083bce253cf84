//! Does a second reading of the RFC agree?
//! Given any answer, request and moment, holds storing and reuse against the crate `http-cache-semantics`.
//! Never hides a difference: each known one is named where it is left out, with who is right and why.

use http::{Request, Response};
use http_cache_semantics::{BeforeRequest, CacheOptions, CachePolicy};
use proptest::prelude::*;

use super::*;
use crate::cache::Lookup;
use crate::gateway::plan::{Plan, plan};
use crate::http::cache_control::RequestCacheControl;

/// An answer. Left out on purpose:
/// - directives given twice (the crate then adds `must-revalidate`; §4.2.1 lets the first count, as ours does),
/// - names in other letter cases, quoted values, commas in quotes (the crate splits at every comma and compares case),
/// - `proxy-revalidate` (the crate takes it for a lifetime of 0; §5.2.2.8 speaks of stale answers alone),
/// - `private="…"` and `no-cache="…"` (the crate reads them as unqualified),
/// - `must-understand` and `CDN-Cache-Control` (the crate knows neither),
/// - `Set-Cookie` (the crate stores it only with `public`, by its own caution; RFC 9111 does not ask for that),
/// - statuses that the crate does not know (it stores none of them; §3 stores them with an explicit lifetime),
/// - a `Date` that is not the arrival's (the crate knows no apparent age, §4.2.3).
#[derive(Debug, Clone)]
struct Answer {
    status: u16,
    words: Vec<String>,
    expires: Option<i64>,
    /// In tens of seconds before the date, so that a tenth is a whole number in both.
    unchanged: Option<u64>,
    age: Option<u64>,
    tagged: bool,
}

fn answers() -> impl Strategy<Value = Answer> {
    let flag = |word: &'static str| prop::option::weighted(0.2, Just(word.to_owned()));
    let words = (
        prop::option::weighted(0.5, (0u64..100).prop_map(|seconds| format!("max-age={seconds}"))),
        prop::option::weighted(0.2, (0u64..100).prop_map(|seconds| format!("s-maxage={seconds}"))),
        flag("no-store"),
        flag("no-cache"),
        flag("private"),
        flag("public"),
        flag("must-revalidate"),
        flag("foo=bar"),
    );
    let words = words.prop_map(|(a, b, c, d, e, f, g, h)| [a, b, c, d, e, f, g, h].into_iter().flatten().collect());
    let status = prop::sample::select(vec![200u16, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501]);
    let rest = (prop::option::of(-50i64..100), prop::option::of(0u64..1000), prop::option::of(0u64..50), any::<bool>());
    (status, words, rest).prop_map(|(status, words, (expires, unchanged, age, tagged))| Answer {
        status,
        words,
        expires,
        unchanged,
        age,
        tagged,
    })
}

impl Answer {
    fn head(&self) -> HeaderMap {
        let date = |offset: i64| {
            let at = std::time::UNIX_EPOCH + seconds((NOON_MS / 1000).saturating_add_signed(offset));
            httpdate::fmt_http_date(at)
        };
        let mut lines = vec![("date", NOON.to_owned())];
        lines.extend((!self.words.is_empty()).then(|| ("cache-control", self.words.join(", "))));
        lines.extend(self.expires.map(|offset| ("expires", date(offset))));
        lines.extend(self.unchanged.map(|tens| ("last-modified", date(-(tens as i64) * 10))));
        lines.extend(self.age.map(|age| ("age", age.to_string())));
        lines.extend(self.tagged.then(|| ("etag", "\"a\"".to_owned())));
        let lines: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
        head(&lines)
    }

    fn says(&self, word: &str) -> bool {
        self.words.iter().any(|said| said.starts_with(word))
    }
}

fn requests() -> impl Strategy<Value = (bool, Vec<String>)> {
    let number = |word: &'static str, least| {
        prop::option::weighted(0.2, (least..120u64).prop_map(move |seconds| format!("{word}={seconds}")))
    };
    let words = (
        prop::option::weighted(0.1, Just("no-cache".to_owned())),
        prop::option::weighted(0.1, Just("no-store".to_owned())),
        number("max-age", 0),
        // With 0 the crate takes a stale answer beside `max-stale`; none that is stale is fresh for 0 seconds more.
        number("min-fresh", 1),
        number("max-stale", 0),
    );
    let words = words.prop_map(|(a, b, c, d, e)| [a, b, c, d, e].into_iter().flatten().collect());
    (prop::bool::weighted(0.2), words)
}

fn request((authorized, words): &(bool, Vec<String>)) -> Request<()> {
    let mut request = Request::builder().uri("http://partner.example/").body(()).unwrap();
    if *authorized {
        request.headers_mut().insert("authorization", HeaderValue::from_static("Basic x"));
    }
    if !words.is_empty() {
        request.headers_mut().insert("cache-control", HeaderValue::from_str(&words.join(", ")).unwrap());
    }
    request
}

fn second(answer: &Answer, first: &Request<()>) -> CachePolicy {
    let mut response = Response::builder().status(answer.status).body(()).unwrap();
    *response.headers_mut() = answer.head();
    CachePolicy::new_options(first, &response, now(0).wall(), CacheOptions::default())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn both_store_the_same(answer in answers(), first in requests()) {
        let request = request(&first);
        let status = StatusCode::from_u16(answer.status).unwrap();
        let ours = storability::judge(&Method::GET, request.headers(), status, &answer.head(), at_once());
        let theirs = second(&answer, &request).is_storable();
        // Ours leaves out what it could never use: no lifetime, and nothing to ask about it by.
        if ours != Err(Detail::NoLifetime) {
            prop_assert_eq!(ours.is_ok(), theirs, "{:?} {:?}", answer, ours);
        }
    }

    #[test]
    fn both_give_the_same_without_asking(answer in answers(), then in requests(), later in 0u64..200) {
        let plain = request(&(false, Vec::new()));
        let status = StatusCode::from_u16(answer.status).unwrap();
        let Ok(storable) = storability::judge(&Method::GET, plain.headers(), status, &answer.head(), at_once()) else {
            return Ok(());
        };
        let wishes = RequestCacheControl::of(request(&then).headers());
        let left = left(&storable.life, tick(later));
        if wishes.max_stale.is_some() {
            // §5.2.2.4, §5.2.2.10: neither is given stale without asking, whatever the request takes; the crate does.
            prop_assume!(!answer.says("no-cache") && !answer.says("s-maxage"));
            // At the very second both readings of "exceeded by" stand; the crate's excludes it.
            prop_assume!(left != Err(seconds(wishes.max_stale.unwrap())));
        }
        let stored = shared(Reply::new(status, &answer.head(), Bytes::new(), storable.life, storable.selection));
        let ours = matches!(plan(Lookup::Stored(stored), &wishes, true, tick(later)), Plan::Serve(..));
        let theirs = second(&answer, &plain).before_request(&request(&then), now(later).wall());
        prop_assert_eq!(ours, matches!(theirs, BeforeRequest::Fresh(_)), "{:?} {:?} {} {:?}", answer, then, later, left);
    }
}
