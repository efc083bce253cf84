//! Can the files be read?
//! Given a configuration, reads every key, certificate and folder as `serve` would, and notes what is wrong with which.
//! Never prints what is in them.

use std::io;
use std::path::Path;

use rustix::fs::Access;

use crate::authority::ledger::{Ledger, Unreadable};
use crate::boot::settings::{partner_dialer, partner_keys};
use crate::clock::Now;
use crate::config::{self, ApiKey, Config, Credential};
use crate::dial;
use crate::listen::{Faulty, Files, Tls};
use crate::token::ring::{Ring, RingError};
use crate::upstream::credential::{self, BadKey, Source};

use super::{Found, Lack, describe};

/// What is said of a certificate that ends within this time, in seconds.
const SOON: i64 = 7 * 86_400;

/// What the partner or hub is shown, whom it is believed, and what the proxy is shown.
pub(super) fn credentials(config: &Config, found: &mut Found) {
    let upstream = &config.upstream;
    let key = match &upstream.credential {
        Credential::Key { first: ApiKey::File(_), .. } => "upstream.api_key_file",
        Credential::Key { first: ApiKey::Variable(_), .. } => "upstream.api_key_env",
        Credential::Token(_) => "upstream.token_file",
        Credential::Exchange(_) => "upstream.exchange.subject_token_file",
    };
    match partner_keys(upstream) {
        Err(lack) => found.lacks.push(lack),
        Ok(sources) => {
            let mut sources = sources.into_iter();
            if let Some(Err(bad)) = sources.next().map(read) {
                found.lack(key, bad_key(&bad));
            }
            for bad in sources.filter_map(|source| read(source).err()) {
                // One that is not there yet comes when it is time.
                if !matches!(&bad, BadKey::Unreadable(_, error) if error.kind() == io::ErrorKind::NotFound) {
                    found.warn("upstream.api_key_file_next", bad_key(&bad));
                }
            }
        }
    }
    if let Credential::Exchange(exchange) = &upstream.credential
        && let Err(bad) = read(Source::File(exchange.subject_token_file.clone()))
    {
        found.warn(key, format!("{}; nothing is answered until it is there", bad_key(&bad)));
    }
    // Without files of its own it says nothing here, and looking for the machine's roots takes a while.
    if (upstream.ca_file.is_some() || upstream.proxy_auth_file.is_some())
        && let Err(lack) = partner_dialer(upstream)
    {
        found.lacks.push(lack);
    }
}

fn read(source: Source) -> Result<(), BadKey> {
    credential::Credential::new(vec![source]).map(drop)
}

fn bad_key(bad: &BadKey) -> String {
    match bad {
        BadKey::Unreadable(path, error) => describe(path, error),
        other => other.to_string(),
    }
}

/// Every certificate with its key.
pub(super) fn certificates(config: &Config, now: Now, found: &mut Found) {
    let public = config.listeners.iter().enumerate();
    let public = public.map(|(index, listener)| (format!("listeners[{index}].tls"), listener.tls.as_ref()));
    for (key, tls) in public.chain([("admin.tls".to_owned(), config.admin.tls.as_ref())]) {
        let Some(tls) = tls else { continue };
        let opened = match open(tls, &key, now) {
            Ok(opened) => opened,
            Err(lack) => {
                found.lacks.push(lack);
                continue;
            }
        };
        let (key, validity) = (format!("{key}.cert_file"), opened.figures().validity);
        let now = i64::try_from(now.unix()).unwrap_or(i64::MAX);
        if validity.until <= now {
            found.warn(key, "the certificate has expired; clients refuse it until another is put there");
        } else if validity.from > now {
            found.warn(key, "the certificate is not valid yet; clients refuse it until it is");
        } else if validity.until - now < SOON {
            found.warn(key, "the certificate expires within a week");
        }
    }
}

