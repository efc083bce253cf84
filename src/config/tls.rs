//! Which certificate does a door show?
//! Given `[listeners.tls]` or `[admin.tls]`, hands back where its files lie.
//! Never opens them.

use std::path::PathBuf;

use super::page::Page;
use super::table::Table;

/// `[listeners.tls]`, `[admin.tls]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, PEM.
    pub cert_file: PathBuf,
    /// Its key, PEM.
    pub key_file: PathBuf,
    /// Issuers of client certificates; given, a client must show one.
    pub client_ca_file: Option<PathBuf>,
}

impl Tls {
    pub(super) fn read(mut t: Table<'_>) -> Self {
        for (key, what) in [("cert_file", "the certificate"), ("key_file", "the certificate's key")] {
            if !t.has(key) {
                t.notes.missing(&t.at(key), format!("TLS wants {key}, {what} in PEM"));
            }
        }
        let tls = Self {
            cert_file: t.path("cert_file").unwrap_or_default(),
            key_file: t.path("key_file").unwrap_or_default(),
            client_ca_file: t.path("client_ca_file"),
        };
        t.finish();
        tls
    }

    pub(super) fn write(&self, page: &mut Page, head: &str) {
        page.head(head);
        page.path("cert_file", Some(&self.cert_file));
        page.path("key_file", Some(&self.key_file));
        page.path("client_ca_file", self.client_ca_file.as_deref());
    }
}
