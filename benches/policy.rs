//! What does it cost to judge an answer?
//! Given heads as partners send them, measures both policies: the table of the seven, and RFC 9111 in standard mode.
//! Never measures the store: what is judged here is put away elsewhere.

use std::time::Duration;

use divan::{Bencher, black_box};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use reseller_gateway::cache::lifetime::Exchange;
use reseller_gateway::cache::storability;
use reseller_gateway::clock::{Now, Tick};
use reseller_gateway::route::Terms;

fn main() {
    divan::main();
}

const CAME: Tick = Tick::from_nanos(5_000_000_000);

fn head(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// An answer with most of what bears on storing it.
fn answer() -> HeaderMap {
    head(&[
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("cache-control", "public, max-age=60, stale-while-revalidate=30, stale-if-error=\"600\""),
        ("etag", "\"v1\""),
        ("last-modified", "Sun, 06 Nov 1994 08:00:00 GMT"),
        ("vary", "Accept, Accept-Language"),
        ("content-type", "application/json"),
    ])
}

fn exchange() -> Exchange {
    Exchange { asked: Tick::from_nanos(4_900_000_000), received: Now { tick: CAME, unix_ms: 784_111_777_000 } }
}

#[divan::bench(sample_size = 1000)]
fn of_the_seven(bencher: Bencher) {
    let (answer, exchange) = (answer(), exchange());
    let minute = Duration::from_secs(60);
    let terms = Terms {
        ttl: minute,
        stale_while_revalidate: minute,
        stale_if_error: minute,
        negative_ttl: minute,
        overrides: false,
    };
    bencher
        .bench(|| storability::judge_document(black_box(&terms), false, StatusCode::OK, black_box(&answer), exchange));
}

#[divan::bench(sample_size = 1000)]
fn may_it_be_stored(bencher: Bencher) {
    let (answer, exchange) = (answer(), exchange());
    let sent = head(&[("accept", "application/json"), ("accept-language", "en, de;q=0.5")]);
    bencher.bench(|| storability::judge(&Method::GET, black_box(&sent), StatusCode::OK, black_box(&answer), exchange));
}
