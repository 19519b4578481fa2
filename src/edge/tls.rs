//! TLS of the API's port, and of the webhook's. Certificate, key and the authority of clients come
//! from files, which are read again when they change: new connections then use
//! what is new. A change that cannot be used is logged, and what was stays.

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

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Which certificates the server shows and asks for.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsSettings {
    /// Certificate (PEM) of the API's port, with those in between; unset = no TLS
    #[arg(long, global = true, env = "RECSYS_TLS_CERT_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tls_cert_file: Option<PathBuf>,
    /// Key (PEM) of that certificate
    #[arg(long, global = true, env = "RECSYS_TLS_KEY_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tls_key_file: Option<PathBuf>,
    /// Certificates (PEM) of those who vouch for clients; then a client must
    /// show one of its own
    #[arg(long, global = true, env = "RECSYS_TLS_CLIENT_CA_FILE", value_name = "FILE",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub tls_client_ca_file: Option<PathBuf>,
    /// DNS names or URIs, separated by commas, one of which a client's
    /// certificate must be for; unset = any that is vouched for
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
    /// A certificate without its key, or the other way round.
    #[error("RECSYS_TLS_CERT_FILE and RECSYS_TLS_KEY_FILE must be set together")]
    HalfACertificate,
    /// There is no TLS in which clients could show certificates.
    #[error("RECSYS_TLS_CLIENT_* needs RECSYS_TLS_CERT_FILE and RECSYS_TLS_KEY_FILE")]
    ClientsWithoutTls,
    /// There is nothing that the names could be checked in.
    #[error("RECSYS_TLS_CLIENT_NAMES needs RECSYS_TLS_CLIENT_CA_FILE")]
    NamesWithoutAuthority,
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}: {source}")]
    File {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file does not hold what it should, in PEM form.
    #[error("{setting}: {path} holds no {wanted} in PEM form")]
    Empty {
        /// Which setting names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Certificate and key do not fit together, or cannot be used.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Unusable(#[from] rustls::Error),
    /// The authority of clients cannot be used.
    #[error("RECSYS_TLS_CLIENT_CA_FILE cannot be used: {0}")]
    ClientAuthority(#[from] rustls::server::VerifierBuilderError),
}

/// What the files hold.
#[derive(Clone, PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_authority: Option<Vec<u8>>,
}

/// TLS as the files have it now.
pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    client_authority: Option<PathBuf>,
    client_names: Arc<BTreeSet<String>>,
    current: RwLock<Current>,
}

struct Current {
    contents: Contents,
    config: Arc<ServerConfig>,
    /// The same, for ports that speak HTTP/1.1, too.
    with_http1: Arc<ServerConfig>,
}

impl Current {
    fn new(contents: Contents, config: ServerConfig) -> Self {
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
    /// [`TlsError`] if something is missing or cannot be used.
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
        let client_authority = settings.tls_client_ca_file.clone();
        let client_names: BTreeSet<String> = settings
            .tls_client_names
            .iter()
            .flat_map(|names| names.split(','))
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty())
            .collect();
        if client_authority.is_none() && settings.tls_client_names.is_some() {
            return Err(TlsError::NamesWithoutAuthority);
        }
        let client_names = Arc::new(client_names);
        let contents = contents(&certificate, &key, client_authority.as_deref())?;
        let config = build(
            &contents,
            &certificate,
            &key,
            &client_authority,
            &client_names,
        )?;
        Ok(Some(Arc::new(Self {
            certificate,
            key,
            client_authority,
            client_names,
            current: RwLock::new(Current::new(contents, config)),
        })))
    }

    /// For a connection that begins now, to a port that speaks HTTP/1.1, too, or
    /// HTTP/2 alone.
    pub(crate) fn acceptor(&self, http1: bool) -> TlsAcceptor {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(Arc::clone(match http1 {
            true => &current.with_http1,
            false => &current.config,
        }))
    }

    /// Reads the files again when they change. Never ends.
    pub(crate) async fn keep_current(self: Arc<Self>) {
        let mut complained_of: Option<Contents> = None;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let tls = Arc::clone(&self);
            let looked = tokio::task::spawn_blocking(move || {
                contents(&tls.certificate, &tls.key, tls.client_authority.as_deref())
            });
            // A file that is just being exchanged is there the next time.
            let Ok(Ok(found)) = looked.await else {
                continue;
            };
            if self.is_current(&found) || complained_of.as_ref() == Some(&found) {
                continue;
            }
            match build(
                &found,
                &self.certificate,
                &self.key,
                &self.client_authority,
                &self.client_names,
            ) {
                Ok(config) => {
                    let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
                    *current = Current::new(found, config);
                    info!("tls certificates exchanged: new connections use them");
                }
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    warn!(error, "changed tls files cannot be used: those before stay");
                    complained_of = Some(found);
                }
            }
        }
    }

    fn is_current(&self, found: &Contents) -> bool {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.contents == *found
    }
}

const CERTIFICATE: &str = "RECSYS_TLS_CERT_FILE";
const KEY: &str = "RECSYS_TLS_KEY_FILE";
const CLIENT_AUTHORITY: &str = "RECSYS_TLS_CLIENT_CA_FILE";

fn contents(
    certificate: &Path,
    key: &Path,
    client_authority: Option<&Path>,
) -> Result<Contents, TlsError> {
    let read = |setting, path: &Path| {
        std::fs::read(path).map_err(|source| TlsError::File {
            setting,
            path: path.to_owned(),
            source,
        })
    };
    Ok(Contents {
        certificate: read(CERTIFICATE, certificate)?,
        key: read(KEY, key)?,
        client_authority: client_authority
            .map(|path| read(CLIENT_AUTHORITY, path))
            .transpose()?,
    })
}

fn build(
    contents: &Contents,
    certificate: &Path,
    key: &Path,
    client_authority: &Option<PathBuf>,
    client_names: &Arc<BTreeSet<String>>,
) -> Result<ServerConfig, TlsError> {
    let empty = |setting, path: &Path, wanted| TlsError::Empty {
        setting,
        path: path.to_owned(),
        wanted,
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
    let builder = match (&contents.client_authority, client_authority) {
        (Some(pem), Some(path)) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(pem));
            if roots.is_empty() {
                return Err(empty(CLIENT_AUTHORITY, path, "certificate"));
            }
            let vouched = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(Arc::new(Named {
                vouched: vouched.build()?,
                names: Arc::clone(client_names),
            }))
        }
        _ => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, private)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    if contents.client_authority.is_some() {
        // A session that is taken up again would not show its certificate anew,
        // which may have expired meanwhile.
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

/// Takes clients whose certificates are vouched for and are for one of the
/// names; without names, for any.
#[derive(Debug)]
struct Named {
    vouched: Arc<dyn ClientCertVerifier>,
    names: Arc<BTreeSet<String>>,
}

impl Named {
    fn admits(&self, certificate: &CertificateDer<'_>) -> bool {
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

impl ClientCertVerifier for Named {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.vouched.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self
            .vouched
            .verify_client_cert(end_entity, intermediates, now)?;
        if self.admits(end_entity) {
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
        self.vouched
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.vouched
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.vouched.supported_verify_schemes()
    }
}
