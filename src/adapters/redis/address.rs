//! The nodes, credentials and certificates of `REDIS_URL` and its settings.

use std::path::Path;

use deadpool_redis::redis::{
    ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, TlsCertificates,
    io::tcp::TcpSettings,
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use super::{settings::RedisSettings, setup_error::RedisSetupError};

/// What is needed to connect to the nodes of a URL.
pub(super) struct Address {
    /// At least one. All have the same credentials, database and TLS.
    pub(super) nodes: Vec<ConnectionInfo>,
    /// CA bundle and client certificate from the settings; `None` takes the
    /// system's CA bundle.
    pub(super) certificates: Option<TlsCertificates>,
}

impl Address {
    pub(super) fn parse(
        url: &str,
        settings: &RedisSettings,
        tcp: &TcpSettings,
    ) -> Result<Self, RedisSetupError> {
        // The only fragment that the library knows disables certificate checks.
        if url.contains('#') {
            return Err(RedisSetupError::Url);
        }
        let nodes = node_urls(url)
            .ok_or(RedisSetupError::Url)?
            .iter()
            .map(|node| {
                let node = node.as_str().into_connection_info();
                Ok(node
                    .map_err(|_| RedisSetupError::Url)?
                    .set_tcp_settings(tcp.clone()))
            })
            .collect::<Result<Vec<_>, RedisSetupError>>()?;
        let certificates = certificates(settings)?;
        if certificates.is_some() && !nodes.iter().all(uses_tls) {
            return Err(RedisSetupError::CertificatesWithoutTls);
        }
        Ok(Self {
            nodes,
            certificates,
        })
    }

    pub(super) fn uses_tls(&self) -> bool {
        self.nodes.iter().any(uses_tls)
    }
}

fn uses_tls(node: &ConnectionInfo) -> bool {
    matches!(node.addr(), ConnectionAddr::TcpTls { .. })
}

/// One URL for each of the comma-separated nodes. A bare `host:port` takes the
/// scheme and credentials of the first node, and the database of the last node
/// that names one. `None` if a node has no host.
fn node_urls(url: &str) -> Option<Vec<String>> {
    let (scheme, rest) = url.split_once("://")?;
    if !rest.contains(',') {
        return Some(vec![url.to_owned()]);
    }
    let parts: Vec<&str> = url.split(',').map(str::trim).collect();
    let authority_end = |part: &str| {
        let start = part.find("://").map_or(0, |at| at + 3);
        part[start..]
            .find(['/', '?', '#'])
            .map_or(part.len(), |at| start + at)
    };
    let credentials = parts[0][scheme.len() + 3..authority_end(parts[0])]
        .rsplit_once('@')
        .map_or(String::new(), |(credentials, _)| format!("{credentials}@"));
    let suffix = parts
        .iter()
        .map(|part| &part[authority_end(part)..])
        .rfind(|suffix| !suffix.is_empty())
        .unwrap_or_default();
    parts
        .iter()
        .map(|part| {
            let (authority, own) = part.split_at(authority_end(part));
            if authority.is_empty() {
                return None;
            }
            let start = match (authority.contains("://"), authority.contains('@')) {
                (true, _) => String::new(),
                (false, true) => format!("{scheme}://"),
                (false, false) => format!("{scheme}://{credentials}"),
            };
            let end = if own.is_empty() { suffix } else { own };
            Some(format!("{start}{authority}{end}"))
        })
        .collect()
}

fn certificates(settings: &RedisSettings) -> Result<Option<TlsCertificates>, RedisSetupError> {
    let client_tls = match (&settings.redis_tls_cert_file, &settings.redis_tls_key_file) {
        (Some(certificate), Some(key)) => Some(ClientTlsConfig {
            client_cert: read("REDIS_TLS_CERT_FILE", certificate)?,
            client_key: read("REDIS_TLS_KEY_FILE", key)?,
        }),
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => return Err(RedisSetupError::HalfACertificate),
    };
    let root_cert = match &settings.redis_tls_ca_file {
        Some(path) => {
            let pem = read("REDIS_TLS_CA_FILE", path)?;
            // With an empty bundle no certificate is ever trusted.
            if !CertificateDer::pem_slice_iter(&pem).any(|found| found.is_ok()) {
                return Err(RedisSetupError::NoCertificate);
            }
            Some(pem)
        }
        None => None,
    };
    Ok(
        (client_tls.is_some() || root_cert.is_some()).then_some(TlsCertificates {
            client_tls,
            root_cert,
        }),
    )
}

fn read(setting: &'static str, path: &Path) -> Result<Vec<u8>, RedisSetupError> {
    std::fs::read(path).map_err(|source| RedisSetupError::File {
        setting,
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::node_urls;

    fn urls(url: &str) -> Vec<String> {
        node_urls(url).unwrap()
    }

    #[test]
    fn nodes_share_scheme_credentials_and_database() {
        assert_eq!(urls("redis://h:1/2"), ["redis://h:1/2"]);
        assert_eq!(
            urls("rediss://u:p%2C@a:1, b:2,c/3"),
            [
                "rediss://u:p%2C@a:1/3",
                "rediss://u:p%2C@b:2/3",
                "rediss://u:p%2C@c/3"
            ]
        );
        assert_eq!(
            urls("redis://:p@a:1,redis://:p@b:2"),
            ["redis://:p@a:1", "redis://:p@b:2"]
        );
        assert_eq!(
            urls("redis://a?protocol=resp3,b"),
            ["redis://a?protocol=resp3", "redis://b?protocol=resp3"]
        );
        assert_eq!(urls("unix:///run/redis.sock"), ["unix:///run/redis.sock"]);
    }

    #[test]
    fn a_list_with_a_gap_is_refused() {
        for wrong in ["localhost:6379", "redis://a,,b", "redis://a,/1", ""] {
            assert_eq!(node_urls(wrong), None, "{wrong}");
        }
    }
}
