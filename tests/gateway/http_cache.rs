//! How does the gateway do as a plain HTTP cache, by the public suite `http-cache-tests`?
//! Given node and npm, puts the real binary between the suite's client and its origin, and holds every result to the kept table.
//! Never rewrites the table unnoticed: `HTTP_CACHE_REWRITE=1` does it, and the difference is then seen in review.
//!
//! `HTTP_CACHE_ONLY="id id"` runs these tests alone and shows why they fail; `HTTP_CACHE_SUITE=folder` runs another version of
//! the suite, and shows what does not pass there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Stdio};

use crate::support::{Gateway, Setup, outside};

const HERE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/http_cache");

/// One test's kind and how it went: `pass fail`, `yes no` for what is only looked at, `dependency setup retry untested` for no result.
type Results = BTreeMap<String, (String, String)>;

/// Why tests did not pass, in the suite's words.
type Reasons = BTreeMap<String, String>;

#[test]
#[ignore = "outside suite: needs node and npm"]
fn the_public_suite_of_cache_tests_goes_as_the_kept_table_says() {
    let asked = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let (only, other) = (asked("HTTP_CACHE_ONLY").unwrap_or_default(), asked("HTTP_CACHE_SUITE"));
    let packages = installed();
    let suite = other.as_ref().map_or_else(|| packages.join("node_modules/http-cache-tests"), PathBuf::from);
    let (mut results, mut reasons) = run(&packages, &suite, &only);
    if other.is_some() || !only.is_empty() {
        for (id, why) in &reasons {
            say(&format!("{} {id}: {why}", results[id].1));
        }
        return say(&summary(&results));
    }
    say(&summary(&results));
    let kept = Path::new(HERE).join("results.txt");
    if asked("HTTP_CACHE_REWRITE").is_some() {
        return fs::write(kept, table(&results)).unwrap();
    }
    let kept = read(&fs::read_to_string(kept).unwrap_or_default());
    // The suite measures ages in seconds, and on a busy machine a second is over before a request is: what differs is tried alone.
    for _ in 0..3 {
        let differing: Vec<&str> = differing(&kept, &results).filter(|id| results.contains_key(*id)).collect();
        if differing.is_empty() {
            break;
        }
        let (again, why) = run(&packages, &suite, &differing.join(" "));
        results.extend(again);
        reasons.extend(why);
    }
    let differences = differences(&kept, &results, &reasons);
    assert!(
        differences.is_empty(),
        "the results are not those of tests/http_cache/results.txt:\n{differences}\
         If that is meant, run this test once with HTTP_CACHE_REWRITE=1 and commit the table."
    );
}

/// The suite as npm's lock file has it, in a folder of the build; taken anew when the lock file changed.
fn installed() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("http_cache");
    let lock = fs::read(Path::new(HERE).join("package-lock.json")).unwrap();
    let mark = folder.join("installed");
    if fs::read(&mark).is_ok_and(|marked| marked == lock) {
        return folder;
    }
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    for file in ["package.json", "package-lock.json", ".npmrc"] {
        fs::copy(Path::new(HERE).join(file), folder.join(file)).unwrap();
    }
    let npm = outside("npm", "npm").arg("ci").current_dir(&folder).output().unwrap();
    assert!(
        npm.status.success(),
        "`npm ci` failed; it needs npm's registry once:\n{}",
        String::from_utf8_lossy(&npm.stderr)
    );
    fs::write(mark, lock).unwrap();
    folder
}

/// Runs the suite's origin and client around a gateway.
fn run(packages: &Path, suite: &Path, only: &str) -> (Results, Reasons) {
    let mut driver = Driver::start(packages, suite, only);
    let port = driver.line().strip_prefix("origin ").expect("the origin's port").to_owned();
    let gateway = as_a_plain_cache(&format!("http://127.0.0.1:{port}"));
    let token = gateway.token(&["other:read", "write", "pii:read"]);
    let mut input = driver.child.stdin.take().unwrap();
    writeln!(input, "http://{} {token}", gateway.address).unwrap();
    let (mut results, mut reasons) = (Results::new(), Reasons::new());
    while let Some(line) = driver.next() {
        let told: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let [id, kind, result, why] =
            ["id", "kind", "result", "why"].map(|name| told[name].as_str().unwrap().to_owned());
        if !["pass", "yes"].contains(&result.as_str()) {
            reasons.insert(id.clone(), why);
        }
        results.insert(id, (kind, result));
    }
    assert!(driver.child.wait().unwrap().success(), "the suite's driver failed");
    let tested = results.values().any(|(_, result)| result != "untested");
    assert!(tested, "the suite ran no test; is this a version that tests/http_cache/run.mjs knows how to drive?");
    (results, reasons)
}

