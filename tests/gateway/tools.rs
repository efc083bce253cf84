//! Do the commands help an operator at the worst moment?
//! Given a running gateway and a file that was edited wrongly, hands back claims on what the commands do and say.
//! Never looks inside a command: exit code, standard output and standard error are what an operator has.

use std::process::Output;

use crate::authority::{partner, two_callers};
use crate::support::{CLIENTS, Gateway, Program, READING, Reply, Setup, ask, program, signal, wait_for};

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
    gateway.get_ok(&token, CLIENTS);
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
    // Whoever looks whether it worked must not read that the token is good.
    let listed: serde_json::Value = serde_json::from_str(&run(&gateway, "token list --caller support").1).unwrap();
    let all = listed.as_array().unwrap();
    assert!(!all.is_empty() && all.iter().all(|row| row["revoked"] == true), "{listed}");
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

/// Messages held a template of the program's own (`[routes.{name}]`), spoke of a route where the identifier was wrong, called a
/// missing client "The partner refused", and a scope nothing at all.
#[test]
fn a_refusal_names_what_is_meant() {
    let partner = partner();
    let (secret, stored) = crate::authority::secret();
    let more = format!("secrets = [{stored:?}]\nclients = [\"c1\"]\n");
    let gateway = Setup::before(&partner).caller("bound", &["clients:read"], &more).start();
    partner.respond_with("/reseller/account/v1/clients/c1/", [Reply::status(404)]);
    let (whole, bound) = (gateway.token(&READING), gateway.client_credentials_token("bound", &secret, ""));
    let long = "x".repeat(65);
    for (token, path, status, title, parts) in [
        (
            &whole,
            "clients/?status=1",
            400,
            "The target cannot be read",
            vec!["\"status\"", "`query` of [routes.clients]"],
        ),
        (&whole, "clients/c1/projects/?a=1", 400, "The target cannot be read", vec!["[routes.client_projects]"]),
        (
            &whole,
            "clients/a%20b/",
            404,
            "No such resource",
            vec!["identifier \"a b\"", "1 to 64 letters, digits, hyphens"],
        ),
        (&whole, "clients/c1/providers/p.1/resources/", 404, "No such resource", vec!["identifier \"p.1\""]),
        (&whole, &format!("clients/{long}/"), 404, "No such resource", vec!["1 to 64"]),
        (&bound, "clients/c1/", 404, "Not found", vec!["nothing there"]),
    ] {
        let answer = gateway.read(token, &format!("/reseller/account/v1/{path}"));
        let (said, detail) = (answer.json()["title"].clone(), answer.json()["detail"].as_str().unwrap().to_owned());
        assert_eq!((answer.status, said.as_str()), (status, Some(title)), "{path}: {detail}");
        assert!(parts.iter().all(|part| detail.contains(part)) && !detail.contains(['{', '}']), "{path}: {detail}");
    }
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "bound"),
        ("client_secret", &secret),
        ("scope", "clients:read write"),
    ];
    let refused = gateway.post("/oauth/token", &[], &form);
    let description = refused.json()["error_description"].as_str().unwrap().to_owned();
    assert_eq!((refused.status, description.as_str()), (400, "the scope 'write' is not among those of the caller"));
}

/// A sidecar has no key of the partner's; whoever was woken looked for one.
#[test]
fn readiness_of_a_sidecar_speaks_of_the_hubs_token() {
    let partner = partner();
    let hub = Setup::before(&partner).start();
    let sidecar = Setup::behind(&hub, "no.such.token").start();
    let token = sidecar.token(&READING);
    sidecar.read(&token, CLIENTS);
    let why = wait_for("the reason", || {
        let ready = ask(sidecar.health, "GET", "/readyz", &[], b"").json();
        ready["why"][0].as_str().map(str::to_owned)
    });
    assert!(why.starts_with("the hub refuses our token (upstream.token_file") && !why.contains("key"), "{why}");
    let wait = why.rsplit(' ').next().unwrap();
    assert!(wait.ends_with('s') && wait != "s", "in words: {why}");
    let checked = said(&program().args(["healthcheck", "--address", &sidecar.health.to_string()]).output().unwrap());
    assert_eq!(checked.0, Some(0), "{checked:?}");
    assert!(checked.2.contains("the hub refuses our token"), "{checked:?}");
}

