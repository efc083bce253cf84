//! Does `check` say what a configuration comes to?
//! Given a file and what it refers to, holds what is printed, and where, against the settings in it and against `serve`.
//! Never trusts the words alone: what `check` passes is started.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Output};

use toml::{Table, Value};

use crate::support::{CertificateAuthority, Program, ask, free_port, program, wait_for};

const LEAST: &str = "[upstream]\nurl = \"https://partner.example\"\napi_key_env = \"KEY\"\n";

fn check(more: &str) -> (Output, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, format!("{LEAST}{more}")).unwrap();
    let output = program().args(["check", "--static", "--config"]).arg(file).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    (output, out, err)
}

#[test]
fn a_budget_that_is_too_small_is_a_warning_and_no_fault() {
    let (output, out, err) = check("[upstream.expect]\nclients = 500\n");
    assert!(output.status.success());
    assert!(err.contains("warning: upstream.budget.rate: 500 clients can cost 3852.0 partner calls a minute"), "{err}");
    assert!(out.contains("# It does not fit. It would with\n#   ttl = \"5m10s\" for client, "), "{out}");
    let read: Table = out.parse().unwrap();
    assert_eq!(read["upstream"]["expect"]["clients"].as_integer(), Some(500));
}

#[test]
fn the_settings_that_it_proposes_fit() {
    let ttls: String = ["client", "client_providers", "client_projects"]
        .into_iter()
        .chain(["client_resources", "provider_resources", "project_resources"])
        .map(|route| format!("[routes.{route}]\nttl = \"5m10s\"\n"))
        .collect();
    let ttls = format!("[upstream.expect]\nclients = 500\n{ttls}");
    for better in [
        ttls.as_str(),
        "[upstream.expect]\nclients = 500\n[upstream.budget]\nrate = \"65/s\"\n",
        "[upstream.expect]\nclients = 50\n",
    ] {
        let (output, out, err) = check(better);
        assert!(output.status.success() && out.ends_with("# It fits.\n"), "{better}: {out}");
        assert_eq!(err, "", "{better}");
    }
}

/// A number of clients that nobody had named stood for 500, so that every first file was warned about a worst case of its own.
#[test]
fn without_a_number_of_clients_no_worst_case_is_computed() {
    let (output, out, err) = check("[upstream.budget]\nrate = \"1/h\"\n");
    assert!(output.status.success() && err.is_empty(), "{err}");
    assert!(out.ends_with("are not computed: upstream.expect.clients says how many clients there are.\n"), "{out}");
    assert!(!out.contains("[upstream.expect]\nclients"), "{out}");
}

/// Files that are meant to be copied warned about themselves.
#[test]
fn no_file_that_is_shipped_warns_and_each_fits_its_budget() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files: Vec<_> =
        ["config", "deploy"].iter().flat_map(|folder| tree(&root.join(folder)).into_keys()).collect();
    files.retain(|file| file.ends_with(".toml"));
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let output = program().args(["check", "--static", "--config", &file]).output().unwrap();
        let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success() && err.is_empty(), "{file}: {err}");
        let read: Table = out.parse().unwrap();
        let names_a_size = read["upstream"].get("expect").and_then(|expect| expect.get("clients")).is_some();
        assert_eq!(out.ends_with("# It fits.\n"), names_a_size, "{file}: {out}");
    }
}

/// What is done to a good folder, the exit code of both commands (`None`: it starts), and what both say.
struct Class {
    name: &'static str,
    spoil: fn(&Path, &mut Table),
    code: Option<i32>,
    says: &'static [&'static str],
}

fn put(folder: &Path, name: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.join(name), text).unwrap();
}

fn set(table: &mut Table, section: &str, key: &str, value: impl Into<Value>) {
    table[section].as_table_mut().unwrap().insert(key.to_owned(), value.into());
}

fn locked(folder: &Path) {
    let key = CertificateAuthority::new().signs().key;
    let body: Vec<&str> = key.lines().filter(|line| !line.starts_with("-----")).collect();
    let body = body.join("\n");
    put(
        folder,
        "key.pem",
        format!("-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\n"),
    );
}

