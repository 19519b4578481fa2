//! The program, run as a process.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{Child, ChildStderr, Command, Output, Stdio},
};

/// The program with an empty environment, and with time-outs of Redis that a slow machine
/// does not reach.
pub fn recsys(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_recsys"));
    command
        .env_clear()
        .env("RECSYS_LOG_FORMAT", "text")
        .args(arguments);
    for timeout in ["CONNECT", "WAIT", "COMMAND"] {
        command.env(format!("REDIS_{timeout}_TIMEOUT"), "10s");
    }
    command
}

/// A server on a free port; killed when dropped.
pub struct Served {
    pub child: Child,
    pub address: String,
    /// What was read from `log`.
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
            if let Some(address) = logged_address(&line, "serving gRPC") {
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

    /// Waits for a line that contains a text. Returns all lines so far.
    pub fn logged(&mut self, text: &str) -> &str {
        while !self.seen.contains(text) {
            let read = self.log.read_line(&mut self.seen).unwrap();
            assert!(read > 0, "ended before {text:?}:\n{}", self.seen);
        }
        &self.seen
    }

    /// The address of the admin port, once it is served.
    pub fn admin_address(&mut self) -> String {
        const MESSAGE: &str = "serving metrics and health";
        let mut lines = self.logged(MESSAGE).lines();
        lines
            .find_map(|line| logged_address(line, MESSAGE))
            .unwrap()
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
fn logged_address(line: &str, message: &str) -> Option<String> {
    if let Ok(json) = serde_json::from_str::<serde_json::Value>(line) {
        return (json["message"] == message).then(|| json["address"].as_str().unwrap().to_owned());
    }
    let (_, address) = line.split_once(&format!("{message} address="))?;
    address.split_whitespace().next().map(str::to_owned)
}

/// Asserts how many calls of a method ended with a code, in metrics as served.
pub fn assert_calls(metrics: &str, method: &str, code: &str, count: u64) {
    let labels = [
        format!("rpc_method=\"{method}\""),
        format!("rpc_response_status_code=\"{code}\""),
    ];
    let line = metrics.lines().find(|line| {
        line.starts_with("rpc_server_call_duration_seconds_count")
            && labels.iter().all(|label| line.contains(label))
    });
    let line = line.unwrap_or_else(|| panic!("{labels:?} in:\n{metrics}"));
    assert!(line.ends_with(&format!(" {count}")), "{line}");
}

/// A reply over HTTP/1.1, with its headers.
pub fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    reply
}
