//! Do the pages say what is so?
//! Given all Markdown of the repository, holds its blocks, links and tables against the program, the sources and each other.
//! Never judges a sentence: those are for whoever reviews.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what broke by stopping there")]

#[path = "../golden/golden.rs"]
mod golden;

mod table;

mod tables;

mod links;

mod blocks;

mod help;

use std::path::Path;

/// Every page, by its path in the repository.
fn pages() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let hidden = name.starts_with('.') && name != ".github";
            if path.is_dir() && !hidden && !["target", "node_modules"].contains(&name) {
                folders.push(path);
            } else if name.ends_with(".md") {
                found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn text_of(page: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap()
}
