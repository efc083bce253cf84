//! What does a caller, or an operator, have to know?
//! Given nothing, hands back the pages by topic: rustdoc shows those for callers here, and `reseller-gateway help TOPIC` prints each.
//! Never imports anything, and holds no text of its own: a page is one Markdown file, the same in the repository, here and in a terminal.

/// A page that `help` prints.
#[derive(Debug)]
pub struct Topic {
    /// Its name, which is no command's.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// Its Markdown.
    pub page: &'static str,
}

/// All topics: first those for callers, then those for operators.
pub const TOPICS: [Topic; 6] = [
    Topic {
        name: "callers",
        about: "Clients, what each caller sees, what an answer carries, refusals and what to do",
        page: include_str!("guide/callers.md"),
    },
    Topic {
        name: "tokens",
        about: "How an application gets a token, and what it is worth",
        page: include_str!("guide/tokens.md"),
    },
    Topic {
        name: "caching",
        about: "Routes and their times, Cache-Control, gzip, ranges, the standard mode",
        page: include_str!("guide/caching.md"),
    },
    Topic {
        name: "simulator",
        about: "A partner that misbehaves on command, for tests",
        page: include_str!("guide/simulator.md"),
    },
    Topic {
        name: "configuration",
        about: "The file: callers, limits, the budget, TLS, a sidecar",
        page: include_str!("../config/README.md"),
    },
    Topic {
        name: "operating",
        about: "Health, reload, the commands, alerts and causes, metrics",
        page: include_str!("../deploy/OPERATING.md"),
    },
];

/// Of two definitions of a link the first counts: rustdoc's own stand before those of the repository.
macro_rules! page {
    ($name:ident, $file:literal) => {
        #[doc = "[tokens.md]: crate::guide::tokens\n"]
        #[doc = include_str!($file)]
        pub mod $name {}
    };
}

page!(callers, "guide/callers.md");
page!(tokens, "guide/tokens.md");
page!(caching, "guide/caching.md");
page!(simulator, "guide/simulator.md");
