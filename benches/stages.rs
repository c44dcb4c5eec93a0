//! Each stage of an analysis on traffic made here: reading, decoding, reassembly, framing, and all
//! of it together.
//!
//! `cargo bench` runs all, `cargo bench -- framing` those with that name. scripts/compare-peers
//! measures whole programs on captured traffic.

use std::hint::black_box;
use std::io::Cursor;
use std::num::NonZeroU16;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use wirewatt::analysis::{self, Analyzer, ChunkSource, ProtocolPlan};
use wirewatt::capture::{CaptureFile, CapturedPacket};
use wirewatt::flow::{HalfStream, HoldingSpace, StreamSink};
use wirewatt::message::{FramingChoice, Message, MessageSink, Way};
use wirewatt::packet;
use wirewatt::units::{IncompleteBytes, LinkType, UnframedBytes};

const PORT: u16 = 16_379;
const ETHERNET: LinkType = LinkType(1);
const SMALL_PACKETS: usize = 100_000;
const LARGE_PACKETS: usize = 1000;
const REQUEST: &[u8] = b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nxxx\r\n";
const REPLY: &[u8] = b"+OK\r\n";

/// Ethernet frames of a capture, each with its time in microseconds.
type Frames = Vec<(u64, Vec<u8>)>;

/// One end of a connection.
struct End {
    port: u16,
    sequence: u32,
}

/// A TCP segment in IPv4 in Ethernet, without checksums, as loopback leaves them.
fn segment(from: &mut End, to: &End, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0]);
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 1]);
    frame.extend(from.port.to_be_bytes());
    frame.extend(to.port.to_be_bytes());
    frame.extend(from.sequence.to_be_bytes());
    frame.extend(to.sequence.to_be_bytes());
    frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    from.sequence += payload.len() as u32 + u32::from(flags >> 1 & 1);
    frame
}

fn ends(client: u16) -> (End, End) {
    let end = |port, sequence| End { port, sequence };
    (end(client, 1000), end(PORT, 2000))
}

/// Fifty clients ask and are answered in turn; every third packet is an acknowledgment.
fn small_packets() -> Frames {
    let mut pairs: Vec<(End, End)> = (40_000..40_050).map(ends).collect();
    let mut frames = Vec::new();
    for (client, server) in &mut pairs {
        frames.push(segment(client, server, 0x02, b""));
        frames.push(segment(server, client, 0x12, b""));
        frames.push(segment(client, server, 0x10, b""));
    }
    while frames.len() < SMALL_PACKETS {
        for (client, server) in &mut pairs {
            frames.push(segment(client, server, 0x18, REQUEST));
            frames.push(segment(server, client, 0x18, REPLY));
            frames.push(segment(client, server, 0x10, b""));
        }
    }
    frames.truncate(SMALL_PACKETS);
    (0_u64..).step_by(3).zip(frames).collect()
}

/// A transfer in segments as large as loopback's.
fn large_packets() -> Frames {
    let (mut sender, mut receiver) = ends(40_000);
    let payload: Vec<u8> = (0..65_000_u32).map(|i| (i % 251) as u8).collect();
    let mut frames = vec![segment(&mut sender, &receiver, 0x02, b"")];
    frames.push(segment(&mut receiver, &sender, 0x12, b""));
    for _ in 0..LARGE_PACKETS {
        frames.push(segment(&mut sender, &receiver, 0x18, &payload));
        frames.push(segment(&mut receiver, &sender, 0x10, b""));
    }
    (0_u64..).zip(frames).collect()
}

fn as_pcap(frames: &Frames) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0]);
    for (time, frame) in frames {
        let (seconds, micros) = (time / 1_000_000, time % 1_000_000);
        let length = frame.len() as u32;
        for word in [seconds as u32, micros as u32, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    file
}

fn as_pcapng(frames: &Frames) -> Vec<u8> {
    let mut file = Vec::new();
    let mut block = |kind: u32, body: &[u8]| {
        let padded = body.len().next_multiple_of(4);
        let length = (padded as u32 + 12).to_le_bytes();
        file.extend(kind.to_le_bytes());
        file.extend(length);
        file.extend(body);
        file.resize(file.len() + padded - body.len(), 0);
        file.extend(length);
    };
    let mut section = 0x1a2b_3c4d_u32.to_le_bytes().to_vec();
    section.extend([1, 0, 0, 0]);
    section.extend([0xff; 8]);
    block(0x0a0d_0d0a, &section);
    block(1, &[1, 0, 0, 0, 0, 0, 0, 0]);
    for (time, frame) in frames {
        let length = frame.len() as u32;
        let words = [0, (time >> 32) as u32, *time as u32, length, length];
        let mut packet = words.map(u32::to_le_bytes).concat();
        packet.extend(frame);
        block(6, &packet);
    }
    file
}

fn open(file: &[u8]) -> CaptureFile {
    CaptureFile::from_reader("traffic", Cursor::new(file.to_vec())).expect("a capture")
}

fn plan(framing: &str) -> Arc<ProtocolPlan> {
    let protocol = format!("x={PORT}:{framing}").parse().expect("a protocol");
    Arc::new(ProtocolPlan::new(&[protocol]).expect("one protocol"))
}

fn reading(criterion: &mut Criterion) {
    let frames = small_packets();
    let mut group = criterion.benchmark_group("reading");
    group.throughput(Throughput::Elements(frames.len() as u64));
    for (name, file) in [("pcap", as_pcap(&frames)), ("pcapng", as_pcapng(&frames))] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut length = 0_u64;
                open(&file).for_each(|packet| length += u64::from(packet.original_length));
                length
            });
        });
    }
}

