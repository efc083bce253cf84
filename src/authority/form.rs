//! What was asked in a form?
//! Given a body or a Basic header, hands back parameters, each at most once.
//! Never guesses what was meant: white space around a value is dropped, and nothing else. Wipes what it read.

use data_encoding::BASE64;
use zeroize::Zeroizing;

/// More parameters than this no request has.
const MOST: usize = 32;

/// Parameters that may come more than once (RFC 8693 §2.1, RFC 8707 §2).
const SEVERAL: [&str; 2] = ["resource", "audience"];

/// A form, read.
#[derive(Default)]
pub(crate) struct Form(Vec<(String, Zeroizing<String>)>);

/// Why a form cannot be read; the texts may be shown to whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unreadable(pub(super) &'static str);

impl Form {
    /// Reads what a client posted. Names, secrets, tokens, scopes and URIs neither begin nor end in white space (RFC 6749
    /// appendix A, RFC 6750 §2.1), but files that hold them end in a newline, and so does a body that an editor or a
    /// here-document wrote.
    pub(super) fn posted(body: &[u8]) -> Result<Self, Unreadable> {
        let Self(mut pairs) = Self::parse(body.trim_ascii_end())?;
        for (_, value) in &mut pairs {
            *value = trimmed(value);
        }
        pairs.retain(|(_, value)| !value.is_empty());
        Ok(Self(pairs))
    }

    /// Reads `application/x-www-form-urlencoded` (RFC 6749 appendix B). A parameter without a value counts as absent,
    /// one given twice is a fault (§3.2).
    pub(crate) fn parse(body: &[u8]) -> Result<Self, Unreadable> {
        let mut form = Self::default();
        for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let name = decoded(halves.next().unwrap_or_default())?;
            let value = decoded(halves.next().unwrap_or_default())?;
            if value.is_empty() {
                continue;
            }
            if form.one(&name).is_some() && !SEVERAL.contains(&name.as_str()) {
                return Err(Unreadable("a parameter is given twice"));
            }
            if form.0.len() == MOST {
                return Err(Unreadable("there are too many parameters"));
            }
            form.0.push((String::clone(&name), value));
        }
        Ok(form)
    }

    /// The parameter's value, or the first of several.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.every(name).next()
    }

    /// The names of all parameters.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// All values of a parameter.
    pub(super) fn every(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn trimmed(value: &str) -> Zeroizing<String> {
    Zeroizing::new(value.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned())
}

/// `+` is a space, and so is a space, which `curl -d` leaves as it is; `%` and two digits are a byte; the whole is UTF-8.
fn decoded(text: &[u8]) -> Result<Zeroizing<String>, Unreadable> {
    const FAULT: Unreadable = Unreadable("the form is not encoded as application/x-www-form-urlencoded is");
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let (high, low) = (digit().ok_or(FAULT)?, digit().ok_or(FAULT)?);
                u8::try_from(high * 16 + low).map_err(|_| FAULT)?
            }
            0x20..=0x7e => byte,
            _ => return Err(FAULT),
        });
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| FAULT)?;
    if text.contains('\0') { Err(FAULT) } else { Ok(Zeroizing::new(text.to_owned())) }
}

/// A name and a secret.
pub(super) type Named = (Zeroizing<String>, Zeroizing<String>);

