//! Does the whole program do what it says, seen from outside?
//! Given the real binary between a scripted partner and raw callers, hands back claims that hold or fail.
//! Never looks inside the process: what counts is answers, log lines and the partner's record.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic, and their clock is the machine's"
)]

mod support;

#[path = "../golden/golden.rs"]
mod golden;

mod faults;

mod path;

mod at_once;

mod traps;

mod shield;

mod hostile;

mod pause;

mod moved;

mod key_rotation;

mod spend;

mod encodings;

mod standard;

mod wishes;

mod admin;

mod purge;

mod bounds;

mod simulator;

mod check;

mod probe;

mod laws;

mod authority;

mod exchange;

mod details;

mod ledger;

mod log;

mod oauth;

mod views;

mod unstored;

mod http_cache;

mod quota;

mod reload;

mod notify;

mod tls;

mod sockets;

mod traces;

mod metrics;

mod ambient;

mod answers;

mod explain;

mod explain_law;

mod explained;

mod deploy;

mod tools;

mod house;

mod hub;

mod egress;
