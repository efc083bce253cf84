//! `Cache-Status` (RFC 9211).
//! Given what happened, writes one cache's member of it; given a head, finds the details that members of others have.
//! Never says more than closed words and numbers.

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode};
use smallvec::SmallVec;

/// The field, which `http` does not name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// A cache's name as it begins its member: what is no token is a string (RFC 8941 §3.3).
pub fn identifier(name: &str) -> String {
    let token = name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    if token { name.to_owned() } else { format!("{name:?}") }
}

/// What the member of a hit begins with, up to the number of seconds; see [`Member::of_hit`].
pub fn hit(identifier: &str) -> Box<[u8]> {
    format!("{identifier}; hit; ttl=").into_bytes().into()
}

/// One member, a parameter after the other.
#[derive(Debug)]
pub struct Member(SmallVec<[u8; 128]>);

impl Member {
    /// The name alone, or what [`hit`] made of it.
    #[inline]
    pub fn of(identifier: &[u8]) -> Self {
        Self(SmallVec::from_slice(identifier))
    }

    /// Of a [`hit`] that is fresh for so many seconds, or has been stale for them.
    #[inline]
    pub fn of_hit(hit: &[u8], ttl: i64) -> Self {
        let mut member = Self::of(hit);
        member.number(ttl);
        member
    }

    /// Why the cache asked (RFC 9211 §2.2).
    pub fn forwarded(&mut self, why: &str) {
        self.say(b"; fwd=");
        self.say(why.as_bytes());
    }

    /// What it was answered.
    pub fn forwarded_status(&mut self, status: StatusCode) {
        self.say(b"; fwd-status=");
        self.number(status.as_u16());
    }

    /// The answer is stored now.
    pub fn stored(&mut self) {
        self.say(b"; stored");
    }

    /// Another request's call served this one.
    pub fn collapsed(&mut self) {
        self.say(b"; collapsed");
    }

    /// Seconds of freshness left; negative when stale.
    pub fn ttl(&mut self, seconds: i64) {
        self.say(b"; ttl=");
        self.number(seconds);
    }

    /// What else there is to say, if anything.
    #[inline]
    pub fn detail(&mut self, detail: &str) {
        if !detail.is_empty() {
            self.say(b"; detail=");
            self.say(detail.as_bytes());
        }
    }

    /// The member as a value of the field.
    #[inline]
    pub fn value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("gateway"))
    }

    #[inline]
    fn say(&mut self, text: &[u8]) {
        self.0.extend_from_slice(text);
    }

    #[inline]
    fn number(&mut self, number: impl itoa::Integer) {
        self.say(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// Whether a member has one of these details.
pub fn has_detail(head: &HeaderMap, wanted: &[&str]) -> bool {
    let lines = head.get_all(CACHE_STATUS).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|member| detail(member).is_some_and(|told| wanted.contains(&told)))
}

/// Takes out the members whose detail is one that is not for them to say.
pub fn strip_details(head: &mut HeaderMap, withheld: impl Fn(&str) -> bool) {
    let is_out = |member: &str| detail(member).is_some_and(&withheld);
    let is_meant = |line: &HeaderValue| line.to_str().is_ok_and(|line| line.split(',').any(is_out));
    if !head.get_all(CACHE_STATUS).iter().any(is_meant) {
        return;
    }
    let lines: Vec<HeaderValue> = head.get_all(CACHE_STATUS).iter().cloned().collect();
    head.remove(CACHE_STATUS);
    for line in lines {
        let kept: Vec<&str> = line.to_str().unwrap_or_default().split(',').filter(|member| !is_out(member)).collect();
        let kept = HeaderValue::from_str(kept.join(",").trim()).ok().filter(|kept| !kept.is_empty());
        head.extend(kept.map(|kept| (CACHE_STATUS, kept)));
    }
}

/// The detail of one member.
fn detail(member: &str) -> Option<&str> {
    member.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("detail=")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_member_is_one_that_a_strict_reader_takes() {
        for name in ["gw", "gw-1.eu_west", "1gw", "my gateway", "a\"b\\c", "-"] {
            let identifier = identifier(name);
            let mut whole = Member::of(identifier.as_bytes());
            whole.forwarded("stale");
            whole.forwarded_status(StatusCode::NOT_MODIFIED);
            whole.stored();
            whole.collapsed();
            whole.ttl(-5);
            whole.detail("");
            whole.detail("stale-if-error");
            let hit = Member::of_hit(&hit(&identifier), 53);
            let tail = "; fwd=stale; fwd-status=304; stored; collapsed; ttl=-5; detail=stale-if-error";
            assert_eq!(
                (whole.value(), hit.value()),
                (format!("{identifier}{tail}").parse().unwrap(), format!("{identifier}; hit; ttl=53").parse().unwrap())
            );
            for member in [whole, hit] {
                let list: sfv::List = sfv::Parser::new(&member.0[..]).parse().unwrap();
                let [sfv::ListEntry::Item(item)] = &list[..] else { panic!("{member:?} is one item") };
                let read = item.bare_item.as_token().map(|token| token.as_str());
                assert_eq!(read.or(item.bare_item.as_string().map(|string| string.as_str())), Some(name));
            }
        }
    }

    #[test]
    fn details_are_found_and_taken_out_by_member() {
        let mut head = HeaderMap::new();
        for line in ["cdn; hit, x; ttl=1; detail=bad ; fwd=miss, y; hit", "z; detail=worse"] {
            head.append(CACHE_STATUS, HeaderValue::from_static(line));
        }
        assert!(has_detail(&head, &["other", "bad"]) && !has_detail(&head, &["ba", "hit"]));
        strip_details(&mut head, |detail| ["bad", "worse"].contains(&detail));
        assert_eq!(head, HeaderMap::from_iter([(CACHE_STATUS, HeaderValue::from_static("cdn; hit, y; hit"))]));
    }
}