/// Everything of its own that would stand between the suite and the cache is off.
fn as_a_plain_cache(origin: &str) -> Gateway {
    Setup::at(origin)
        .set("upstream.budget.max_in_flight", 4096)
        .set("upstream.breaker.failures", 0)
        .set("routes.other.mode", "standard")
        .set("routes.other.store", true)
        .set("routes.other.forward_authorization", true)
        .start()
}

struct Driver {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Driver {
    fn start(packages: &Path, suite: &Path, only: &str) -> Self {
        let mut node = outside("node", "nodejs");
        node.arg(Path::new(HERE).join("run.mjs")).arg(suite).args(only.split_whitespace());
        node.env("PACKAGES", packages);
        // What the suite says to its users is no result.
        node.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = node.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn next(&mut self) -> Option<String> {
        let mut line = String::new();
        (self.lines.read_line(&mut line).unwrap() > 0).then(|| line.trim_end().to_owned())
    }

    fn line(&mut self) -> String {
        self.next().expect("the suite's driver ended early; node 18 or newer is needed")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn summary(results: &Results) -> String {
    let count = |kind: &str, result: &str| {
        results.values().filter(|(k, r)| (kind.is_empty() || k == kind) && (result.is_empty() || r == result)).count()
    };
    format!(
        "required {} of {}, optimal {} of {}, untested {}, failed by setup {}, by dependency {}",
        count("required", "pass"),
        count("required", ""),
        count("optimal", "pass"),
        count("optimal", ""),
        count("", "untested"),
        count("", "setup") + count("", "retry"),
        count("", "dependency"),
    )
}

fn table(results: &Results) -> String {
    let mut text = format!(
        "# How the gateway does in the suite of package.json; tests/gateway/http_cache.rs holds it to this and says how to rewrite it.\n\
         # {}\n",
        summary(results)
    );
    for (id, (kind, result)) in results {
        let _ = writeln!(text, "{kind} {result} {id}");
    }
    text
}

fn read(table: &str) -> Results {
    let row = |line: &str| {
        let mut words = line.split(' ').map(str::to_owned);
        let (kind, result, id) = (words.next()?, words.next()?, words.next()?);
        Some((id, (kind, result)))
    };
    table.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

/// The tests of the table, and those that were run, whose results are not the same.
fn differing<'r>(kept: &'r Results, now: &'r Results) -> impl Iterator<Item = &'r str> {
    let ids: std::collections::BTreeSet<_> = kept.keys().chain(now.keys()).collect();
    let result = |results: &'r Results, id: &str| results.get(id).map(|(_, result)| result);
    ids.into_iter().filter(move |id| result(kept, id) != result(now, id)).map(String::as_str)
}

fn differences(kept: &Results, now: &Results, reasons: &Reasons) -> String {
    let none = (String::new(), "absent".to_owned());
    let mut text = String::new();
    for id in differing(kept, now) {
        let ((_, was), (_, is)) = (kept.get(id).unwrap_or(&none), now.get(id).unwrap_or(&none));
        let why = reasons.get(id).map_or("", String::as_str);
        let _ = writeln!(text, "{id}: was {was}, is {is}; {why}");
    }
    text
}

/// Past the test runner, which keeps what passing tests print to itself.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "http-cache-tests: {text}");
}

#[test]
fn every_test_of_the_kept_table_that_is_no_pass_has_its_reason() {
    let kept = read(&fs::read_to_string(Path::new(HERE).join("results.txt")).unwrap());
    let text = fs::read_to_string(Path::new(HERE).join("reasons.txt")).unwrap();
    let reasons = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once(' '));
    let explained: Vec<&str> = reasons.filter(|(_, reason)| reason.starts_with("RFC ")).map(|(id, _)| id).collect();
    let wanting: Vec<&str> = kept
        .iter()
        .filter(|(_, (kind, result))| kind != "check" && result != "pass")
        .map(|(id, _)| id.as_str())
        .collect();
    let sorted = |mut ids: Vec<&str>| {
        ids.sort_unstable();
        ids.join("\n")
    };
    assert_eq!(sorted(wanting), sorted(explained), "results.txt (left) and reasons.txt (right) do not fit each other");
}

#[test]
fn any_change_of_a_result_is_a_difference() {
    let kept = read("# a table\nrequired pass a\noptimal fail b\ncheck yes c\nrequired pass gone\n");
    let now = read("required fail a\noptimal fail b\ncheck no c\nrequired pass new\n");
    let expected =
        "a: was pass, is fail; why\nc: was yes, is no; \ngone: was pass, is absent; \nnew: was absent, is pass; \n";
    let reasons = Reasons::from([("a".to_owned(), "why".to_owned())]);
    assert_eq!(differences(&kept, &now, &reasons), expected);
    assert_eq!(differences(&now, &read(&table(&now)), &reasons), "");
}
