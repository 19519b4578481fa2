//! What certificates say: for whom, and until when.

use std::{
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use webpki::{EndEntityCert, Error, KeyUsage};

use super::{files, report::Finding};

/// When to think of the next certificate.
const SOON: Duration = Duration::from_secs(30 * 86_400);
/// No certificate lasts until then: 9998 in seconds of Unix time.
const FAR: Duration = Duration::from_secs(253_370_764_800);

/// From when until when a certificate holds.
struct Validity {
    from: Duration,
    until: Duration,
}

/// The certificates of a file: for whom the first is, and whether all hold today.
pub(super) fn check(setting: &'static str, path: &Path, addresses: &[IpAddr]) -> Vec<Finding> {
    let shown = path.display();
    let pem = match std::fs::read(path) {
        Ok(pem) => pem,
        Err(error) => {
            let found = format!("cannot read {shown}: {error}");
            return vec![
                Finding::fail(setting, found)
                    .refused()
                    .todo(format!("ls -l {}", files::quoted(path))),
            ];
        }
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect();
    if chain.is_empty() {
        let found = format!("{shown} holds no certificate in PEM form");
        let look = format!(
            "head -n 2 {}   # -----BEGIN CERTIFICATE-----",
            files::quoted(path)
        );
        return vec![Finding::fail(setting, found).refused().todo(look)];
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    chain
        .iter()
        .enumerate()
        .map(|(index, certificate)| {
            let which = match (index, chain.len()) {
                (_, 1) => shown.to_string(),
                (index, count) => format!("{shown}, {} of {count}", index + 1),
            };
            of_one(setting, &which, certificate, path, addresses, now)
        })
        .collect()
}

fn of_one(
    setting: &'static str,
    which: &str,
    certificate: &CertificateDer<'_>,
    path: &Path,
    addresses: &[IpAddr],
    now: Duration,
) -> Finding {
    let look = format!("openssl x509 -noout -text -in {}", files::quoted(path));
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        let found = format!("{which}: a certificate that cannot be read");
        return Finding::warn(setting, found).todo(look);
    };
    let named = match names(&certificate, addresses) {
        names if names.is_empty() => String::new(),
        names => format!(" for {}", names.join(", ")),
    };
    let Some(Validity { from, until }) = validity(&certificate) else {
        let found = format!("{which}:{named} without a span of time that can be read");
        return Finding::warn(setting, found).todo(look);
    };
    let renew = format!("{look}   # then put one with a later date in its place");
    if until < now {
        let found = format!("{which}:{named} expired at {}", date(until));
        return Finding::fail(setting, found).todo(renew);
    }
    if from > now {
        let found = format!("{which}:{named} holds only from {} on", date(from));
        return Finding::fail(setting, found).todo("date -u   # is this machine's clock right?");
    }
    let days = (until - now).as_secs() / 86_400;
    let found = format!("{which}:{named} until {} ({days} days)", date(until));
    if until - now < SOON {
        return Finding::warn(setting, found).todo(renew);
    }
    Finding::ok(setting, found)
}

/// DNS names and URIs, and which of these addresses it is for.
fn names(certificate: &EndEntityCert<'_>, addresses: &[IpAddr]) -> Vec<String> {
    let texts = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names())
        .map(str::to_owned);
    let addresses = addresses.iter().filter(|address| {
        let name = ServerName::from(**address);
        certificate.verify_is_valid_for_subject_name(&name).is_ok()
    });
    texts.chain(addresses.map(ToString::to_string)).collect()
}

/// Told by the refusal to take it long before and long after: the span is looked
/// at before anything else.
fn validity(certificate: &EndEntityCert<'_>) -> Option<Validity> {
    let at = |time| {
        let time = UnixTime::since_unix_epoch(time);
        let usage = KeyUsage::server_auth();
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let verified = certificate.verify_for_usage(algorithms, &[], &[], time, usage, None, None);
        verified.err()
    };
    let span = |time: UnixTime| Duration::from_secs(time.as_secs());
    let from = match at(Duration::ZERO) {
        Some(Error::CertNotValidYet { not_before, .. }) => span(not_before),
        // From 1970 on, or before.
        _ => Duration::ZERO,
    };
    match at(FAR) {
        Some(Error::CertExpired { not_after, .. }) => Some(Validity {
            from,
            until: span(not_after),
        }),
        _ => None,
    }
}

fn date(since: Duration) -> String {
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds).map_or_else(|_| "never".to_owned(), |at| at.to_string())
}
