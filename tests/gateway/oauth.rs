//! Do standard clients work unmodified?
//! Given the real binary, runs oauth4webapi and jose against it: metadata, keys, grants, introspection, revocation.
//! Never passes where node or npm is missing: it says so and fails.

use std::path::{Path, PathBuf};

use crate::authority::{partner, secret};
use crate::support::{Setup, TokenIssuer, outside};

const CLUSTER: &str = "https://kubernetes.default.svc";

/// The clients with what they need, in a folder that is not the repository's.
fn installed() -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oauth");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oauth");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = std::fs::read(from.join("package-lock.json")).unwrap();
    let is_there = std::fs::read(folder.join("installed")).is_ok_and(|installed| installed == lock);
    for name in ["package.json", "package-lock.json", ".npmrc", "clients.mjs"] {
        std::fs::copy(from.join(name), folder.join(name)).unwrap();
    }
    if !is_there {
        let npm = outside("npm", "npm").args(["ci", "--ignore-scripts"]).current_dir(&folder).output().unwrap();
        assert!(
            npm.status.success(),
            "`npm ci` failed; it needs npm's registry once:\n{}",
            String::from_utf8_lossy(&npm.stderr)
        );
        std::fs::write(folder.join("installed"), lock).unwrap();
    }
    folder
}

#[test]
#[ignore = "outside suite: needs node and npm"]
fn standard_clients_get_exchange_inspect_and_revoke_tokens() {
    let folder = installed();
    let partner = partner();
    let (secret, stored) = secret();
    let issuer = TokenIssuer::rsa("one");
    let keys = tempfile::tempdir().unwrap();
    let jwks = keys.path().join("jwks.json");
    std::fs::write(&jwks, TokenIssuer::set(&[&issuer], &[])).unwrap();
    let trust = format!("issuer = {CLUSTER:?}\njwks_file = {jwks:?}");
    let subjects = format!("subjects = [{{ issuer = {CLUSTER:?}, sub = \"pod\" }}]");
    let gateway = Setup::before(&partner)
        .with_own_public_url()
        .set("trust", vec![toml::Value::Table(trust.parse().unwrap())])
        .caller("billing", &["clients:read", "pii:read", "write"], &format!("secrets = [{stored:?}]"))
        .caller("pod", &["clients:read"], &subjects)
        .start();
    gateway.keep_secret(&secret);
    let ran = outside("node", "nodejs")
        .arg(folder.join("clients.mjs"))
        .env("ISSUER", format!("http://{}", gateway.address))
        .env("CALLER", "billing")
        .env("SECRET", &secret)
        .env("FOREIGN_CALLER", "pod")
        .env("SUBJECT_TOKEN", issuer.token(CLUSTER, "pod", |_, _| {}))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stdout).into_owned() + &String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && told.contains("all well"), "{told}\n{}", gateway.program.stderr());
}
