//! Do the shell blocks of the pages still do what they say?
//! Given a page, runs each as the comment above it tells, in order, in a copy of the working folder.
//! Never skips one silently: a block without such a comment is a failure, and so is a program that is not there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::{pages, text_of};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

const CI: &str = include_str!("../../.ci/run");
const PROGRAM: &str = env!("CARGO_BIN_EXE_reseller-gateway");
const LIMIT: Duration = Duration::from_secs(60);

/// The first page, whose gateway the others go on with.
const FIRST: &str = "README.md";
/// The pages that are tried, each by a test below.
const TRIED: [&str; 6] = [
    FIRST,
    "src/guide/callers.md",
    "src/guide/tokens.md",
    "src/guide/simulator.md",
    "config/README.md",
    "deploy/OPERATING.md",
];

/// How a block is meant, by the comment above it.
#[derive(Debug, PartialEq)]
enum Meant {
    /// `<!-- run -->`, or `<!-- run: shows "…" -->`: to its end, printing this.
    Run(Option<String>),
    /// `<!-- run: background until "…" -->`: until the whole page is done, once it printed this.
    Background(String),
    /// `<!-- ci -->`: what the CI script ends with, but for the outside suites.
    Ci,
    /// `<!-- file: NAME -->`: a file of that name.
    File(String),
    /// `<!-- not run: WHY -->`.
    NotRun,
}

#[derive(Debug)]
struct Block {
    meant: Meant,
    text: String,
}

fn meant(comment: &str) -> Option<Meant> {
    let inner = comment.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
    let quoted = |text: &str| Some(text.strip_prefix('"')?.strip_suffix('"')?.replace("\\\"", "\""));
    let (word, rest) = inner.split_once(": ").unwrap_or((inner, ""));
    match (word, rest) {
        ("run", "") => Some(Meant::Run(None)),
        ("run", rest) => match rest.strip_prefix("shows ") {
            Some(text) => Some(Meant::Run(Some(quoted(text)?))),
            None => Some(Meant::Background(quoted(rest.strip_prefix("background until ")?)?)),
        },
        ("ci", "") => Some(Meant::Ci),
        ("file", name) if !name.is_empty() => Some(Meant::File(name.to_owned())),
        ("not run", why) if !why.is_empty() => Some(Meant::NotRun),
        _ => None,
    }
}

/// Every shell block, and every other that has a comment above it.
fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    let mut above = "";
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            match meant(above) {
                Some(meant) => found.push(Block { meant, text: inside.join("\n") }),
                None => assert_ne!(language, "sh", "no comment says how this block is run:\n{}", inside.join("\n")),
            }
        }
        above = line;
    }
    found
}

