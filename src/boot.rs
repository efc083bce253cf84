//! How is the house built, and how does it end?
//! Given a configuration, joins the rooms, serves their doors on every worker, and drains on a signal.
//! Never answers a request itself.

mod authority;

mod house;

mod life;

mod memory;

mod pause;

pub use authority::{authority, opened};
pub use house::{House, Table, build, join, ring, table, tokens};
pub use life::{Ended, Serving, serve, until_signal};