/// Reads a certificate; what is wrong is about the setting that names the file at fault.
pub(in crate::boot) fn open(tls: &config::Tls, key: &str, now: Now) -> Result<Tls, Lack> {
    let files = Files { cert: tls.cert_file.clone(), key: tls.key_file.clone(), client_ca: tls.client_ca_file.clone() };
    Tls::open(files, now).map_err(|fault| {
        let named = |path: &Path| {
            let is_key = matches!(
                fault,
                Faulty::NoKey(_) | Faulty::CertificateForKey(_) | Faulty::Locked(_) | Faulty::Mismatch { .. }
            );
            match path {
                path if path == tls.key_file && (is_key || path != tls.cert_file) => ".key_file",
                path if path == tls.cert_file => ".cert_file",
                _ => ".client_ca_file",
            }
        };
        let setting = fault.file().map_or("", named);
        let reason = match &fault {
            Faulty::Unreadable(path, error) => describe(path, error),
            other => other.to_string(),
        };
        Lack::new(format!("{key}{setting}"), reason)
    })
}

/// Issuers whose tokens are exchanged: read when the first of their tokens comes, so that nothing here stops a start.
pub(super) fn issuers(config: &Config, found: &mut Found) {
    for (index, trust) in config.trust.iter().enumerate() {
        let key = |name: &str| format!("trust[{index}].{name}");
        for (name, path) in [("jwks_file", &trust.jwks_file), ("bearer_token_file", &trust.bearer_token_file)] {
            let Some(path) = path else { continue };
            if let Err(error) = std::fs::read(path) {
                found.warn(
                    key(name),
                    format!("{}; no token of this issuer is taken until it is there", describe(path, &error)),
                );
            }
        }
        if let Some(ca_file) = &trust.ca_file
            && let Err(error) = dial::dialer(Some(ca_file), std::time::Duration::from_secs(1), None)
        {
            found.warn(key("ca_file"), error);
        }
    }
}

/// The signing keys, and whether the folders that are not there yet can be made.
pub(super) fn state(config: &Config, found: &mut Found) {
    let Some(dir) = &config.state.dir else { return };
    let has_ledger = dir.join(crate::authority::ledger::FILE).exists();
    let dir_fault = if has_ledger { None } else { writable(dir).err() };
    if let Some(reason) = &dir_fault {
        found.lack("state.dir", reason);
    }
    let Some(keys) = &config.tokens.keys_dir else { return };
    match Ring::read(keys, config.tokens.key_notice) {
        Ok(_) => {}
        Err(RingError::Empty(_)) if keys.starts_with(dir) && dir_fault.is_some() => {}
        Err(RingError::Empty(_)) => {
            if let Err(reason) = writable(keys) {
                found.lack("tokens.keys_dir", reason);
            }
        }
        Err(RingError::File(path, _)) if keys.starts_with(dir) && dir_fault.is_some() && path == *keys => {}
        Err(RingError::File(path, error)) => found.lack("tokens.keys_dir", describe(&path, &error)),
        Err(error) => found.lack("tokens.keys_dir", error),
    }
}

/// Whether a folder is there and can be written into, or can be made.
fn writable(folder: &Path) -> Result<(), String> {
    let here = Path::new(".");
    let mut at = folder;
    loop {
        match std::fs::metadata(at) {
            Ok(about) if !about.is_dir() => return Err(format!("{}: not a folder", at.display())),
            Ok(_) => {
                let allowed = rustix::fs::access(at, Access::WRITE_OK | Access::EXEC_OK);
                return allowed.map_err(|error| describe(at, &error.into()));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && at != here => {
                at = at.parent().filter(|parent| *parent != Path::new("")).unwrap_or(here);
            }
            Err(error) => return Err(describe(at, &error)),
        }
    }
}

/// The ledger; hands back whether another process has it open.
pub(super) fn ledger(config: &Config, found: &mut Found) -> bool {
    let Some(dir) = &config.state.dir else { return false };
    match Ledger::look(dir) {
        Ok(_) => false,
        Err(Unreadable::Busy(path)) => {
            found.notes.push(format!(
                "a gateway is running on this state.dir ({} is open): its ledger is left alone, and addresses in use are taken to be its own",
                path.display()
            ));
            true
        }
        Err(error) => {
            // A folder that is none has been said.
            if !found.lacks.iter().any(|lack| lack.key == "state.dir") {
                found.lacks.push(unreadable(&error));
            }
            false
        }
    }
}

/// Why there is no ledger.
pub(in crate::boot) fn unreadable(error: &Unreadable) -> Lack {
    match error {
        Unreadable::Disk(path, error) => Lack::new("state.dir", describe(path, error)),
        other => Lack::new("state.dir", other),
    }
}
