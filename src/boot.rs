//! How is the house built, and how does it end?
//! Given a configuration, joins the rooms, serves their doors on every worker, and drains on a signal.
//! Never answers a request itself.

mod house;

mod life;

mod memory;

pub(crate) use house::token_settings;
pub use house::{House, build, join, ring};
pub use life::{Ended, Serving, serve, until_signal};
