//! What stands in the files of a certificate?
//! Given their paths, hands back a TLS configuration and when its certificates end, or what is wrong with which file.
//! Never takes a key that is not the certificate's own, and never shows one.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions, WebPkiClientVerifier};
use rustls::{InconsistentKeys, RootCertStore, ServerConfig, server::ProducesTickets};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// No file of certificates is larger.
const MOST: u64 = 1 << 20;

/// Sessions that are remembered for clients without tickets.
const SESSIONS: usize = 1024;

/// Where the certificate lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The certificate chain, PEM, the server's own first.
    pub cert: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Issuers of client certificates; given, a client must show one.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no certificate to serve.
#[derive(Debug, thiserror::Error)]
pub enum Faulty {
    /// A file cannot be read.
    #[error("{0}: cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
    /// A file is too large.
    #[error("{0}: larger than 1 MiB, so it is no file of certificates")]
    TooLarge(PathBuf),
    /// No certificate in it.
    #[error("{0}: no certificate in it; PEM is wanted, -----BEGIN CERTIFICATE-----")]
    NoCertificate(PathBuf),
    /// No key in it.
    #[error("{0}: no private key in it; PEM is wanted, -----BEGIN PRIVATE KEY-----")]
    NoKey(PathBuf),
    /// A key where the certificate should be: the two settings name each other's file.
    #[error("{0}: a private key is in it and no certificate; are cert_file and key_file swapped?")]
    KeyForCertificate(PathBuf),
    /// The other way round.
    #[error("{0}: a certificate is in it and no private key; are cert_file and key_file swapped?")]
    CertificateForKey(PathBuf),
    /// The key's password would have to be typed in.
    #[error(
        "{0}: this key has a password, and nobody is there to type it; take it off with `openssl pkey -in KEY -out NEW`"
    )]
    Locked(PathBuf),
    /// The PEM is broken.
    #[error("{0}: its PEM is broken; was it cut off?")]
    BadPem(PathBuf),
    /// A certificate cannot be understood.
    #[error("{0}: a certificate in it cannot be understood")]
    BadCertificate(PathBuf),
    /// A key of an unknown kind.
    #[error("{0}: this kind of key is not known; RSA of at least 2048 bits, ECDSA (P-256, P-384, P-521) or Ed25519")]
    BadKey(PathBuf),
    /// The two do not belong together.
    #[error("{key}: this key is not that of the first certificate in {cert}")]
    Mismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls refuses the rest.
    #[error("TLS: {0}")]
    Refused(rustls::Error),
}

/// The files' bytes, as they stood at one moment. Not to be printed: the key is among them.
#[derive(PartialEq, Eq)]
pub(super) struct Bytes {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

/// From when to when a chain is good, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before the latest of its certificates begins.
    pub from: i64,
    /// Not after the earliest ends.
    pub until: i64,
}

/// What lets a client go on where it was.
#[derive(Clone)]
pub(super) struct Resumption {
    pub(super) tickets: Arc<dyn ProducesTickets>,
    pub(super) sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    /// Nobody goes on from before: new keys for tickets, which rustls changes every six hours, and an empty memory.
    pub(super) fn new() -> Result<Self, Faulty> {
        let tickets = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(Faulty::Refused)?;
        Ok(Self { tickets, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }
}

impl Faulty {
    /// The file at fault; none where it is not about one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Unreadable(path, _)
            | Self::TooLarge(path)
            | Self::NoCertificate(path)
            | Self::NoKey(path)
            | Self::KeyForCertificate(path)
            | Self::CertificateForKey(path)
            | Self::Locked(path)
            | Self::BadPem(path)
            | Self::BadCertificate(path)
            | Self::BadKey(path)
            | Self::Mismatch { key: path, .. } => Some(path),
            Self::Refused(_) => None,
        }
    }
}

impl Bytes {
    pub(super) fn read(files: &Files) -> Result<Self, Faulty> {
        Ok(Self {
            cert: whole(&files.cert)?,
            key: Zeroizing::new(whole(&files.key)?),
            client_ca: files.client_ca.as_deref().map(whole).transpose()?,
        })
    }

