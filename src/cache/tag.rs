//! By what is a body told apart from others?
//! Given its bytes, hands back a strong entity tag (RFC 9110 §8.8.3) of our own.
//! Never takes the partner's tag for the bytes that we send: they may be another form of the document.

use aws_lc_rs::digest::{SHA256, digest};

/// A strong entity tag: the first 128 bits of the SHA-256 of the bytes it stands for, quoted base64url as in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tag([u8; 24]);

impl Tag {
    /// The tag of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let mut text = [b'"'; 24];
        if let (Some(bits), Some(inside)) = (digest(&SHA256, bytes).as_ref().get(..16), text.get_mut(1..23)) {
            data_encoding::BASE64URL_NOPAD.encode_mut(bits, inside);
        }
        Self(text)
    }

    /// As it stands in the header.
    pub fn text(&self) -> &[u8] {
        &self.0
    }
}
