//! How is a partner reached through a proxy?
//! Given the proxy's address and where its password lies, hands back a connector whose connections are tunnels (CONNECT).
//! Never reads the environment, and never shows the proxy more than the partner's host and port.

mod tunnel;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{HeaderValue, Uri};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::BoxError;
use tower::util::{BoxCloneSyncService, ServiceExt};

use crate::file_watch::LastGood;
use crate::secret::Secret;

pub use tunnel::NoTunnel;

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
    /// What is shown to it.
    ///
    /// # Errors
    /// [`NoAuth`].
    pub fn auth(&self) -> Result<Option<HeaderValue>, NoAuth> {
        self.auth_file.as_deref().map(auth_in).transpose()
    }

    /// Its tunnels, as connections to whatever is at their other end. The file is read again for each of them, so that a
    /// changed password needs no restart.
    ///
    /// # Errors
    /// [`NoAuth`].
    pub(super) fn tunnel(
        &self,
        tcp: HttpConnector,
    ) -> Result<BoxCloneSyncService<Uri, TokioIo<TcpStream>, BoxError>, NoAuth> {
        let address = self.address.clone();
        let auth = self.auth_file.as_ref().map(|file| Auth::new(file.clone())).transpose()?.map(Arc::new);
        Ok(BoxCloneSyncService::new(tower::service_fn(move |partner: Uri| {
            let (address, tcp, auth) = (address.clone(), tcp.clone(), auth.clone());
            async move {
                let auth = match auth {
                    Some(auth) => Some(tokio::task::spawn_blocking(move || auth.now()).await?),
                    None => None,
                };
                let proxy = tcp.oneshot(address).await?.into_inner();
                Ok(TokioIo::new(tunnel::open(proxy, &partner, auth.as_ref()).await?))
            }
        })))
    }
}

/// The file with what the proxy is shown.
struct Auth {
    file: PathBuf,
    last: LastGood<HeaderValue>,
}

impl Auth {
    fn new(file: PathBuf) -> Result<Self, NoAuth> {
        let last = LastGood::new(auth_in(&file)?);
        Ok(Self { file, last })
    }

    /// What to show now. Blocks for as long as the disk takes.
    fn now(&self) -> HeaderValue {
        let say = |fault: &NoAuth| tracing::warn!("upstream.proxy_auth_file: {fault}; the last good one is kept");
        self.last.after(auth_in(&self.file), say)
    }
}

fn auth_in(path: &Path) -> Result<HeaderValue, NoAuth> {
    let text = std::fs::read_to_string(path).map_err(|error| NoAuth::Unreadable(path.to_owned(), error))?;
    let text = Secret::new(text);
    let pair = text.reveal().trim_end_matches(['\r', '\n']);
    let fit = pair.contains(':') && !pair.starts_with(':') && pair.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    let value = Secret::new(format!("Basic {}", data_encoding::BASE64.encode(pair.as_bytes())));
    match HeaderValue::from_str(value.reveal()) {
        Ok(mut value) if fit => {
            value.set_sensitive(true);
            Ok(value)
        }
        _ => Err(NoAuth::Unfit(path.to_owned())),
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

    /// A file that was emptied, or gone for a moment, ended every new connection, while keys and certificates keep their last good.
    #[test]
    fn what_was_good_is_shown_until_something_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auth");
        std::fs::write(&path, "a:1").unwrap();
        let auth = Auth::new(path.clone()).unwrap();
        std::fs::write(&path, "").unwrap();
        assert_eq!(auth.now(), "Basic YTox");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(auth.now(), "Basic YTox");
        std::fs::write(&path, "a:2\n").unwrap();
        assert_eq!(auth.now(), "Basic YToy");
        assert!(Auth::new(folder.path().join("gone")).is_err());
    }
}
