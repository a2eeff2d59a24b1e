//! The certificate, the key and the authority: read from files, checked against each other and against this node, and
//! made into the TLS configurations of both roles.
//!
//! TLS 1.3 only, both sides authenticated, no early data, no session tickets: every connection is a full handshake.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::error::SetupError;
use crate::identity::{dns_names, node_name};
use crate::options::TransportOptions;

/// The application protocol, so that a connection meant for something else ends in the handshake.
const ALPN: &[u8] = b"raft/1";

/// The TLS configurations of both roles.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// For the end that dials.
    pub client: Arc<ClientConfig>,
    /// For the end that accepts.
    pub server: Arc<ServerConfig>,
    client_verifier: Arc<dyn ClientCertVerifier>,
}

impl Credentials {
    /// Reads the three files of `options` and checks that the peers would accept them.
    ///
    /// # Errors
    /// [`SetupError`] names the file and the remedy.
    pub fn load(options: &TransportOptions) -> Result<Credentials, SetupError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = read_certificates("certificate", &options.certificate)?;
        let key = read_key(&options.key)?;
        let roots = Arc::new(read_roots(&options.ca)?);
        check_pair(&provider, &chain, &key, options)?;
        check_name(&chain, options)?;

        let server_verifier = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .map_err(tls)?;
        let client_verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(tls)?;
        check_trust(&chain, &*server_verifier, &*client_verifier, options)?;

        Ok(Credentials {
            client: client_config(&provider, server_verifier, chain.clone(), key.clone_key())?,
            server: server_config(&provider, client_verifier.clone(), chain, key)?,
            client_verifier,
        })
    }

    /// Whether who showed `chain` would be let in now: an authority may be gone since, or a date past.
    pub(crate) fn accepts(&self, chain: &[CertificateDer<'_>]) -> Result<(), String> {
        let (own, intermediates) = chain.split_first().ok_or("it shows no certificate")?;
        let verified = self
            .client_verifier
            .verify_client_cert(own, intermediates, UnixTime::now());
        verified.map(drop).map_err(|error| error.to_string())
    }
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<WebPkiServerVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ClientConfig>, SetupError> {
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(tls)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(Arc::new(config))
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, SetupError> {
    let mut config = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(tls)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Without tickets nothing can be resumed, and without resumption there is no early data to replay.
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}

fn check_pair(
    provider: &CryptoProvider,
    chain: &[CertificateDer<'static>],
    key: &PrivateKeyDer<'static>,
    options: &TransportOptions,
) -> Result<(), SetupError> {
    let signer = provider
        .key_provider
        .load_private_key(key.clone_key())
        .map_err(|error| pem("private key", &options.key, &error))?;
    CertifiedKey::new(chain.to_vec(), signer)
        .keys_match()
        .map_err(|_| SetupError::KeyMismatch {
            certificate: options.certificate.clone(),
            key: options.key.clone(),
        })
}

fn check_name(chain: &[CertificateDer<'static>], options: &TransportOptions) -> Result<(), SetupError> {
    let expected = node_name(options.id, &options.cluster);
    let own = chain
        .first()
        .ok_or_else(|| pem("certificate", &options.certificate, &"it is empty"))?;
    let names = dns_names(own).map_err(|error| pem("certificate", &options.certificate, &error))?;
    if names == [expected.as_str()] {
        return Ok(());
    }
    Err(SetupError::WrongName {
        path: options.certificate.clone(),
        found: if names.is_empty() {
            "nobody".to_string()
        } else {
            names.join(" and ")
        },
        expected,
    })
}

/// Asks the very verifiers that the peers will ask, for both roles: better a clear word at start than a silent cluster.
fn check_trust(
    chain: &[CertificateDer<'static>],
    server_verifier: &dyn ServerCertVerifier,
    client_verifier: &dyn ClientCertVerifier,
    options: &TransportOptions,
) -> Result<(), SetupError> {
    let untrusted = |reason: String| SetupError::Untrusted {
        path: options.certificate.clone(),
        ca: options.ca.clone(),
        reason,
    };
    let (own, intermediates) = chain
        .split_first()
        .ok_or_else(|| pem("certificate", &options.certificate, &"it is empty"))?;
    let name = ServerName::try_from(node_name(options.id, &options.cluster)).map_err(tls)?;
    let now = UnixTime::now();
    server_verifier
        .verify_server_cert(own, intermediates, &name, &[], now)
        .map_err(|error| untrusted(format!("as a server: {error}")))?;
    client_verifier
        .verify_client_cert(own, intermediates, now)
        .map_err(|error| untrusted(format!("as a client: {error}")))?;
    Ok(())
}

fn read_certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, SetupError> {
    let bytes = read(what, path)?;
    let certificates = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem(what, path, &error))?;
    if certificates.is_empty() {
        return Err(pem(what, path, &"there is no CERTIFICATE section"));
    }
    Ok(certificates)
}

fn read_roots(path: &Path) -> Result<RootCertStore, SetupError> {
    let what = "certificate of an authority";
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(what, path)? {
        roots.add(certificate).map_err(|error| pem(what, path, &error))?;
    }
    Ok(roots)
}

/// The mode is asked of the open file, so that what was checked is what is read.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, SetupError> {
    let what = "private key";
    let failed = |source| SetupError::ReadFile {
        what,
        path: path.to_path_buf(),
        source,
    };
    let mut file = fs::File::open(path).map_err(failed)?;
    check_key_mode(path, &file.metadata().map_err(failed)?)?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| pem(what, path, &error))
}

/// A key that others can read is no proof of anything; a key that others can write is one they chose.
#[cfg(unix)]
fn check_key_mode(path: &Path, metadata: &fs::Metadata) -> Result<(), SetupError> {
    use std::os::unix::fs::PermissionsExt;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & !0o600 == 0 {
        return Ok(());
    }
    Err(SetupError::KeyMode {
        path: path.to_path_buf(),
        mode,
    })
}

#[cfg(not(unix))]
fn check_key_mode(_path: &Path, _metadata: &fs::Metadata) -> Result<(), SetupError> {
    Ok(())
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, SetupError> {
    fs::read(path).map_err(|source| SetupError::ReadFile {
        what,
        path: path.to_path_buf(),
        source,
    })
}

fn pem(what: &'static str, path: &Path, reason: &dyn std::fmt::Display) -> SetupError {
    SetupError::Pem {
        what,
        path: path.to_path_buf(),
        reason: reason.to_string(),
    }
}

fn tls(error: impl std::error::Error + Send + Sync + 'static) -> SetupError {
    SetupError::Tls(Box::new(error))
}
