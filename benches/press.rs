//! At which level is a document made smaller?
//! Given a list of 120 clients as the simulator makes it up, measures each level and prints what is left of it.
//! Never decides: `gateway/compress.rs` does, with these numbers beside it.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot be set up has to stop, and it reports to a person"
)]

use std::io::Write;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::Request;
use http_body_util::{BodyExt, Empty};
use reseller_gateway::account_api::KEY_HEADER;
use reseller_gateway::clock::Clock;
use reseller_gateway::simulator::{Settings, Simulator};

fn main() {
    let list = list();
    for level in LEVELS {
        println!("level {level}: {} of {} bytes", pressed(&list, level).len(), list.len());
    }
    divan::main();
}

const LEVELS: [u32; 6] = [1, 2, 4, 5, 6, 9];

/// The answer of the simulator to the list of its clients.
fn list() -> Vec<u8> {
    let settings = Settings { clients: 120, ..Settings::default() };
    let request = Request::get("/reseller/account/v1/clients/").header(KEY_HEADER, settings.api_key.reveal());
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let simulator = Simulator::new(settings, Clock::real());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let body = runtime.block_on(async { simulator.answer(request).await.into_body().collect().await });
    body.unwrap().to_bytes().to_vec()
}

fn pressed(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut pressed = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), Compression::new(level));
    pressed.write_all(bytes).unwrap();
    pressed.finish().unwrap()
}

#[divan::bench(args = LEVELS)]
fn level(bencher: Bencher, level: u32) {
    let list = list();
    bencher.counter(BytesCount::new(list.len())).bench_local(|| pressed(&list, level));
}
