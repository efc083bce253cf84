//! What is wrong with the configuration, and where?
//! Given places and reasons, hands back one report of all faults, each shown in its line.
//! Never shows a line that is not given: `origins` keeps back those that may hold a secret.

use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Who said it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The configuration file, counted from 1, columns in characters.
    File {
        /// The file's name as it was given.
        name: String,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// An environment variable, by its name.
    Variable(String),
    /// A command-line flag, by its name.
    Flag(String),
    /// Nobody: there is no file, and no variable or flag says it.
    Nowhere,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line, column } => write!(f, "{name}:{line}:{column}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// A line of the file and the bytes of it that are meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source {
    pub(super) line: String,
    pub(super) from: usize,
    pub(super) to: usize,
}

/// One thing that is wrong, or, as a [`Warning`], one that has no effect.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// Where it is said.
    pub origin: Origin,
    /// The dotted key, as in `callers[1].scopes[0]`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong and what would be right; never a value that may be secret.
    pub reason: String,
    pub(super) source: Option<Source>,
}

/// A setting that is understood and has no effect in this version.
pub type Warning = Fault;

impl Fault {
    /// A fault of the file as a whole, before any of its text is known.
    pub(super) fn of_file(name: &str, reason: String) -> Self {
        let origin = Origin::File { name: name.to_owned(), line: 1, column: 1 };
        Self { origin, key: String::new(), reason, source: None }
    }

    /// The fault in one line, then the line of the file with a caret; in colours if `color`.
    pub fn render(&self, color: bool) -> String {
        let title = match self.key.as_str() {
            "" => format!("{}: {}", self.origin, self.reason),
            key => format!("{}: {key}: {}", self.origin, self.reason),
        };
        let mut group = Group::with_title(Level::ERROR.no_name().primary_title(title));
        if let (Some(source), Origin::File { line, .. }) = (&self.source, &self.origin) {
            let mark = AnnotationKind::Primary.span(source.from..source.to);
            group = group.element(Snippet::source(source.line.as_str()).line_start(*line).annotation(mark));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// All that is wrong, in the order of the file, then variables, then flags. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// All faults at once, sorted by where they are.
    pub(crate) fn new(mut faults: Vec<Fault>) -> Self {
        faults.sort();
        faults.dedup();
        Self(faults)
    }

    /// Each fault.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Every fault with its line; in colours if `color`.
    pub fn render(&self, color: bool) -> String {
        self.0.iter().map(|fault| fault.render(color)).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Faults {}