fn decoding(criterion: &mut Criterion) {
    let frames = small_packets();
    let mut group = criterion.benchmark_group("decoding");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("the usual packet", |bencher| {
        let payload = |frame: &Vec<u8>| {
            let decoded = packet::decode_usual(ETHERNET, frame, frame.len() as u32);
            u64::from(decoded.expect("usual").0.payload)
        };
        bencher.iter(|| frames.iter().map(|(_, frame)| payload(frame)).sum::<u64>());
    });
    group.bench_function("any packet", |bencher| {
        let payload = |frame: &Vec<u8>| {
            let decoded = packet::decode(ETHERNET, frame, frame.len() as u32);
            u64::from(decoded.expect("decodable").lengths.payload)
        };
        bencher.iter(|| frames.iter().map(|(_, frame)| payload(frame)).sum::<u64>());
    });
}

/// Counts the bytes that come.
#[derive(Default)]
struct Counting(u64);

impl StreamSink for Counting {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0 += bytes.len() as u64;
    }
    fn cut(&mut self, n: u64) {
        self.0 += n;
    }
    fn gap(&mut self, _: u64) {}
    fn late(&mut self, _: u64, _: u64) {}
    fn wants_bytes(&self) -> bool {
        true
    }
}

impl MessageSink for Counting {
    fn message(&mut self, _: Way, message: Message) {
        self.0 += black_box(message).body.get();
    }
    fn incomplete(&mut self, _: Way, _: IncompleteBytes) {}
    fn unframed(&mut self, _: Way, _: UnframedBytes) {}
}

fn reassembly(criterion: &mut Criterion) {
    const SEGMENTS: u32 = 10_000;
    let payload = [7_u8; 100];
    let mut group = criterion.benchmark_group("reassembly");
    group.throughput(Throughput::Elements(u64::from(SEGMENTS)));
    // Of each four segments.
    for (name, order) in [
        ("in order", [0, 1, 2, 3]),
        ("one in four late", [0, 2, 3, 1]),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut stream = HalfStream::default();
                let (mut space, mut sink) = (HoldingSpace::new(1 << 20), Counting::default());
                stream.syn(0);
                for i in 0..SEGMENTS {
                    let sequence = 1 + 100 * (i / 4 * 4 + order[i as usize % 4]);
                    stream.segment(sequence, &payload, 100, &mut space, &mut sink);
                }
                assert_eq!(sink.0, 100 * u64::from(SEGMENTS));
            });
        });
    }
}

fn framing(criterion: &mut Criterion) {
    const MESSAGES: usize = 10_000;
    let mut group = criterion.benchmark_group("framing");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    // A token of the ring (docs/wire-format.md).
    let mut token = vec![0x57, 0xa7, 1, 0, 0, 0, 0, 60, 0, 2, 0, 1, 0, 0, 0, 0];
    token.extend([0, 0, 0, 1, 0, 0, 0, 1]);
    token.extend([9_u64, 1, 1, 3].map(u64::to_be_bytes).concat());
    token.extend([0; 4]);
    let line = [vec![b'x'; 48], b"\r\n".to_vec()].concat();
    let mut prefixed = 46_u32.to_be_bytes().to_vec();
    prefixed.extend([0; 46]);
    for (name, message) in [
        ("wirewatt", token),
        ("line", line),
        ("length-prefixed", prefixed),
    ] {
        let choice: FramingChoice = name.parse().expect("a framing");
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let (mut framer, mut sink) = (choice.framer(true), Counting::default());
                for _ in 0..MESSAGES {
                    framer.bytes(Way::ToListener, &message, &mut sink);
                }
                assert!(sink.0 > 0);
            });
        });
    }
}

/// A capture, in chunks of a read buffer each.
struct Chunks(CaptureFile);

impl ChunkSource for Chunks {
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        self.0.take_chunk(chunk, place)
    }
}

fn whole(criterion: &mut Criterion) {
    let small = small_packets();
    let file = as_pcap(&small);
    let mut group = criterion.benchmark_group("analysis");
    group.throughput(Throughput::Elements(small.len() as u64));
    for name in ["segment", "line", "turn"] {
        let plan = plan(name);
        group.bench_function(name, |bencher| bencher.iter(|| analyze(&file, &plan)));
    }
    let plan = plan("line");
    group.bench_function("line, two threads", |bencher| {
        bencher.iter(|| {
            let analyzer = || Analyzer::new(Arc::clone(&plan));
            let threads = NonZeroU16::MIN.saturating_add(1);
            analysis::analyze(Chunks(open(&file)), threads, analyzer)
        });
    });
    bulk(group, &plan);
}

fn bulk(mut group: BenchmarkGroup<'_, WallTime>, plan: &Arc<ProtocolPlan>) {
    let file = as_pcap(&large_packets());
    group.throughput(Throughput::Bytes(file.len() as u64));
    group.bench_function("bulk transfer, line", |bencher| {
        bencher.iter(|| analyze(&file, plan));
    });
}

fn analyze(file: &[u8], plan: &Arc<ProtocolPlan>) -> analysis::Analysis {
    let mut analyzer = Analyzer::new(Arc::clone(plan));
    open(file).for_each(|packet| analyzer.packet(&packet));
    analyzer.finish()
}

criterion_group!(stages, reading, decoding, reassembly, framing, whole);
criterion_main!(stages);
