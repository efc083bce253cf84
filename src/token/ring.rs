//! Which keys sign and verify our tokens?
//! Given a folder, hands back its Ed25519 keys, making the first one; or one key in memory.
//! Never prints a key, and never signs with one that others may not have heard of yet.

mod folder;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header};
use parking_lot::RwLock;

use super::claims::Claims;

/// The `typ` of our tokens (RFC 9068 §2.1).
pub(super) const TYPE: &str = "at+jwt";

/// One key.
pub struct SigningKey {
    /// Its id: the JWK thumbprint of RFC 7638.
    pub kid: String,
    /// When it was made, seconds since 1970; 0 of a key that lives in memory.
    pub made: u64,
    /// The public half as a JWK has it (RFC 8037 §2).
    pub x: String,
    pub(super) verifying: DecodingKey,
    pub(super) signing: EncodingKey,
}

/// The keys, oldest first. Re-read while the gateway runs, so that a rotation needs no restart.
pub struct Ring {
    folder: Option<PathBuf>,
    notice: Duration,
    signing_key: RwLock<Arc<[Arc<SigningKey>]>>,
    /// Files with nothing in them, as they were found last.
    empty: RwLock<Vec<PathBuf>>,
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
    /// A file in another encoding.
    #[error("{0}: written in UTF-16; a PEM file is ASCII, so save it as such")]
    Wide(PathBuf),
    /// A file lost what was in it, and with it a key that is in use.
    #[error(
        "{0}: nothing is in it, and a key that signs or verifies is gone; those of before are used on: restore the file"
    )]
    Lost(PathBuf),
    /// Others on the machine can read a key.
    #[error("{0}: readable by everybody; run `chmod 600` on it")]
    Open(PathBuf),
    /// Every key was taken away.
    #[error("{0}: no key is left there; those of before are used on")]
    Emptied(PathBuf),
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
        let key = Ed25519KeyPair::generate().map_err(|_| RingError::Random)?;
        Ok(Self::with(None, Duration::ZERO, [signing_key(0, &key)?].into(), Vec::new()))
    }

    /// The keys of a folder, one `<kid>.pem` each; the first is made if there is none. A further one signs once it has
    /// been there for `notice`, so that whoever verifies by our JWKS has heard of it by then.
    ///
    /// # Errors
    /// [`RingError`] names the file at fault.
    pub fn open(folder: &Path, notice: Duration) -> Result<Self, RingError> {
        let mut found = folder::read(folder)?;
        for path in &found.empty {
            warn_of(path);
        }
        if found.keys.is_empty() {
            folder::make(folder)?;
            found = folder::read(folder)?;
        }
        Ok(Self::with(Some(folder.to_owned()), notice, signing_keys(found.keys)?, found.empty))
    }

    fn with(
        folder: Option<PathBuf>,
        notice: Duration,
        signing_key: Arc<[Arc<SigningKey>]>,
        empty: Vec<PathBuf>,
    ) -> Self {
        Self { folder, notice, signing_key: RwLock::new(signing_key), empty: RwLock::new(empty) }
    }

    /// The keys of a folder as a running gateway made them; nothing is made or written.
    ///
    /// # Errors
    /// [`RingError`] names the file at fault, or says that there is no key yet.
    pub fn read(folder: &Path, notice: Duration) -> Result<Self, RingError> {
        let found = folder::read(folder)?;
        if found.keys.is_empty() {
            return Err(RingError::Empty(folder.to_owned()));
        }
        Ok(Self::with(Some(folder.to_owned()), notice, signing_keys(found.keys)?, found.empty))
    }

    #[cfg(test)]
    pub(super) fn of(keys: Vec<Ed25519KeyPair>) -> Self {
        let keys = keys.into_iter().map(|key| (0, key)).collect();
        Self::with(None, Duration::ZERO, signing_keys(keys).unwrap(), Vec::new())
    }

    /// Files of the folder with nothing in them: a crash left them, or a key was in them.
    pub fn empty_files(&self) -> Vec<PathBuf> {
        self.empty.read().clone()
    }

    /// All keys, oldest first.
    pub fn keys(&self) -> Arc<[Arc<SigningKey>]> {
        Arc::clone(&self.signing_key.read())
    }

    /// The key with this id.
    pub(super) fn find(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.signing_key.read().iter().find(|key| key.kid == kid).cloned()
    }

    /// The key that signs at `unix` seconds: the newest that was there long enough, else the oldest.
    pub fn signer(&self, unix: u64) -> Option<Arc<SigningKey>> {
        let keys = self.signing_key.read();
        let known = |key: &&Arc<SigningKey>| self.signs_from(key) <= unix;
        keys.iter().rev().find(known).or_else(|| keys.first()).cloned()
    }

    /// Signs with the key of the moment at which the token is issued.
    ///
    /// # Errors
    /// [`RingError::Signature`].
    pub fn sign(&self, claims: &Claims) -> Result<String, RingError> {
        let key = self.signer(claims.iat).ok_or(RingError::Signature)?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        jsonwebtoken::encode(&header, claims, &key.signing).map_err(|_| RingError::Signature)
    }

    /// Reads the folder again; whether its keys are others now.
    ///
    /// # Errors
    /// [`RingError`]; the keys of before are kept.
    pub fn refresh(&self) -> Result<bool, RingError> {
        let Some(folder) = &self.folder else { return Ok(false) };
        let found = folder::read(folder)?;
        let keys = signing_keys(found.keys)?;
        let mut signing_key = self.signing_key.write();
        // One that was emptied may be written again in a moment; nothing that it signed ends meanwhile.
        let gone = || signing_key.iter().any(|key| keys.iter().all(|other| other.kid != key.kid));
        let emptied = found.empty.iter().find(|path| !self.empty.read().contains(path));
        if let Some(path) = emptied.filter(|_| gone()) {
            return Err(RingError::Lost(path.clone()));
        }
        if keys.is_empty() {
            return Err(RingError::Emptied(folder.clone()));
        }
        let mut empty = self.empty.write();
        found.empty.iter().filter(|path| !empty.contains(path)).for_each(|path| warn_of(path));
        *empty = found.empty;
        let same = signing_key.iter().map(|key| (&key.kid, key.made)).eq(keys.iter().map(|key| (&key.kid, key.made)));
        if !same {
            *signing_key = keys;
        }
        Ok(!same)
    }

    /// Makes a new key in the folder and hands back its id; it signs after the notice. In memory there is one for good.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn rotate(&self) -> Result<Option<String>, RingError> {
        let Some(folder) = &self.folder else { return Ok(None) };
        let made = folder::make(folder)?;
        self.refresh()?;
        Ok(Some(made))
    }

    /// Whether the newest key is older than `most` at `unix` seconds.
    pub fn is_due(&self, unix: u64, most: Duration) -> bool {
        let newest = self.signing_key.read().last().map_or(0, |key| key.made);
        self.folder.is_some() && newest.saturating_add(most.as_secs()) <= unix
    }

    /// Keys that sign no more, each with the second since when.
    pub fn superseded(&self, unix: u64) -> Vec<(String, u64)> {
        let keys = self.signing_key.read();
        let pairs = keys.iter().zip(keys.iter().skip(1));
        let since = pairs.map(|(old, next)| (old.kid.clone(), self.signs_from(next)));
        since.filter(|(_, since)| *since <= unix).collect()
    }

    /// Takes keys away for good: what they signed verifies no more.
    ///
    /// # Errors
    /// [`RingError`].
    pub fn remove(&self, kids: &[String]) -> Result<(), RingError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        for kid in kids {
            folder::remove(folder, kid)?;
        }
        self.refresh().map(drop)
    }

    fn signs_from(&self, key: &SigningKey) -> u64 {
        key.made.saturating_add(self.notice.as_secs())
    }
}

