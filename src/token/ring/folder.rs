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

/// What lies in a folder.
#[derive(Default)]
pub(super) struct Found {
    /// The keys, oldest first, and when each was made (seconds since 1970).
    pub(super) keys: Vec<(u64, Ed25519KeyPair)>,
    /// Files of keys with nothing in them, as a crash leaves them.
    pub(super) empty: Vec<PathBuf>,
}

/// The folder's keys; a folder that is not there has none.
pub(super) fn read(folder: &Path) -> Result<Found, RingError> {
    let listing = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::default()),
        other => other.map_err(fault(folder))?,
    };
    let (mut found, mut empty) = (Vec::new(), Vec::new());
    for file in listing {
        let path = file.map_err(fault(folder))?.path();
        if path.extension().is_none_or(|ending| ending != "pem") {
            continue;
        }
        let about = std::fs::metadata(&path).map_err(fault(&path))?;
        if about.is_dir() {
            continue;
        }
        if about.permissions().mode() & 0o007 != 0 {
            return Err(RingError::Open(path));
        }
        let text = Zeroizing::new(std::fs::read(&path).map_err(fault(&path))?);
        // A file system that lost its end fills it with zeroes.
        if text.iter().all(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            empty.push(path);
            continue;
        }
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            return Err(RingError::Wide(path));
        }
        let key = key_in(&text).ok_or_else(|| RingError::NotAKey(path.clone()))?;
        let made = match parse_delay(&text) {
            Some(made) => made,
            None => since_1970(about.modified().map_err(fault(&path))?),
        };
        found.push((made, path, key));
    }
    found.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    empty.sort();
    Ok(Found { keys: found.into_iter().map(|(made, _, key)| (made.as_secs(), key)).collect(), empty })
}

/// The key in a PEM file, as editors leave it: behind a byte order mark, with blank lines and spaces at the ends of lines.
fn key_in(text: &[u8]) -> Option<Ed25519KeyPair> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines = Zeroizing::new(Vec::with_capacity(text.len()));
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        lines.extend_from_slice(line);
        lines.push(b'\n');
    }
    let der = PrivatePkcs8KeyDer::from_pem_slice(&lines).ok()?;
    Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()
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
    key_in(&text).map(|key| key_id(&key))
}

fn path_of(folder: &Path, kid: &str) -> PathBuf {
    folder.join(format!("{kid}.pem"))
}

fn parse_delay(text: &[u8]) -> Option<Duration> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut lines = text.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_start);
    let line = lines.find_map(|line| line.strip_prefix(MADE.as_bytes()))?;
    let stamp: jiff::Timestamp = std::str::from_utf8(line).ok()?.trim().parse().ok()?;
    Duration::try_from(stamp.as_duration()).ok()
}

fn since_1970(at: SystemTime) -> Duration {
    at.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn stamp(at: SystemTime) -> jiff::Timestamp {
    jiff::Timestamp::try_from(at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bend: impl Fn(&str) -> Vec<u8>) -> Result<Found, RingError> {
        let folder = tempfile::tempdir().unwrap();
        let kid = make(folder.path()).unwrap();
        let path = path_of(folder.path(), &kid);
        let good = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, bend(&good)).unwrap();
        read(folder.path()).inspect(|found| assert!(found.keys.iter().all(|(_, key)| key_id(key) == kid)))
    }

    /// A byte order mark or a blank line made a good key "not an Ed25519 private key".
    #[test]
    fn a_key_is_read_however_its_file_was_edited() {
        let made = written(|good| good.into()).unwrap().keys[0].0;
        let bends: [fn(&str) -> String; 6] = [
            |good| format!("\u{feff}{good}"),
            |good| format!("\n\n{good}\n\n"),
            |good| good.replace('\n', "\r\n"),
            |good| good.replace('\n', " \n\n"),
            |good| good.lines().map(|line| format!("  {line}\n")).collect(),
            |good| format!("\u{feff}\r\n{}", good.replace('\n', "\r\n\r\n")),
        ];
        for bend in bends {
            let found = written(|good| bend(good).into_bytes()).unwrap();
            assert_eq!(found.keys.len(), 1, "{:?}", bend("x\n"));
            assert!(found.keys[0].0.abs_diff(made) < 5, "when it was made is said in the file");
        }
    }

    #[test]
    fn what_is_in_another_encoding_or_no_key_is_refused_with_that_reason() {
        let wide = |good: &str| good.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<_>>();
        let refused = written(|good| [b"\xff\xfe".to_vec(), wide(good)].concat()).err().unwrap();
        assert!(refused.to_string().contains("UTF-16"), "{refused}");
        assert!(matches!(written(|good| good.replace("PRIVATE", "PUBLIC").into()), Err(RingError::NotAKey(_))));
    }

    #[test]
    fn a_file_with_nothing_in_it_is_no_key_and_no_fault() {
        for nothing in ["", "\n", "\0\0\0\0", " \r\n"] {
            let found = written(|_| nothing.into()).unwrap();
            assert_eq!((found.keys.len(), found.empty.len()), (0, 1), "{nothing:?}");
        }
    }
}
