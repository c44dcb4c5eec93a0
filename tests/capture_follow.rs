//! Captures that grow while they are read.

mod common;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};

use common::{
    COMMAND_LIMIT, Finished, Running, command, count, free_ports, have_tools, is_root, protocol,
    run, start, text, wait_until, wirewatt,
};
use serde_json::Value;
use wirewatt::capture::{CaptureFile, Ending, FileError, Followed};

fn word(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

fn classic_header() -> Vec<u8> {
    [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 101]
        .map(word)
        .concat()
}

/// A record of a UDP datagram over IPv4 to port 5000, with a payload of `length` bytes.
fn record(seconds: u32, length: usize) -> Vec<u8> {
    let ip_length = 28 + length as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(ip_length.to_be_bytes());
    packet.extend([0, 1, 0, 0, 64, 17, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2]);
    for field in [40_000, 5000, 8 + length as u16, 0] {
        packet.extend(u16::to_be_bytes(field));
    }
    packet.resize(ip_length.into(), 7);
    let captured = packet.len() as u32;
    [[seconds, 0, captured, captured].map(word).concat(), packet].concat()
}

fn block(block_type: u32, body: &[u8]) -> Vec<u8> {
    let length = word(body.len() as u32 + 12);
    [&word(block_type)[..], &length, body, &length].concat()
}

/// Two packets, with a block between them that is skipped.
fn small_pcapng() -> Vec<u8> {
    let enhanced = |low: u32| {
        let words = [0, 0, low, 4, 4].map(word).concat();
        block(6, &[&words[..], b"four"].concat())
    };
    [
        block(
            0x0a0d_0d0a,
            &[0x1a2b_3c4d, 1, u32::MAX, u32::MAX].map(word).concat(),
        ),
        block(1, &[1, 0].map(word).concat()),
        enhanced(1),
        block(0x0bad, &[0; 60]),
        enhanced(2),
    ]
    .concat()
}

/// What has come is shown at once, whatever the writer's last piece was: here, single bytes.
#[test]
fn each_packet_is_shown_as_soon_as_its_last_byte_is_there() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("growing.pcapng");
    let whole = [classic_header(), record(1, 5), record(2, 0)].concat();
    for bytes in [small_pcapng(), whole] {
        let mut writer = File::create(&path).expect("created");
        let mut followed = Followed::open(&path).expect("opened");
        let mut seen = 0;
        for at in 0..=bytes.len() {
            loop {
                let more = followed.read_chunk(|_| seen += 1).expect("a capture");
                assert!(more, "it ended after {at} bytes");
                if followed.is_waiting() {
                    break;
                }
            }
            let mut there = 0;
            if let Ok(mut file) =
                CaptureFile::from_reader("prefix", std::io::Cursor::new(bytes[..at].to_vec()))
            {
                file.for_each(|_| there += 1);
            }
            assert_eq!(seen, there, "after {at} bytes");
            if at < bytes.len() {
                writer.write_all(&bytes[at..=at]).expect("written");
            }
        }
        assert_eq!(seen, 2);
        followed.stop();
        while followed
            .read_chunk(|_| panic!("nothing is left"))
            .expect("a capture")
        {}
        let ending = followed.into_file().and_then(CaptureFile::into_ending);
        assert!(ending.is_some_and(|ending| ending.is_complete()));
    }
}

#[test]
fn a_file_that_is_begun_anew_is_an_error_and_what_was_read_stands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("growing.pcap");
    std::fs::write(&path, [classic_header(), record(1, 5)].concat()).expect("written");
    let mut followed = Followed::open(&path).expect("opened");
    let mut seen = 0;
    while !followed.is_waiting() || seen == 0 {
        assert!(followed.read_chunk(|_| seen += 1).expect("a capture"));
    }
    File::create(&path).expect("cut to nothing");
    while followed.read_chunk(|_| seen += 1).expect("a capture") {}
    assert_eq!(seen, 1);
    let ending = followed.into_file().and_then(CaptureFile::into_ending);
    assert!(
        matches!(ending, Some(Ending::Failed(FileError::BegunAnew { .. }))),
        "{ending:?}"
    );
}

