//! How is the house built, and how does it end?
//! Given a configuration, joins the rooms, serves their doors on every worker, swaps the house, and drains on a signal.
//! Never answers a request itself.

mod lack;

mod descriptors;

mod memory;

pub mod notify;

mod pause;

mod restart;

mod traces;

mod settings;

pub mod preflight;

mod authority;

mod bind;

mod change;

mod assemble;

mod reload;

mod life;

pub use assemble::{House, build, build_over, join};
pub use authority::{authority, opened};
pub use bind::{BoundListeners, bind, bind_all};
pub use descriptors::raise_limit_of_files;
pub use life::{Ended, Serving, serve, until_signal};
pub use settings::{Table, partner_dialer, ring, table, tokens};
