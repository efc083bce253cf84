//! What exactly did the partner say?
//! Given a header, hands back a short text of it that can be shown, and says a text that nobody can read once an hour.
//! Never holds more than a fixed number of bytes, and nothing of what it shows can end a line or a quotation.

use std::fmt;
use std::time::Duration;

use http::HeaderName;
use parking_lot::Mutex;

use crate::clock::Tick;

/// So many bytes of a header are shown, its name among them.
const MAX_EXCERPT: usize = 64;

/// So many bytes of its name.
const MAX_NAME: usize = 36;

/// What stands where a text is cut.
const CUT: &str = "...";

/// A header as it is shown: `retry-after: 30`, escaped, at most 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HeaderExcerpt {
    text: [u8; MAX_EXCERPT],
    length: u8,
}

impl HeaderExcerpt {
    /// The header's name and value, or as much of them as fits.
    pub fn new(name: &HeaderName, value: &[u8]) -> Self {
        let mut excerpt = Self { text: [0; MAX_EXCERPT], length: 0 };
        let name = name.as_str().get(..MAX_NAME).unwrap_or(name.as_str());
        excerpt.push(name.as_bytes());
        excerpt.push(b": ");
        let escapes = || value.iter().map(|byte| byte.escape_ascii());
        let free = MAX_EXCERPT - usize::from(excerpt.length);
        // More bytes than are free are never looked at.
        let fits = escapes().take(free + 1).map(|escape| escape.len()).sum::<usize>() <= free;
        let mut left = if fits { free } else { free - CUT.len() };
        for escape in escapes() {
            let Some(after) = left.checked_sub(escape.len()) else { break };
            left = after;
            escape.for_each(|byte| excerpt.push(&[byte]));
        }
        if !fits {
            excerpt.push(CUT.as_bytes());
        }
        excerpt
    }

    fn push(&mut self, bytes: &[u8]) {
        let free = self.text.iter_mut().skip(usize::from(self.length));
        let written = free.zip(bytes).map(|(place, byte)| *place = *byte).count();
        self.length = self.length.saturating_add(u8::try_from(written).unwrap_or(u8::MAX));
    }

    /// The text: printable ASCII.
    pub fn as_str(&self) -> &str {
        self.text.get(..usize::from(self.length)).and_then(|text| std::str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl fmt::Display for HeaderExcerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for HeaderExcerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({})", self.as_str())
    }
}

/// How long a text that was said is not said again.
const QUIET: Duration = Duration::from_secs(3_600);

/// So many texts are said in that time; what is beyond is not said, so that a text that changes with each answer fills no log.
const MAX_TEXTS: usize = 32;

/// The texts that could not be read, each said to the operator once an hour.
#[derive(Debug, Default)]
pub struct Unreadable {
    logged: Mutex<Vec<(HeaderExcerpt, Tick)>>,
}

impl Unreadable {
    /// Says it in the log, unless it was said within the hour.
    pub fn say(&self, excerpt: HeaderExcerpt, now: Tick) {
        if self.is_news(excerpt, now) {
            tracing::warn!(header = excerpt.as_str(), "the partner names a time that cannot be read; it is not obeyed");
        }
    }

    fn is_news(&self, excerpt: HeaderExcerpt, now: Tick) -> bool {
        let mut logged = self.logged.lock();
        logged.retain(|(_, at)| now.since(*at) < QUIET);
        let news = logged.len() < MAX_TEXTS && logged.iter().all(|(other, _)| *other != excerpt);
        if news {
            logged.push((excerpt, now));
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(name: &'static str, value: &[u8]) -> HeaderExcerpt {
        HeaderExcerpt::new(&HeaderName::from_static(name), value)
    }

    #[test]
    fn a_word_is_printable_ascii_of_64_bytes_at_most() {
        let long = "x".repeat(200);
        let rows: [(&'static str, &[u8], &str); 5] = [
            ("retry-after", b"soon", "retry-after: soon"),
            ("retry-after", b"", "retry-after: "),
            ("retry-after", b"a\"b\\c\n\xff", r#"retry-after: a\"b\\c\n\xff"#),
            ("retry-after", long.as_bytes(), &format!("retry-after: {}...", "x".repeat(48))),
            ("x-ratelimit-a-name-that-goes-on-and-on-and-never-ends", b"1", "x-ratelimit-a-name-that-goes-on-and-: 1"),
        ];
        for (name, value, shown) in rows {
            assert_eq!(excerpt(name, value).as_str(), shown);
        }
        // Wherever an escape falls, it is shown whole or not at all.
        for length in 0..90 {
            let value = [vec![b'x'; length], vec![0xff; 20]].concat();
            let shown = excerpt("retry-after", &value).to_string();
            assert!(shown.len() <= MAX_EXCERPT && shown.ends_with("..."), "{shown}");
            let escapes = shown.trim_end_matches("...").replace("\\xff", "");
            assert!(!escapes.contains('\\'), "{shown}");
        }
        let whole = "y".repeat(MAX_EXCERPT - "retry-after: ".len());
        assert_eq!(
            excerpt("retry-after", whole.as_bytes()).as_str(),
            format!("retry-after: {whole}"),
            "what fits is not cut"
        );
    }

    #[test]
    fn what_cannot_be_read_is_said_once_an_hour_for_each_text_and_only_so_many() {
        let at = |seconds: u64| Tick::from_nanos(seconds * 1_000_000_000);
        let unreadable = Unreadable::default();
        let soon = excerpt("retry-after", b"soon");
        assert!(unreadable.is_news(soon, at(0)));
        assert!(!unreadable.is_news(soon, at(3_599)));
        assert!(unreadable.is_news(excerpt("retry-after", b"later"), at(3_599)));
        assert!(unreadable.is_news(soon, at(3_600)), "an hour later it is news again");
        let texts = (0..1_000).map(|nth| excerpt("retry-after", format!("in {nth} moons").as_bytes()));
        let news = texts.filter(|text| unreadable.is_news(*text, at(3_601))).count();
        assert_eq!(news, MAX_TEXTS - 2, "a text that changes with each answer fills no log");
        assert_eq!(unreadable.logged.lock().len(), MAX_TEXTS);
    }
}
