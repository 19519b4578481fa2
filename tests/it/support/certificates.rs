//! Certificates for tests.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// A certificate authority and the files that it has issued.
pub struct Certificates {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Certificates {
    pub fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "test CA");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let certificates = Self {
            directory,
            authority,
        };
        certificates.write("ca.pem", &certificates.authority.pem());
        for name in ["server", "client"] {
            certificates.issue(name, "localhost");
        }
        certificates
    }

    /// Issues `FILE.pem` and `FILE.key` for a name.
    pub fn issue(&self, file: &str, name: &str) {
        self.issue_with(file, CertificateParams::new(vec![name.to_owned()]).unwrap());
    }

    /// Issues a certificate for a name that expires on the first day of a year.
    pub fn issue_until(&self, file: &str, name: &str, year: i32) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        self.issue_with(file, params);
    }

    fn issue_with(&self, file: &str, params: CertificateParams) {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap();
        self.write(&format!("{file}.pem"), &certificate.pem());
        self.write(&format!("{file}.key"), &key.serialize_pem());
    }

    /// Replaces a file atomically, as an update of a Kubernetes Secret does.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.directory.path().join(format!("{name}.new"));
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.directory.path().join(name)).unwrap();
    }

    pub fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    pub fn path(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }
}
