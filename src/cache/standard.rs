//! What would a plain shared cache do?
//! Given heads, moments and what is held, hands back the answer of RFC 9111 and its kin (9110, 9211, 9213, 5861).
//! Never reads a clock, never sees a socket: every file answers for some clauses, in the order of the RFC.

pub mod words;

pub mod moments;

pub mod vary;

pub mod storing;

pub mod reply;

pub mod slot;

pub mod conditions;

pub mod validation;

pub mod invalidation;

pub use reply::Reply;
pub use words::{Detail, Why};

#[cfg(test)]
mod tests;
