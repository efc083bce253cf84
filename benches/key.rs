//! What does it cost to know what is asked for?
//! Given a client's target, measures parsing it, finding its route, and making its key.
//! Never measures the token or the store.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has to stop")]

#[path = "parts/house.rs"]
mod house;

use divan::{Bencher, black_box};
use http::Method;
use reseller_gateway::cache::Key;
use reseller_gateway::route::Target;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

#[divan::bench(sample_size = 1000)]
fn parse(bencher: Bencher) {
    let uri = house::target(1);
    bencher.bench_local(|| Target::parse(black_box(&uri)).is_ok());
}

#[divan::bench(sample_size = 1000)]
fn parse_and_find(bencher: Bencher) {
    let (house, uri) = (house::house(), house::target(1));
    bencher.bench_local(|| house.routes().find(&Method::GET, &Target::parse(black_box(&uri)).unwrap()));
}

#[divan::bench(sample_size = 1000)]
fn key_of(bencher: Bencher) {
    let house = house::house();
    let headers = house::headers(&house);
    let grant = house::grant(&house, &headers, &house::target(1));
    let route = house.routes().at(grant.wanted().route()).unwrap();
    bencher.bench_local(|| Key::of(black_box(&grant), route, &headers));
}
