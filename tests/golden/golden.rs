//! A golden file: what others hold on to by name, as it was when somebody last looked at it.
//! Given a file's name and the text that the code makes now, fails with the lines that differ.
//! Never writes the file unless `BLESS=1` is set: then it does, and the difference is seen in review.

use std::path::Path;

/// The file is below `tests/golden/`; a difference is a break for whoever reads metrics, logs, problems or help.
#[expect(clippy::disallowed_methods, reason = "what is blessed is asked of the environment")]
pub(crate) fn is_unchanged(name: &str, now: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    if before == now {
        return;
    }
    if std::env::var_os("BLESS").is_some() {
        return std::fs::write(&path, now).unwrap();
    }
    let only_in = |one: &str, other: &str| {
        let lines = one.lines().filter(|line| !other.lines().any(|known| known == *line));
        lines.map(|line| format!("  {line}\n")).collect::<String>()
    };
    panic!(
        "this is not as tests/golden/{name} has it (or in another order); if that is meant, run this test with BLESS=1 \
         and say so in CHANGELOG.md.\nnow:\n{}before:\n{}",
        only_in(now, &before),
        only_in(&before, now)
    );
}
