//! `recsys doctor`: checks settings, files, addresses and stores with the code that
//! starts the server, and prints how to fix each problem. Changes nothing.

mod files;
mod qdrant;
mod redis;
mod report;
mod settings;
mod tls;

use std::process::ExitCode;

use crate::config::{DoctorFlags, Settings};
use report::Report;

/// Prints the report of all checks.
pub(super) async fn run(settings: &Settings, flags: &DoctorFlags) -> ExitCode {
    let (tenants, of_tenants) = files::tenants(settings);
    let tenants = tenants.as_ref();
    let (addresses, redis, qdrant) = tokio::join!(
        settings::addresses(settings, flags.timeout),
        redis::check(settings, tenants, flags.timeout),
        qdrant::check(settings, tenants, flags.timeout),
    );
    let mut findings = addresses;
    findings.extend(settings::check(settings));
    findings.extend(files::ranking(settings));
    findings.extend(of_tenants);
    findings.extend(files::request_ids(settings));
    findings.extend(tls::check(settings));
    findings.extend(redis);
    findings.extend(qdrant);
    findings.extend(files::embedded(settings));
    let report = Report::new(findings, flags.strict);
    if flags.json {
        anstream::println!("{}", report.json());
    } else {
        anstream::print!("{report}");
    }
    ExitCode::from(report.exit_code())
}
