//! A real Redis server under load: what WireWatt counts on the wire equals tcpdump's capture of
//! the same run, and the bytes that the server itself counted.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use common::{
    Running, broken_identities, command, count, have_tools, protocol, run, start, text, tshark,
    tshark_fields, wait_until, wirewatt,
};

const START_LIMIT: Duration = Duration::from_secs(20);

/// A TCP port that nobody listens on, below the range that the kernel gives to clients. Each call
/// searches a range of its own: the tests of one program run at the same time.
fn free_port() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let own = 100 * CALLS.fetch_add(1, Ordering::Relaxed);
    let first = 20_000 + (std::process::id() % 10_000) as u16 + own;
    (first..first + 100)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of these ports is free")
}

/// Datagrams to a socket of our own that show how far tcpdump's file has come: interrupted sooner,
/// tcpdump would lose the last block of its buffer.
struct Marker {
    socket: UdpSocket,
    sent: u32,
}

impl Marker {
    fn new() -> Self {
        // Bound, so that the datagrams draw no ICMP errors.
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a UDP socket");
        Self { socket, sent: 0 }
    }

    fn port(&self) -> u16 {
        self.socket.local_addr().expect("a bound socket").port()
    }

    /// Sends one, again every second, until the file shows one of them.
    fn wait_until_in(&mut self, file: &Path) {
        let first = self.sent;
        let mut tries = 0;
        wait_until(START_LIMIT, || {
            if tries % 100 == 0 {
                let address = ("127.0.0.1", self.port());
                let text = format!("oracle-marker-{:08}", self.sent);
                self.socket
                    .send_to(text.as_bytes(), address)
                    .expect("a datagram is sent");
                self.sent += 1;
            }
            tries += 1;
            let captured = std::fs::read(file).unwrap_or_default();
            (first..self.sent).any(|number| {
                let text = format!("oracle-marker-{number:08}");
                captured
                    .windows(text.len())
                    .rev()
                    .take(4096)
                    .any(|window| window == text.as_bytes())
            })
        })
        .unwrap_or_else(|| panic!("tcpdump never wrote a marker to {}", file.display()));
    }
}

/// tcpdump writing what passes on the server's port, seen to be live.
fn live_tcpdump(file: &Path, port: u16, marker: &mut Marker) -> Running {
    let mut tcpdump = command("tcpdump");
    // Headers are enough, and leave room in the buffer on a busy machine.
    tcpdump
        .args(["-i", "lo", "-n", "-U", "-s", "128", "-B", "131072", "-w"])
        .arg(file);
    if rustix::process::geteuid().is_root() {
        // As root it would become another user, who may not write here.
        tcpdump.args(["-Z", "root"]);
    }
    tcpdump.arg(format!("tcp port {port} or udp port {}", marker.port()));
    let mut tcpdump = start(&mut tcpdump);
    tcpdump.wait_for_stderr("listening on", START_LIMIT);
    marker.wait_until_in(file);
    tcpdump
}

/// Ends tcpdump once its file holds everything.
fn end_tcpdump(tcpdump: Running, file: &Path, marker: &mut Marker) {
    marker.wait_until_in(file);
    tcpdump.interrupt();
    let tcpdump = tcpdump.finish(START_LIMIT);
    assert!(
        tcpdump.stderr.contains("\n0 packets dropped by kernel"),
        "tcpdump lost packets and is no oracle: {tcpdump}"
    );
}

/// The server's account of its own bytes.
struct ServerCounters {
    input: u64,
    output: u64,
}

/// What the server answers to `INFO` with a section's name, on a new connection.
fn info(port: u16, section: &str) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");
    connection
        .set_read_timeout(Some(START_LIMIT))
        .expect("a timeout can be set");
    connection
        .write_all(format!("INFO {section}\r\n").as_bytes())
        .expect("the question is sent");
    let mut answer = Vec::new();
    let whole = loop {
        let mut chunk = [0; 4096];
        let received = connection.read(&mut chunk).expect("the server answers");
        assert!(received > 0, "the server closed in its answer");
        answer.extend_from_slice(&chunk[..received]);
        // A bulk string: $LENGTH CRLF body CRLF.
        if let Some(end) = answer.windows(2).position(|pair| pair == b"\r\n") {
            let length = String::from_utf8_lossy(&answer[1..end]).into_owned();
            let whole = end + 2 + length.parse::<usize>().expect("a bulk string") + 2;
            if answer.len() >= whole {
                break whole;
            }
        }
    };
    assert_eq!(answer.len(), whole, "more than one answer");
    String::from_utf8(answer).expect("the answer is text")
}

