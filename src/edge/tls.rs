//! TLS of the API's port and of the webhook's. Certificate, key and the client CA
//! bundle are files, which are reloaded when they change; new connections use the
//! new ones. A change that cannot be used is logged, and the old files stay in use.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime, pem::PemObject as _},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::{TLS12, TLS13},
};
use tokio_rustls::TlsAcceptor;
use tracing::{info, warn};

/// How often the files are checked for changes.
const RELOAD_INTERVAL: Duration = Duration::from_secs(5);

/// The server's certificate, and which client certificates it accepts.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsSettings {
    /// Certificate chain (PEM) of the API's port; unset = no TLS
    #[arg(long, global = true, env = "RECSYS_TLS_CERT_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tls_cert_file: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, global = true, env = "RECSYS_TLS_KEY_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tls_key_file: Option<PathBuf>,
    /// CA bundle (PEM) for client certificates; if set, a client must present one that
    /// it has signed
    #[arg(long, global = true, env = "RECSYS_TLS_CLIENT_CA_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tls_client_ca_file: Option<PathBuf>,
    /// DNS names or URIs, separated by commas, one of which a client's certificate must
    /// be for; unset = any certificate that the CA bundle has signed
    #[arg(
        long,
        global = true,
        env = "RECSYS_TLS_CLIENT_NAMES",
        value_name = "NAMES"
    )]
    pub tls_client_names: Option<String>,
}

/// TLS cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate without a key, or a key without a certificate.
    #[error("RECSYS_TLS_CERT_FILE and RECSYS_TLS_KEY_FILE must be set together")]
    HalfACertificate,
    /// Client certificates need TLS.
    #[error("RECSYS_TLS_CLIENT_* needs RECSYS_TLS_CERT_FILE and RECSYS_TLS_KEY_FILE")]
    ClientsWithoutTls,
    /// Names need client certificates.
    #[error("RECSYS_TLS_CLIENT_NAMES needs RECSYS_TLS_CLIENT_CA_FILE")]
    NamesWithoutAuthority,
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}: {source}")]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file does not contain what it should, in PEM form.
    #[error("{setting}: {path} holds no {expected} in PEM form")]
    Empty {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should contain.
        expected: &'static str,
    },
    /// Certificate and key do not match, or are not supported.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The client CA bundle cannot be used.
    #[error("RECSYS_TLS_CLIENT_CA_FILE cannot be used: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
}

/// The contents of the files.
#[derive(Clone, PartialEq, Eq)]
struct TlsFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// TLS with the current files.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    client_names: Arc<BTreeSet<String>>,
    current: RwLock<CurrentTls>,
}

struct CurrentTls {
    contents: TlsFiles,
    config: Arc<ServerConfig>,
    /// The same, for ports that accept HTTP/1.1, too.
    with_http1: Arc<ServerConfig>,
}

impl CurrentTls {
    fn new(contents: TlsFiles, config: ServerConfig) -> Self {
        let mut with_http1 = config.clone();
        with_http1.alpn_protocols.push(b"http/1.1".to_vec());
        Self {
            contents,
            config: Arc::new(config),
            with_http1: Arc::new(with_http1),
        }
    }
}

