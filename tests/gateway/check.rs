//! Does `check` say what a configuration comes to?
//! Given a file, holds what is printed, and where, against the settings in it.
//! Never starts a gateway.

use std::process::Output;

use crate::support::program;

const LEAST: &str = "[upstream]\nurl = \"https://partner.example\"\napi_key_env = \"KEY\"\n";

fn check(more: &str) -> (Output, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, format!("{LEAST}{more}")).unwrap();
    let output = program().args(["check", "--config"]).arg(file).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8(bytes.clone()).unwrap());
    (output, out, err)
}

#[test]
fn a_budget_that_is_too_small_is_a_warning_and_no_fault() {
    let (output, out, err) = check("[upstream.expect]\nclients = 500\n");
    assert!(output.status.success());
    assert!(err.contains("warning: upstream.budget.rate: 500 clients can cost 3852.0 partner calls a minute"), "{err}");
    assert!(out.contains("# It does not fit. It would with\n#   ttl = \"5m10s\" for client, "), "{out}");
    let read: toml::Table = out.parse().unwrap();
    assert_eq!(read["upstream"]["expect"]["clients"].as_integer(), Some(500));
}

#[test]
fn the_settings_that_it_proposes_fit() {
    let ttls: String = ["client", "client_providers", "client_projects"]
        .into_iter()
        .chain(["client_resources", "provider_resources", "project_resources"])
        .map(|route| format!("[routes.{route}]\nttl = \"5m10s\"\n"))
        .collect();
    for better in [ttls.as_str(), "[upstream.budget]\nrate = \"65/s\"\n", "[upstream.expect]\nclients = 50\n"] {
        let (output, out, err) = check(better);
        assert!(output.status.success() && out.ends_with("# It fits.\n"), "{better}: {out}");
        assert_eq!(err, "", "{better}");
    }
}
