//! TLS: rustls, with the certificates that the server's is checked against.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::OpenError;

/// Connects with TLS 1.2 or 1.3, and only to a server whose certificate is valid for its name.
pub(crate) fn connector(roots: Option<&Path>) -> Result<MakeRustlsConnect, OpenError> {
    // Not the provider of the process: that is for the host to choose, and may not be chosen yet.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| OpenError::Url(error.to_string()))?;
    let config = builder.with_root_certificates(root_store(roots)?).with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

fn root_store(file: Option<&Path>) -> Result<RootCertStore, OpenError> {
    let missing =
        || OpenError::RootCertificates(file.map_or_else(|| "the system".into(), Into::into));
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(file).ok_or_else(missing)?);
    if added == 0 { Err(missing()) } else { Ok(roots) }
}

fn certificates(file: Option<&Path>) -> Option<Vec<CertificateDer<'static>>> {
    use rustls::pki_types::pem::PemObject;
    match file {
        // One that cannot be read may be the one that is meant.
        Some(file) => CertificateDer::pem_file_iter(file).ok()?.collect::<Result<_, _>>().ok(),
        None => Some(rustls_native_certs::load_native_certs().certs),
    }
}
