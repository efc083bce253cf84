//! Directives for caches.
//! Given a head, hands back the directives of an answer (RFC 9111 §5.2.2, RFC 5861, RFC 9213) or of a request (§5.2.1).
//! Never fails: what is malformed is read the way that stores or reuses less.

use std::borrow::Cow;

use http::header::{AGE, CACHE_CONTROL, HeaderName, PRAGMA};
use http::{HeaderMap, HeaderValue};
use sfv::{BareItem, Dictionary, ListEntry, Parser};
use smallvec::SmallVec;

use super::list;

/// RFC 9111 §1.2.2: the largest number of seconds that needs to be told apart.
pub const MOST_SECONDS: u64 = 1 << 31;

/// RFC 9213 §3.1: directives for caches like this one, which stand above `Cache-Control`.
const TARGETED: HeaderName = HeaderName::from_static("cdn-cache-control");

/// What an answer says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheControl {
    /// §5.2.2.5.
    pub no_store: bool,
    /// §5.2.2.7, for the whole answer.
    pub private: bool,
    /// §5.2.2.9.
    pub public: bool,
    /// §5.2.2.4, for the whole answer.
    pub no_cache: bool,
    /// §5.2.2.3.
    pub must_understand: bool,
    /// §5.2.2.2.
    pub must_revalidate: bool,
    /// §5.2.2.8.
    pub proxy_revalidate: bool,
    /// Fields that `private` names: they are not stored, the rest is.
    pub private_fields: SmallVec<[HeaderName; 1]>,
    /// Fields that `no-cache` names, likewise.
    pub no_cache_fields: SmallVec<[HeaderName; 1]>,
    /// §5.2.2.1, in seconds; one that is no number is 0, so that nothing rests on it.
    pub max_age: Option<u64>,
    /// §5.2.2.10, likewise.
    pub s_maxage: Option<u64>,
    /// RFC 5861 §3, in seconds.
    pub stale_while_revalidate: Option<u64>,
    /// RFC 5861 §4, in seconds.
    pub stale_if_error: Option<u64>,
    /// Whether `CDN-Cache-Control` spoke: `Cache-Control` and `Expires` are then not looked at (RFC 9213 §2.2).
    pub targeted: bool,
}

impl CacheControl {
    /// The directives of an answer.
    pub fn of(head: &HeaderMap) -> Self {
        if let Some(said) = targeted(head) {
            return said;
        }
        Self::of_field(head, &CACHE_CONTROL)
    }

    /// The directives in this field alone.
    pub fn of_field(head: &HeaderMap, name: &HeaderName) -> Self {
        let mut said = Self::default();
        for line in head.get_all(name) {
            for directive in directives(line.as_bytes()) {
                said.take(&directive);
            }
        }
        said
    }

    /// Fields that are not stored.
    pub fn withheld(self) -> Vec<HeaderName> {
        self.private_fields.into_iter().chain(self.no_cache_fields).collect()
    }

    fn take(&mut self, directive: &Directive<'_>) {
        // §4.2.1: of several the first counts.
        let first = |slot: &mut Option<u64>| *slot = slot.or(Some(directive.seconds().unwrap_or(0)));
        match lower(directive.name).as_ref() {
            b"no-store" => self.no_store = true,
            b"public" => self.public = true,
            b"must-understand" => self.must_understand = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"private" => self.private |= is_for_all(directive.value, &mut self.private_fields),
            b"no-cache" => self.no_cache |= is_for_all(directive.value, &mut self.no_cache_fields),
            b"max-age" => first(&mut self.max_age),
            b"s-maxage" => first(&mut self.s_maxage),
            b"stale-while-revalidate" => {
                self.stale_while_revalidate = self.stale_while_revalidate.or(directive.seconds());
            }
            b"stale-if-error" => self.stale_if_error = self.stale_if_error.or(directive.seconds()),
            _ => {}
        }
    }
}

/// Takes the fields that a qualified directive names; `true` where none can be read, and it is for the whole answer.
fn is_for_all(value: &[u8], fields: &mut SmallVec<[HeaderName; 1]>) -> bool {
    let names: Option<SmallVec<[HeaderName; 1]>> = unquoted(value)
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
        .map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    let names = names.unwrap_or_default();
    let all = names.is_empty();
    fields.extend(names);
    all
}

/// RFC 9213 §2.1: a dictionary, read strictly; one that cannot be read, or is empty, is as if it were not there.
fn targeted(head: &HeaderMap) -> Option<CacheControl> {
    let lines: Vec<&[u8]> = head.get_all(TARGETED).iter().map(HeaderValue::as_bytes).collect();
    let members: Dictionary = Parser::new(&lines.join(&b", "[..])).parse().ok()?;
    if members.is_empty() {
        return None;
    }
    let mut said = CacheControl { targeted: true, ..CacheControl::default() };
    for (name, member) in &members {
        let ListEntry::Item(item) = member else { continue };
        let number = item.bare_item.as_integer().map(|number| u64::try_from(i64::from(number)).unwrap_or(0));
        let number = number.map(|number| number.min(MOST_SECONDS));
        let text = item.bare_item.as_string().map_or("", |text| text.as_str());
        if matches!(item.bare_item, BareItem::Boolean(false)) {
            continue;
        }
        match name.as_str() {
            "no-store" => said.no_store = true,
            "public" => said.public = true,
            "must-understand" => said.must_understand = true,
            "must-revalidate" => said.must_revalidate = true,
            "proxy-revalidate" => said.proxy_revalidate = true,
            "private" => said.private |= is_for_all(text.as_bytes(), &mut said.private_fields),
            "no-cache" => said.no_cache |= is_for_all(text.as_bytes(), &mut said.no_cache_fields),
            // Of another type than its own, a lifetime makes the field unreadable: the other fields then decide.
            "max-age" => said.max_age = Some(number?),
            "s-maxage" => said.s_maxage = Some(number?),
            "stale-while-revalidate" => said.stale_while_revalidate = number,
            "stale-if-error" => said.stale_if_error = number,
            _ => {}
        }
    }
    Some(said)
}