/// The folder in which the page is tried, with ports that nothing else uses.
struct Place {
    folder: tempfile::TempDir,
    ports: [(&'static str, String); 13],
    /// Where the page's collector of traces is.
    collector: TcpListener,
    background: Vec<Child>,
}

impl Place {
    fn new() -> Self {
        // Held together, so that no port is given out twice.
        let usual =
            ["4318", "9534", "8080", "9536", "9535", "8443", "9546", "9545", "8081", "9537", "8082", "9547", "9548"];
        let free = usual.map(|usual| (usual, TcpListener::bind("127.0.0.1:0").unwrap()));
        let collector = free[0].1.try_clone().unwrap();
        let ports = free.map(|(usual, socket)| (usual, socket.local_addr().unwrap().port().to_string()));
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder, ports, collector, background: Vec::new() };
        std::fs::create_dir(place.path().join("config")).unwrap();
        for name in ["local.toml", "shared.toml", "sidecar.toml", "reference.toml"] {
            let text = std::fs::read_to_string(Path::new("config").join(name)).unwrap();
            std::fs::write(place.path().join("config").join(name), place.moved(&text)).unwrap();
        }
        // local.toml leaves the doors at their defaults, which another test may be using.
        let local = place.path().join("config/local.toml");
        let doors = "\n[[listeners]]\naddress = \"127.0.0.1:8080\"\n[health]\nlisten = \"127.0.0.1:9536\"\n[admin]\nlisten = \"127.0.0.1:9535\"\n";
        let text = std::fs::read_to_string(&local).unwrap() + &place.moved(doors);
        std::fs::write(&local, text).unwrap();
        place
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn moved(&self, text: &str) -> String {
        self.ports.iter().fold(text.to_owned(), |text, (usual, free)| {
            text.replace(&format!("127.0.0.1:{usual}"), &format!("127.0.0.1:{free}"))
        })
    }

    fn bash(&self, text: &str, keep: bool) -> Command {
        let program = Path::new(PROGRAM);
        let folder = program.parent().unwrap().display();
        // One terminal's variables last from block to block.
        let (before, after) = match keep {
            true => ("set -a; [ ! -f .kept ] || . ./.kept", "export -p > .kept"),
            false => ("", ""),
        };
        let text = self.moved(text).replace("cargo run --release --", "reseller-gateway");
        let mut bash = Command::new("timeout");
        bash.args([LIMIT.as_secs().to_string().as_str(), "bash", "-eo", "pipefail", "-c"])
            .arg(format!("export PATH={folder}:\"$PATH\"\n{before}\n{text}\n{after}"))
            .current_dir(self.path())
            .env_remove("RESELLER_GATEWAY_CONFIG")
            .env_remove("RESELLER_API_KEY")
            .stdin(Stdio::null())
            .process_group(0);
        bash
    }

    fn run(&self, text: &str, shows: Option<&str>) {
        let ended = self.bash(text, true).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        let told = format!("{text}\nprinted:\n{out}{err}");
        assert!(ended.status.success(), "this block ended with {}:\n{told}", ended.status);
        if let Some(wanted) = shows {
            assert!(out.contains(wanted), "this block does not show {wanted:?}:\n{told}");
        }
    }

    fn start(&mut self, text: &str, until: &str) {
        let mut bash = self.bash(text, false);
        let mut child = bash.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        self.background.push(child);
        let (told, lines) = mpsc::channel();
        let errors = told.clone();
        // Read to their ends, so that no server waits for a full pipe.
        std::thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).for_each(|line| drop(told.send(line)))
        });
        std::thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).for_each(|line| drop(errors.send(line)))
        });
        let mut seen = String::new();
        while !seen.contains(until) {
            match lines.recv_timeout(LIMIT) {
                Ok(line) => seen = seen + &line + "\n",
                Err(_) => panic!("this block never shows {until:?}:\n{text}\nprinted:\n{seen}"),
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for mut child in self.background.drain(..) {
            // The whole group: timeout, bash and the server.
            let _ = Command::new("bash").args(["-c", &format!("kill -KILL -- -{}", child.id())]).status();
            let _ = child.wait();
        }
    }
}

/// Runs the first page, and then this one in the same folder.
fn run(page: &str) {
    for (program, package) in [("bash", "bash"), ("timeout", "coreutils"), ("curl", "curl"), ("openssl", "openssl")] {
        let there = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        assert!(there.is_ok(), "{program} cannot be run; install it (Debian: apt-get install {package})");
    }
    let mut place = Place::new();
    let traces = traces_at(place.collector.try_clone().unwrap());
    let mut pages = vec![FIRST];
    pages.extend((page != FIRST).then_some(page));
    let mut names_a_trace = false;
    for Block { meant, text } in pages.into_iter().flat_map(|page| blocks(&text_of(page))) {
        names_a_trace |= text.contains(TRACE);
        match meant {
            Meant::Run(shows) => place.run(&text, shows.as_deref()),
            Meant::Background(until) => place.start(&text, &until),
            Meant::File(name) => std::fs::write(place.path().join(name), place.moved(&text)).unwrap(),
            Meant::Ci | Meant::NotRun => {}
        }
    }
    if names_a_trace {
        is_collected(&traces);
    }
}

#[test]
#[ignore = "outside suite: needs bash, curl and openssl"]
fn every_block_of_the_first_page_does_what_it_says() {
    run(FIRST);
}

#[test]
#[ignore = "outside suite: needs bash, curl and openssl"]
fn every_block_for_callers_does_what_it_says() {
    run("src/guide/callers.md");
}

#[test]
#[ignore = "outside suite: needs bash, curl and openssl"]
fn every_block_about_tokens_does_what_it_says() {
    run("src/guide/tokens.md");
}

#[test]
#[ignore = "outside suite: needs bash, curl and openssl"]
fn every_block_about_the_simulator_does_what_it_says() {
    run("src/guide/simulator.md");
}

#[test]
#[ignore = "outside suite: needs bash, curl and openssl"]
fn every_block_about_the_configuration_does_what_it_says() {
    run("config/README.md");
}

