//! What the tests against other programs share: finding the programs, running them with a time
//! limit, reading reports by path.

// Each test uses a part of it.
#![allow(dead_code)]

pub mod chromium;
pub mod sharkd;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longest that one command may take before a test calls it hung.
pub const COMMAND_LIMIT: Duration = Duration::from_secs(120);

/// The command under test.
pub fn wirewatt() -> Command {
    Command::new(env!("CARGO_BIN_EXE_wirewatt"))
}

/// The path of an installed program. `WIREWATT_TCPDUMP` and the like choose another one.
pub fn tool(name: &str) -> Option<PathBuf> {
    let variable = format!("WIREWATT_{}", name.to_uppercase().replace('-', "_"));
    if let Some(chosen) = std::env::var_os(variable) {
        return Some(chosen.into());
    }
    // sbin is not on every user's PATH, and tcpdump may be there.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
}

/// Whether all of these programs are there. If not, the caller returns: the test is skipped, and
/// says so.
pub fn have_tools(names: &[&str]) -> bool {
    names
        .iter()
        .all(|name| tool(name).is_some() || skip(&format!("{name} is not installed")))
}

/// Says that a test is skipped and why, or fails it where everything has to be there
/// (`scripts/test`, continuous integration). Always false, for use in conditions.
pub fn skip(reason: &str) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    assert!(
        !set("CI") && !set("WIREWATT_REQUIRE_ORACLES"),
        "{reason}; `scripts/test` installs and fetches what the tests need"
    );
    // The handle itself: the test harness hides what the macros print.
    let _ = writeln!(
        std::io::stderr(),
        "\n*** SKIPPED {}: {reason}; `scripts/test` installs what is missing ***",
        thread::current().name().unwrap_or("a test")
    );
    false
}

/// Says that what a test needs cannot be had by this user, and why. Always false, for use in
/// conditions. For what `scripts/test` cannot install either: [`skip`] is for all else.
pub fn impossible(reason: &str) -> bool {
    let _ = writeln!(
        std::io::stderr(),
        "\n*** SKIPPED {}: {reason} ***",
        thread::current().name().unwrap_or("a test")
    );
    false
}

/// Whether the test runs as root, for what only root can arrange.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root() || impossible("only root can arrange what it needs")
}

/// The first of `n` TCP ports in a row that nobody listens on, below the range that the kernel
/// gives to clients and outside the built-in plan. They are this program's until it ends: it holds
/// their UDP twins, so that no other caller, of this program or of one beside it, is given them
/// before somebody listens there.
pub fn free_ports(n: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static HELD: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());
    // Test programs that run side by side begin at different places.
    let place = (std::process::id() % 113) as u16 * 100;
    loop {
        let offset = NEXT.fetch_add(n, Ordering::Relaxed);
        let base = 20_000 + (place + offset) % 12_000;
        let hold = |port| {
            let held = UdpSocket::bind(("127.0.0.1", port)).ok()?;
            let is_free = TcpListener::bind(("127.0.0.1", port)).is_ok();
            is_free.then_some(held)
        };
        if let Some(held) = (base..base + n).map(hold).collect::<Option<Vec<_>>>() {
            HELD.lock().expect("no holder panics").extend(held);
            return base;
        }
    }
}

/// Parent and state of a process, while there is one of that id.
fn process_state(pid: u32) -> Option<(u32, char)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold spaces: "1 (a b) S 0 …".
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.next()?.parse().ok()?, state))
}

/// Whether a process runs or is stopped: a zombie does neither.
pub fn lives(pid: u32) -> bool {
    process_state(pid).is_some_and(|(_, state)| !"ZX".contains(state))
}

/// The living children of a process, by their ids: in the order of their start.
pub fn children(pid: u32) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").expect("/proc can be listed");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut children: Vec<u32> = ids
        .filter(|id| process_state(*id).is_some_and(|(parent, _)| parent == pid))
        .filter(|id| lives(*id))
        .collect();
    children.sort_unstable();
    children
}

/// Sends a signal to a process.
pub fn signal(pid: u32, signal: Signal) {
    let process = Pid::from_raw(pid as i32).expect("a process id");
    kill_process(process, signal).unwrap_or_else(|error| panic!("{signal:?} to {pid}: {error}"));
}

