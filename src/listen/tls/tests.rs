//! Is the right certificate served, whatever becomes of its files?
//! Given made certificates and files that change, claims what a look at them finds and what is served then.
//! Never opens a socket.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;

/// A certificate and its key, PEM, signed by an issuer of its own.
struct Made {
    cert: String,
    key: String,
    issuer: String,
}

fn made(adjust: impl FnOnce(&mut CertificateParams)) -> Made {
    let issuer_key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = params.self_signed(&issuer_key).unwrap().pem();
    let signer = Issuer::from_params(&params, &issuer_key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    adjust(&mut params);
    let cert = params.signed_by(&key, &signer).unwrap().pem();
    Made { cert, key: key.serialize_pem(), issuer }
}

struct Place(TempDir);

impl Place {
    fn with(made: &Made) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.put(made);
        place
    }

    fn put(&self, made: &Made) {
        self.write("cert.pem", &made.cert);
        self.write("key.pem", &made.key);
        self.write("ca.pem", &made.issuer);
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.0.path().join(name), text).unwrap();
    }

    fn files(&self, client_ca: bool) -> Files {
        let file = |name| self.0.path().join(name);
        Files { cert: file("cert.pem"), key: file("key.pem"), client_ca: client_ca.then(|| file("ca.pem")) }
    }
}

fn at(seconds: u64) -> Now {
    Now { tick: Tick::default().plus(Duration::from_secs(seconds)), unix_ms: seconds * 1000 }
}

#[track_caller]
fn refused(place: &Place, wanted: &str) {
    let fault = Tls::open(place.files(true), at(0)).unwrap_err().to_string();
    assert!(fault.contains(wanted), "{fault}");
    assert!(!fault.contains("MII"), "{fault}");
}

#[test]
fn each_fault_names_its_file_and_what_is_wrong_with_it() {
    let good = made(|_| ());
    let place = Place::with(&good);
    Tls::open(place.files(true), at(0)).unwrap();
    for (file, text, wanted) in [
        ("cert.pem", "", "cert.pem: no certificate in it"),
        (
            "cert.pem",
            &good.key,
            "cert.pem: a private key is in it and no certificate; are cert_file and key_file swapped?",
        ),
        ("cert.pem", &good.cert[..200], "cert.pem: its PEM is broken"),
        (
            "cert.pem",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "cert.pem: a certificate in it cannot",
        ),
        ("key.pem", "", "key.pem: no private key in it"),
        (
            "key.pem",
            &good.cert,
            "key.pem: a certificate is in it and no private key; are cert_file and key_file swapped?",
        ),
        (
            "key.pem",
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "key.pem: this key has a password",
        ),
        (
            "key.pem",
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n",
            "key.pem: this key has a password",
        ),
        ("key.pem", &good.key[..60], "key.pem: its PEM is broken"),
        ("key.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "key.pem: this kind of key"),
        ("key.pem", &made(|_| ()).key, "key.pem: this key is not that of the first certificate in"),
        ("ca.pem", "", "ca.pem: no certificate in it"),
        ("cert.pem", &"x".repeat((1 << 20) + 1), "cert.pem: larger than 1 MiB"),
    ] {
        place.put(&good);
        place.write(file, text);
        refused(&place, wanted);
    }
    std::fs::remove_file(place.0.path().join("key.pem")).unwrap();
    place.write("cert.pem", &good.cert);
    refused(&place, "key.pem: cannot be read");
}

#[test]
fn a_new_pair_is_served_and_a_bad_one_leaves_the_last_good_one() {
    let first = made(|_| ());
    let place = Place::with(&first);
    let tls = Tls::open(place.files(false), at(0)).unwrap();
    assert!(matches!(tls.look(at(1)), Look::Same));
    let served = tls.current();
    let second = made(|_| ());
    place.write("cert.pem", &second.cert);
    assert!(matches!(tls.look(at(2)), Look::Bad(Faulty::Mismatch { .. })));
    assert!(Arc::ptr_eq(&served, &tls.current()));
    assert!(tls.figures().faulty);
    // It is the same bad pair still: nothing new to say.
    assert!(matches!(tls.look(at(3)), Look::Same));
    assert!(tls.figures().faulty);
    place.write("key.pem", &second.key);
    assert!(matches!(tls.look(at(4)), Look::New(_)));
    assert!(!Arc::ptr_eq(&served, &tls.current()));
    assert!(!tls.figures().faulty);
    std::fs::remove_file(place.0.path().join("cert.pem")).unwrap();
    assert!(matches!(tls.look(at(5)), Look::Bad(Faulty::Unreadable(..))));
    place.put(&second);
    assert!(matches!(tls.look(at(6)), Look::Same));
    assert!(!tls.figures().faulty);
}

#[test]
fn a_volume_of_kubernetes_changes_by_its_link() {
    let place = Place(tempfile::tempdir().unwrap());
    let folder = place.0.path();
    let lay = |name: &str, made: &Made| {
        std::fs::create_dir(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("cert.pem"), &made.cert).unwrap();
        std::fs::write(folder.join(name).join("key.pem"), &made.key).unwrap();
    };
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(Path::new(to), folder.join(name)).unwrap();
    lay("..1", &made(|_| ()));
    lay("..2", &made(|_| ()));
    link("..1", "..data");
    link("..data/cert.pem", "cert.pem");
    link("..data/key.pem", "key.pem");
    let tls = Tls::open(place.files(false), at(0)).unwrap();
    link("..2", "..data_tmp");
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    assert!(matches!(tls.look(at(1)), Look::New(_)));
}

#[test]
fn the_end_of_a_chain_is_the_earliest_of_its_certificates() {
    let short = made(|params| params.not_after = rcgen::date_time_ymd(2030, 1, 1));
    let long = made(|params| params.not_after = rcgen::date_time_ymd(2040, 1, 1));
    let place = Place::with(&Made { cert: long.cert.clone() + &short.cert, ..long });
    let figures = Tls::open(place.files(false), at(0)).unwrap().figures();
    assert_eq!(figures.validity.until, 1_893_456_000);
}

#[test]
fn clients_go_on_over_a_new_certificate_but_not_over_new_issuers_nor_for_ever() {
    let place = Place::with(&made(|_| ()));
    let tls = Tls::open(place.files(true), at(0)).unwrap();
    let tickets = || Arc::as_ptr(&tls.current().ticketer).cast::<u8>();
    let before = tickets();
    let Made { cert, key, .. } = made(|_| ());
    place.write("cert.pem", &cert);
    place.write("key.pem", &key);
    assert!(matches!(tls.look(at(1)), Look::New(_)));
    assert_eq!(tickets(), before);
    let kept = tls.current();
    place.write("ca.pem", &made(|_| ()).issuer);
    assert!(matches!(tls.look(at(2)), Look::New(_)));
    assert_ne!(tickets(), before);
    let (before, also_kept) = (tickets(), tls.current());
    assert!(matches!(tls.look(at(3601)), Look::Same));
    assert_eq!(tickets(), before);
    assert!(matches!(tls.look(at(3602)), Look::Same));
    assert_ne!(tickets(), before);
    drop((kept, also_kept));
}

#[test]
fn a_file_may_hold_both_certificate_and_key() {
    let good = made(|_| ());
    let place = Place::with(&good);
    place.write("both.pem", &format!("{}{}", good.key, good.cert));
    let both = place.0.path().join("both.pem");
    Tls::open(Files { cert: both.clone(), key: both, client_ca: None }, at(0)).unwrap();
}