#[test]
#[ignore = "outside suite: needs bash, curl and openssl"]
fn every_block_for_operators_does_what_it_says() {
    run("deploy/OPERATING.md");
}

#[test]
fn each_block_of_each_page_says_how_it_is_run_and_each_page_with_such_blocks_is_tried() {
    let mut ran = 0;
    for page in pages() {
        let runs = |block: &Block| !matches!(block.meant, Meant::Ci | Meant::NotRun);
        let here = blocks(&text_of(&page)).iter().filter(|block| runs(block)).count();
        assert_eq!(here > 0, TRIED.contains(&page.as_str()), "{page} has {here} blocks that are run");
        ran += here;
    }
    assert!(ran > 30, "only {ran} blocks are run");
}

/// The trace that a page names.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

fn is_collected(traces: &mpsc::Receiver<ExportTraceServiceRequest>) {
    let trace = data_encoding::HEXLOWER.decode(TRACE.as_bytes()).unwrap();
    let sent = traces.recv_timeout(LIMIT).expect("the collector gets the page's request");
    let spans = sent.resource_spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans);
    let names: Vec<&str> = spans.filter(|span| span.trace_id == trace).map(|span| span.name.as_str()).collect();
    assert!(names.contains(&"GET clients") && names.contains(&"cache"), "{names:?}");
}

/// A collector as the OpenTelemetry protocol has it over HTTP: what is posted to `/v1/traces`, decoded.
fn traces_at(listener: TcpListener) -> mpsc::Receiver<ExportTraceServiceRequest> {
    let (told, traces) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut stream = BufReader::new(stream);
            let (mut line, mut length) = (String::new(), 0);
            while stream.read_line(&mut line).is_ok_and(|read| read > 2) {
                if let Some(told) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = told.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            let _ = told.send(ExportTraceServiceRequest::decode(body.as_slice()).unwrap());
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    traces
}

#[test]
fn the_test_command_is_the_one_that_ci_runs_with_the_outside_suites() {
    let ci = CI.lines().last().and_then(|line| line.strip_suffix(" -- --include-ignored"));
    let told: Vec<Block> = pages().iter().flat_map(|page| blocks(&text_of(page))).collect();
    let told: Vec<&str> =
        told.iter().filter(|block| block.meant == Meant::Ci).map(|block| block.text.as_str()).collect();
    assert_eq!((told.len(), told.first().copied()), (2, ci));
    assert_eq!(told.first(), told.last());
}

/// What plain `cargo test` leaves out, by the reason above each such test in these sources.
fn left_out(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            found.extend(left_out(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let lines = text.lines().filter_map(|line| line.trim().strip_prefix("#[ignore"));
            found.extend(lines.map(|rest| format!("{}{rest}", path.display())));
        }
    }
    found
}

#[test]
fn only_outside_suites_are_left_out_and_ci_installs_what_they_need() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = ["src", "tests"].map(|folder| left_out(&root.join(folder))).concat();
    assert!(found.len() > 5, "{found:?}");
    for test in found {
        let needs = test.split_once(" = \"outside suite: needs ").and_then(|(_, rest)| rest.strip_suffix("\"]"));
        let needs = needs.unwrap_or_else(|| panic!("it is no outside suite that says what it needs: {test}"));
        for program in needs.split([',', ' ']).filter(|word| !["", "and", "bash"].contains(word)) {
            assert!(CI.contains(&format!("command -v {program} >/dev/null ||")), "CI does not install {program}");
        }
    }
}

/// A test that called `kill` or `setpriv` passed where they are, and failed in a container that has neither.
#[test]
fn the_other_tests_start_nothing_but_the_program_and_a_shell() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gateway");
    let text = |path: &Path| std::fs::read_to_string(path).unwrap();
    let files = std::fs::read_dir(&folder).unwrap().chain(std::fs::read_dir(folder.join("support")).unwrap());
    let files = files.map(|file| file.unwrap().path()).filter(|path| path.is_file());
    let mut started = 0;
    for path in files {
        for call in text(&path).split("Command::new(\"").skip(1) {
            assert!(call.starts_with("sh\")"), "{}: use `outside`, in an outside suite", path.display());
            started += 1;
        }
    }
    assert!(started > 0, "the calls are written in another way now");
}
