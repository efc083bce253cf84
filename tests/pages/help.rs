//! Does `help` print commands as they are and pages as they stand?
//! Given the real binary, holds what it prints to its own `--help` and to the files.
//! Never looks at colours: standard output is no terminal here.

use std::process::{Command, Output};

fn program(words: &[&str]) -> Output {
    // Neither the width of lines nor the values of variables depend on where the tests run.
    Command::new(env!("CARGO_BIN_EXE_reseller-gateway")).args(words).env_clear().output().unwrap()
}

fn printed(words: &[&str]) -> String {
    let ended = program(words);
    assert!(ended.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

#[test]
fn the_help_of_a_command_is_the_one_it_has_itself() {
    for words in [&[][..], &["serve"], &["simulate"], &["token", "issue"], &["help"]] {
        let itself: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
        let helped: Vec<&str> = ["help"].iter().chain(words).copied().collect();
        assert_eq!(printed(&helped), printed(&itself), "{words:?}");
    }
}

#[test]
fn each_topic_is_listed_and_prints_its_page() {
    let list = printed(&["help"]);
    for topic in reseller_gateway::guide::TOPICS {
        assert!(list.contains(topic.name) && list.contains(topic.about), "{list}");
        let page = printed(&["help", topic.name]);
        assert!(topic.page.starts_with(page.lines().next().unwrap()), "{page}");
        assert!(page.len() > topic.page.len() / 2 && !page.contains("<!-- run") && !page.contains("](../"), "{page}");
    }
}

#[test]
fn what_is_neither_command_nor_topic_names_the_nearest_and_lists_the_topics() {
    for (words, nearest) in [
        (&["help", "tokenz"][..], "`token"),
        (&["help", "cachin"], "`caching`"),
        (&["help", "token", "isue"], "`issue`"),
    ] {
        let ended = program(words);
        let text = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{text}");
        assert!(
            text.contains(nearest) && reseller_gateway::guide::TOPICS.iter().all(|topic| text.contains(topic.name)),
            "{text}"
        );
    }
    let far = String::from_utf8(program(&["help", "something-else"]).stderr).unwrap();
    assert!(!far.contains("nearest") && far.contains("callers"), "{far}");
}

/// Appends the help of a command, then that of each below it.
fn append_help(words: &[&str], all: &mut String) {
    let help = printed(&[words, &["--help"]].concat());
    let name = ["reseller-gateway"].iter().chain(words).copied().collect::<Vec<_>>().join(" ");
    *all += &format!("==== {name} --help\n{help}\n");
    let listed = help.split("\nCommands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
    // What a command does may take several lines; its name begins the first.
    let below = listed.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    for command in below.filter(|command| !command.is_empty()) {
        append_help(&[words, &[command]].concat(), all);
    }
}

#[test]
fn every_command_keeps_its_options_and_its_words() {
    let mut all = String::new();
    append_help(&[], &mut all);
    crate::golden::is_unchanged("help.txt", &all);
}
