//! What does a hit in the store cost?
//! Given one fresh entry, or 10,000 asked for in turn, measures the look.
//! Never measures the way to the key.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has to stop")]

#[path = "parts/house.rs"]
mod house;

use std::sync::Arc;

use divan::{Bencher, black_box};
use http::{HeaderMap, StatusCode};
use reseller_gateway::cache::lifetime::Exchange;
use reseller_gateway::cache::storability::judge_document;
use reseller_gateway::cache::{Entry, Lookup};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 10_000], sample_size = 1000)]
fn hit(bencher: Bencher, keys: usize) {
    let house = house::house();
    let headers = house::headers(&house);
    let now = house.clock().now();
    let terms = house.routes().all().iter().find(|route| route.name == "client").unwrap().terms;
    let keys: Vec<_> = (0..keys).map(|nth| house::key(&house, &headers, &house::target(nth))).collect();
    for key in &keys {
        let exchange = Exchange { asked: now.tick, received: now };
        let life = judge_document(&terms, false, StatusCode::OK, &HeaderMap::new(), exchange);
        let entry = Arc::new(Entry::new(StatusCode::OK, &HeaderMap::new(), &[b' '; 755], life));
        let _ = house.store().keep(key.clone(), entry, now.tick);
    }
    // 7,919 is prime and shares nothing with the number of keys, so neighbours in memory are not asked for one after another.
    let mut order = (0..keys.len()).map(|nth| nth * 7919 % keys.len()).cycle();
    bencher.bench_local(|| {
        let held = house.store().look(black_box(keys.get(order.next().unwrap()).unwrap()), now);
        assert!(matches!(held, Lookup::Stored(_)));
        held
    });
}
