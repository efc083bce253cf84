//! How is a secret carried?
//! Given a secret's text, hands back a value whose `Debug` says nothing and whose memory is wiped.
//! Never prints, compares or serialises what it holds.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

/// A text that cannot be printed.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text in.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text itself, for the one place that must send it.
    pub fn reveal(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn printing_a_secret_says_nothing_of_it() {
        let secret = Secret::new("swordfish".to_owned());
        assert_eq!(format!("{secret:?}"), "(secret)");
        assert_eq!(secret.reveal(), "swordfish");
    }
}
