//! Which keys sign and verify our tokens?
//! Given a folder, hands back its Ed25519 keys, making the first one; or one key in memory.
//! Never prints a key, and never lets others on the machine read one it writes.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

use super::claims::Claims;

/// The `typ` of our tokens (RFC 9068 §2.1).
pub(super) const TYPE: &str = "at+jwt";

/// The keys.
pub struct Ring {
    pub(super) signing: (String, EncodingKey),
    verifying: HashMap<String, DecodingKey>,
}

/// Why there are no keys, or none that can sign.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The folder or a file cannot be read or written.
    #[error("{0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A file holds no Ed25519 key in PKCS#8.
    #[error("{0}: not an Ed25519 private key in PEM (PKCS#8); move it out of the folder")]
    NotAKey(PathBuf),
    /// Others on the machine can read a key.
    #[error("{0}: readable by everybody; run `chmod 600` on it")]
    Open(PathBuf),
    /// No gateway has made a key there yet.
    #[error("{0}: no signing key is there yet; a gateway makes it at its first start")]
    Empty(PathBuf),
    /// The machine has no randomness.
    #[error("the machine gives no random bytes")]
    Random,
    /// The signature failed.
    #[error("the signing key refused")]
    Signature,
}

impl Ring {
    /// A ring whose only key lives as long as the process.
    ///
    /// # Errors
    /// [`RingError::Random`].
    pub fn in_memory() -> Result<Self, RingError> {
        Ok(Self::of(vec![Ed25519KeyPair::generate().map_err(|_| RingError::Random)?]))
    }

    /// The keys of a folder, one `<kid>.pem` each; the first is made if there is none. The newest file signs.
    ///
    /// # Errors
    /// [`RingError`] names the file at fault.
    pub fn open(folder: &Path) -> Result<Self, RingError> {
        let mut keys = read_folder(folder)?;
        if keys.is_empty() {
            make_first(folder)?;
            keys = read_folder(folder)?;
        }
        Ok(Self::of(keys))
    }

    /// The keys of a folder as a running gateway made them; nothing is made or written.
    ///
    /// # Errors
    /// [`RingError`] names the file at fault, or says that there is no key yet.
    pub fn read(folder: &Path) -> Result<Self, RingError> {
        let keys = read_folder(folder)?;
        if keys.is_empty() { Err(RingError::Empty(folder.to_owned())) } else { Ok(Self::of(keys)) }
    }

    pub(super) fn of(keys: Vec<Ed25519KeyPair>) -> Self {
        let mut ring = Self { signing: (String::new(), EncodingKey::from_ed_der(&[])), verifying: HashMap::new() };
        for key in keys {
            let kid = key_id(&key);
            ring.verifying.insert(kid.clone(), DecodingKey::from_ed_der(key.public_key().as_ref()));
            if let Ok(der) = key.to_pkcs8v1() {
                ring.signing = (kid, EncodingKey::from_ed_der(der.as_ref()));
            }
        }
        ring
    }

    /// The key with this id.
    pub(super) fn find(&self, kid: &str) -> Option<&DecodingKey> {
        self.verifying.get(kid)
    }

    /// Signs with the newest key.
    ///
    /// # Errors
    /// [`RingError::Signature`].
    pub fn sign(&self, claims: &Claims) -> Result<String, RingError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(self.signing.0.clone());
        jsonwebtoken::encode(&header, claims, &self.signing.1).map_err(|_| RingError::Signature)
    }
}

/// The key's JWK thumbprint (RFC 7638 §3; the members of RFC 8037 §2).
fn key_id(key: &Ed25519KeyPair) -> String {
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL_NOPAD.encode(digest(&SHA256, jwk.as_bytes()).as_ref())
}

/// The folder's keys, oldest first; a folder that is not there has none.
fn read_folder(folder: &Path) -> Result<Vec<Ed25519KeyPair>, RingError> {
    let fault = |path: &Path| {
        let path = path.to_owned();
        move |error| RingError::File(path, error)
    };
    let listing = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(fault(folder))?,
    };
    let mut found = Vec::new();
    for file in listing {
        let path = file.map_err(fault(folder))?.path();
        if path.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        let about = std::fs::metadata(&path).map_err(fault(&path))?;
        if about.permissions().mode() & 0o007 != 0 {
            return Err(RingError::Open(path));
        }
        let made = about.modified().map_err(fault(&path))?;
        let der = PrivatePkcs8KeyDer::from_pem_file(&path).map_err(|_| RingError::NotAKey(path.clone()))?;
        let key = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| RingError::NotAKey(path.clone()))?;
        found.push((made, path, key));
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Ok(found.into_iter().map(|(_, _, key)| key).collect())
}

/// Writes a new key beside its final name and links it there, so that a reader never sees half of one.
fn make_first(folder: &Path) -> Result<(), RingError> {
    let key = Ed25519KeyPair::generate().map_err(|_| RingError::Random)?;
    let der = key.to_pkcs8v1().map_err(|_| RingError::Random)?;
    let body = data_encoding::BASE64.encode(der.as_ref());
    let pem = zeroize::Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n"));
    let path = folder.join(format!("{}.pem", key_id(&key)));
    let draft = path.with_extension("new");
    let write = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(pem.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)
    };
    write().map_err(|error| RingError::File(path.clone(), error))
}