fn follow(path: &Path, arguments: &[&str]) -> Running {
    let mut command = wirewatt();
    command.args(["analyze", "--follow", "--protocol", "mine=5000", "--json"]);
    start(command.args(arguments).arg(path))
}

#[track_caller]
fn interrupted(follow: Running) -> Finished {
    follow.interrupt();
    let finished = follow.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    finished
}

fn packets(report: &Value) -> u64 {
    count(protocol(report, "mine"), "/packets/total")
}

#[test]
fn a_writer_may_start_later_and_stop_in_the_middle() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("later.pcap");
    let mut follow = follow(&path, &[]);
    follow.wait_for_stderr("waiting for", COMMAND_LIMIT);
    let mut writer = File::create(&path).expect("created");
    follow.wait_for_stderr("following", COMMAND_LIMIT);
    let second = record(2, 11);
    writer
        .write_all(&[&classic_header()[..], &record(1, 10), &second[..20]].concat())
        .expect("written");
    // Shown while it waits for the rest of the second.
    follow.wait_for_stderr("mine", COMMAND_LIMIT);
    writer.write_all(&second[20..]).expect("written");
    writer.write_all(&record(3, 12)[..30]).expect("written");
    let finished = interrupted(follow);
    let report = finished.json();
    assert_eq!(packets(&report), 2);
    assert_eq!(count(protocol(&report, "mine"), "/bytes/payload"), 21);
    assert_eq!(text(&report, "/completeness/state"), "consistent");
    assert!(
        finished.stderr.contains("was not written to its end yet"),
        "{finished}"
    );
}

#[test]
fn a_duration_ends_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("still.pcap");
    std::fs::write(&path, [classic_header(), record(1, 5)].concat()).expect("written");
    let finished = follow(&path, &["--for", "300ms", "--quiet"]).finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    assert_eq!(packets(&finished.json()), 1);
    // Where nothing ever comes, that is an error and no empty report.
    let path = folder.path().join("never.pcap");
    let finished = follow(&path, &["--for", "100ms"]).finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("no such file"), "{finished}");
}

#[test]
fn a_named_pipe_ends_with_its_writer() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    assert!(run(Command::new("mkfifo").arg(&path)).status.success());
    let follow = || {
        let mut follow = follow(&path, &[]);
        follow.wait_for_stderr("following", COMMAND_LIMIT);
        follow
    };
    let first = follow();
    let mut writer = OpenOptions::new().write(true).open(&path).expect("opened");
    writer
        .write_all(&[classic_header(), record(1, 1), record(2, 2)].concat())
        .expect("written");
    drop(writer);
    let finished = first.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    assert_eq!(packets(&finished.json()), 2);

    // A writer that dies in the middle of a record is no user who has seen enough.
    let second = follow();
    let mut writer = OpenOptions::new().write(true).open(&path).expect("opened");
    writer
        .write_all(&[&classic_header()[..], &record(1, 1)[..20]].concat())
        .expect("written");
    drop(writer);
    let finished = second.finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("cut in the middle"), "{finished}");

    // One that goes on does not keep it.
    let third = follow();
    let mut writer = OpenOptions::new().write(true).open(&path).expect("opened");
    writer
        .write_all(&[classic_header(), record(1, 1)].concat())
        .expect("written");
    assert_eq!(packets(&interrupted(third).json()), 1);
    drop(writer);

    // Without `--follow`, a named pipe is read to its end as any file is.
    let plain = start(
        wirewatt()
            .args(["analyze", "--json", "--protocol", "mine=5000"])
            .arg(&path),
    );
    let mut writer = OpenOptions::new().write(true).open(&path).expect("opened");
    writer
        .write_all(&[classic_header(), record(1, 1)].concat())
        .expect("written");
    drop(writer);
    assert_eq!(packets(&plain.finish(COMMAND_LIMIT).json()), 1);
}