/// How many whole lines a file has; none where there is no file.
pub fn lines_in(file: &Path) -> usize {
    let bytes = std::fs::read(file).unwrap_or_default();
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

/// A program with a name that [`have_tools`] has found.
pub fn command(name: &str) -> Command {
    Command::new(tool(name).unwrap_or_else(|| panic!("{name} is not installed")))
}

/// Preferences of tshark that make one segment's figures depend on others.
const TSHARK_WITHOUT: [&str; 1] = ["tcp.desegment_tcp_streams"];

/// tshark without names looked up, without reassembly of streams, without the user's settings.
pub fn tshark() -> Command {
    let mut tshark = command("tshark");
    tshark
        .env("HOME", "/nonexistent")
        .env_remove("XDG_CONFIG_HOME")
        .arg("-n");
    for preference in TSHARK_WITHOUT {
        tshark.args(["-o", &format!("{preference}:FALSE")]);
    }
    tshark
}

/// The rows of `tshark -T fields` on a file, each with its fields in the order asked for.
pub fn tshark_fields(file: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut tshark = tshark();
    tshark
        .arg("-r")
        .arg(file)
        .args(["-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        tshark.args(["-e", field]);
    }
    let finished = run(&mut tshark);
    assert!(finished.status.success(), "{finished}");
    let rows = finished.stdout.lines();
    rows.map(|row| row.split('|').map(str::to_owned).collect())
        .collect()
}

/// The captures that `scripts/fetch-captures` has fetched, by package and file name.
pub fn third_party_captures() -> BTreeMap<String, PathBuf> {
    let root = std::env::var_os("WIREWATT_CAPTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/third-party-captures"),
        PathBuf::from,
    );
    let mut files = BTreeMap::new();
    for package in ["libpcap", "tcpdump", "wireshark"] {
        let Ok(folder) = std::fs::read_dir(root.join(package)) else {
            continue;
        };
        for entry in folder {
            let entry = entry.expect("the folder can be listed");
            let name = format!("{package}/{}", entry.file_name().to_string_lossy());
            files.insert(name, entry.path());
        }
    }
    files
}

/// What a finished command left.
pub struct Finished {
    /// The command, for failure texts.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed on standard output.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            command,
            status,
            stdout,
            stderr,
        } = self;
        let (start, rest) = stdout.split_at(stdout.floor_char_boundary(2000));
        let cut = if rest.is_empty() { "" } else { " …" };
        write!(
            f,
            "{command}\nended with {status}\nstdout: {start}{cut}\nstderr: {stderr}"
        )
    }
}

impl Finished {
    /// Standard output as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON on standard output ({error}): {self}"))
    }
}

/// A command that is running, its output going to files: no pipe fills up unread.
pub struct Running {
    command: String,
    child: Child,
    output: tempfile::TempDir,
}

/// Starts a command that has nothing to read.
pub fn start(command: &mut Command) -> Running {
    start_reading(command, Stdio::null())
}

