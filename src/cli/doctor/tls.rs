//! TLS of the API's port, and the expiry of every certificate that a setting names.

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, UnixTime, pem::PemObject as _};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::{
    files::{open_to_all, quoted},
    report::{Finding, Section, Severity},
};
use crate::{config::Settings, edge::tls::Tls};

const SECTION: Section = Section("tls");
/// A certificate that expires within this time is reported.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// Later than the expiry of any certificate: the year 9998, in Unix time.
const FAR: Duration = Duration::from_secs(253_370_764_800);

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    const CHECK: &str = "API's port";
    let (tls, redis) = (&settings.tls, &settings.redis);
    let mut findings = vec![match Tls::read(tls) {
        Ok(Some(_)) => SECTION.ok(CHECK, "TLS with a valid certificate and key"),
        Ok(None) if settings.listen_addr.ip().is_loopback() => {
            SECTION.ok(CHECK, "no TLS, and only this machine reaches it")
        }
        Ok(None) => SECTION
            .warn(
                CHECK,
                "no TLS: keys and events are sent in plaintext, unless a proxy has TLS",
            )
            .fix("export RECSYS_TLS_CERT_FILE=server.pem RECSYS_TLS_KEY_FILE=server.key"),
        Err(error) => SECTION
            .fail(CHECK, error)
            .refused()
            .fix("openssl x509 -noout -pubkey -in \"$RECSYS_TLS_CERT_FILE\"   # must equal")
            .fix("openssl pkey -pubout -in \"$RECSYS_TLS_KEY_FILE\""),
    }];
    for (setting, path) in [
        ("RECSYS_TLS_CERT_FILE", &tls.tls_cert_file),
        ("RECSYS_TLS_CLIENT_CA_FILE", &tls.tls_client_ca_file),
        ("REDIS_TLS_CA_FILE", &redis.redis_tls_ca_file),
        ("REDIS_TLS_CERT_FILE", &redis.redis_tls_cert_file),
        ("QDRANT_TLS_CA_FILE", &settings.qdrant.qdrant_tls_ca_file),
    ] {
        findings.extend(path.iter().map(|path| expiry(setting, path)));
    }
    for (setting, path) in [
        ("RECSYS_TLS_KEY_FILE", &tls.tls_key_file),
        ("REDIS_TLS_KEY_FILE", &redis.redis_tls_key_file),
    ] {
        let path = path.iter();
        findings.extend(path.filter_map(|path| open_to_all(SECTION, setting, path)));
    }
    findings
}

/// The certificate of a file that expires first.
fn expiry(setting: &'static str, path: &Path) -> Finding {
    let chain: Vec<CertificateDer<'static>> = match std::fs::read(path) {
        Ok(pem) => CertificateDer::pem_slice_iter(&pem)
            .filter_map(Result::ok)
            .collect(),
        Err(_) => Vec::new(),
    };
    let Some((from, until)) = chain.iter().filter_map(validity).min_by_key(|span| span.1) else {
        let found = format!("{} holds no certificate that can be read", path.display());
        let finding = SECTION.fail(setting, found).refused();
        return finding.fix(format!("ls -l {0}; head -n 1 {0}", quoted(path)));
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default();
    let (severity, what) = match () {
        () if until < now => (Severity::Fail, "expired at"),
        () if from > now => (Severity::Fail, "is not valid yet; expires at"),
        () if until - now < SOON => (Severity::Warn, "expires soon, at"),
        () => (Severity::Ok, "expires at"),
    };
    let seconds = i64::try_from(until.as_secs()).unwrap_or(i64::MAX);
    let date = jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::MAX);
    let found = format!("{} {what} {date}", path.display());
    let finding = SECTION.finding(setting, severity, found);
    if severity == Severity::Ok {
        return finding;
    }
    let inspect = format!("openssl x509 -noout -text -in {}", quoted(path));
    finding.fix(format!("{inspect}   # then replace it"))
}

/// The times from and until which a certificate is valid, since the Unix epoch.
///
/// webpki has no accessor for them: its errors of a verification long before and long
/// after name them.
fn validity(certificate: &CertificateDer<'_>) -> Option<(Duration, Duration)> {
    let certificate = EndEntityCert::try_from(certificate).ok()?;
    let error_at = |time| {
        let time = UnixTime::since_unix_epoch(time);
        let usage = KeyUsage::server_auth();
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let verified = certificate.verify_for_usage(algorithms, &[], &[], time, usage, None, None);
        verified.err()
    };
    let since_epoch = |time: UnixTime| Duration::from_secs(time.as_secs());
    let from = match error_at(Duration::ZERO) {
        Some(Error::CertNotValidYet { not_before, .. }) => since_epoch(not_before),
        _ => Duration::ZERO,
    };
    match error_at(FAR) {
        Some(Error::CertExpired { not_after, .. }) => Some((from, since_epoch(not_after))),
        _ => None,
    }
}
