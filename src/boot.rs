//! How is the house built, and how does it end?
//! Given a configuration, joins the rooms, serves their doors on every worker, swaps the house, and drains on a signal.
//! Never answers a request itself.

mod authority;

mod descriptors;

mod doors;

mod house;

mod life;

mod memory;

pub mod notify;

mod pause;

pub mod preflight;

mod reload;

mod renewal;

mod restart;

mod traces;

pub use authority::{authority, opened};
pub use descriptors::raise_limit_of_files;
pub use doors::{Doors, bind, doors};
pub use house::{House, Table, build, build_over, join, partner_dialer, ring, table, tokens};
pub use life::{Ended, Serving, serve, until_signal};