    /// Whether both ask clients for certificates of the same issuers.
    pub(super) fn trusts_the_same(&self, other: &Self) -> bool {
        self.client_ca == other.client_ca
    }

    /// Whether every issuer of `other` is among these: another one beside them takes nobody's trust away.
    pub(super) fn trusts_all_of(&self, other: &Self) -> bool {
        let issuers = |bytes: &Self| {
            let all = bytes.client_ca.as_deref().map(|pem| CertificateDer::pem_slice_iter(pem).collect());
            all.transpose().map(Option::<Vec<_>>::unwrap_or_default)
        };
        match (issuers(self), issuers(other)) {
            (Ok(ours), Ok(theirs)) => theirs.iter().all(|issuer| ours.contains(issuer)),
            _ => false,
        }
    }

    /// What is served with these.
    pub(super) fn configuration(
        &self,
        files: &Files,
        resumption: &Resumption,
    ) -> Result<(ServerConfig, Validity), Faulty> {
        let chain = certificates(&self.cert, &files.cert).map_err(|fault| match fault {
            Faulty::NoCertificate(path) if holds(&self.cert, "PRIVATE KEY-----") => Faulty::KeyForCertificate(path),
            other => other,
        })?;
        let validity = validity(&chain).ok_or_else(|| Faulty::BadCertificate(files.cert.clone()))?;
        // PKCS#8 says it in the first line (RFC 7468 §11), the older formats in a header (RFC 1421 §4.6.1.1).
        if holds(&self.key, "-----BEGIN ENCRYPTED PRIVATE KEY-----") || holds(&self.key, "Proc-Type: 4,ENCRYPTED") {
            return Err(Faulty::Locked(files.key.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key).map_err(|error| match error {
            pem::Error::NoItemsFound if holds(&self.key, "-----BEGIN CERTIFICATE-----") => {
                Faulty::CertificateForKey(files.key.clone())
            }
            pem::Error::NoItemsFound => Faulty::NoKey(files.key.clone()),
            _ => Faulty::BadPem(files.key.clone()),
        })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(Faulty::Refused)?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(bytes), Some(path)) => builder.with_client_cert_verifier(verifier(bytes, path)?),
            _ => builder.with_no_client_auth(),
        };
        let mut made = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Faulty::Mismatch { cert: files.cert.clone(), key: files.key.clone() }
            }
            rustls::Error::InvalidCertificate(_) => Faulty::BadCertificate(files.cert.clone()),
            _ => Faulty::BadKey(files.key.clone()),
        })?;
        made.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        made.ticketer = Arc::clone(&resumption.tickets);
        made.session_storage = Arc::clone(&resumption.sessions);
        Ok((made, validity))
    }
}

fn whole(path: &Path) -> Result<Vec<u8>, Faulty> {
    let unreadable = |error| Faulty::Unreadable(path.to_owned(), error);
    let mut bytes = Vec::new();
    File::open(path).map_err(unreadable)?.take(MOST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > MOST { Err(Faulty::TooLarge(path.to_owned())) } else { Ok(bytes) }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    memchr::memmem::find(bytes, text.as_bytes()).is_some()
}

fn certificates(bytes: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, Faulty> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let found = found.map_err(|_| Faulty::BadPem(path.to_owned()))?;
    if found.is_empty() { Err(Faulty::NoCertificate(path.to_owned())) } else { Ok(found) }
}

fn verifier(bytes: &[u8], path: &Path) -> Result<Arc<dyn ClientCertVerifier>, Faulty> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(bytes, path)? {
        roots.add(certificate).map_err(|_| Faulty::BadCertificate(path.to_owned()))?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|_| Faulty::BadCertificate(path.to_owned()))
}

/// Of all that are sent: a client refuses the whole for one of them.
fn validity(chain: &[CertificateDer<'_>]) -> Option<Validity> {
    let mut all = Validity { from: i64::MIN, until: i64::MAX };
    for certificate in chain {
        let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let validity = read.validity();
        all.from = all.from.max(validity.not_before.timestamp());
        all.until = all.until.min(validity.not_after.timestamp());
    }
    Some(all)
}
