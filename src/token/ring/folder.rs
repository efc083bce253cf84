//! Which keys lie in a folder?
//! Given the folder, hands back its Ed25519 keys with the moment each was made; or writes a new one there.
//! Never lets others on the machine read a key it writes, and never leaves half of one.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::Zeroizing;

use super::{RingError, key_id};

/// The line above a key that says when it was made; file times do not outlive a restored backup.
const MADE: &str = "Made: ";

fn fault(path: &Path) -> impl FnOnce(std::io::Error) -> RingError {
    let path = path.to_owned();
    move |error| RingError::File(path, error)
}

/// The folder's keys and when each was made (seconds since 1970); a folder that is not there has none.
pub(super) fn read(folder: &Path) -> Result<Vec<(u64, Ed25519KeyPair)>, RingError> {
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
        let text = Zeroizing::new(std::fs::read(&path).map_err(fault(&path))?);
        let der = PrivatePkcs8KeyDer::from_pem_slice(&text).map_err(|_| RingError::NotAKey(path.clone()))?;
        let key = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| RingError::NotAKey(path.clone()))?;
        let made = match said(&text) {
            Some(made) => made,
            None => since_1970(about.modified().map_err(fault(&path))?),
        };
        found.push((made, path, key));
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Ok(found.into_iter().map(|(made, _, key)| (made.as_secs(), key)).collect())
}

/// Writes a new key beside its final name and moves it there, so that a reader never sees half of one.
pub(super) fn make(folder: &Path) -> Result<String, RingError> {
    let key = Ed25519KeyPair::generate().map_err(|_| RingError::Random)?;
    let der = Zeroizing::new(key.to_pkcs8v1().map_err(|_| RingError::Random)?.as_ref().to_vec());
    let body = Zeroizing::new(data_encoding::BASE64.encode(&der));
    let kid = key_id(&key);
    let path = path_of(folder, &kid);
    let draft = path.with_extension("new");
    let write = || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        let made = stamp(file.metadata()?.modified()?);
        let pem = format!("{MADE}{made}\n-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", &*body);
        file.write_all(Zeroizing::new(pem).as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&draft, &path)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(fault(&path))?;
    Ok(kid)
}

/// Takes a key out of the folder; one that is gone already is no fault.
pub(super) fn remove(folder: &Path, kid: &str) -> Result<(), RingError> {
    // Files are named after their keys by us; an operator's own file may be called anything.
    let named = path_of(folder, kid);
    let mut paths = vec![named];
    for file in std::fs::read_dir(folder).map_err(fault(folder))? {
        let path = file.map_err(fault(folder))?.path();
        let is_it = path.extension().is_some_and(|ending| ending == "pem") && kid_in(&path).as_deref() == Some(kid);
        if is_it && !paths.contains(&path) {
            paths.push(path);
        }
    }
    for path in paths {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(RingError::File(path, error)),
            _ => {}
        }
    }
    Ok(())
}

fn kid_in(path: &Path) -> Option<String> {
    let text = Zeroizing::new(std::fs::read(path).ok()?);
    let der = PrivatePkcs8KeyDer::from_pem_slice(&text).ok()?;
    Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok().map(|key| key_id(&key))
}

fn path_of(folder: &Path, kid: &str) -> PathBuf {
    folder.join(format!("{kid}.pem"))
}

fn said(text: &[u8]) -> Option<Duration> {
    let line = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(MADE.as_bytes()))?;
    let stamp: jiff::Timestamp = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
    Duration::try_from(stamp.as_duration()).ok()
}

fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn stamp(at: SystemTime) -> jiff::Timestamp {
    jiff::Timestamp::try_from(at).unwrap_or_default()
}
