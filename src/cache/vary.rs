//! Which requests get the same answer?
//! Given what an answer varies by and the heads of requests, says whether they agree (RFC 9111 §4.1).
//! Never compares by letters where a header's meaning is known: order, case and spaces of languages and codings are none.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_CHARSET, ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_LANGUAGE, HeaderName, VARY};

use crate::http::{list, q_list};

/// What an answer was chosen by: header names and the normalised values that the request had.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    by: Box<[Chosen]>,
    /// The one language that the answer says it has, in lower case.
    language: Option<Box<[u8]>>,
}

/// A header's name and normalised value; no value where the request did not have it.
type Chosen = (HeaderName, Option<Box<[u8]>>);

/// `Vary: *`: chosen by something that no request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anything;

impl Selection {
    /// What the answer `head` to the request `sent` was chosen by.
    ///
    /// # Errors
    /// [`Anything`], also among other names. A name that is none makes it [`Anything`] as well.
    pub fn of(head: &HeaderMap, sent: &HeaderMap) -> Result<Self, Anything> {
        let mut names: Vec<HeaderName> = Vec::new();
        for name in list::plain_elements(head, &VARY) {
            match name {
                b"" => {}
                b"*" => return Err(Anything),
                name => names.push(HeaderName::from_bytes(name).map_err(|_| Anything)?),
            }
        }
        names.sort_unstable_by(|a, b| a.as_str().cmp(b.as_str()));
        names.dedup();
        let chosen = |name: HeaderName| {
            let value = normalised(sent, &name);
            (name, value)
        };
        let language = head.get(CONTENT_LANGUAGE).map(|value| value.as_bytes().trim_ascii().to_ascii_lowercase());
        let one = language
            .filter(|tag| !tag.is_empty() && tag.iter().all(|&byte| byte == b'-' || byte.is_ascii_alphanumeric()));
        Ok(Self { by: names.into_iter().map(chosen).collect(), language: one.map(Vec::into_boxed_slice) })
    }

    /// Whether a request would have been answered the same.
    pub fn fits(&self, sent: &HeaderMap) -> bool {
        self.by.iter().all(|(name, value)| normalised(sent, name) == *value || self.is_preferred(name, sent))
    }

    /// Whether the answer is in the very language that the request likes best: whoever chooses by languages would choose
    /// it (RFC 9111 §4.1 lets semantics decide; RFC 9110 §12.5.4).
    fn is_preferred(&self, name: &HeaderName, sent: &HeaderMap) -> bool {
        *name == ACCEPT_LANGUAGE
            && self.language.is_some()
            && best_language(sent) == self.language.as_deref().map(<[u8]>::to_vec)
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> usize {
        let one = |(name, value): &Chosen| name.as_str().len() + value.as_ref().map_or(0, |value| value.len());
        let language = self.language.as_ref().map_or(0, |language| language.len());
        self.by.iter().map(|chosen| size_of::<Chosen>() + one(chosen)).sum::<usize>() + language
    }
}

/// The one language with the greatest weight, in lower case; `None` where several share it.
fn best_language(sent: &HeaderMap) -> Option<Vec<u8>> {
    let listed = normalised(sent, &ACCEPT_LANGUAGE)?;
    let weighed = listed.split(|&byte| byte == b',').map(|item| {
        let (tag, weight) = q_list::weighted(item);
        (tag, weight.unwrap_or(0))
    });
    let mut best: Option<(&[u8], u16, bool)> = None;
    for (tag, weight) in weighed {
        match best {
            Some((_, most, _)) if weight < most => {}
            Some((held, most, _)) if weight <= most => best = Some((held, most, false)),
            _ => best = Some((tag, weight, true)),
        }
    }
    best.filter(|(tag, weight, alone)| *alone && *weight > 0 && *tag != b"*").map(|(tag, ..)| tag.to_vec())
}

/// The header's lines as one list without insignificant spaces; `None` where it is absent.
fn normalised(sent: &HeaderMap, name: &HeaderName) -> Option<Box<[u8]>> {
    if !sent.contains_key(name) {
        return None;
    }
    let elements = q_list::elements(sent, name).filter(|element| !element.is_empty());
    let mut items: Vec<Vec<u8>> = elements.map(<[u8]>::to_vec).collect();
    if [ACCEPT, ACCEPT_LANGUAGE, ACCEPT_ENCODING, ACCEPT_CHARSET].contains(name) {
        // RFC 9110 §12.4.2: weights order, places do not; parameters of media types may be case-sensitive, but not their order.
        let lower = *name != ACCEPT;
        for item in &mut items {
            *item = q_list::canonical(item);
            if lower {
                item.make_ascii_lowercase();
            }
        }
        items.sort_unstable();
        items.dedup();
    }
    Some(items.join(&b","[..]).into_boxed_slice())
}