/// The server's counters. Those in its answer contain the question and not the answer: the answer is
/// added here.
fn server_counters(port: u16) -> ServerCounters {
    let text = info(port, "stats");
    let counter = |name: &str| -> u64 {
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no {name}: {text}"))
    };
    ServerCounters {
        input: counter("total_net_input_bytes"),
        output: counter("total_net_output_bytes") + text.len() as u64,
    }
}

/// What tshark finds on the server's port in a capture.
#[derive(Debug, Default, PartialEq, Eq)]
struct Port {
    packets: u64,
    handshake: u64,
    teardown: u64,
    with_payload: u64,
    to_server: u64,
    from_server: u64,
    ip_bytes: u64,
    wire_bytes: u64,
}

impl Port {
    fn in_capture(file: &Path, port: u16) -> Self {
        let fields = [
            "tcp.dstport",
            "tcp.len",
            "ip.len",
            "frame.len",
            "tcp.flags.syn",
            "tcp.flags.fin",
            "tcp.flags.reset",
        ];
        let mut seen = Self::default();
        for row in tshark_fields(file, &format!("tcp.port == {port}"), &fields) {
            let number = |column: usize| -> u64 {
                // tshark 4 prints flags as 0 and 1, later versions as False and True.
                match row[column].as_str() {
                    "True" => 1,
                    "False" => 0,
                    digits => digits
                        .parse()
                        .unwrap_or_else(|_| panic!("no number in {row:?}")),
                }
            };
            let [syn, fin, reset] = [4, 5, 6].map(|column| number(column) == 1);
            seen.packets += 1;
            seen.handshake += u64::from(syn);
            seen.teardown += u64::from(!syn && (fin || reset));
            seen.with_payload += u64::from(number(1) > 0);
            if number(0) == u64::from(port) {
                seen.to_server += number(1);
            } else {
                seen.from_server += number(1);
            }
            seen.ip_bytes += number(2);
            seen.wire_bytes += number(3);
        }
        seen
    }
}

/// Starts the server.
fn start_server(port: u16, folder: &Path) -> Running {
    let server = start(
        command("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--dir",
            ])
            .arg(folder),
    );
    wait_until(START_LIMIT, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    })
    .expect("the server starts to listen");
    server
}

