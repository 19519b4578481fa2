//! Certificates and keys: those of the API's port, and those for the stores.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

use super::{certificates, files, report::Finding};
use crate::{
    config::Settings,
    edge::tls::{Tls, TlsError},
};

const PORT: &str = "API's port";

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let mut findings = incoming(settings);
    findings.extend(outgoing(settings));
    findings
}

fn incoming(settings: &Settings) -> Vec<Finding> {
    let tls = &settings.tls;
    let mut findings = vec![match Tls::read(tls) {
        Ok(Some(_)) => {
            let clients = match tls.tls_client_ca_file {
                Some(_) => "clients must show a certificate",
                None => "clients need no certificate",
            };
            Finding::ok(
                PORT,
                format!("TLS: certificate and key fit together; {clients}"),
            )
        }
        Ok(None) if settings.listen_addr.ip().is_loopback() => {
            Finding::ok(PORT, "no TLS, and only this machine reaches it")
        }
        Ok(None) => Finding::warn(
            PORT,
            "no TLS: keys, events and profiles pass in clear, unless something in front of it \
             has TLS",
        )
        .todo("export RECSYS_TLS_CERT_FILE=server.pem RECSYS_TLS_KEY_FILE=server.key"),
        Err(error) => {
            let refused = Finding::fail(PORT, error.to_string()).refused();
            match (&error, &tls.tls_cert_file, &tls.tls_key_file) {
                (TlsError::Unusable(_), Some(certificate), Some(key)) => {
                    compare(refused, certificate, key)
                }
                (TlsError::File { path, .. }, ..) => {
                    refused.todo(format!("ls -l {}", files::quoted(path)))
                }
                (TlsError::Empty { path, .. }, ..) => {
                    refused.todo(format!("head -n 1 {}", files::quoted(path)))
                }
                (TlsError::HalfACertificate | TlsError::ClientsWithoutTls, ..) => refused
                    .todo("export RECSYS_TLS_CERT_FILE=server.pem RECSYS_TLS_KEY_FILE=server.key"),
                (TlsError::NamesWithoutAuthority, ..) => {
                    refused.todo("export RECSYS_TLS_CLIENT_CA_FILE=clients-ca.pem")
                }
                _ => refused.todo("openssl x509 -noout -text -in FILE"),
            }
        }
    }];
    let here = [
        settings.listen_addr.ip(),
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    if let Some(path) = &tls.tls_cert_file {
        findings.extend(certificates::check(
            "RECSYS_TLS_CERT_FILE",
            path,
            &unique(&here),
        ));
    }
    if let Some(path) = &tls.tls_key_file {
        findings.extend(files::open_to_all(
            "key's mode",
            "RECSYS_TLS_KEY_FILE",
            path,
        ));
    }
    if let Some(path) = &tls.tls_client_ca_file {
        findings.extend(certificates::check("RECSYS_TLS_CLIENT_CA_FILE", path, &[]));
    }
    findings
}

fn unique(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let mut unique = Vec::new();
    for address in addresses {
        if !unique.contains(address) {
            unique.push(*address);
        }
    }
    unique
}

/// What is shown to the stores, and who may vouch for them.
fn outgoing(settings: &Settings) -> Vec<Finding> {
    let redis = &settings.redis;
    let mut findings = Vec::new();
    let authorities = [
        ("REDIS_TLS_CA_FILE", &redis.redis_tls_ca_file),
        ("QDRANT_TLS_CA_FILE", &settings.qdrant.qdrant_tls_ca_file),
        ("REDIS_TLS_CERT_FILE", &redis.redis_tls_cert_file),
    ];
    for (setting, path) in authorities {
        let Some(path) = path else { continue };
        findings.extend(certificates::check(setting, path, &[]));
    }
    if let Some(path) = &redis.redis_tls_key_file {
        findings.extend(files::open_to_all("key's mode", "REDIS_TLS_KEY_FILE", path));
    }
    if let (Some(certificate), Some(key)) = (&redis.redis_tls_cert_file, &redis.redis_tls_key_file)
        && let Some(why) = misfit(certificate, key)
    {
        let found = format!("REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE cannot be used: {why}");
        findings.push(compare(
            Finding::fail("shown to Redis", found),
            certificate,
            key,
        ));
    }
    findings
}

/// Why a certificate and a key are not each other's; `None` if they are, or if
/// the certificate cannot be read, which is told already.
fn misfit(certificate: &Path, key: &Path) -> Option<String> {
    let certificate = std::fs::read(certificate).ok()?;
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&certificate)
        .filter_map(Result::ok)
        .collect();
    if chain.is_empty() {
        return None;
    }
    let key = match std::fs::read(key) {
        Ok(key) => key,
        Err(error) => return Some(error.to_string()),
    };
    let Ok(key) = PrivateKeyDer::from_pem_slice(&key) else {
        return Some("the key's file holds no private key in PEM form".to_owned());
    };
    let fit = CertifiedKey::from_der(chain, key, &ring::default_provider());
    fit.err().map(|error| error.to_string())
}

/// Both print the public key: it must be the same.
fn compare(finding: Finding, certificate: &Path, key: &Path) -> Finding {
    let (certificate, key) = (files::quoted(certificate), files::quoted(key));
    finding
        .todo(format!(
            "openssl x509 -noout -pubkey -in {certificate}   # must print the same as"
        ))
        .todo(format!("openssl pkey -pubout -in {key}"))
}
