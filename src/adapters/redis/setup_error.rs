//! Why the connections to Redis cannot be set up.

use std::path::PathBuf;

use deadpool::managed::BuildError;
use deadpool_redis::redis::RedisError;

/// Redis cannot be set up as configured. Never holds the URL, which may carry
/// a password.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// `REDIS_URL` is not a Redis URL.
    #[error(
        "REDIS_URL is not understood; give redis://[[user]:password@]host[:port][/database], \
         rediss:// for TLS, several nodes of a cluster or sentinels separated by commas; \
         characters such as , / @ in a password are written as %2C %2F %40"
    )]
    Url,
    /// Certificates are set that an unencrypted connection would not use.
    #[error("REDIS_TLS_* files are set, but REDIS_URL does not begin with rediss://")]
    CertificatesWithoutTls,
    /// The CA bundle is empty.
    #[error("REDIS_TLS_CA_FILE holds no certificate in PEM form")]
    NoCertificate,
    /// A client certificate without its key, or a key without its certificate.
    #[error("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE must be set together")]
    HalfACertificate,
    /// A file cannot be read.
    #[error("{setting}: cannot read {path}: {source}")]
    File {
        /// The setting that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        source: std::io::Error,
    },
    /// Several nodes for a mode that takes one.
    #[error("REDIS_MODE is single, but REDIS_URL names several nodes")]
    SeveralNodes,
    /// The client library refused the certificates or nodes.
    #[error("the connections to Redis cannot be set up: {0}")]
    Client(RedisError),
    /// The pool refused its settings.
    #[error("the pool of Redis connections cannot be set up")]
    Pool(#[from] BuildError),
}
