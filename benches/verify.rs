//! What does it cost to know who asks?
//! Given a token seen before, and tokens never seen, measures identifying the caller; and making a token.
//! Never measures routes or rights.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has to stop")]

#[path = "parts/house.rs"]
mod house;

use divan::{Bencher, black_box};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 1000)]
fn remembered(bencher: Bencher) {
    let house = house::house();
    let (headers, now) = (house::headers(&house), house.clock().now());
    bencher.bench_local(|| house.tokens().identify(black_box(&headers), now).unwrap());
}

#[divan::bench]
fn first_time(bencher: Bencher) {
    let house = house::house();
    let now = house.clock().now();
    bencher.with_inputs(|| house::headers(&house)).bench_local_values(|headers| house.tokens().identify(&headers, now));
}

#[divan::bench]
fn issue(bencher: Bencher) {
    let house = house::house();
    let (wish, now) = (house::wish(), house.clock().now());
    bencher.bench_local(|| house.tokens().issue(black_box(&wish), now).unwrap());
}
