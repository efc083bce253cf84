//! A caching reverse proxy and token authority in front of one partner API.

pub mod clock;

pub mod secret;

pub mod gcra;

pub mod account_api;

pub mod dial;

pub mod listen;

pub mod token;

pub mod route;

pub mod access;

pub mod cache;

pub mod flight;

pub mod budget;

pub mod upstream;

pub mod view;

pub mod trail;

pub mod gateway;
