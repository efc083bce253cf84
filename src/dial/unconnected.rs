//! Why is there no connection?
//! Given the error of a connector, hands back the kind of it: what another try may mend, and what an operator has to.
//! Never says more than the kind; the words are the error's own.

use std::error::Error;
use std::io;

use super::proxy::NoTunnel;

/// A kind of failure to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconnected {
    /// The server shows a certificate that is not trusted: of another issuer or name, or out of date.
    Certificate,
    /// The proxy does not take the credentials.
    ProxyAuth,
    /// The proxy will not open a tunnel there.
    ProxyRefuses,
    /// Anything else: it may be otherwise in a moment.
    Other,
}

impl Unconnected {
    /// Looks for what is behind an error.
    pub fn of(error: &(dyn Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(kind) = kind(error) {
                return kind;
            }
            // What an error of the operating system's kind holds is not its source: that is its source's.
            next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        Self::Other
    }
}

fn kind(error: &(dyn Error + 'static)) -> Option<Unconnected> {
    if let Some(NoTunnel::Auth) = error.downcast_ref() {
        return Some(Unconnected::ProxyAuth);
    }
    if let Some(NoTunnel::Refused(_)) = error.downcast_ref() {
        return Some(Unconnected::ProxyRefuses);
    }
    let untrusted = matches!(error.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)));
    untrusted.then_some(Unconnected::Certificate)
}

/// An error with its causes in one line, each once.
pub fn describe(error: &(dyn Error + 'static)) -> String {
    let mut causes: Vec<String> = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        if !causes.iter().any(|said| said.contains(&error.to_string())) {
            causes.push(error.to_string());
        }
        cause = error.source();
    }
    causes.join(": ").replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;

    use super::*;

    #[test]
    fn what_is_behind_an_error_is_found_however_deep_it_lies() {
        let certificate = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let broken = rustls::Error::General("cut off".to_owned());
        let rows: [(Box<dyn Error>, Unconnected); 6] = [
            (Box::new(certificate()), Unconnected::Certificate),
            (Box::new(io::Error::other(io::Error::other(certificate()))), Unconnected::Certificate),
            (Box::new(io::Error::other(broken)), Unconnected::Other),
            (Box::new(NoTunnel::Auth), Unconnected::ProxyAuth),
            (Box::new(io::Error::other(NoTunnel::Refused(403))), Unconnected::ProxyRefuses),
            (Box::new(NoTunnel::Failed(503)), Unconnected::Other),
        ];
        for (error, expected) in rows {
            assert_eq!(Unconnected::of(&*error), expected, "{error:?}");
        }
    }
}
