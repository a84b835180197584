//! How a connection is made: plain, or with the feature `tls` also by TLS.

use hyper_util::client::legacy::connect::HttpConnector;

use crate::builder::BuildError;
use crate::transport::Bounds;

fn plain(bounds: &Bounds) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(bounds.connect_timeout));
    connector.set_nodelay(true);
    connector
}

#[cfg(feature = "tls")]
pub(crate) use with::{Connector, connector};
#[cfg(not(feature = "tls"))]
pub(crate) use without::{Connector, connector};

#[cfg(not(feature = "tls"))]
mod without {
    use super::{Bounds, BuildError, HttpConnector, plain};

    pub(crate) type Connector = HttpConnector;

    #[expect(clippy::unnecessary_wraps, reason = "with TLS it can fail")]
    pub(crate) fn connector(bounds: &Bounds, _roots: Option<&[u8]>) -> Result<Connector, BuildError> {
        Ok(plain(bounds))
    }
}

#[cfg(feature = "tls")]
mod with {
    use std::sync::Arc;

    use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
    use rustls::crypto::ring;
    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{ClientConfig, RootCertStore};

    use super::{Bounds, BuildError, HttpConnector, plain};

    pub(crate) type Connector = HttpsConnector<HttpConnector>;

    pub(crate) fn connector(bounds: &Bounds, roots: Option<&[u8]>) -> Result<Connector, BuildError> {
        let refused = |error: &dyn std::fmt::Display| BuildError::new(format!("no TLS: {error}"));
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(&error))?;
        let config = match roots {
            Some(pem) => config.with_root_certificates(read(pem)?),
            None => config.with_native_roots().map_err(|error| refused(&error))?,
        };
        let mut plain = plain(bounds);
        plain.enforce_http(false);
        let https = HttpsConnectorBuilder::new().with_tls_config(config.with_no_client_auth());
        Ok(https.https_or_http().enable_http1().wrap_connector(plain))
    }

    fn read(pem: &[u8]) -> Result<RootCertStore, BuildError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let added = certificate.map_err(|error| error.to_string());
            let added =
                added.and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|error| BuildError::new(format!("a root certificate cannot be used: {error}")))?;
        }
        if roots.is_empty() {
            return Err(BuildError::new("there is no root certificate in what was given"));
        }
        Ok(roots)
    }
}