/// A file that a private key stands in is never to be repeated.
const CLASSES: &[Class] = &[
    Class { name: "all is there", spoil: |_, _| (), code: None, says: &[] },
    Class {
        name: "no key file",
        spoil: |folder, _| fs::remove_file(folder.join("partner.key")).unwrap(),
        code: Some(1),
        says: &["gateway.toml:", "upstream.api_key_file: ", "partner.key: No such file"],
    },
    Class {
        name: "an empty key file",
        spoil: |folder, _| put(folder, "partner.key", "\n"),
        code: Some(1),
        says: &["upstream.api_key_file: ", "partner.key: ", "not empty"],
    },
    Class {
        name: "a key of two lines",
        spoil: |folder, _| put(folder, "partner.key", "one\ntwo\n"),
        code: Some(1),
        says: &["upstream.api_key_file: ", "partner.key: ", "on one line"],
    },
    Class {
        name: "a folder for a key",
        spoil: |folder, _| {
            fs::remove_file(folder.join("partner.key")).unwrap();
            fs::create_dir(folder.join("partner.key")).unwrap();
        },
        code: Some(1),
        says: &["upstream.api_key_file: ", "partner.key: Is a directory"],
    },
    Class {
        name: "a key that this user may not read",
        spoil: |folder, _| {
            let path = folder.join("partner.key");
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        },
        code: Some(1),
        says: &["upstream.api_key_file: ", "partner.key: ", "run this as the gateway's user"],
    },
    Class {
        name: "a variable that is not set",
        spoil: |_, table| {
            table["upstream"].as_table_mut().unwrap().remove("api_key_file");
            set(table, "upstream", "api_key_env", "NOT_SET_ANYWHERE");
        },
        code: Some(1),
        says: &["gateway.toml:", "upstream.api_key_env: ", "NOT_SET_ANYWHERE is not set"],
    },
    Class {
        name: "a hub's token that is missing",
        spoil: |_, table| {
            table["upstream"].as_table_mut().unwrap().remove("api_key_file");
            set(table, "upstream", "kind", "hub");
            set(table, "upstream", "token_file", "hub-token");
        },
        code: Some(1),
        says: &["upstream.token_file: ", "hub-token: No such file"],
    },
    Class {
        name: "issuers that are none",
        spoil: |folder, table| {
            put(folder, "ca.pem", "hello\n");
            set(table, "upstream", "ca_file", "ca.pem");
        },
        code: Some(1),
        says: &["upstream.ca_file: ", "ca.pem: no certificate"],
    },
    Class {
        name: "no certificate file",
        spoil: |folder, _| fs::remove_file(folder.join("cert.pem")).unwrap(),
        code: Some(1),
        says: &["listeners[0].tls.cert_file: ", "cert.pem: No such file"],
    },
    Class {
        name: "a certificate that is cut off",
        spoil: |folder, _| {
            let whole = fs::read_to_string(folder.join("cert.pem")).unwrap();
            put(folder, "cert.pem", &whole[..whole.len() / 2]);
        },
        code: Some(1),
        says: &["listeners[0].tls.cert_file: ", "cert.pem: ", "cut off"],
    },
    Class {
        name: "a key that is cut off",
        spoil: |folder, _| {
            let whole = fs::read_to_string(folder.join("key.pem")).unwrap();
            put(folder, "key.pem", &whole[..whole.len() / 2]);
        },
        code: Some(1),
        says: &["listeners[0].tls.key_file: ", "key.pem: ", "cut off"],
    },
    Class {
        name: "the key of another certificate",
        spoil: |folder, _| put(folder, "key.pem", CertificateAuthority::new().signs().key),
        code: Some(1),
        says: &["listeners[0].tls.key_file: ", "key.pem: this key is not that of"],
    },
    Class {
        name: "certificate and key swapped",
        spoil: |_, table| {
            let tls = table["listeners"][0]["tls"].as_table_mut().unwrap();
            tls.insert("cert_file".to_owned(), "key.pem".into());
            tls.insert("key_file".to_owned(), "cert.pem".into());
        },
        code: Some(1),
        says: &["listeners[0].tls.cert_file: ", "key.pem: ", "swapped"],
    },
    Class {
        name: "a key with a password",
        spoil: |folder, _| locked(folder),
        code: Some(1),
        says: &["listeners[0].tls.key_file: ", "key.pem: ", "has a password"],
    },
    Class {
        name: "a key with a password, as older tools write it",
        spoil: |folder, _| {
            let text = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIIE\n-----END RSA PRIVATE KEY-----\n";
            put(folder, "key.pem", text);
        },
        code: Some(1),
        says: &["listeners[0].tls.key_file: ", "key.pem: ", "has a password"],
    },
    Class {
        name: "issuers of client certificates that are missing",
        spoil: |_, table| {
            let tls = table["listeners"][0]["tls"].as_table_mut().unwrap();
            tls.insert("client_ca_file".to_owned(), "clients.pem".into());
        },
        code: Some(1),
        says: &["listeners[0].tls.client_ca_file: ", "clients.pem: No such file"],
    },
    Class {
        name: "a certificate that has expired",
        spoil: |folder, _| {
            let old =
                CertificateAuthority::new().signs_with(|params| params.not_after = rcgen::date_time_ymd(2020, 1, 1));
            put(folder, "cert.pem", old.cert);
            put(folder, "key.pem", old.key);
        },
        code: None,
        says: &["the certificate has expired"],
    },
    Class {
        name: "a file where the state folder should be",
        spoil: |folder, _| put(folder, "state", ""),
        code: Some(1),
        says: &["state.dir: ", "state: not a folder"],
    },
    Class {
        name: "a ledger that is damaged",
        spoil: |folder, _| {
            fs::create_dir(folder.join("state")).unwrap();
            put(folder, "state/ledger.redb", "nothing that a ledger begins with".repeat(999));
        },
        code: Some(1),
        says: &["state.dir: ", "ledger.redb: damaged"],
    },
    Class {
        name: "an empty ledger",
        spoil: |folder, _| {
            fs::create_dir(folder.join("state")).unwrap();
            put(folder, "state/ledger.redb", "");
        },
        code: Some(1),
        says: &["state.dir: ", "ledger.redb: damaged"],
    },
    Class {
        name: "a ledger of a later version",
        spoil: |folder, _| {
            fs::create_dir(folder.join("state")).unwrap();
            let ledger = redb::Database::create(folder.join("state/ledger.redb")).unwrap();
            let writing = ledger.begin_write().unwrap();
            let about = redb::TableDefinition::<&str, u64>::new("about");
            writing.open_table(about).unwrap().insert("format", 99).unwrap();
            writing.commit().unwrap();
        },
        code: Some(1),
        says: &["state.dir: ", "written in format 99"],
    },
    Class {
        name: "a signing key that is none",
        spoil: |folder, _| {
            fs::create_dir_all(folder.join("state/keys")).unwrap();
            put(folder, "state/keys/mine.pem", "hello\n");
            fs::set_permissions(folder.join("state/keys/mine.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        },
        code: Some(1),
        says: &["tokens.keys_dir: ", "mine.pem: "],
    },
    Class {
        name: "an address of another machine",
        spoil: |_, table| {
            table["listeners"][0].as_table_mut().unwrap().insert("address".to_owned(), "192.0.2.1:8443".into());
        },
        code: Some(1),
        says: &["listeners[0].address: cannot listen on 192.0.2.1:8443: ", "has this address"],
    },
    Class {
        name: "an address by a name",
        spoil: |_, table| {
            table["listeners"][0].as_table_mut().unwrap().insert("address".to_owned(), "gateway.internal:8443".into());
        },
        code: Some(2),
        says: &["gateway.toml:", "listeners[0].address: an address is written as"],
    },
    Class {
        name: "a socket in a folder that is not there",
        spoil: |_, table| set(table, "admin", "listen", "unix:run/admin.sock"),
        code: Some(1),
        says: &["admin.listen: cannot listen on unix:", "run/admin.sock: the folder "],
    },
    Class {
        name: "a file where a socket should be",
        spoil: |folder, table| {
            put(folder, "admin.sock", "");
            set(table, "admin", "listen", "unix:admin.sock");
        },
        code: Some(1),
        says: &["admin.listen: cannot listen on unix:", "a file that is no socket is there"],
    },
    Class {
        name: "a text that is wrong",
        spoil: |_, table| set(table, "upstream", "timeout", "soon"),
        code: Some(2),
        says: &["gateway.toml:", "upstream.timeout: "],
    },
];

/// A folder in which everything is as it should be.
fn good() -> (tempfile::TempDir, Table, u16) {
    let folder = tempfile::tempdir().unwrap();
    let identity = CertificateAuthority::new().signs();
    put(folder.path(), "partner.key", "key\n");
    put(folder.path(), "cert.pem", identity.cert);
    put(folder.path(), "key.pem", identity.key);
    let [public, health, admin] = [free_port(), free_port(), free_port()];
    let text = format!(
        "[server]\npublic_url = \"https://127.0.0.1:{public}\"\n[upstream]\nurl = \"https://127.0.0.1:1\"\napi_key_file = \"partner.key\"\n\
         [[listeners]]\naddress = \"127.0.0.1:{public}\"\n[listeners.tls]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n\
         [health]\nlisten = \"127.0.0.1:{health}\"\n[admin]\nlisten = \"127.0.0.1:{admin}\"\n"
    );
    (folder, text.parse().unwrap(), health)
}

/// Every file below a folder, with what is in it.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        all.insert(path.display().to_string(), fs::read(&path).unwrap_or_default());
        if path.is_dir() {
            all.extend(tree(&path));
        }
    }
    all
}

/// The program, or the program as a user whom permissions bind.
fn bound_program(folder: &Path) -> Command {
    if fs::metadata(folder).unwrap().uid() != 0 {
        return program();
    }
    for path in [folder.to_owned(), folder.join("gateway.toml"), folder.join("cert.pem"), folder.join("key.pem")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let mut command = program();
    command.uid(65534).gid(65534);
    command
}

/// `check` looked at the text alone and passed what `serve` then refused, one fault at a time, with another exit code and
/// without a place in the file.
#[test]
fn check_and_serve_agree_on_everything_that_is_missing() {
    for Class { name, spoil, code, says } in CLASSES {
        let (folder, mut table, health) = good();
        spoil(folder.path(), &mut table);
        let file = folder.path().join("gateway.toml");
        fs::write(&file, table.to_string()).unwrap();
        let before = tree(folder.path());
        let run = |command: &str| {
            let mut started = match says.iter().any(|said| said.contains("gateway's user")) {
                true => bound_program(folder.path()),
                false => program(),
            };
            started.args([command, "--config"]).arg(&file);
            started
        };
        let checked = run("check").output().unwrap();
        let check = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(code.unwrap_or(0)), "{name}: {check}");
        assert!(!check.contains("MII"), "{name}: {check}");
        for said in *says {
            assert!(check.contains(said), "{name}: no {said} in {check}");
        }
        assert_eq!(tree(folder.path()), before, "{name}: `check` makes and changes nothing");
        match code {
            Some(code) => {
                let served = run("serve").output().unwrap();
                let serve = String::from_utf8_lossy(&served.stderr).into_owned();
                assert_eq!(served.status.code(), Some(*code), "{name}: {serve}");
                assert!(serve.contains(check.trim_end()), "{name}: check says\n{check}\nand serve\n{serve}");
            }
            None => {
                let gateway = Program::start(run("serve").stdout(std::process::Stdio::piped()));
                let health = std::net::SocketAddr::from(([127, 0, 0, 1], health));
                wait_for(name, || {
                    let listens = std::net::TcpStream::connect(health).is_ok();
                    (listens && ask(health, "GET", "/readyz", &[], b"").status == 200).then_some(())
                });
                for said in *says {
                    assert!(gateway.stderr().contains(said), "{name}: {}", gateway.stderr());
                }
            }
        }
        let text_alone = run("check").arg("--static").output().unwrap();
        assert_eq!(text_alone.status.code(), Some(if *code == Some(2) { 2 } else { 0 }), "{name}: --static");
    }
}

/// The gateway that an operator is about to reload holds its own ledger, sockets and ports.
#[test]
fn what_the_running_gateway_of_the_same_state_holds_is_no_fault_and_is_said() {
    let partner = crate::support::ScriptedPartner::listen();
    let on_disk = crate::support::Setup::before(&partner).start();
    let in_memory = crate::support::Setup::before(&partner).set("state.dir", "").start();
    for (gateway, said) in [(&on_disk, "a gateway is running on this state.dir"), (&in_memory, "a gateway answers on ")]
    {
        let checked = gateway.command(&["check"]);
        let err = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert_eq!(checked.status.code(), Some(0), "{err}");
        assert!(err.contains(&format!("note: {said}")), "{err}");
    }
    // Another gateway's address is a fault all the same.
    let mut table = on_disk.table.clone();
    set(&mut table, "admin", "listen", format!("127.0.0.1:{}", free_port()));
    table.insert("state".to_owned(), Value::Table("dir = \"other\"".parse().unwrap()));
    on_disk.write("gateway.toml", &table.to_string());
    for command in ["check", "serve"] {
        let ended = on_disk.command(&[command]);
        let err = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{err}");
        assert!(
            err.contains("listeners[0].address: cannot listen on ") && err.contains("another process listens"),
            "{err}"
        );
    }
}

/// A ledger that was not closed is mended when it is opened. `check` sees that it can be, and leaves that to `serve`; and a
/// process that still has it open is a reason to try again, not a fault of the text.
#[test]
fn a_ledger_that_was_not_closed_is_looked_at_and_left_as_it_is() {
    let partner = crate::support::ScriptedPartner::listen();
    let mut gateway = crate::support::Setup::before(&partner).start();
    let second = program()
        .args(["serve", "--config"])
        .arg(gateway.file("gateway.toml"))
        .envs(
            ["HEALTH", "ADMIN"]
                .map(|name| (format!("RESELLER_GATEWAY__{name}__LISTEN"), format!("127.0.0.1:{}", free_port()))),
        )
        .env("RESELLER_GATEWAY__STATE__DIR", gateway.file("state"))
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1), "{}", String::from_utf8_lossy(&second.stderr));
    gateway.token(&["clients:read"]);
    gateway.kill();
    let state = gateway.file("state");
    let before = tree(&state);
    let checked = gateway.command(&["check"]);
    let err = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert_eq!((checked.status.code(), err.as_str()), (Some(0), ""));
    assert_eq!(tree(&state), before);
    gateway.restart();
}
