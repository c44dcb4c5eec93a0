//! What tshark sees, of many files by one process: `sharkd` is the same dissectors behind JSON-RPC
//! and comes in the same packages. Starting tshark takes three times as long as most files.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::{Map, Value, json};

use super::{COMMAND_LIMIT, TSHARK_WITHOUT, command};

/// A running sharkd.
pub struct Sharkd {
    child: Child,
    requests: ChildStdin,
    answers: Receiver<String>,
}

impl Sharkd {
    /// Starts one with the settings of [`tshark`](super::tshark).
    pub fn start() -> Self {
        let mut child = command("sharkd")
            .arg("-")
            .env("HOME", "/nonexistent")
            .env_remove("XDG_CONFIG_HOME")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start sharkd: {error}"));
        let requests = child.stdin.take().expect("it was piped");
        let stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, answers) = channel();
        thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines
                .take_while(|line| sender.send(line.clone()).is_ok())
                .for_each(drop);
        });
        let mut sharkd = Self {
            child,
            requests,
            answers,
        };
        for preference in TSHARK_WITHOUT {
            let set = sharkd.ask("setconf", json!({ "name": preference, "value": "FALSE" }));
            assert!(set.get("result").is_some(), "{preference}: {set}");
        }
        sharkd
    }

    /// Fields of each frame: `NAME:1` is the first occurrence, `NAME:0` all of them with commas
    /// between. Nothing where the file could not be read to its end: only tshark says how far it can be.
    pub fn fields(&mut self, file: &Path, fields: &[&str]) -> Option<Vec<Vec<String>>> {
        self.ask("load", json!({ "file": file })).get("result")?;
        let columns: Map<_, _> = (0..)
            .zip(fields)
            .map(|(i, field): (usize, _)| (format!("column{i}"), json!(field)))
            .collect();
        let answer = self.ask("frames", columns.into());
        let list = |value: &Value| value.as_array().cloned();
        let row = |frame: &Value| {
            let columns = list(&frame["c"])?;
            let texts = columns.iter().map(|column| Some(column.as_str()?.into()));
            texts.collect::<Option<Vec<_>>>()
        };
        let rows = list(&answer["result"]).and_then(|frames| frames.iter().map(row).collect());
        rows.or_else(|| panic!("{}: sharkd answered {answer}", file.display()))
    }

    /// How many bytes of a TCP stream of a file that was [read](Sharkd::fields) it puts together, both
    /// ways. Holes stand in the stream as text.
    pub fn followed_bytes(&mut self, stream: u64) -> u64 {
        let filter = format!("tcp.stream eq {stream}");
        let answer = self.ask("follow", json!({ "follow": "TCP", "filter": filter }));
        let parts = answer["result"]["payloads"].as_array().cloned();
        let bytes = |part: &Value| {
            let bytes = from_base64(part["d"].as_str().unwrap_or_default());
            let text = String::from_utf8_lossy(&bytes);
            let is_hole = text.starts_with('[') && text.contains(" bytes missing in capture file]");
            if is_hole { 0 } else { bytes.len() as u64 }
        };
        parts.iter().flatten().map(bytes).sum()
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        writeln!(self.requests, "{request}").expect("sharkd takes requests");
        let answer = self
            .answers
            .recv_timeout(COMMAND_LIMIT)
            .unwrap_or_else(|error| panic!("sharkd does not answer {request}: {error}"));
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }
}

impl Drop for Sharkd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let value = |digit: &u8| DIGITS.iter().position(|known| known == digit);
    let (mut bytes, mut bits, mut n) = (Vec::new(), 0_usize, 0);
    for digit in text.as_bytes().iter().map_while(value) {
        (bits, n) = (bits << 6 | digit, n + 6);
        if n >= 8 {
            n -= 8;
            bytes.push((bits >> n) as u8);
            bits &= (1 << n) - 1;
        }
    }
    bytes
}
