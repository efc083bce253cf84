//! What does one configuration make?
//! Given a house, its authority and where the listeners really stand, hands back the estate that is put in force.
//! Never serves it.

use std::sync::Arc;

use anyhow::Context;

use crate::authority::Authority;
use crate::config::{self, Config};
use crate::dial::Dialer;
use crate::estate::{Estate, Own};
use crate::gateway::Ambient;
use crate::listen::{Address, Bound, Socket};

use super::House;

/// All that one configuration makes, with where its listeners really stand.
pub(super) fn estate(
    config: &Config,
    gateway: Arc<House>,
    authority: Arc<Authority>,
    stands: &[Stand],
) -> Estate<Dialer> {
    Estate {
        gateway,
        authority,
        ambient: ambient_callers(config, stands),
        own: own_names(config),
        drain_delay: config.server.drain_delay,
        grace: config.server.shutdown_grace,
    }
}

/// Where a public listener stands since the start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stand {
    /// The port that it really has; `None` of a Unix socket.
    port: Option<u16>,
    /// Whether it speaks TLS.
    private: bool,
}

impl Stand {
    /// Of a listener that is bound.
    pub(super) fn of(bound: &Bound) -> anyhow::Result<Self> {
        let port = match &bound.socket {
            Socket::Tcp(socket) => Some(socket.local_addr().context("listeners")?.port()),
            Socket::Unix(_) => None,
        };
        Ok(Self { port, private: bound.tls.is_some() })
    }
}

/// What each public listener says of requests without a token, by the port that it really has.
fn ambient_callers(config: &Config, stands: &[Stand]) -> Vec<Option<Ambient>> {
    let of = |(listener, stand): (&config::Listener, &Stand)| {
        listener.ambient.clone().map(|caller| Ambient::new(caller, stand.port, stand.private))
    };
    config.listeners.iter().zip(stands).map(of).collect()
}

/// Under which names the admin door may be called.
fn own_names(config: &Config) -> Own {
    let address = match config.admin.listen {
        Address::Tcp(address) if !address.ip().is_loopback() => Some(address.ip()),
        _ => None,
    };
    let public = config.server.public_url.parse::<http::Uri>().ok();
    Own { address, public: public.and_then(|uri| uri.host().map(str::to_owned)) }
}
