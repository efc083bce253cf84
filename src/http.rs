//! The fields of HTTP heads: every parser and every writer of one stands here once.
//! Given a head, hands back what its fields say, in the terms of RFC 9110, RFC 9111 and their kin.
//! Never decides anything: what follows from a field is for the modules that read it. (`use http::…` is the crate of that name.)

pub mod list;

pub mod hop_by_hop;

pub mod q_list;

pub mod cache_control;

pub mod accept;

pub mod request_flags;

pub mod date;

pub mod conditional;

pub mod host;

pub mod range;

pub mod cache_status;

pub mod rate_limit_fields;

pub mod problem;

use http::HeaderName;

/// The field that ties a caller's log to ours.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
