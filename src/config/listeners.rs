//! On which doors does the gateway listen, and what does a connection get there?
//! Given `[server]`, `[[listeners]]`, `[health]` and `[admin]`, hands back their settings.
//! Never binds anything.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::Uri;

use super::notes::Notes;
use super::page::Page;
use super::table::Table;
use super::tls::Tls;
use super::tree::Value;
use super::values;
use crate::listen::Address;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Longer paths do not fit into the system's socket addresses (108 bytes, one of them the end).
const UNIX_PATH: usize = 107;

/// `[server]`: what holds for every connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The name in `Via` and `Cache-Status`; `None`: a random one per start, so that two gateways in a row are no loop.
    pub name: Option<String>,
    /// Issuer of tokens and base of all metadata: scheme, host and maybe port, without a slash at the end.
    pub public_url: String,
    /// Worker threads; 0 is one per available core.
    pub workers: usize,
    /// Most connections at one time, all public listeners together.
    pub max_connections: usize,
    /// Of them, most of one peer that is not this machine; 0 is any number, `None` a quarter of them.
    pub max_connections_per_peer: Option<usize>,
    /// Longest time for a request's head, from its first byte.
    pub header_timeout: Duration,
    /// Longest time for a request.
    pub request_timeout: Duration,
    /// Largest head of a request, in bytes.
    pub max_header_bytes: u64,
    /// Largest body of a request, in bytes.
    pub max_request_body: u64,
    /// Bytes of uploads, and of answers whose readers are slow; `None`: the lesser of 64 MiB and a sixteenth of the memory.
    pub buffer_bytes: Option<u64>,
    /// How long serving goes on after the signal to stop, with readiness false.
    pub drain_delay: Duration,
    /// How long requests may then take to finish.
    pub shutdown_grace: Duration,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            name: None,
            public_url: "http://127.0.0.1:8080".to_owned(),
            workers: 0,
            max_connections: 10_000,
            max_connections_per_peer: None,
            header_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(20),
            max_header_bytes: 16 * KIB,
            max_request_body: MIB,
            buffer_bytes: None,
            drain_delay: Duration::from_secs(5),
            shutdown_grace: Duration::from_secs(25),
        }
    }
}

impl Server {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let server = Self {
            name: t.get("name", server_name).flatten(),
            public_url: t.get("public_url", public_url).unwrap_or(d.public_url),
            workers: t.get("workers", values::whole(0..=1024)).unwrap_or(d.workers),
            max_connections: t.get("max_connections", values::whole(1..=1_000_000)).unwrap_or(d.max_connections),
            max_connections_per_peer: t.get("max_connections_per_peer", values::whole(0..=1_000_000)),
            header_timeout: t.get("header_timeout", values::some_time).unwrap_or(d.header_timeout),
            request_timeout: t.get("request_timeout", values::some_time).unwrap_or(d.request_timeout),
            max_header_bytes: t.get("max_header_bytes", values::size(KIB..=MIB)).unwrap_or(d.max_header_bytes),
            max_request_body: t.get("max_request_body", values::size(0..=GIB)).unwrap_or(d.max_request_body),
            buffer_bytes: t.get("buffer_bytes", values::size(MIB..=1 << 40)),
            drain_delay: t.get("drain_delay", values::duration).unwrap_or(d.drain_delay),
            shutdown_grace: t.get("shutdown_grace", values::duration).unwrap_or(d.shutdown_grace),
        };
        t.finish();
        server
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[server]");
        page.line("name", self.name.as_deref().unwrap_or_default());
        page.line("public_url", self.public_url.as_str());
        page.line("workers", i64::try_from(self.workers).unwrap_or(i64::MAX));
        page.line("max_connections", i64::try_from(self.max_connections).unwrap_or(i64::MAX));
        if let Some(most) = self.max_connections_per_peer {
            page.line("max_connections_per_peer", i64::try_from(most).unwrap_or(i64::MAX));
        }
        page.time("header_timeout", self.header_timeout);
        page.time("request_timeout", self.request_timeout);
        page.size("max_header_bytes", self.max_header_bytes);
        page.size("max_request_body", self.max_request_body);
        if let Some(bytes) = self.buffer_bytes {
            page.size("buffer_bytes", bytes);
        }
        page.time("drain_delay", self.drain_delay);
        page.time("shutdown_grace", self.shutdown_grace);
    }
}

fn server_name(value: &Value) -> Result<Option<String>, String> {
    values::optional(value)?.map(|name| values::name(&name)).transpose()
}

fn public_url(value: &Value) -> Result<String, String> {
    let uri: Uri = values::origin(&values::text(value)?, None)?;
    Ok(uri.to_string().trim_end_matches('/').to_owned())
}