/// Of a file beside the keys that stops nothing.
fn warn_of(path: &Path) {
    let file = path.display();
    tracing::warn!(%file, "nothing is in this file beside the signing keys; a crash may have left it: remove it, or restore it if a key was in it");
}

fn signing_keys(keys: Vec<(u64, Ed25519KeyPair)>) -> Result<Arc<[Arc<SigningKey>]>, RingError> {
    keys.iter().map(|(made, key)| signing_key(*made, key)).collect()
}

fn signing_key(made: u64, key: &Ed25519KeyPair) -> Result<Arc<SigningKey>, RingError> {
    let der = key.to_pkcs8v1().map_err(|_| RingError::Signature)?;
    let public = key.public_key().as_ref();
    Ok(Arc::new(SigningKey {
        kid: key_id(key),
        made,
        x: BASE64URL_NOPAD.encode(public),
        verifying: DecodingKey::from_ed_der(public),
        signing: EncodingKey::from_ed_der(der.as_ref()),
    }))
}

/// The key's JWK thumbprint (RFC 7638 §3; the members of RFC 8037 §2).
fn key_id(key: &Ed25519KeyPair) -> String {
    let x = BASE64URL_NOPAD.encode(key.public_key().as_ref());
    let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{x}"}}"#);
    BASE64URL_NOPAD.encode(digest(&SHA256, jwk.as_bytes()).as_ref())
}
