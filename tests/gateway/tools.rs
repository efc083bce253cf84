//! Do the commands help an operator at the worst moment?
//! Given a running gateway and a file that was edited wrongly, hands back claims on what the commands do and say.
//! Never looks inside a command: exit code, standard output and standard error are what an operator has.

use std::process::Output;

use crate::authority::{partner, two_callers};
use crate::support::{CLIENTS, Gateway};

fn said(output: &Output) -> (Option<i32>, String, String) {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    (output.status.code(), out, err)
}

fn run(gateway: &Gateway, line: &str) -> (Option<i32>, String, String) {
    said(&gateway.command(&line.split(' ').collect::<Vec<_>>()))
}

/// A typing error in the file made every command refuse to work, an emergency revocation included, while the gateway ran on.
#[test]
fn a_running_gateway_is_commanded_also_while_its_file_is_faulty() {
    let partner = partner();
    let (mut gateway, ..) = two_callers(&partner);
    let token = gateway.issue("support", &[], &[]);
    let token = gateway.keep_secret(String::from_utf8(token.stdout).unwrap().trim());
    gateway.gives(&token, CLIENTS);
    let good = gateway.table.to_string();
    let faults = [
        format!("{good}\n[servr]\nname = \"x\"\n"),
        format!("{good}\n[cache]\nmax_bytes = 2 MiB\n"),
        "[upstream]\nkind = 7\n".to_owned() + &good,
    ];
    let commands = [
        "token list",
        "cache stats",
        "spend",
        "keys list",
        "explain /reseller/account/v1/clients/",
        "token issue --caller app",
    ];
    for faulty in &faults {
        gateway.write("gateway.toml", faulty);
        for line in commands {
            let (code, _, err) = run(&gateway, line);
            assert_eq!(code, Some(0), "{line}: {err}");
            assert!(err.contains("a running gateway goes by what was in force before"), "{line}: {err}");
        }
    }
    assert_eq!(run(&gateway, "token revoke --caller support").0, Some(0));
    assert_eq!(gateway.read(&token, CLIENTS).status, 401);
    // Where nobody runs, the file is what counts.
    gateway.kill();
    for (line, first) in [("token list", "gateway.toml:"), ("cache stats", "error: no gateway answers on ")] {
        let (code, _, err) = run(&gateway, line);
        assert_eq!(code, Some(2), "{line}: {err}");
        let message = err.lines().find(|line| !line.starts_with("warning: ")).unwrap_or_default();
        assert!(message.contains(first) && err.contains("[upstream]"), "{line}: {err}");
    }
}

/// What cannot be told from the file is not guessed: the commands would ask another gateway, or prove themselves by other keys.
#[test]
fn a_fault_in_how_a_gateway_is_reached_is_an_error() {
    let partner = partner();
    let (gateway, ..) = two_callers(&partner);
    let good = gateway.table.to_string();
    for (from, to) in [("listen = \"127.0.0.1:", "listen = \"here:"), ("[admin]", "[admin]\nlisten_ = 1")] {
        assert!(good.contains(from));
        gateway.write("gateway.toml", &good.replace(from, to));
        let (code, _, err) = run(&gateway, "cache stats");
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("admin.listen"), "{err}");
    }
}
