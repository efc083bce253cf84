//! What is a command for, and what do the pages say?
//! Given the words after `help`, prints the help of that command as clap has it, or the page of that topic.
//! Never guesses: of what is neither, it names the nearest and lists the topics, with exit code 2.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::Write as _;

use anyhow::Context;
use clap::error::ErrorKind;

use crate::guide::TOPICS;

#[derive(Debug, clap::Args)]
pub(super) struct Help {
    /// A command (and one below it), or a topic.
    #[arg(value_name = "COMMAND|TOPIC")]
    words: Vec<String>,
}

/// The list of topics, which stands at the end of `--help`.
pub(super) fn topics() -> String {
    let width = TOPICS.iter().map(|topic| topic.name.len()).max().unwrap_or_default();
    let mut text = "Topics, shown by `reseller-gateway help TOPIC`:".to_owned();
    for topic in &TOPICS {
        let _ = write!(text, "\n  {:width$}  {}", topic.name, topic.about);
    }
    text
}

/// Prints it.
///
/// # Errors
/// When standard output takes nothing.
pub(super) fn run(help: &Help, mut command: clap::Command) -> anyhow::Result<()> {
    if let [word] = help.words.as_slice()
        && let Some(topic) = TOPICS.iter().find(|topic| topic.name == word)
    {
        return std::io::stdout().write_all(plain(topic.page).as_bytes()).context("standard output");
    }
    let mut below = &command;
    for (nth, word) in help.words.iter().enumerate() {
        match below.find_subcommand(word) {
            Some(found) => below = found,
            None => {
                let message = unknown(word, below, nth == 0);
                command.error(ErrorKind::InvalidSubcommand, message).exit()
            }
        }
    }
    let name = command.get_name().to_owned();
    let words = help.words.iter().map(String::as_str);
    match command.try_get_matches_from_mut([name.as_str()].into_iter().chain(words).chain(["--help"])) {
        Ok(_) => Ok(()),
        Err(shown) => shown.print().context("standard output"),
    }
}

fn unknown(word: &str, below: &clap::Command, topic: bool) -> String {
    let topics = TOPICS.iter().map(|topic| topic.name).filter(|_| topic);
    let known = below.get_subcommands().map(clap::Command::get_name).chain(topics);
    let measured = known.map(|name| (strsim::damerau_levenshtein(word, name), name));
    let nearest = measured.filter(|(distance, _)| *distance <= 3).min();
    let nearest = nearest.map_or_else(String::new, |(_, name)| format!("; the nearest is `{name}`"));
    format!("no command or topic is called `{word}`{nearest}\n\n{}", self::topics())
}

/// A page as a terminal shows it: no comments, and of each link its text.
fn plain(page: &str) -> String {
    let (mut text, mut fenced) = (String::with_capacity(page.len()), false);
    for line in page.lines() {
        fenced ^= line.starts_with("```");
        let hidden = line.starts_with("<!-- ") || (line.starts_with('[') && line.contains("]: "));
        if fenced || !hidden {
            text.push_str(&if fenced { Cow::Borrowed(line) } else { without_links(line) });
            text.push('\n');
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

fn without_links(line: &str) -> Cow<'_, str> {
    let Some((before, (label, rest))) = line
        .split_once("](")
        .and_then(|(before, rest)| Some((before.rsplit_once('[')?, rest.split_once(')')?)))
        .map(|((before, label), (_, rest))| (before, (label, rest)))
    else {
        return Cow::Borrowed(line);
    };
    Cow::Owned(format!("{before}{label}{}", without_links(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_in_a_terminal_has_no_comments_and_of_links_their_texts() {
        let page = "# A\n\n<!-- run -->\n```sh\n<!-- kept -->\n[a](b)\n```\nSee [one](x.md#y), [two](z) and [three.md].\n\n[three.md]: w\n";
        let expected = "# A\n\n```sh\n<!-- kept -->\n[a](b)\n```\nSee one, two and [three.md].\n";
        assert_eq!(plain(page), expected);
    }

    #[test]
    fn no_topic_has_the_name_of_a_command() {
        use clap::CommandFactory;
        let command = crate::cli::Arguments::command();
        let both: Vec<_> = TOPICS.iter().filter(|topic| command.find_subcommand(topic.name).is_some()).collect();
        assert!(both.is_empty(), "{both:?}");
    }
}