/// What a request says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestCacheControl {
    /// §5.2.1.4, and `Pragma: no-cache` where there is no `Cache-Control` (§5.4).
    pub no_cache: bool,
    /// §5.2.1.5.
    pub no_store: bool,
    /// §5.2.1.7.
    pub only_if_cached: bool,
    /// §5.2.1.1, in seconds.
    pub max_age: Option<u64>,
    /// §5.2.1.2, in seconds; without a number any staleness is taken.
    pub max_stale: Option<u64>,
    /// §5.2.1.3, in seconds.
    pub min_fresh: Option<u64>,
}

impl RequestCacheControl {
    /// The directives of a request; a number that cannot be read makes its directive one that was not sent.
    pub fn of(head: &HeaderMap) -> Self {
        let mut wishes = Self::default();
        if !head.contains_key(CACHE_CONTROL) {
            let mut pragmas = head.get_all(PRAGMA).iter().flat_map(|line| directives(line.as_bytes()));
            wishes.no_cache = pragmas.any(|pragma| pragma.name.eq_ignore_ascii_case(b"no-cache"));
            return wishes;
        }
        for directive in head.get_all(CACHE_CONTROL).iter().flat_map(|line| directives(line.as_bytes())) {
            match lower(directive.name).as_ref() {
                b"no-cache" => wishes.no_cache = true,
                b"no-store" => wishes.no_store = true,
                b"only-if-cached" => wishes.only_if_cached = true,
                b"max-age" => wishes.max_age = wishes.max_age.or(directive.seconds()),
                b"max-stale" if directive.value.is_empty() => wishes.max_stale = Some(MOST_SECONDS),
                b"max-stale" => wishes.max_stale = wishes.max_stale.or(directive.seconds()),
                b"min-fresh" => wishes.min_fresh = wishes.min_fresh.or(directive.seconds()),
                _ => {}
            }
        }
        wishes
    }
}

/// One directive of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directive<'a> {
    /// As it stood.
    pub name: &'a [u8],
    /// As it stood behind the equals sign, quotes and spaces included.
    value: &'a [u8],
    /// Whether a space stood before the equals sign, where none may be.
    spaced: bool,
}

impl Directive<'_> {
    /// RFC 9111 §1.2.2; a space beside the equals sign belongs to no number.
    pub fn seconds(&self) -> Option<u64> {
        if self.spaced { None } else { seconds(unquoted(self.value)) }
    }
}

/// Digits alone; too large a number is the largest (RFC 9111 §1.2.2).
pub fn seconds(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<u64>().ok());
    Some(number.unwrap_or(MOST_SECONDS).min(MOST_SECONDS))
}

/// `Age` in seconds (RFC 9111 §5.1): of several the first counts, and one that is no number is as if it were not there.
pub fn age(head: &HeaderMap) -> u64 {
    let first = head.get(AGE).and_then(|value| value.as_bytes().split(|&byte| byte == b',').next());
    seconds(first.unwrap_or_default().trim_ascii()).unwrap_or(0)
}

fn unquoted(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(value)
}

/// A name in small letters, which most have already.
fn lower(name: &[u8]) -> Cow<'_, [u8]> {
    match name.iter().any(u8::is_ascii_uppercase) {
        true => Cow::Owned(name.to_ascii_lowercase()),
        false => Cow::Borrowed(name),
    }
}

/// Whether a head, of a request or an answer, forbids to send other bytes than the partner's (RFC 9111 §5.2.1.6, §5.2.2.6).
pub fn forbids_transform(head: &HeaderMap) -> bool {
    let mut names = head.get_all(CACHE_CONTROL).iter().flat_map(|line| directives(line.as_bytes()));
    names.any(|directive| directive.name.eq_ignore_ascii_case(b"no-transform"))
}

/// The directives of one line; a comma or an equals sign inside quotes separates nothing.
pub fn directives(line: &[u8]) -> impl Iterator<Item = Directive<'_>> {
    list::elements(line).map(|directive| {
        let at = directive.iter().position(|&byte| byte == b'=').unwrap_or(directive.len());
        let (name, value) = directive.split_at_checked(at).unwrap_or((directive, b""));
        let value = value.strip_prefix(b"=").unwrap_or(value);
        Directive { name: name.trim_ascii(), value, spaced: name != name.trim_ascii() }
    })
}
