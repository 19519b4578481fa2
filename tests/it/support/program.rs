//! The program as people run it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

/// The program without any setting of the surroundings. A Redis on a slow
/// machine does not run into its time-outs.
pub fn recsys(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recsys"));
    command
        .env_clear()
        .env("RECSYS_LOG_FORMAT", "text")
        .args(arguments);
    for timeout in ["CONNECT", "WAIT", "COMMAND"] {
        command.env(format!("REDIS_{timeout}_TIMEOUT"), "20s");
    }
    command
}

/// A server on a free port; killed when dropped.
pub struct Served {
    pub child: Child,
    pub address: String,
    /// What it has logged up to where `log` goes on.
    pub seen: String,
    pub log: BufReader<ChildStderr>,
}

impl Served {
    pub fn start(command: &mut Command) -> Self {
        Self::start_at(command, "127.0.0.1:0")
    }

    pub fn start_at(command: &mut Command, address: &str) -> Self {
        let mut child = command
            .args(["--listen-addr", address])
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut seen = String::new();
        let address = loop {
            let mut line = String::new();
            assert!(
                log.read_line(&mut line).unwrap() > 0,
                "ended before serving:\n{seen}"
            );
            seen.push_str(&line);
            if let Some(address) = told_address(&line, "serving gRPC") {
                break address;
            }
        };
        Self {
            child,
            address,
            seen,
            log,
        }
    }

    /// Waits for a line with this in it, and gives all that was logged so far.
    pub fn logged(&mut self, wanted: &str) -> &str {
        while !self.seen.contains(wanted) {
            let read = self.log.read_line(&mut self.seen).unwrap();
            assert!(read > 0, "ended before {wanted:?}:\n{}", self.seen);
        }
        &self.seen
    }

    /// Sends a signal, such as `-TERM`.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
    }

    pub fn healthcheck(&self, arguments: &[&str]) -> Output {
        let mut all = vec!["healthcheck", "--listen-addr", &self.address];
        all.extend(arguments);
        recsys(&all).output().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The address in a log line with a message, in text or JSON.
fn told_address(line: &str, message: &str) -> Option<String> {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(line) {
        return (json["message"] == message).then(|| json["address"].as_str().unwrap().to_owned());
    }
    let (_, told) = line.split_once(&format!("{message} address="))?;
    told.split_whitespace().next().map(str::to_owned)
}

/// What a plain HTTP address answers, headers and all.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}
