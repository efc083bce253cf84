//! A caching reverse proxy and token authority in front of one partner API.

pub mod clock;

pub mod secret;

pub mod gcra;

pub mod config;
