//! TLS, where certificates are given.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{Error, ServerConfig};

/// A certificate chain and its key, ready to serve with. Clones are the same: what [`replace`](Self::replace)
/// does, all see.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

impl Tls {
    /// From PEM: the chain, with the server's own certificate first, and the private key.
    ///
    /// # Errors
    ///
    /// [`TlsError`] says which of the two is not as it should be.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = CertificateDer::pem_slice_iter(chain).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| TlsError(format!("the certificates cannot be read: {error}")))?;
        if chain.is_empty() {
            return Err(TlsError("there is no certificate".into()));
        }
        for (number, certificate) in (1..).zip(&chain) {
            let parsed = ParsedCertificate::try_from(certificate);
            let _ = parsed.map_err(|error| TlsError(format!("certificate {number} is none: {error}")))?;
        }
        if is_encrypted(key) {
            return Err(TlsError("the private key is encrypted; it is needed without a passphrase".into()));
        }
        let key = PrivateKeyDer::from_pem_slice(key);
        let key = key.map_err(|error| TlsError(format!("the private key cannot be read: {error}")))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(_) => TlsError("the private key is not that of certificate 1".into()),
                error => TlsError(format!("the private key cannot be used: {error}")),
            })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(ArcSwap::from_pointee(config))))
    }

    /// From the next connection on, this certificate is shown instead. Those that are there go on.
    pub fn replace(&self, by: &Self) {
        self.0.store(by.0.load_full());
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

/// Whether it is a key that needs a passphrase, in the form of PKCS #8 or in the older one.
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.lines()
        .any(|line| line == "-----BEGIN ENCRYPTED PRIVATE KEY-----" || line == "Proc-Type: 4,ENCRYPTED")
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// A certificate or key cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError(String);

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TlsError {}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    const OLD: &str = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
        DEK-Info: AES-128-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    const NEW: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";

    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn what_is_wrong_with_a_certificate_or_key_is_named() {
        let ((chain, key), (_, other)) = (made(), made());
        assert!(Tls::from_pem(chain.as_bytes(), key.as_bytes()).is_ok());
        let two = format!("{chain}{NO_CERTIFICATE}");
        for (chain, key, says) in [
            ("", &*key, "there is no certificate"),
            (&*key, &*key, "there is no certificate"),
            (NO_CERTIFICATE, &*key, "certificate 1 is none"),
            (&*two, &*key, "certificate 2 is none"),
            (&*chain, &*other, "not that of certificate 1"),
            (&*chain, NEW, "encrypted"),
            (&*chain, OLD, "encrypted"),
            (&*chain, &*chain, "private key cannot be read"),
            (&*chain, "", "private key cannot be read"),
        ] {
            let error = Tls::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(says), "{says}: {error}");
        }
    }
}
