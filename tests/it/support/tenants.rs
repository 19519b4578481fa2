//! Tenants files, and calls with their keys.

use std::fmt::Write as _;

use tempfile::TempDir;
use tonic::{Request, transport::Channel};

use super::{
    program::{Served, recsys},
    server::connect,
};

/// A tenants file under construction.
pub struct Tenants {
    pub folder: TempDir,
    pub text: String,
}

impl Tenants {
    pub fn new(tenants: &[&str]) -> Self {
        let mut text = String::new();
        for tenant in tenants {
            writeln!(text, "[tenants.{tenant}]\ncollection = \"{tenant}\"").unwrap();
        }
        let folder = TempDir::new().unwrap();
        Self { folder, text }
    }

    /// Makes a key with `recsys keys new`, and adds the printed entry to the file.
    pub fn key(&mut self, tenant: &str, roles: &[&str]) -> String {
        let mut arguments = vec!["keys", "new", tenant];
        for role in roles {
            arguments.extend(["--role", role]);
        }
        let output = recsys(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let (_, entry) = stderr.split_once("Add to the tenants file:").unwrap();
        self.text.push_str(entry);
        let key = String::from_utf8(output.stdout).unwrap();
        let key = key.trim().to_owned();
        assert!(!self.text.contains(&key), "the key itself is in the file");
        key
    }

    pub fn add(&mut self, line: &str) {
        writeln!(self.text, "{line}").unwrap();
    }

    pub fn path(&self) -> String {
        let path = self.folder.path().join("tenants.toml");
        path.to_str().unwrap().to_owned()
    }

    pub fn write(&self) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, &self.text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    pub fn serve(&self, more: &[(&str, &str)]) -> Served {
        self.write();
        let mut command = recsys(&["serve"]);
        command
            .env("RECSYS_TENANTS_PATH", self.path())
            .envs(more.iter().copied());
        Served::start(&mut command)
    }
}

pub async fn channel(served: &Served) -> Channel {
    connect(served.address.parse().unwrap()).await
}

/// A request with these headers.
pub fn with_headers<T>(headers: &[(&'static str, &str)], message: T) -> Request<T> {
    let mut request = Request::new(message);
    for (name, value) in headers {
        request.metadata_mut().insert(*name, value.parse().unwrap());
    }
    request
}

pub fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}