/// Starts a command that reads this on standard input.
pub fn start_reading(command: &mut Command, input: impl Into<Stdio>) -> Running {
    let output = tempfile::tempdir().expect("a temporary folder");
    let file = |name| File::create(output.path().join(name)).expect("a temporary file");
    let description = describe(command);
    let child = command
        .stdin(input)
        .stdout(file("stdout"))
        .stderr(file("stderr"))
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {description}: {error}"));
    Running {
        command: description,
        child,
        output,
    }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Finished {
    start(command).finish(COMMAND_LIMIT)
}

fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

impl Running {
    fn printed(&self, name: &str) -> String {
        let bytes = std::fs::read(self.output.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until standard error contains a text, or fails with what it said instead.
    pub fn wait_for_stderr(&mut self, text: &str, limit: Duration) {
        wait_until(limit, || {
            let stderr = self.printed("stderr");
            let ended = self.child.try_wait().expect("the child can be waited for");
            assert!(
                ended.is_none() || stderr.contains(text),
                "{} ended ({ended:?}) before it said {text:?}: {stderr}",
                self.command
            );
            stderr.contains(text)
        })
        .unwrap_or_else(|| {
            panic!(
                "{} never said {text:?}, but: {}",
                self.command,
                self.printed("stderr")
            )
        });
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has printed on standard error so far.
    pub fn stderr(&self) -> String {
        self.printed("stderr")
    }

    /// Waits until a condition holds while it runs.
    pub fn wait_for(&mut self, what: &str, limit: Duration, condition: impl Fn() -> bool) {
        let reached = wait_until(limit, || condition() || self.has_ended());
        assert!(
            reached.is_some() && condition(),
            "{} did not come to: {what}; stderr: {}",
            self.command,
            self.stderr()
        );
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child
            .try_wait()
            .expect("the child can be waited for")
            .is_some()
    }

    /// The file that holds what it has printed on standard output so far.
    pub fn stdout_file(&self) -> PathBuf {
        self.output.path().join("stdout")
    }

    /// What Ctrl-C sends.
    pub fn interrupt(&self) {
        let process = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(process, rustix::process::Signal::INT)
            .unwrap_or_else(|error| panic!("cannot interrupt {}: {error}", self.command));
    }

    /// Waits for the end.
    pub fn finish(mut self, limit: Duration) -> Finished {
        let mut status = None;
        wait_until(limit, || {
            status = self.child.try_wait().expect("the child can be waited for");
            status.is_some()
        });
        let (stdout, stderr) = (self.printed("stdout"), self.printed("stderr"));
        let command = std::mem::take(&mut self.command);
        let Some(status) = status else {
            panic!("{command} did not end within {limit:?}; stderr: {stderr}")
        };
        Finished {
            command,
            status,
            stdout,
            stderr,
        }
    }
}

impl Drop for Running {
    // A failing test leaves no process behind.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Asks again and again until the answer is yes; nothing if it never was within the limit.
pub fn wait_until(limit: Duration, mut condition: impl FnMut() -> bool) -> Option<()> {
    let deadline = Instant::now() + limit;
    while !condition() {
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
    Some(())
}

/// A value of a report by its JSON pointer, or a failure that says what is there instead.
pub fn value<'a>(report: &'a Value, pointer: &str) -> &'a Value {
    report.pointer(pointer).unwrap_or_else(|| {
        let (parent, name) = pointer.rsplit_once('/').unwrap_or(("", pointer));
        let there = match report.pointer(parent) {
            Some(Value::Object(fields)) => fields.keys().cloned().collect::<Vec<_>>().join(", "),
            Some(other) => other.to_string(),
            None => "not even that".to_owned(),
        };
        panic!("the report has no {name:?} at {parent:?}; there is: {there}")
    })
}

/// A count of a report by its JSON pointer.
pub fn count(report: &Value, pointer: &str) -> u64 {
    let found = value(report, pointer);
    found
        .as_u64()
        .unwrap_or_else(|| panic!("{pointer} is no count: {found}"))
}

/// A text of a report by its JSON pointer.
pub fn text<'a>(report: &'a Value, pointer: &str) -> &'a str {
    let found = value(report, pointer);
    found
        .as_str()
        .unwrap_or_else(|| panic!("{pointer} is no text: {found}"))
}

/// The rows of `protocols`.
pub fn protocols(report: &Value) -> &[Value] {
    value(report, "/protocols")
        .as_array()
        .expect("protocols is a list")
}

/// The row of one protocol.
pub fn protocol<'a>(report: &'a Value, name: &str) -> &'a Value {
    protocols(report)
        .iter()
        .find(|row| text(row, "/name") == name)
        .unwrap_or_else(|| {
            let names: Vec<_> = protocols(report)
                .iter()
                .map(|row| text(row, "/name"))
                .collect();
            panic!("the report has no protocol {name:?}, only {names:?}")
        })
}

/// Everywhere that a report counts packets: each protocol, `unclassified`, `undecoded`.
pub fn counted_parts(report: &Value) -> Vec<(&str, &Value)> {
    let named = protocols(report)
        .iter()
        .map(|row| (text(row, "/name"), row));
    named
        .chain(["unclassified", "undecoded"].map(|name| (name, value(report, &format!("/{name}")))))
        .collect()
}

/// A count summed over every part of a report.
pub fn total(report: &Value, pointer: &str) -> u64 {
    counted_parts(report)
        .iter()
        .map(|(_, part)| count(part, pointer))
        .sum()
}

/// The identities of a report (DESIGN.md, "Words and layers") that do not hold, in words.
pub fn broken_identities(report: &Value) -> Vec<String> {
    let mut broken = Vec::new();
    let mut check = |part: &str, whole: (&str, u64), parts: u64| {
        if whole.1 != parts {
            broken.push(format!(
                "{part}: {} is {}, its parts sum to {parts}",
                whole.0, whole.1
            ));
        }
    };
    for (name, part) in counted_parts(report) {
        let bytes = |layer: &str| count(part, &format!("/bytes/{layer}"));
        let sum = |layers: &[&str]| layers.iter().map(|layer| bytes(layer)).sum::<u64>();
        let not_ip = if name == "undecoded" {
            count(part, "/not_ip")
        } else {
            0
        };
        check(
            name,
            ("payload", bytes("payload")),
            sum(&["message", "framing", "incomplete", "unframed"]),
        );
        check(
            name,
            ("ip", bytes("ip")),
            sum(&[
                "ip_header",
                "tunnel_header",
                "transport_header",
                "payload",
                "retransmitted",
                "outside_stream",
            ]),
        );
        check(
            name,
            ("wire", bytes("wire")),
            sum(&["link_header", "ip", "link_trailer"]) + not_ip,
        );
        let packets = |class: &str| count(part, &format!("/packets/{class}"));
        let classes = [
            "handshake",
            "data",
            "pure_ack",
            "retransmission",
            "teardown",
            "other",
        ];
        check(
            name,
            ("packets", packets("total")),
            classes.map(packets).iter().sum(),
        );
    }
    let seen = count(report, "/completeness/packets_seen");
    check(
        "report",
        ("packets_seen", seen),
        total(report, "/packets/total"),
    );
    broken
}
