//! How is a partner reached through a proxy?
//! Given the proxy's address and where its password lies, hands back a connector whose connections are tunnels (CONNECT).
//! Never reads the environment, and never shows the proxy more than the partner's host and port.

use std::path::PathBuf;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::BoxError;
use tower::util::{BoxCloneSyncService, ServiceExt};

use crate::secret::Secret;

/// A proxy that opens tunnels (RFC 9110 §9.3.6).
#[derive(Debug, Clone)]
pub struct Proxy {
    /// `http://`, its host, and maybe a port.
    pub address: Uri,
    /// Where `user:password` for it lies, if it wants one.
    pub auth_file: Option<PathBuf>,
}

/// Why nothing can be shown to the proxy.
#[derive(Debug, thiserror::Error)]
pub enum NoAuth {
    /// The file cannot be read.
    #[error("{0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// It holds something else.
    #[error("{0}: user:password on one line is wanted, in printable ASCII")]
    Unfit(PathBuf),
}

impl Proxy {
    /// What is shown to it; read again for each connection, so that a changed password needs no restart.
    ///
    /// # Errors
    /// [`NoAuth`].
    pub fn auth(&self) -> Result<Option<HeaderValue>, NoAuth> {
        let Some(path) = &self.auth_file else { return Ok(None) };
        let text = std::fs::read_to_string(path).map_err(|error| NoAuth::Unreadable(path.clone(), error))?;
        let text = Secret::new(text);
        let pair = text.reveal().trim_end_matches(['\r', '\n']);
        let fit = pair.contains(':') && !pair.starts_with(':') && pair.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        let value = Secret::new(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())));
        match HeaderValue::from_str(value.reveal()) {
            Ok(mut value) if fit => {
                value.set_sensitive(true);
                Ok(Some(value))
            }
            _ => Err(NoAuth::Unfit(path.clone())),
        }
    }

    /// Its tunnels, as connections to whatever is at their other end. The head of its answer may have 8 KiB.
    pub(super) fn tunnel(&self, tcp: HttpConnector) -> BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError> {
        let this = Arc::new(self.clone());
        BoxCloneSyncService::new(tower::service_fn(move |partner: Uri| {
            let (this, tcp) = (Arc::clone(&this), tcp.clone());
            async move {
                let mut tunnel = Tunnel::new(this.address.clone(), tcp);
                if this.auth_file.is_some() {
                    let auth = tokio::task::spawn_blocking(move || this.auth()).await??;
                    tunnel = auth.into_iter().fold(tunnel, Tunnel::with_auth);
                }
                Ok(tunnel.oneshot(partner).await?)
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth(text: &str) -> Result<Option<HeaderValue>, NoAuth> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth");
        std::fs::write(&path, text).unwrap();
        Proxy { address: Uri::from_static("http://proxy"), auth_file: Some(path) }.auth()
    }

    #[test]
    fn a_user_and_a_password_are_basic_credentials_that_are_not_printed() {
        let value = auth("Aladdin:open sesame\n").unwrap().unwrap();
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(value.is_sensitive());
        for text in ["", "\n", "nobody", ":only", "a:b\nc:d", "a:\u{e9}"] {
            assert!(matches!(auth(text), Err(NoAuth::Unfit(_))), "{text:?}");
        }
        let gone = Proxy { address: Uri::from_static("http://proxy"), auth_file: Some("/does/not/exist".into()) };
        assert!(matches!(gone.auth(), Err(NoAuth::Unreadable(..))));
    }
}