/// Starts the server, loads it, asks it for its counters, and stops it.
fn loaded_server(port: u16, folder: &Path) -> ServerCounters {
    let server = start_server(port, folder);
    // One command a segment; then several commands a segment, and values of several segments.
    for load in [
        &["-P", "1"][..],
        &["-P", "16", "-d", "3000"],
        &["-P", "4", "-d", "100000"],
    ] {
        let requests = if load.contains(&"100000") {
            "200"
        } else {
            "10000"
        };
        let finished = run(command("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "20", "-q"])
            .args(["-n", requests, "-t", "set,get"])
            .args(load));
        assert!(finished.status.success(), "{finished}");
    }
    let counters = server_counters(port);
    server.interrupt();
    let finished = server.finish(START_LIMIT);
    assert!(finished.status.success(), "{finished}");
    counters
}

#[test]
fn sniff_agrees_with_tcpdump_and_with_the_servers_own_counters() {
    if !have_tools(&["tcpdump", "tshark", "redis-server", "redis-benchmark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let mut marker = Marker::new();

    // Both captures are live before the server is: its first byte is theirs as well.
    let theirs = folder.path().join("tcpdump.pcap");
    let tcpdump = live_tcpdump(&theirs, port, &mut marker);
    let ours = folder.path().join("wirewatt.pcapng");
    let mut sniff = start(
        wirewatt()
            .args([
                "sniff",
                "-i",
                "lo",
                "--json",
                "--protocol",
                &format!("redis={port}:segment"),
            ])
            .arg("-w")
            .arg(&ours),
    );
    sniff.wait_for_stderr("capturing on", START_LIMIT);

    let counters = loaded_server(port, folder.path());

    end_tcpdump(tcpdump, &theirs, &mut marker);
    sniff.interrupt();
    let sniff = sniff.finish(START_LIMIT);

    assert_eq!(sniff.status.code(), Some(0), "{sniff}");
    let report = sniff.json();
    assert_eq!(broken_identities(&report), Vec::<String>::new());
    let state = text(&report, "/completeness/state");
    assert!(
        ["proven", "consistent"].contains(&state),
        "{}",
        report["completeness"]
    );

    let oracle = Port::in_capture(&theirs, port);
    assert_eq!(
        Port::in_capture(&ours, port),
        oracle,
        "what we recorded, read by tshark"
    );

    let redis = protocol(&report, "redis");
    let bytes = |layer: &str| count(redis, &format!("/bytes/{layer}"));
    let packets = |class: &str| count(redis, &format!("/packets/{class}"));
    assert_eq!(packets("total"), oracle.packets, "packets");
    assert_eq!(packets("handshake"), oracle.handshake, "handshake packets");
    assert_eq!(packets("teardown"), oracle.teardown, "teardown packets");
    assert_eq!(bytes("ip"), oracle.ip_bytes, "IP bytes");
    assert_eq!(bytes("wire"), oracle.wire_bytes, "frame bytes");
    assert_eq!(
        bytes("payload") + bytes("retransmitted") + bytes("outside_stream"),
        oracle.to_server + oracle.from_server,
        "TCP payload"
    );
    assert_eq!(
        count(redis, "/to_listener/packets") + count(redis, "/from_listener/packets"),
        oracle.packets,
        "packets by direction"
    );
    if bytes("retransmitted") == 0 {
        assert_eq!(
            count(redis, "/messages"),
            oracle.with_payload,
            "segments with payload"
        );
    }
    // What the server read and wrote, retransmitted or not, is the unique payload.
    assert_eq!(
        count(redis, "/to_listener/payload"),
        counters.input,
        "total_net_input_bytes"
    );
    assert_eq!(
        count(redis, "/from_listener/payload"),
        counters.output,
        "total_net_output_bytes"
    );
}

/// The oracle by itself: the server's counters and tcpdump's capture agree before WireWatt is
/// asked. When this fails, the machine is at fault and not WireWatt.
#[test]
fn tcpdump_agrees_with_the_servers_own_counters() {
    if !have_tools(&["tcpdump", "tshark", "redis-server", "redis-benchmark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let mut marker = Marker::new();
    let file = folder.path().join("tcpdump.pcap");
    let tcpdump = live_tcpdump(&file, port, &mut marker);
    let counters = loaded_server(port, folder.path());
    end_tcpdump(tcpdump, &file, &mut marker);

    let filter = format!("tcp.port == {port} && tcp.analysis.retransmission");
    let retransmitted = tshark_fields(&file, &filter, &["tcp.len"]).len();
    let seen = Port::in_capture(&file, port);
    if retransmitted == 0 {
        assert_eq!(
            (seen.to_server, seen.from_server),
            (counters.input, counters.output)
        );
    } else {
        assert!(seen.to_server >= counters.input && seen.from_server >= counters.output);
    }
}

/// Commands that the server has executed by `INFO commandstats`, and the question itself.
fn executed(port: u16) -> u64 {
    let text = info(port, "commandstats");
    let calls = text.lines().filter_map(|line| {
        let (_, calls) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let (calls, _) = calls.split_once(',')?;
        Some(calls.parse::<u64>().expect("a number of calls"))
    });
    calls.sum::<u64>() + 1
}

/// Sends commands on a connection in these pieces, a segment each, and reads replies of so many bytes.
fn converse(connection: &mut TcpStream, pieces: &[&[u8]], answer: usize) -> Vec<u8> {
    connection.set_nodelay(true).expect("an option can be set");
    connection
        .set_read_timeout(Some(START_LIMIT))
        .expect("a timeout can be set");
    for piece in pieces {
        connection.write_all(piece).expect("commands are sent");
    }
    let mut received = vec![0; answer];
    connection
        .read_exact(&mut received)
        .unwrap_or_else(|error| panic!("{error} after {}", String::from_utf8_lossy(&received)));
    received
}

#[test]
fn commands_and_replies_are_those_that_the_server_counts() {
    if !have_tools(&["redis-server", "redis-benchmark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let port = free_port();
    let definition = format!("redis={port}:resp");
    let mut sniff =
        start(wirewatt().args(["sniff", "-i", "lo", "--json", "--protocol", &definition]));
    sniff.wait_for_stderr("capturing on", START_LIMIT);
    let server = start_server(port, folder.path());
    let connect = || TcpStream::connect(("127.0.0.1", port)).expect("the server accepts");

    // RESP2: a command in pieces, an inline one, a transaction, nested replies, an error and a null.
    let mut second = connect();
    let text = converse(
        &mut second,
        &[
            b"*2\r\n$4\r\nEC",
            b"HO\r\n$2\r\n\r\n\r\n",
            b"PING\r\n",
            b"MULTI\r\nSET k 1\r\nINCR k\r\nEXEC\r\n",
            b"EVAL \"return {1,{2,'x',{}},false}\" 0\r\n",
            b"GET nothing\r\nLPUSH k x\r\n",
        ],
        b"$2\r\n\r\n\r\n+PONG\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n:2\r\n".len()
            + b"*3\r\n:1\r\n*3\r\n:2\r\n$1\r\nx\r\n*0\r\n$-1\r\n$-1\r\n".len()
            + b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n".len(),
    );
    assert!(text.ends_with(b"wrong kind of value\r\n"));
    // RESP3: maps, doubles, a push of each message to a channel, and values of many segments.
    let mut third = connect();
    let hello = converse(&mut third, &[b"HELLO 3\r\n"], 100);
    assert!(hello.starts_with(b"%7\r\n"));
    let mut rest = Vec::new();
    while !rest.ends_with(b"modules\r\n*0\r\n") {
        rest.extend(converse(&mut third, &[], 1));
    }
    let text = converse(
        &mut third,
        &[b"ZADD z 1.5 a\r\nZSCORE z a\r\nSUBSCRIBE c\r\nPUBLISH c m\r\nGET nothing\r\n"],
        b":1\r\n,1.5\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n".len()
            + b">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nm\r\n:1\r\n_\r\n".len(),
    );
    assert!(text.ends_with(b"_\r\n"));
    let value = "*1\r\n$4\r\nPING\r\n".repeat(100_000);
    let set = format!(
        "*3\r\n$3\r\nSET\r\n$1\r\nv\r\n${}\r\n{value}\r\nGET v\r\n",
        value.len()
    );
    let answer = "+OK\r\n".len() + format!("${}\r\n{value}\r\n", value.len()).len();
    converse(&mut third, &[set.as_bytes()], answer);
    drop((second, third));
    let by_hand = executed(port);
    // PING, ECHO, four of the transaction, EVAL, GET, LPUSH; HELLO, five, SET, GET; the question.
    assert_eq!(by_hand, 9 + 8 + 1);
    let pushes = 1;

    for load in [&["-P", "1"][..], &["-P", "16", "-d", "3000"]] {
        let finished = run(command("redis-benchmark")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-c", "20", "-q"])
            .args(["-n", "5000", "-t", "set,get,lpush,lrange_100,mset,zadd"])
            .args(load));
        assert!(finished.status.success(), "{finished}");
    }
    let commands = executed(port);
    assert!(commands > 60_000);
    server.interrupt();
    let finished = server.finish(START_LIMIT);
    assert!(finished.status.success(), "{finished}");
    sniff.interrupt();
    let sniff = sniff.finish(START_LIMIT);
    assert_eq!(sniff.status.code(), Some(0), "{sniff}");

    let report = sniff.json();
    assert_eq!(broken_identities(&report), Vec::<String>::new());
    let redis = protocol(&report, "redis");
    assert_eq!(count(redis, "/to_listener/messages"), commands);
    assert_eq!(count(redis, "/from_listener/messages"), commands + pushes);
    assert_eq!(count(redis, "/incomplete_messages"), 0);
    assert_eq!(count(redis, "/bytes/unframed"), 0);
}

/// Commands and replies of RESP2 by hand, of which segments bring several or a part: tshark's dissector finds
/// as many.
#[test]
fn tshark_finds_the_same_commands_and_replies_in_a_file() {
    const PORT: u16 = 6379;
    /// Ports, flags, sequence and acknowledgment numbers, payload.
    type Sent = ([u16; 2], u8, u32, u32, &'static [u8]);
    if !have_tools(&["tshark"]) {
        return;
    }
    let (up, down) = ([40_000, PORT], [PORT, 40_000]);
    let segments: [Sent; 9] = [
        (up, 2, 99, 0, b""),
        (down, 18, 499, 100, b""),
        (
            up,
            24,
            100,
            500,
            b"*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nINCR\r\n$1\r\nk\r\n",
        ),
        (down, 24, 500, 135, b"+PONG\r\n:1\r\n"),
        (up, 24, 135, 511, b"*2\r\n$3\r\nGET\r\n$1"),
        (up, 24, 150, 511, b"\r\nk\r\n*1\r\n$1\r\nX\r\n"),
        (down, 24, 511, 166, b"$3\r\na\r"),
        (down, 24, 517, 166, b"\n\r\n"),
        (down, 24, 520, 166, b"-ERR unknown command\r\n"),
    ];
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1] {
        file.extend(u32::to_le_bytes(word));
    }
    for (second, (ports, flags, sequence, acknowledgment, payload)) in (1..).zip(segments) {
        let length = 54 + payload.len() as u32;
        for word in [second, 0, length, length] {
            file.extend(u32::to_le_bytes(word));
        }
        file.extend([&[2; 12][..], &[8, 0, 0x45, 0]].concat());
        file.extend((40 + payload.len() as u16).to_be_bytes());
        file.extend([0, 0, 0, 0, 64, 6, 0, 0]);
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]];
        let ends = if ports == up {
            [one, other]
        } else {
            [other, one]
        };
        file.extend(ends.concat());
        file.extend(ports.map(u16::to_be_bytes).concat());
        file.extend(sequence.to_be_bytes());
        file.extend(acknowledgment.to_be_bytes());
        file.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
        file.extend(payload);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("resp.pcap");
    std::fs::write(&path, file).expect("written");

    // Fields of values that stand in no other here. What tshark finds the beginning of, it shows again
    // with the packet that brings the rest.
    let found = |to: u16, fields: &[&str]| {
        let mut command = tshark();
        command
            .args(["-o", "tcp.desegment_tcp_streams:TRUE"])
            .args(["-d", &format!("tcp.port=={PORT},resp")])
            .arg("-r")
            .arg(&path)
            .arg("-Y")
            .arg(format!(
                "resp && !resp.reassembled_in_next_frame && tcp.dstport == {to}"
            ))
            .args(["-T", "fields", "-E", "separator=|"]);
        for field in fields {
            command.args(["-e", field]);
        }
        let finished = run(&mut command);
        assert!(finished.status.success(), "{finished}");
        let values = finished.stdout.split(['|', ',', '\n']);
        values.filter(|value| !value.is_empty()).count() as u64
    };
    let report = run(wirewatt()
        .args(["analyze", "--json", "--protocol", "redis=6379:resp"])
        .arg(&path))
    .json();
    let redis = protocol(&report, "redis");
    let messages = [
        count(redis, "/to_listener/messages"),
        count(redis, "/from_listener/messages"),
    ];
    let replies = [
        "resp.string",
        "resp.integer",
        "resp.bulk_string.length",
        "resp.error",
    ];
    let theirs = [found(PORT, &["resp.array.length"]), found(40_000, &replies)];
    assert_eq!((messages, theirs), ([4, 4], [4, 4]));
}