#[test]
fn standard_input_is_followed() {
    let mut child = wirewatt()
        .args([
            "analyze",
            "--follow",
            "--json",
            "--protocol",
            "mine=5000",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    let mut writer = child.stdin.take().expect("piped");
    writer
        .write_all(&[classic_header(), record(1, 1)].concat())
        .expect("written");
    drop(writer);
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(packets(&report), 1);
    assert_eq!(text(&report, "/source/kind"), "stdin");
}

#[test]
fn what_cannot_be_followed_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("a.pcap.zst");
    std::fs::write(
        &path,
        zstd::encode_all(&classic_header()[..], 1).expect("packed"),
    )
    .expect("written");
    let finished = follow(&path, &[]).finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("compressed (zstd)"), "{finished}");
    let finished = follow(&path, &["other.pcap"]).finish(COMMAND_LIMIT);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("takes one capture"), "{finished}");
}

/// Sends so many datagrams to itself, over the loopback interface.
fn send(port: u16, datagrams: usize) {
    let socket = UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
    let mut received = [0; 64];
    for _ in 0..datagrams {
        socket.send_to(&[7; 20], ("127.0.0.1", port)).expect("sent");
        socket.recv(&mut received).expect("received");
    }
}

/// What `sniff` writes, followed, brings the report of the finished file.
#[test]
fn a_recording_is_followed_while_it_is_made() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("x.pcapng");
    let port = free_ports(1);
    let definition = format!("echo={port}");
    let mut sniff = start(wirewatt().args(["sniff", "-q", "-w"]).arg(&path));
    sniff.wait_for_stderr("capturing on lo", COMMAND_LIMIT);
    let mut follow = follow(&path, &["--protocol", &definition]);
    follow.wait_for_stderr("following", COMMAND_LIMIT);
    // The port that is free is held by this test's own process.
    let sender = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        for _ in 0..300 {
            socket.send_to(&[7; 20], ("127.0.0.1", port)).expect("sent");
        }
    };
    sender();
    let shows_all = |totals: &str| {
        let mut rows = totals.lines().map(|line| line.split_whitespace());
        rows.any(|mut row| row.next() == Some("echo") && row.next() == Some("300"))
    };
    wait_until(COMMAND_LIMIT, || shows_all(&follow.stderr()))
        .unwrap_or_else(|| panic!("no live totals of all: {}", follow.stderr()));
    assert!(!follow.has_ended());
    sender();
    sniff.interrupt();
    assert!(sniff.finish(COMMAND_LIMIT).status.success());
    let live = interrupted(follow).json();
    let whole = run(wirewatt()
        .args([
            "analyze",
            "--json",
            "--protocol",
            "mine=5000",
            "--protocol",
            &definition,
        ])
        .arg(&path))
    .json();
    assert_eq!(count(protocol(&live, "echo"), "/packets/total"), 600);
    for part in ["protocols", "unclassified", "undecoded", "completeness"] {
        assert_eq!(live[part], whole[part], "{part}");
    }
}

#[test]
fn what_tcpdump_writes_is_followed() {
    if !have_tools(&["tcpdump"]) || !is_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("x.pcap");
    let port = 5000;
    let mut tcpdump = start(
        command("tcpdump")
            .args(["-i", "lo", "-U", "-Z", "root", "-w"])
            .arg(&path)
            .arg(format!("udp port {port}")),
    );
    tcpdump.wait_for_stderr("listening on", COMMAND_LIMIT);
    let follow = follow(&path, &[]);
    send(port, 50);
    wait_until(COMMAND_LIMIT, || {
        CaptureFile::open(&path).is_ok_and(|mut file| {
            let mut there = 0;
            file.for_each(|_| there += 1);
            there == 50
        })
    })
    .expect("tcpdump writes all of them");
    assert_eq!(packets(&interrupted(follow).json()), 50);
}