/// One `[[listeners]]`: a public door.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Where it listens.
    pub address: Address,
    /// Permissions of a Unix socket, as `chmod` counts them.
    pub unix_mode: u32,
    /// Whether clear text may be spoken off loopback (something in front of it speaks TLS).
    pub allow_clear_text: bool,
    /// The caller whose rights a request without any token has here.
    pub ambient: Option<String>,
    /// TLS; `None` is clear text.
    pub tls: Option<Tls>,
}

impl Default for Listener {
    fn default() -> Self {
        Self {
            address: Address::Tcp(loopback(8080)),
            unix_mode: 0o600,
            allow_clear_text: false,
            ambient: None,
            tls: None,
        }
    }
}

impl Listener {
    pub(super) fn read_all(root: &mut Table<'_>) -> Vec<Self> {
        match root.tables("listeners") {
            Some(tables) => tables.into_iter().map(Self::read).collect(),
            None => vec![Self::default()],
        }
    }

    fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let listener = Self {
            address: t.get("address", inherited_or(address_of(t.notes))).unwrap_or(d.address),
            unix_mode: t.get("unix_mode", unix_mode).unwrap_or(d.unix_mode),
            allow_clear_text: t.get("allow_clear_text", values::truth).unwrap_or(d.allow_clear_text),
            ambient: t.get("ambient", values::optional).flatten(),
            tls: t.table("tls").map(Tls::read),
        };
        t.finish();
        listener
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[[listeners]]");
        page.line("address", self.address.to_string());
        page.line("unix_mode", format!("{:04o}", self.unix_mode));
        page.line("allow_clear_text", self.allow_clear_text);
        page.line("ambient", self.ambient.as_deref().unwrap_or_default());
        if let Some(tls) = &self.tls {
            tls.write(page, "[listeners.tls]");
        }
    }
}

fn unix_mode(value: &Value) -> Result<u32, String> {
    let mode = u32::from_str_radix(&values::text(value)?, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "permissions are written as \"0600\"".to_owned())
}

/// `[health]`: liveness, readiness, metrics, open to whoever reaches it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Where it listens.
    pub listen: SocketAddr,
}

impl Default for Health {
    fn default() -> Self {
        Self { listen: loopback(9536) }
    }
}

/// `[admin]`: administration, for whoever has an admin token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: Address,
    /// Whether clear text may be spoken off loopback (something in front of it speaks TLS).
    pub allow_clear_text: bool,
    /// TLS; `None` is clear text.
    pub tls: Option<Tls>,
}

impl Default for Admin {
    fn default() -> Self {
        Self { listen: Address::Tcp(loopback(9535)), allow_clear_text: false, tls: None }
    }
}

impl Admin {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        let d = Self::default();
        let admin = Self {
            listen: t.get("listen", address_of(t.notes)).unwrap_or(d.listen),
            allow_clear_text: t.get("allow_clear_text", values::truth).unwrap_or(d.allow_clear_text),
            tls: t.table("tls").map(Tls::read),
        };
        t.finish();
        admin
    }

    pub(super) fn write(&self, page: &mut Page) {
        page.head("[admin]");
        page.line("listen", self.listen.to_string());
        page.line("allow_clear_text", self.allow_clear_text);
        if let Some(tls) = &self.tls {
            tls.write(page, "[admin.tls]");
        }
    }
}

/// A socket that systemd opens, or what else there may be.
fn inherited_or(other: impl Fn(&Value) -> Result<Address, String>) -> impl Fn(&Value) -> Result<Address, String> {
    move |value| match values::text(value)?.strip_prefix("systemd:") {
        Some(name) if (1..=255).contains(&name.len()) && name.bytes().all(|it| it.is_ascii_graphic() && it != b':') => {
            Ok(Address::Systemd(name.to_owned()))
        }
        Some(_) => {
            Err("a socket of systemd's is written as \"systemd:NAME\", as FileDescriptorName= has it".to_owned())
        }
        None => other(value),
    }
}

/// An IP address and a port, or the path of a Unix socket.
fn address_of(notes: &Notes) -> impl Fn(&Value) -> Result<Address, String> {
    move |value| match values::text(value)?.strip_prefix("unix:") {
        Some("") => Err("a Unix socket is written as \"unix:/path\"".to_owned()),
        Some(path) => {
            let path = notes.resolve(path);
            if path.as_os_str().len() > UNIX_PATH {
                return Err(format!("a Unix socket's whole path has at most {UNIX_PATH} bytes; choose a shorter one"));
            }
            Ok(Address::Unix(path))
        }
        None => values::address(value).map(Address::Tcp),
    }
}

/// The `listen` of `[health]`.
pub(super) fn read_listen(mut t: Table<'_>, default: SocketAddr) -> SocketAddr {
    let listen = t.get("listen", values::address).unwrap_or(default);
    t.finish();
    listen
}

pub(super) fn write_listen(page: &mut Page, head: &str, listen: SocketAddr) {
    page.head(head);
    page.line("listen", listen.to_string());
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