/// It was ignored without a word, so that a gateway ran with another setting than its operator believed.
#[test]
fn a_variable_with_one_underscore_that_was_meant_for_us_is_warned_about() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "[upstream]\nurl = \"http://127.0.0.1:1\"\napi_key_env = \"K\"\n").unwrap();
    let check = |name: &str| {
        let mut command = program();
        command.args(["check", "--static", "--config"]).arg(&file).env(name, "tcp://10.0.0.7:8080");
        said(&command.output().unwrap())
    };
    for (name, right) in [
        ("RESELLER_GATEWAY_UPSTREAM__URL", "RESELLER_GATEWAY__UPSTREAM__URL"),
        ("RESELLER_GATEWAY_UPSTREAM_URL", "RESELLER_GATEWAY__UPSTREAM__URL"),
        ("RESELLER_GATEWAY_SERVER_PUBLIC_URL", "RESELLER_GATEWAY__SERVER__PUBLIC_URL"),
        ("reseller_gateway_upstream_budget_max_wait", "RESELLER_GATEWAY__UPSTREAM__BUDGET__MAX_WAIT"),
    ] {
        let (code, _, err) = check(name);
        assert_eq!(code, Some(0), "{err}");
        assert!(err.starts_with(&format!("warning: variable {name}: ")) && err.contains(right), "{err}");
    }
    // What Kubernetes puts there for services of such names is no setting.
    for name in [
        "PORT",
        "SERVICE_HOST",
        "SERVICE_PORT",
        "PORT_8080_TCP_ADDR",
        "ADMIN_PORT",
        "ADMIN_SERVICE_HOST",
        "CONFIG_PORT",
        "CONFIG",
    ] {
        let (code, _, err) = check(&format!("RESELLER_GATEWAY_{name}"));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{name}");
    }
}

/// Every command and those below it, as `--help` lists them.
fn commands(below: &[String]) -> Vec<Vec<String>> {
    let (_, help, _) = said(&program().args(below).arg("--help").output().unwrap());
    let listed = help.split("\nCommands:\n").nth(1).unwrap_or_default().lines();
    let names = listed.take_while(|line| line.starts_with("  ")).filter(|line| !line.starts_with("   "));
    let mut all = Vec::new();
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        let words = [below, &[name.to_owned()]].concat();
        all.extend(commands(&words));
        all.push(words);
    }
    all
}

/// One page stood for all commands, and said nothing of their options.
#[test]
fn every_command_has_a_manual_page_of_its_own() {
    let all = commands(&[]);
    assert!(all.len() > 20 && all.contains(&vec!["token".to_owned(), "issue".to_owned()]), "{all:?}");
    let folder = tempfile::tempdir().unwrap();
    let written = program().args(["man", "--out"]).arg(folder.path()).output().unwrap();
    assert!(written.status.success(), "{written:?}");
    for words in &all {
        let (code, page, err) = said(&program().arg("man").args(words).output().unwrap());
        let name = format!("reseller-gateway-{}", words.join("-"));
        assert_eq!(code, Some(0), "{name}: {err}");
        let title = name.replace('-', "\\-");
        assert!(page.contains(&format!("\n{title} \\- ")), "{name}: {page}");
        assert!(folder.path().join(format!("{name}.1")).exists(), "{name}");
    }
    let (code, _, err) = said(&program().args(["man", "tokn"]).output().unwrap());
    assert!(code == Some(1) && err.contains("there are serve, "), "{err}");
}

/// `--workers` of `cache purge` was taken and did nothing.
#[test]
fn flags_of_serve_are_those_of_serve_and_check_alone() {
    for words in commands(&[]) {
        let (_, help, _) = said(&program().args(&words).arg("--help").output().unwrap());
        let overrides = words == ["serve"] || words == ["check"];
        for flag in ["--workers", "--upstream-url", "--access-log"] {
            assert_eq!(help.contains(flag), overrides, "{words:?}: {flag}");
        }
    }
    for line in
        ["serve", "check", "token issue", "token revoke", "explain", "cache purge", "simulate", "healthcheck", "man"]
    {
        let (_, help, _) = said(&program().args(line.split(' ')).arg("--help").output().unwrap());
        assert!(help.contains("Example") && help.contains("  reseller-gateway "), "{line}: {help}");
    }
}

#[test]
fn small_things_work_as_one_tries_them_first() {
    let version = said(&program().arg("version").output().unwrap());
    assert_eq!((version.0, version.1), (Some(0), format!("reseller-gateway {}\n", env!("CARGO_PKG_VERSION"))));
    let mut simulator = Program::start(program().args(["simulate", "--listen", "localhost:0"]));
    wait_for("the simulator", || simulator.stdout().contains("http://127.0.0.1:").then_some(()));
    signal(&simulator, "TERM");
    simulator.wait_for_exit(std::time::Duration::from_secs(10));
    let partner = partner();
    let (gateway, ..) = two_callers(&partner);
    for (line, hint) in [
        ("explain clients/ --caller suport", "did you mean `support`?"),
        ("token issue --caller suport", "did you mean `support`?"),
        ("token revoke --caller suport", "did you mean `support`?"),
    ] {
        let (code, _, err) = run(&gateway, line);
        assert!(code == Some(1) && err.contains(hint), "{line}: {err}");
    }
    assert!(run(&gateway, "token list --caller suport").2.contains("did you mean `support`?"));
    let (code, out, err) = run(&gateway, "explain clients/ --caller support");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\"/reseller/account/v1/clients/\""), "{out}");
    // By a name, and by the file that says where it listens.
    let port = gateway.health.port();
    for arguments in [
        vec!["--address".to_owned(), format!("localhost:{port}")],
        vec!["--config".to_owned(), gateway.file("gateway.toml").display().to_string()],
    ] {
        let checked = said(&program().arg("healthcheck").args(&arguments).output().unwrap());
        assert_eq!((checked.0, checked.2.as_str()), (Some(0), ""), "{arguments:?}");
    }
}
