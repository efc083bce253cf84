//! Do the sources keep the rules of the house?
//! Given `src`, hands back every module that imports one declared below it, and every file that does not open as files do.
//! Never looks at tests: they may use whatever there is.

use std::path::{Path, PathBuf};

fn sources() -> Vec<PathBuf> {
    files_below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The path below `src`, without its ending.
fn name_of(path: &Path) -> String {
    let below = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    below.with_extension("").to_str().unwrap().to_owned()
}

fn is_test(path: &Path) -> bool {
    name_of(path).split('/').any(|part| part == "tests")
}

/// The rooms in the order of `lib.rs`.
fn order() -> Vec<String> {
    let lib = include_str!("../../src/lib.rs");
    let rooms = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    rooms.map(str::to_owned).collect()
}

/// What is compiled of a source outside tests: no comments, no `#[cfg(test)]` modules.
fn code_of(text: &str) -> String {
    let mut code = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line == "#[cfg(test)]" {
            let next = lines.next().unwrap_or_default();
            if next.ends_with('{') {
                lines.by_ref().find(|line| *line == "}");
            }
            continue;
        }
        code.push_str(line.split("//").next().unwrap_or_default());
        code.push('\n');
    }
    code
}

/// The rooms that a piece of code names, in `use` or inline, as `crate::room` or `crate::{room, other::Thing}`.
fn imports(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
        if !rest.starts_with('{') {
            found.push(word(rest));
            continue;
        }
        let (mut depth, mut start) = (0, true);
        for (at, c) in rest.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => start = true,
                c if depth == 1 && start && !c.is_whitespace() => {
                    found.push(word(&rest[at..]));
                    start = false;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn a_module_imports_only_modules_declared_above_it() {
    let order = order();
    assert!(order.len() > 15, "{order:?}");
    let rank = |room: &str| order.iter().position(|other| other == room);
    let mut wrong = Vec::new();
    for path in sources().iter().filter(|path| !is_test(path)) {
        let name = name_of(path);
        let Some(own) = rank(name.split('/').next().unwrap()) else {
            assert!(["lib", "main"].contains(&name.as_str()), "{name} is in no room");
            continue;
        };
        for room in imports(&code_of(&std::fs::read_to_string(path).unwrap())) {
            if rank(&room).is_some_and(|other| other > own) {
                wrong.push(format!("{name} imports {room}, which is declared below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file's modules, as they are declared there.
fn declared(code: &str) -> Vec<&str> {
    let modules = code.lines().filter_map(|line| {
        let (before, name) = line.strip_suffix(';')?.rsplit_once("mod ")?;
        (before.is_empty() || before.starts_with("pub")).then_some(name)
    });
    modules.collect()
}

/// The modules that code of the file `own` names, as paths from the root: by `crate::`, by `super::`, and each of a group in braces.
fn paths(own: &[&str], code: &str) -> Vec<Vec<String>> {
    let word = |text: &str| text.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>();
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            // Of `super::super::` the first begins it.
            if code[..at].ends_with("super::") || code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            {
                continue;
            }
            let (mut base, mut rest) = (Vec::new(), &code[at + start.len()..]);
            if start == "super::" {
                base = own[..own.len() - 1].iter().map(|&part| part.to_owned()).collect();
                while let Some(further) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = further;
                }
            }
            loop {
                let next = word(rest);
                let Some(further) = rest[next.len()..].strip_prefix("::") else { break };
                base.push(next);
                rest = further;
            }
            if let Some(group) = rest.strip_prefix('{') {
                let (mut depth, mut begins) = (1, true);
                for (at, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        ',' if depth == 1 => begins = true,
                        c if depth == 1 && begins && !c.is_whitespace() => {
                            found.push(base.iter().cloned().chain([word(&group[at..])]).collect());
                            begins = false;
                        }
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                base.push(word(rest));
                found.push(base);
            }
        }
    }
    found
}

#[test]
fn inside_a_folder_a_file_imports_only_files_declared_above_it() {
    let sources: Vec<(String, String)> = sources()
        .iter()
        .filter(|path| !is_test(path))
        .map(|path| (name_of(path), code_of(&std::fs::read_to_string(path).unwrap())))
        .collect();
    let mut below: Vec<(String, String, String)> = Vec::new();
    for (name, code) in &sources {
        let own: Vec<&str> = name.split('/').collect();
        for path in paths(&own, code) {
            // Where their ways part are two siblings, or a file and what it declares itself.
            let shared = own.iter().zip(&path).take_while(|(own, other)| *own == other).count();
            let (Some(file), Some(other)) = (own.get(shared), path.get(shared)) else { continue };
            let folder = own[..shared].join("/");
            let Some((_, parent)) = sources.iter().find(|(name, _)| *name == folder) else { continue };
            let modules = declared(parent);
            let place = |name: &str| modules.iter().position(|module| *module == name);
            if place(file).zip(place(other)).is_some_and(|(file, other)| file < other) {
                below.push((folder, (*file).to_owned(), other.clone()));
            }
        }
    }
    below.sort();
    below.dedup();
    assert!(below.is_empty(), "these import a file that is declared below them: {below:#?}");
}

#[test]
fn paths_are_seen_in_every_form() {
    let code = "use crate::a::b::C;\nuse super::{d::E, f};\nsuper::super::g();\nlet x = crate::h;\nuse self::i;\n";
    let found: Vec<String> = paths(&["k", "l", "m"], code).iter().map(|path| path.join("::")).collect();
    assert_eq!(found, ["a::b::C", "h", "k::l::d", "k::l::f", "k::g"]);
    assert_eq!(declared("mod a;\npub mod b;\npub(super) mod c;\n    mod d;\nuse mod_e;\n"), ["a", "b", "c"]);
}

/// Where a test's thread may sleep: between two looks at what it waits for, and as a slow peer. `support/time.rs` has the rule.
const SLEEPS: &[(&str, usize)] = &[("tests/gateway/support/time.rs", 3)];

/// What tests run in moved time only, though no test of its own says so.
const MOVED: &[&str] = &["tests/gateway/support/fake_partner.rs"];

/// All code of tests: that below `tests/`, and files of tests below `src`.
fn tests() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let of_sources = sources().into_iter().filter(|path| is_test(path));
    let named = of_sources.chain(files_below(&root.join("tests"))).map(|path| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text.lines().map(|line| line.split("//").next().unwrap_or_default().to_owned() + "\n").collect();
        (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), code)
    });
    named.collect()
}

#[test]
fn no_test_waits_for_time_unless_it_moves_the_clock_itself() {
    let (mut found, tests) = (Vec::new(), tests());
    for (name, code) in tests.iter().filter(|(name, _)| !name.ends_with("house.rs")) {
        let threads = code.matches("thread::sleep").count();
        if threads > 0 {
            found.push((name.as_str(), threads));
        }
        let moves = ["time::sleep(", "time::{Instant, sleep", "time::sleep;"].iter().any(|word| code.contains(word));
        let tests = code.matches("#[tokio::test").count();
        let paused = code.matches("#[tokio::test(start_paused = true)]").count();
        assert!(!moves || tests == paused && paused > 0 || MOVED.contains(&name.as_str()), "{name} sleeps for real");
    }
    assert_eq!(found, SLEEPS);
}

#[test]
fn imports_are_seen_in_every_form() {
    let code = code_of(
        "use crate::{boot, cli::{self, demo}};\n// crate::token\nlet x = crate::view::of();\n#[cfg(test)]\nmod tests {\n    use crate::admin;\n}\nuse crate::route;\n",
    );
    assert_eq!(imports(&code), ["boot", "cli", "view", "route"]);
}

#[test]
fn every_file_opens_with_three_lines() {
    let mut wrong = Vec::new();
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        // `lib.rs` opens with the decisions, and a file of tests that is still empty says nothing.
        let opens = text.lines().take(3).filter(|line| line.starts_with("//! ")).count();
        if opens < 3 && name_of(&path) != "lib" && text.lines().count() > 3 {
            wrong.push(path.display().to_string());
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
