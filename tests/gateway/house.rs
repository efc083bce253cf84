//! Do the sources keep the rules of the house?
//! Given `src`, hands back every module that imports one declared below it, and every file that does not open as files do.
//! Never looks at tests: they may use whatever there is.

use std::path::{Path, PathBuf};

fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
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
