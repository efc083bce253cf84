//! Where are the manual pages?
//! Given the command line as clap has it, prints the page of one command, or writes all of them into a folder.
//! Never says anything that `--help` does not.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, bail};

/// `man`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  reseller-gateway man token issue | man -l -\n  reseller-gateway man --out /usr/local/share/man/man1"
)]
pub(super) struct Man {
    /// The command, and one below it; without one: the page of the program.
    #[arg(value_name = "COMMAND")]
    words: Vec<String>,
    /// Write the pages of all commands into this folder, in place of printing one.
    #[arg(long, value_name = "FOLDER", conflicts_with = "words")]
    out: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// Of a command that there is not, and where nothing can be written.
pub(super) fn run(man: Man, mut command: clap::Command) -> anyhow::Result<()> {
    if let Some(folder) = man.out {
        return clap_mangen::generate_to(command, &folder).with_context(|| folder.display().to_string());
    }
    command = command.disable_help_subcommand(true);
    command.build();
    let mut wanted = &command;
    for word in &man.words {
        let Some(found) = wanted.find_subcommand(word) else {
            let known: Vec<_> = wanted.get_subcommands().map(clap::Command::get_name).collect();
            bail!("no command is called {word:?} here; there are {}", known.join(", "));
        };
        wanted = found;
    }
    let mut page = Vec::new();
    clap_mangen::Man::new(wanted.clone()).render(&mut page).context("the page")?;
    std::io::stdout().write_all(&page).context("standard output")
}