/// Name and secret of `Authorization: Basic …`; both are encoded as in a form (RFC 6749 §2.3.1). `None`: another scheme.
pub(super) fn basic(value: &[u8]) -> Option<Result<Named, Unreadable>> {
    const FAULT: Unreadable = Unreadable("the Basic credentials cannot be read");
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let read = || {
        let plain = Zeroizing::new(BASE64.decode(rest.trim_ascii()).map_err(|_| FAULT)?);
        // `echo name:secret | base64` encodes the newline too.
        let plain = plain.trim_ascii();
        let colon = plain.iter().position(|&byte| byte == b':').ok_or(FAULT)?;
        let (name, secret) = plain.split_at_checked(colon).ok_or(FAULT)?;
        Ok((trimmed(&decoded(name)?), trimmed(&decoded(secret.get(1..).unwrap_or_default())?)))
    };
    Some(read())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> bool {
        Form::parse(body.as_bytes()).is_err()
    }

    #[test]
    fn a_form_is_read_as_it_is_written() {
        let form = Form::parse(b"a=1&b=x+y&c=%E2%82%AC%2b&d=&&e&f=a=b").unwrap();
        let values = ["a", "b", "c", "d", "e", "f", "g"].map(|name| form.one(name));
        assert_eq!(values, [Some("1"), Some("x y"), Some("€+"), None, None, Some("a=b"), None]);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in ["a=1&a=1", "a=1&%61=2", "a=%", "a=%4", "a=%4g", "a=%ff", "a=%00", "a=\tb", "a=\u{e9}"] {
            assert!(fault(body), "{body}");
        }
        assert!(fault(&(0..40).map(|nth| format!("p{nth}=1")).collect::<Vec<_>>().join("&")));
        // These two may come several times, by their own RFCs.
        assert_eq!(Form::parse(b"audience=a&audience=b").unwrap().every("audience").count(), 2);
    }

    /// A token from a file came with its newline, was no token then, and its revocation was answered 200.
    #[test]
    fn white_space_around_a_value_and_behind_a_body_is_not_part_of_it() {
        for around in ["", " ", "\n", "\r\n", "\t", " \r\n\n"] {
            let encoded: String = around.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let body = format!("token={encoded}abc{encoded}&scope=a b{encoded}&empty={encoded}&end=1{around}");
            let form = Form::posted(body.as_bytes()).unwrap();
            let values = ["token", "scope", "empty", "end"].map(|name| form.one(name));
            assert_eq!(values, [Some("abc"), Some("a b"), None, Some("1")], "{body}");
        }
        assert_eq!(Form::posted(b"a=x%0ay").unwrap().one("a"), Some("x\ny"), "inside it is");
    }

    proptest::proptest! {
        #[test]
        fn what_was_encoded_is_read_again(values in proptest::collection::vec("[^\\x00]{1,20}", 1..20)) {
            let encode = |value: &str| value.bytes().map(|byte| format!("%{byte:02x}")).collect::<String>();
            let pairs = values.iter().enumerate().map(|(nth, value)| format!("p{nth}={}", encode(value)));
            let form = Form::parse(pairs.collect::<Vec<_>>().join("&").as_bytes()).unwrap();
            for (nth, value) in values.iter().enumerate() {
                proptest::prop_assert_eq!(form.one(&format!("p{nth}")), Some(value.as_str()));
            }
        }

        #[test]
        fn no_bytes_end_the_process(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Form::parse(&body);
            let _ = basic(&[b"Basic ", body.as_slice()].concat());
        }
    }

    #[test]
    fn basic_credentials_are_decoded_twice() {
        let read = |text: &str| {
            let value = format!("Basic {}", BASE64.encode(text.as_bytes()));
            basic(value.as_bytes()).unwrap().map(|(name, secret)| (name.to_string(), secret.to_string()))
        };
        assert_eq!(read("billing:s%3A%2B+x"), Ok(("billing".to_owned(), "s:+ x".to_owned())));
        assert_eq!(read("billing:a:b"), Ok(("billing".to_owned(), "a:b".to_owned())));
        for around in ["\n", "\r\n", "%0A", " "] {
            assert_eq!(read(&format!("billing:a{around}")), Ok(("billing".to_owned(), "a".to_owned())), "{around:?}");
        }
        assert!(read("billing").is_err() && read("a%:b").is_err());
        assert!(basic(b"basic !").unwrap().is_err());
        assert!(basic(b"Bearer x").is_none() && basic(b"B").is_none());
    }
}
