//! A caching reverse proxy and token authority in front of one partner API, the reseller Account API v1.
//!
//! One rule holds the house together: **a module imports only modules declared above it here, and they are declared in
//! the order a request meets them.** Reading order, request order and dependency order are one; a test holds it.
//!
//! Decisions, each with what was measured and refused:
//! - *One shared entry, one view per right.* The key of an entry has no caller in it; rights are applied to what comes out.
//!   Refused: the caller in the key (as many partner calls as callers) and rights checked only on the way in (a leak).
//! - *Evidence, not flags.* `Caller`, `Match`, `Grant`, `Key`, `Permit`, `Leader` have one maker each: an unauthorised or
//!   unbudgeted call to the partner does not compile. Refused: request extensions, which hold whatever somebody put there.
//! - *Time is handed in.* Freshness, quotas and pauses are arithmetic over `now`; only `clock` reads a clock.
//! - *A worker is a single-threaded runtime.* Connections stay on the thread that accepted them, and all workers accept from
//!   one socket, so a second gateway on the same port is refused. Refused: `SO_REUSEPORT`, which lets it in.
//! - *A revocation moves an epoch.* A remembered token is as good as its epoch: one atomic load on the hit path, and every
//!   request sent after a revocation's answer is judged anew. The ledger answers once the flush is done, in batches of one
//!   thread. Refused: lifetimes of a cache of rights, within which a revoked token goes on.
//! - *A reload builds another house and moves one pointer.* A request takes the pointer once and ends in the house that it
//!   began in; what has state is shared by both. What is stored is keyed by the edition of its route, so that nothing is
//!   shown under another meaning. Refused: settings that change one by one under a request.
//! - *A sidecar's answers age with its hub's.* It counts the hub's `Age` against the hub's times, so that no hop adds to a life,
//!   and a token that is taken back takes with it what it brought. Refused: the hub's stale windows in `Cache-Control`, where
//!   every cache of every caller would use them.
//! - *A crowd is spread once.* What is new is refreshed somewhere in the last tenth of its lifetime, what follows in time is left
//!   whole: n lifetimes still hold at most n + 1 calls. Refused: a share of every lifetime, which costs calls for ever.
//! - *The same bytes mean the same.* A request line and a head's fields that were met before are known with what `http` and
//!   `httparse` made of them; such a hit is answered before hyper reads it, by the same rooms and in the same words. Whatever may
//!   change is asked each time: the token, the right, what is held, the turn. 7,600 instructions where hyper's way takes 20,600.
//!   Refused: a parser of our own, and answers kept as bytes, which would outlive what they were made of.
//! - *Flights run in their own tasks.* A caller that hangs up changes nothing for those who wait with it.

// the pages, in words: imports nothing

pub mod guide;

// ground: what every room may stand on

pub mod clock;

pub mod secret;

pub mod http;

pub mod gcra;

pub mod throttle;

pub mod file_watch;

pub mod account_api;

pub mod dial;

pub mod listen;

// the path, in the order a request walks it

pub mod token;

pub mod quota;

pub mod route;

pub mod access;

pub mod cache;

pub mod flight;

pub mod budget;

pub mod trail;

pub mod upstream;

pub mod view;

pub mod gateway;

pub mod fast_path;

// the doors

pub mod authority;

pub mod generation;

pub mod admin;

pub mod simulator;

pub mod config;

pub mod boot;

pub mod cli;

// what tests hold the words of the program to

#[path = "../tests/golden/golden.rs"]
#[cfg(test)]
mod golden;
