//! Is this the very server whose certificate lies in that file?
//! Given the file and a connection, hands back a private connection to the holder of that certificate's key.
//! Never trusts an issuer: whoever else has a certificate, of whatever name, is refused.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Why the connection is not private.
#[derive(Debug, thiserror::Error)]
pub enum Unproven {
    /// The file holds no certificate.
    #[error("{0}: no certificate in PEM can be read there")]
    NoCertificate(PathBuf),
    /// rustls refuses the settings.
    #[error("TLS: {0}")]
    Settings(#[from] Error),
    /// Another certificate, or no TLS at all.
    #[error("the server does not show the certificate in this configuration: {0}")]
    Refused(#[from] io::Error),
}

/// Makes this connection private.
///
/// # Errors
/// [`Unproven`].
pub async fn pinned(stream: TcpStream, cert_file: &Path) -> Result<TlsStream<TcpStream>, Unproven> {
    let none = || Unproven::NoCertificate(cert_file.to_owned());
    let certificate = CertificateDer::from_pem_file(cert_file).map_err(|_| none())?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Pinned { certificate, provider: Arc::clone(&provider) };
    let settings = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // The certificate itself is compared, so its names say nothing.
    let name = ServerName::from(stream.peer_addr()?.ip());
    Ok(TlsConnector::from(Arc::new(settings)).connect(name, stream).await?)
}

#[derive(Debug)]
struct Pinned {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        presented: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match *presented == self.certificate {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, presented, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        presented: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, presented, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
