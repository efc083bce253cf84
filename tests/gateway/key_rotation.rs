//! Does a rotation of the partner's key cost anybody an answer?
//! Given the real binary, a simulator that takes two keys for a while, and threads that ask without end, counts what is refused.
//! Never stores anything: every request is another miss. Exact counts over minutes are in `moved`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;

use crate::simulator::{KEY, Simulator};
use crate::support::{CLIENTS, READING, Setup, wait_for};

/// Eight threads of misses while the partner's key changes; every answer must be a 200.
fn rotated(second_slot: bool) {
    let simulator = Simulator::start(&[]);
    let mut setup = Setup::at(&format!("http://{}", simulator.address));
    if second_slot {
        setup = setup.set("upstream.api_key_file_next", "next.key");
    }
    let gateway = setup.start();
    let token = gateway.token(&READING);
    for key in ["the-second-key", "the-third-key"] {
        gateway.keep_secret(key);
    }
    let (over, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let work = || {
            while !over.load(Ordering::Relaxed) {
                let nth = sent.fetch_add(1, Ordering::Relaxed);
                let answer = gateway.read(&token, &format!("{CLIENTS}?provider_id=p{nth}"));
                if answer.status != 200 {
                    over.store(true, Ordering::Relaxed);
                    panic!("an error reached a caller: {answer:?}");
                }
            }
        };
        (0..8).for_each(|_| drop(scope.spawn(work)));
        let more = |many: usize| {
            let until = sent.load(Ordering::Relaxed) + many;
            let enough = || sent.load(Ordering::Relaxed) >= until || over.load(Ordering::Relaxed);
            wait_for("requests", || enough().then_some(()));
        };
        more(50);
        // As partners rotate: both are good, the new one is put into its file, then the old one is good no more.
        simulator.order("PUT", "keys", &json!({ "initial": KEY, "second": "the-second-key" }));
        gateway.write(if second_slot { "next.key" } else { "partner.key" }, "the-second-key");
        simulator.order("PUT", "keys", &json!({ "second": "the-second-key" }));
        more(200);
        match second_slot {
            false => {
                simulator.order("PUT", "keys", &json!({ "second": "the-second-key", "third": "the-third-key" }));
                gateway.write("partner.key", "the-third-key");
            }
            // With a second slot a key may lie there before its time, be refused, and become good later.
            true => {
                gateway.write("partner.key", "the-third-key");
                wait_for("the early key to be refused", || {
                    more(10);
                    gateway.metrics().contains("reseller_gateway_partner_keys_refused 1").then_some(())
                });
            }
        }
        simulator.order("PUT", "keys", &json!({ "third": "the-third-key" }));
        more(200);
        over.store(true, Ordering::Relaxed);
    });
    let keys = simulator.order("GET", "stats", &json!({}))["keys"].clone();
    assert!(["initial", "second", "third"].iter().all(|name| keys[*name].as_u64() > Some(0)), "{keys}");
    let changes = if second_slot { 3 } else { 2 };
    assert!(
        keys["refused"].as_u64().unwrap_or_default() <= changes * 8,
        "a refused key was shown again and again: {keys}"
    );
}

#[test]
fn a_key_that_is_replaced_in_its_file_costs_no_caller_an_error() {
    rotated(false);
}

#[test]
fn a_key_that_moves_to_the_other_slot_costs_no_caller_an_error() {
    rotated(true);
}