impl Tls {
    /// TLS from the settings; `None` if they name no certificate.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn read(settings: &TlsSettings) -> Result<Option<Arc<Self>>, TlsError> {
        let (certificate, key) = match (&settings.tls_cert_file, &settings.tls_key_file) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (None, None) if settings.tls_client_ca_file.is_some() => {
                return Err(TlsError::ClientsWithoutTls);
            }
            (None, None) if settings.tls_client_names.is_some() => {
                return Err(TlsError::ClientsWithoutTls);
            }
            (None, None) => return Ok(None),
            (Some(_), None) | (None, Some(_)) => return Err(TlsError::HalfACertificate),
        };
        let client_ca = settings.tls_client_ca_file.clone();
        let client_names: BTreeSet<String> = settings
            .tls_client_names
            .iter()
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        if client_ca.is_none() && settings.tls_client_names.is_some() {
            return Err(TlsError::NamesWithoutAuthority);
        }
        let client_names = Arc::new(client_names);
        let contents = contents(&certificate, &key, client_ca.as_deref())?;
        let config = build(&contents, &certificate, &key, &client_ca, &client_names)?;
        Ok(Some(Arc::new(Self {
            certificate,
            key,
            client_ca,
            client_names,
            current: RwLock::new(CurrentTls::new(contents, config)),
        })))
    }

    /// The acceptor for a new connection, to a port with or without HTTP/1.1.
    pub(crate) fn acceptor(&self, http1: bool) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(match http1 {
            true => &current.with_http1,
            false => &current.config,
        }))
    }

    /// Reloads the files when they change. Never returns.
    pub(crate) async fn watch_files(self: Arc<Self>) {
        let mut rejected: Option<TlsFiles> = None;
        let mut ticks = tokio::time::interval(RELOAD_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || {
                contents(&tls.certificate, &tls.key, tls.client_ca.as_deref())
            });
            // A file that is being replaced right now is there the next time.
            let Ok(Ok(found)) = read.await else {
                continue;
            };
            if self.is_current(&found) || rejected.as_ref() == Some(&found) {
                continue;
            }
            match build(
                &found,
                &self.certificate,
                &self.key,
                &self.client_ca,
                &self.client_names,
            ) {
                Ok(config) => {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    *current = CurrentTls::new(found, config);
                    info!("tls certificates reloaded: new connections use them");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(
                        error,
                        "changed tls files cannot be used: the old ones stay in use"
                    );
                    rejected = Some(found);
                }
            }
        }
    }

    fn is_current(&self, found: &TlsFiles) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.contents == *found
    }
}

const CERTIFICATE: &str = "RECSYS_TLS_CERT_FILE";
const KEY: &str = "RECSYS_TLS_KEY_FILE";
const CLIENT_CA: &str = "RECSYS_TLS_CLIENT_CA_FILE";

fn contents(
    certificate: &Path,
    key: &Path,
    client_ca: Option<&Path>,
) -> Result<TlsFiles, TlsError> {
    let read = |setting, path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::File {
            setting,
            path: path.to_owned(),
            source,
        })
    };
    Ok(TlsFiles {
        certificate: read(CERTIFICATE, certificate)?,
        key: read(KEY, key)?,
        client_ca: client_ca.map(|path| read(CLIENT_CA, path)).transpose()?,
    })
}

fn build(
    contents: &TlsFiles,
    certificate: &Path,
    key: &Path,
    client_ca: &Option<PathBuf>,
    client_names: &Arc<BTreeSet<String>>,
) -> Result<ServerConfig, TlsError> {
    let empty = |setting, path: &Path, expected| TlsError::Empty {
        setting,
        path: path.to_owned(),
        expected,
    };
    let chain = certificates(&contents.certificate);
    if chain.is_empty() {
        return Err(empty(CERTIFICATE, certificate, "certificate"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(&contents.key).map_err(|_| empty(KEY, key, "private key"))?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let builder = match (&contents.client_ca, client_ca) {
        (Some(pem), Some(path)) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(pem));
            if roots.is_empty() {
                return Err(empty(CLIENT_CA, path, "certificate"));
            }
            let signed = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(Arc::new(ClientVerifier {
                signed: signed.build()?,
                names: Arc::clone(client_names),
            }))
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if contents.client_ca.is_some() {
        // A resumed session would not present the client's certificate again, which
        // may have expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(config)
}

fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .collect()
}

/// Accepts client certificates that the CA bundle has signed and that are for one of
/// the names. Without names, any signed one.
#[derive(Debug)]
struct ClientVerifier {
    signed: Arc<dyn ClientCertVerifier>,
    names: Arc<BTreeSet<String>>,
}

impl ClientVerifier {
    fn accepts(&self, certificate: &CertificateDer<'_>) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
            return false;
        };
        certificate
            .valid_dns_names()
            .chain(certificate.valid_uri_names())
            .any(|name| self.names.contains(name))
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .signed
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.accepts(end_entity) {
            Ok(verified)
        } else {
            Err(CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}
