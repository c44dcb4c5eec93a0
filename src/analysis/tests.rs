//! Conversations built packet by packet, and every number that they must give.

use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use etherparse::PacketBuilder;
use proptest::prelude::*;

use super::*;
use crate::analysis::Sharder;
use crate::capture::{Blocks, CaptureFile, CapturedPacket, Ending, FileBytes};
use crate::tally::Distribution;
use crate::units::{LinkType, Mtu};

mod trains;
mod unusual;

const CLIENT: u16 = 40_000;
const RING: u16 = 7100;

/// A capture written by hand.
struct Capture {
    analyzer: Analyzer,
    /// Sees the same packets, takes no short way, and lets no two connections keep counts of their own.
    thorough: Analyzer,
    /// Every packet with its original length, to be analysed in parts.
    packets: Vec<(Timestamp, Vec<u8>, u32)>,
    plan: Arc<ProtocolPlan>,
    limits: Limits,
    mtu: Mtu,
    time: i64,
    sequence: [u32; 2],
    ports: [u16; 2],
}

/// Who sends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Client = 0,
    Listener = 1,
}

use End::{Client, Listener};

impl Capture {
    fn with(definitions: &[&str]) -> Self {
        Self::within(Limits::default(), definitions)
    }

    fn within(limits: Limits, definitions: &[&str]) -> Self {
        let definitions: Vec<_> = definitions
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let plan = Arc::new(ProtocolPlan::new(&definitions).unwrap());
        Self {
            analyzer: Analyzer::with_limits(Arc::clone(&plan), limits).keeping_connections(),
            packets: Vec::new(),
            plan: Arc::clone(&plan),
            limits,
            mtu: Mtu::default(),
            thorough: {
                let limits = Limits {
                    at_work: 1,
                    ..limits
                };
                let mut thorough = Analyzer::with_limits(plan, limits).keeping_connections();
                thorough.thorough = true;
                thorough
            },
            time: 1_700_000_000_000_000_000,
            sequence: [1000, u32::MAX - 2],
            ports: [CLIENT, RING],
        }
    }

    /// Both keep the messages one by one.
    fn logged() -> Self {
        let capture = Self::with(&[]);
        Self {
            analyzer: capture.analyzer.keeping_messages(),
            thorough: capture.thorough.keeping_messages(),
            ..capture
        }
    }

    /// All analyzers project onto this MTU.
    fn onto(self, mtu: Mtu) -> Self {
        Self {
            analyzer: self.analyzer.projecting_onto(mtu),
            thorough: self.thorough.projecting_onto(mtu),
            mtu,
            ..self
        }
    }

    fn another_analyzer(&self) -> Analyzer {
        Analyzer::with_limits(Arc::clone(&self.plan), self.limits).projecting_onto(self.mtu)
    }

    fn on_ports(mut self, client: u16, listener: u16) -> Self {
        self.ports = [client, listener];
        self
    }

    /// One segment at the sender's current sequence number plus `ahead`.
    fn raw(&mut self, from: End, flags: &str, ahead: u32, payload: &[u8]) {
        let (me, peer) = (from as usize, 1 - from as usize);
        let mut builder = PacketBuilder::ethernet2([0; 6], [0; 6])
            .ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64)
            .tcp(
                self.ports[me],
                self.ports[peer],
                self.sequence[me].wrapping_add(ahead),
                1000,
            );
        for flag in flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'F' => builder.fin(),
                'R' => builder.rst(),
                'A' => builder.ack(self.sequence[peer]),
                _ => builder,
            };
        }
        let mut data = Vec::new();
        builder.write(&mut data, payload).unwrap();
        self.feed(&data, data.len());
    }

    fn feed(&mut self, data: &[u8], captured: usize) {
        self.time += 1_000_000;
        let packet = CapturedPacket {
            timestamp: Timestamp::from_nanos(self.time),
            link_type: LinkType(1),
            original_length: data.len() as u32,
            data: &data[..captured],
        };
        self.analyzer.packet(&packet);
        self.thorough.packet(&packet);
        let (data, length) = (packet.data.to_vec(), packet.original_length);
        self.packets.push((packet.timestamp, data, length));
    }

    fn send(&mut self, from: End, flags: &str, payload: &[u8]) {
        self.raw(from, flags, 0, payload);
        let extra = flags.contains(['S', 'F']) as u32;
        let sequence = &mut self.sequence[from as usize];
        *sequence = sequence.wrapping_add(payload.len() as u32 + extra);
    }

    fn datagram(&mut self, port: u16, payload: &[u8]) {
        let mut data = Vec::new();
        PacketBuilder::ethernet2([0; 6], [0; 6])
            .ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64)
            .udp(40_000, port)
            .write(&mut data, payload)
            .unwrap();
        self.feed(&data, data.len());
    }

    /// An opening marker with the nonce 42.
    fn marker(&mut self) {
        let mut payload = b"WWMK\x01\x01\x00\x02".to_vec();
        payload.extend(42_u64.to_be_bytes());
        self.datagram(8790, &payload);
    }

    fn connect(&mut self) {
        self.send(Client, "S", b"");
        self.send(Listener, "SA", b"");
        self.send(Client, "A", b"");
    }

    fn close(&mut self) {
        self.send(Client, "FA", b"");
        self.send(Listener, "FA", b"");
        self.send(Client, "A", b"");
    }

    /// The sum of the analyses of this many parts, the last one first.
    fn in_parts(&self, parts: u16) -> Analysis {
        let mut sharder = Sharder::new(NonZeroU16::new(parts).unwrap());
        let analyzer = || self.another_analyzer();
        let mut analyzers: Vec<_> = (0..parts).map(|_| analyzer()).collect();
        for (timestamp, data, original_length) in &self.packets {
            let packet = CapturedPacket {
                timestamp: *timestamp,
                link_type: LinkType(1),
                original_length: *original_length,
                data,
            };
            match sharder.part_of(&packet) {
                Some(part) => analyzers[usize::from(part)].packet(&packet),
                None => {
                    for (part, due) in sharder.due() {
                        analyzers[usize::from(part)].packet(&due.packet());
                    }
                }
            }
        }
        sharder.end();
        for (part, due) in sharder.due() {
            analyzers[usize::from(part)].packet(&due.packet());
        }
        let mut sum = Analysis::default();
        for analyzer in analyzers.into_iter().rev() {
            sum.merge(analyzer.finish());
        }
        sum
    }

    fn by_threads(&self, threads: u16, packets_a_chunk: usize) -> Analysis {
        let analyzer = || self.another_analyzer();
        let chunks = InChunks(self.packets.chunks(packets_a_chunk));
        analyze(chunks, NonZeroU16::new(threads).unwrap(), analyzer)
    }

    /// From a file, in blocks of so many bytes.
    fn in_blocks(&self, threads: u16, length: usize) -> Analysis {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), self.file()).unwrap();
        let capture = CaptureFile::open(file.path()).unwrap();
        let mut blocks = InBlocks {
            capture,
            length,
            enough: None,
        };
        let analyzer = || self.another_analyzer();
        let analysis = analyze(&mut blocks, NonZeroU16::new(threads).unwrap(), analyzer);
        assert!(blocks.capture.ending().is_some_and(Ending::is_complete));
        analysis
    }

    /// A classic file with times in nanoseconds.
    fn file(&self) -> Vec<u8> {
        let mut file = Vec::new();
        for field in [0xa1b2_3c4d, 0x0004_0002, 0, 0, 262_144, 1_u32] {
            file.extend(field.to_le_bytes());
        }
        for (time, data, original_length) in &self.packets {
            let (second, nanos) = (
                time.as_nanos() / 1_000_000_000,
                time.as_nanos() % 1_000_000_000,
            );
            for field in [
                second as u32,
                nanos as u32,
                data.len() as u32,
                *original_length,
            ] {
                file.extend(field.to_le_bytes());
            }
            file.extend(data);
        }
        file
    }

    /// The result, after every identity was checked, that the short ways change nothing, and that
    /// parts add up to it.
    fn finish(self) -> Analysis {
        let parts = [
            self.in_blocks(2, 64),
            self.in_blocks(3, 1000),
            self.in_parts(2),
            self.in_parts(5),
            self.by_threads(3, 2),
            self.by_threads(2, 17),
            self.by_threads(2, usize::MAX),
        ];
        let live = self.analyzer.live_totals();
        let analysis = self.analyzer.finish();
        assert_eq!(analysis.broken_identities(), Vec::<String>::new());
        assert_eq!(analysis, self.thorough.finish());
        // Fragments that wait in vain come to a part when that is known, more of them at once.
        let fits = |part: &Analysis| part.evidence.forgotten_fragments == 0;
        if !analysis.evidence.is_limited() && parts.iter().all(fits) {
            let whole = Analysis {
                messages: None,
                connections: None,
                ..analysis.clone()
            };
            assert_eq!(parts, [(); 7].map(|()| whole.clone()));
        }
        let live: u64 = live.iter().map(|row| row.packets.get()).sum();
        assert_eq!(live, analysis.packets.get());
        connections_add_up(&analysis);
        analysis
    }
}

/// The connections one by one have, together, what is counted of each protocol and of none.
fn connections_add_up(analysis: &Analysis) {
    let log = analysis.connections.as_ref().unwrap();
    type Row<'a> = (Option<&'a str>, bool);
    let mut sums: BTreeMap<Row<'_>, [u64; 11]> = BTreeMap::new();
    for counted in &log.connections {
        let row = (log.protocol_of(counted), counted.foreign);
        let [to, from] = &counted.ways;
        let sum = sums.entry(row).or_default();
        for (sum, one) in sum.iter_mut().zip([
            1,
            u64::from(counted.seen.refused),
            to.packets.get(),
            from.packets.get(),
            to.payload.get(),
            from.payload.get(),
            (to.messages + from.messages).get(),
            (to.incomplete_messages + from.incomplete_messages).get(),
            (to.retransmitted + from.retransmitted).get(),
            (to.gap_bytes + from.gap_bytes).get(),
            (to.ip + from.ip).get() + (to.wire + from.wire).get(),
        ]) {
            *sum += one;
        }
    }
    let none = sums.remove(&(None, false)).unwrap_or_default();
    let by_name = |name: &str| analysis.unclassified.by_name.get(name).copied();
    let unclassified = ["TCP", "UDP"].iter().filter_map(|name| by_name(name));
    assert_eq!(none[2] + none[3], unclassified.sum::<Packets>().get());
    let rows = analysis.protocols.iter().map(|row| {
        let (to, from, bytes) = (&row.to_listener, &row.from_listener, &row.bytes);
        let counted = [
            row.connections.get(),
            row.refused_connections.get(),
            to.packets.get(),
            from.packets.get(),
            to.payload.get(),
            from.payload.get(),
            row.messages.get(),
            row.incomplete_messages.get(),
            bytes.retransmitted.get(),
            bytes.gap_bytes.get(),
            bytes.ip.get() + bytes.wire.get(),
        ];
        ((Some(row.name.as_str()), row.foreign), counted)
    });
    let rows = rows.filter(|(_, counted)| counted[0] > 0);
    assert_eq!(sums, rows.collect());
}

/// A frame of the ring's token, from docs/wire-format.md.
fn token(operation: u64, sequence: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x57, 0xa7, 1, 0];
    bytes.extend((56 + body.len() as u32).to_be_bytes());
    bytes.extend([0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1]);
    for number in [9, operation, sequence, 3] {
        bytes.extend(u64::to_be_bytes(number));
    }
    bytes.extend(body);
    bytes
}

#[test]
fn a_whole_conversation_is_counted_in_every_column() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    capture.send(
        Client,
        "A",
        &[token(1, 1, b"abc"), token(1, 2, b"")].concat(),
    );
    capture.send(Listener, "A", b"");
    let third = token(2, 3, b"defg");
    capture.send(Client, "A", &third[..10]);
    capture.send(Client, "A", &third[10..]);
    capture.send(Listener, "A", b"");
    capture.close();
    let analysis = capture.finish();
    let [ring] = &analysis.protocols[..] else {
        panic!("{:?}", analysis.protocols)
    };
    assert_eq!(
        (ring.name.as_str(), ring.framing.as_str()),
        ("ring", "wirewatt")
    );
    assert_eq!(ring.messages.get(), 3);
    assert_eq!(ring.messages_by_kind["token"].get(), 3);
    assert_eq!(ring.acknowledged_by_kind["token"].get(), 3);
    assert_eq!(
        (ring.operations.count, ring.operations.kind.as_deref()),
        (2, Some("circulation"))
    );
    assert_eq!(
        (ring.bytes.message.get(), ring.bytes.framing.get()),
        (7, 168)
    );
    let packets = &ring.packets;
    assert_eq!(
        [
            packets.total,
            packets.handshake,
            packets.data,
            packets.pure_ack,
            packets.teardown
        ]
        .map(|count| count.get()),
        [11, 2, 3, 4, 2]
    );
    assert_eq!(ring.to_listener.messages.get(), 3);
    assert_eq!(ring.pairs.len(), 1);
    assert_eq!(analysis.evidence, Evidence::default());
    assert_eq!(ring.connections.get(), 1);
}

#[test]
fn an_answer_is_timed_from_the_last_payload_before_it() {
    let mut capture = Capture::with(&["echo=7000:line"]).on_ports(CLIENT, 7000);
    capture.connect();
    // What comes unasked answers nothing.
    capture.send(Listener, "A", b"hello\n");
    capture.send(Client, "A", b"a\n");
    capture.raw(Listener, "A", 0, b"");
    capture.send(Listener, "A", b"A\n");
    capture.send(Listener, "A", b"more\n");
    capture.send(Client, "A", b"b\n");
    capture.send(Client, "A", b"c\n");
    capture.send(Listener, "A", b"B\nC\n");
    // Sent again, it asks nothing new.
    capture.send(Client, "A", b"d\n");
    capture.sequence[0] -= 2;
    capture.send(Client, "A", b"d\n");
    capture.send(Listener, "A", b"D\n");
    let analysis = capture.finish();
    let turnaround = &analysis.protocols[0].latency.turnaround;
    let bucket = |ms: u64| Distribution::start_of(Distribution::bucket_of(ms * 1_000_000));
    assert_eq!(turnaround.count, 3);
    assert_eq!(turnaround.buckets, [(bucket(1), 1), (bucket(2), 2)].into());
}

#[test]
fn a_refused_connection_is_evidence() {
    let mut capture = Capture::with(&[]);
    capture.send(Client, "S", b"");
    capture.send(Listener, "RA", b"");
    let analysis = capture.finish();
    let ring = &analysis.protocols[0];
    assert_eq!(
        (ring.connections.get(), ring.refused_connections.get()),
        (1, 1)
    );
    assert_eq!(ring.packets.total.get(), 2);
    assert_eq!(analysis.evidence.gaps, 0);
}

#[test]
fn a_reset_of_an_open_connection_is_no_refusal() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    capture.send(Listener, "R", b"");
    assert_eq!(capture.finish().protocols[0].refused_connections.get(), 0);
}

#[test]
fn messages_are_kept_one_by_one_where_they_are_asked_for() {
    let mut capture = Capture::logged();
    let began = capture.time;
    capture.connect();
    let frames = [token(1, 1, b"abc"), token(1, 2, b"")].concat();
    capture.send(Client, "A", &frames);
    capture.send(Listener, "A", b"");
    // The same again: TCP did not wait for the acknowledgment.
    capture.sequence[0] -= frames.len() as u32;
    capture.send(Client, "A", &frames);
    capture.send(Client, "A", &token(2, 3, b"defg"));
    capture.send(Listener, "R", b"");
    // The next connection of the same ports carries one, and a part of another.
    capture.sequence = [5000, 9000];
    capture.connect();
    capture.send(Client, "A", &token(3, 4, b""));
    capture.send(Client, "A", &token(3, 5, b"never whole")[..60]);
    let log = capture.finish().messages.unwrap();
    assert_eq!(log.left_out, 0);
    let seen: Vec<_> = log
        .messages
        .iter()
        .map(|one| {
            (
                one.label.sequence,
                one.connection,
                one.end,
                one.acknowledged,
                one.whole,
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (1, 1, 59, true, true),
            (2, 1, 115, true, true),
            (3, 1, 175, false, true),
            (4, 2, 56, false, true),
            (5, 2, 116, false, false),
        ]
    );
    assert_eq!(log.messages[0].length(), 59);
    assert_eq!(log.messages[4].length(), 67);
    assert_eq!(log.messages[0].time.as_nanos(), began + 4_000_000);
    assert_eq!(
        log.repetitions,
        [Repetition {
            connection: 1,
            way: crate::message::Way::ToListener,
            bytes: (0, 115),
        }]
    );
    let [first, second] = &log.connections[..] else {
        panic!("{:?}", log.connections)
    };
    assert_eq!((first.serial, first.listener.port()), (1, RING));
    assert_eq!(first.opened.as_nanos(), began + 1_000_000);
    let reset = first
        .reset
        .map(|time| time.map(|time| time.as_nanos() - began));
    assert_eq!(reset, [None, Some(8_000_000)]);
    assert!(first.closed && !first.refused);
    assert_eq!(
        (second.serial, second.reset, second.closed),
        (2, [None; 2], false)
    );
}

#[test]
fn a_refused_connection_is_kept_with_its_time_and_listener() {
    let mut capture = Capture::logged();
    let began = capture.time;
    capture.send(Client, "S", b"");
    capture.send(Listener, "RA", b"");
    let log = capture.finish().messages.unwrap();
    let [refused] = &log.connections[..] else {
        panic!("{:?}", log.connections)
    };
    assert!(refused.refused);
    assert_eq!(refused.opened.as_nanos(), began + 1_000_000);
    assert_eq!(
        (refused.listener.port(), refused.initiator.port()),
        (RING, CLIENT)
    );
}

#[test]
fn nothing_is_kept_of_other_framings_and_nothing_where_it_is_not_asked_for() {
    let mut capture = Capture::logged();
    capture.connect();
    capture.send(Client, "A", b"\x80\x04\x95pickle");
    let log = capture.finish().messages.unwrap();
    assert_eq!(log, MessageLog::default());
    let mut capture = Capture::with(&[]);
    capture.connect();
    capture.send(Client, "A", &token(1, 1, b""));
    assert_eq!(capture.finish().messages, None);
}

#[test]
fn foreign_streams_have_a_row_of_their_own() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    capture.send(Client, "A", b"\x80\x04\x95pickle");
    capture.send(Listener, "A", b"answer");
    capture.close();
    let analysis = capture.finish();
    let [ring] = &analysis.protocols[..] else {
        panic!("one row")
    };
    assert!(ring.foreign && ring.approximate);
    assert_eq!((ring.framing.as_str(), ring.messages.get()), ("turn", 2));
    assert_eq!(ring.packets.total.get(), 8);
}

#[test]
fn messages_are_found_whatever_segments_carry_them_even_repeated_and_out_of_order() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    let stream = [token(1, 1, b"abc"), token(1, 2, b"defgh"), token(1, 3, b"")].concat();
    capture.raw(Client, "A", 100, &stream[100..]);
    capture.raw(Client, "A", 0, &stream[..40]);
    capture.raw(Client, "A", 20, &stream[20..110]);
    capture.raw(Client, "A", 0, &stream);
    let ring = &capture.finish().protocols[0];
    assert_eq!(ring.messages.get(), 3);
    assert_eq!(ring.bytes.payload.get() as usize, stream.len());
    assert_eq!(
        ring.bytes.retransmitted.get() as usize,
        20 + 10 + stream.len()
    );
    assert_eq!(
        (ring.packets.data.get(), ring.packets.retransmission.get()),
        (2, 2)
    );
}

#[test]
fn a_lost_packet_is_a_gap_and_its_message_incomplete() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    let (first, lost, third) = (
        token(1, 1, b"abc"),
        token(1, 2, &[7; 200]),
        token(1, 3, b""),
    );
    capture.send(Client, "A", &first);
    capture.send(Client, "A", &lost[..80]);
    // The capture misses 100 bytes.
    capture.sequence[0] = capture.sequence[0].wrapping_add(100);
    capture.send(Client, "A", &[&lost[180..], &third].concat());
    capture.send(Listener, "A", b"");
    capture.close();
    let analysis = capture.finish();
    let ring = &analysis.protocols[0];
    assert_eq!(
        (ring.messages.get(), ring.incomplete_messages.get()),
        (2, 1)
    );
    assert_eq!(ring.bytes.gap_bytes.get(), 100);
    assert_eq!(ring.bytes.incomplete.get(), 256 - 100);
    assert_eq!(
        (analysis.evidence.gaps, analysis.evidence.gap_bytes.get()),
        (1, 100)
    );
    // The message with the hole counts neither as complete nor as acknowledged.
    assert_eq!(ring.acknowledged_by_kind["token"].get(), 2);
}

#[test]
fn a_new_connection_on_the_same_ports_is_another() {
    let mut capture = Capture::with(&["redis=6379:segment"]).on_ports(50_000, 6379);
    for _ in 0..3 {
        capture.connect();
        capture.send(Client, "A", b"PING");
        capture.send(Listener, "A", b"PONG!");
        capture.close();
        capture.sequence = [capture.sequence[0].wrapping_add(77_777), 5];
    }
    let redis = &capture.finish().protocols[0];
    assert_eq!((redis.connections.get(), redis.messages.get()), (3, 6));
    assert_eq!(
        (
            redis.to_listener.payload.get(),
            redis.from_listener.payload.get()
        ),
        (12, 15)
    );
    assert_eq!(redis.pairs.len(), 2);
}

#[test]
fn syn_decides_who_listens_even_against_the_ranges() {
    // The client happens to have a port of ours.
    let mut capture = Capture::with(&[]).on_ports(RING, 50_000);
    capture.connect();
    let analysis = capture.finish();
    assert!(analysis.protocols.is_empty());
    assert_eq!(analysis.unclassified.packets.total.get(), 3);
    // Without SYN the range decides.
    let mut capture = Capture::with(&[]).on_ports(RING, 50_000);
    capture.send(Listener, "A", b"");
    assert_eq!(capture.finish().protocols[0].name, "ring");
}

#[test]
fn a_connection_picked_up_in_mid_stream_finds_its_frames() {
    let mut capture = Capture::with(&[]);
    capture.send(Client, "A", b"end of something");
    capture.send(Client, "A", &token(1, 1, b"abc"));
    let analysis = capture.finish();
    let ring = &analysis.protocols[0];
    assert_eq!((ring.messages.get(), ring.bytes.unframed.get()), (1, 16));
    assert_eq!(analysis.evidence.mid_stream_connections, 1);
}

#[test]
fn packets_cut_by_the_snap_length_count_in_full() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    let bytes = token(1, 1, &[1; 500]);
    let mut data = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64)
        .tcp(CLIENT, RING, capture.sequence[0], 1000)
        .write(&mut data, &bytes)
        .unwrap();
    capture.feed(&data, 14 + 20 + 20 + 60);
    capture.sequence[0] += bytes.len() as u32;
    capture.send(Client, "A", &token(1, 2, b"x"));
    let analysis = capture.finish();
    let ring = &analysis.protocols[0];
    assert_eq!((ring.messages.get(), ring.bytes.message.get()), (2, 501));
    assert_eq!(analysis.evidence.truncated_packets.get(), 1);
    assert_eq!(analysis.evidence.gaps, 0);
}

#[test]
fn markers_are_seen_and_counted_apart() {
    let mut capture = Capture::with(&[]);
    capture.marker();
    let analysis = capture.finish();
    assert_eq!(analysis.markers[0].marker.nonce, 42);
    assert_eq!(
        (
            analysis.protocols[0].name.as_str(),
            analysis.protocols[0].messages.get()
        ),
        ("marker", 1)
    );
}

#[test]
fn frames_of_ours_in_datagrams() {
    let mut capture = Capture::with(&[]);
    capture.datagram(RING, &token(1, 1, b"abc"));
    let analysis = capture.finish();
    let ring = &analysis.protocols[0];
    assert_eq!(
        (ring.foreign, ring.messages_by_kind["token"].get()),
        (false, 1)
    );

    let mut capture = Capture::with(&[]);
    capture.datagram(RING, b"not ours");
    assert!(capture.finish().protocols[0].foreign);
}

#[test]
fn many_connections_keep_memory_flat_and_lose_no_count() {
    let limits = Limits {
        connections: 1000,
        ..Limits::default()
    };
    let mut capture = Capture::within(limits, &["x=80"]);
    let connections = 4000_u32;
    for i in 0..connections {
        capture.ports = [10_000 + (i % 50_000) as u16, 80];
        capture.sequence = [i, 2 * i];
        capture.send(Client, "S", b"");
    }
    let analysis = capture.finish();
    assert_eq!(
        analysis.protocols[0].packets.total.get(),
        u64::from(connections)
    );
    assert_eq!(
        analysis.protocols[0].connections.get(),
        u64::from(connections)
    );
    assert_eq!(
        analysis.evidence.forgotten_connections,
        u64::from(connections) - 1000
    );
}

#[test]
fn a_fin_below_data_that_was_seen_ends_nothing() {
    let mut capture = Capture::with(&[]);
    capture.send(Client, "S", b"");
    capture.raw(Client, "A", 1, &[87]);
    capture.raw(Client, "FA", 0xc000_0000, &[87; 45]);
    let ring = &capture.finish().protocols[0];
    assert_eq!(
        (ring.bytes.payload.get(), ring.bytes.gap_bytes.get()),
        (1, 1)
    );
}

#[test]
fn messages_given_up_before_their_bytes_came_late_left_no_trace() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    let (first, second) = (token(1, 1, b"abc"), token(1, 2, b"defg"));
    capture.raw(Client, "A", first.len() as u32, &second);
    capture.sequence[0] += (first.len() + second.len()) as u32;
    for _ in 0..5 {
        capture.send(Listener, "A", b"");
    }
    capture.sequence[0] -= (first.len() + second.len()) as u32;
    capture.send(Client, "A", &first);
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].messages.get(), 1);
    assert_eq!(analysis.evidence.late_bytes, first.len() as u64);
}

#[test]
fn bytes_in_forgotten_holes_counted_as_sent_again_without_a_mark() {
    for (holes, new) in [(64, 1), (65, 0)] {
        let mut capture = Capture::with(&["mine=80:segment"]).on_ports(CLIENT, 80);
        capture.connect();
        let first_hole = capture.sequence[0];
        for _ in 0..holes {
            capture.sequence[0] = capture.sequence[0].wrapping_add(2);
            capture.send(Client, "A", b"x");
            for _ in 0..4 {
                capture.send(Listener, "A", b"");
            }
        }
        let end = std::mem::replace(&mut capture.sequence[0], first_hole);
        capture.send(Client, "A", b"y");
        capture.sequence[0] = end;
        capture.close();
        let analysis = capture.finish();
        let row = &analysis.protocols[0];
        assert_eq!(row.bytes.payload.get(), holes + new);
        assert_eq!(row.bytes.retransmitted.get(), 1 - new);
        assert_eq!(analysis.evidence.doubtful_bytes, 1 - new);
    }
}

#[test]
fn a_syn_ack_that_was_not_seen_is_a_gap_and_its_stream_begins_unframed() {
    let mut capture = Capture::with(&["t=5000:length-prefixed/1"]).on_ports(50_000, 5000);
    capture.send(Client, "S", b"");
    // SYN-ACK and the first six bytes of the answer are missing.
    capture.sequence[1] = capture.sequence[1].wrapping_add(7);
    capture.send(Client, "A", b"\x01a");
    capture.send(Listener, "A", b"\x09garbage");
    let analysis = capture.finish();
    let row = &analysis.protocols[0];
    assert_eq!((row.messages.get(), row.bytes.unframed.get()), (1, 8));
    assert!(analysis.evidence.gaps > 0);
}

/// How many gaps a connection makes whose SYN no packet showed, `after` nanoseconds into a capture.
fn gaps_without_syn(mut capture: Capture, after: i64) -> u64 {
    capture.time += after;
    let syn = capture.sequence[0];
    capture.sequence[0] = syn.wrapping_add(1);
    capture.send(Listener, "SA", b"");
    capture.send(Client, "A", b"");
    capture.close();
    capture.finish().evidence.gaps
}

#[test]
fn a_capture_that_began_between_syn_and_syn_ack_was_called_incomplete() {
    assert_eq!(gaps_without_syn(Capture::with(&[]), 0), 0);

    let mut other = Capture::with(&[]);
    other.connect();
    other.ports = [CLIENT + 1, RING];
    assert_eq!(gaps_without_syn(other, 900_000_000), 0);

    let mut other = Capture::with(&[]);
    other.connect();
    other.ports = [CLIENT + 1, RING];
    assert_eq!(gaps_without_syn(other, 1_100_000_000), 1);

    let mut marked = Capture::with(&[]);
    marked.marker();
    assert_eq!(gaps_without_syn(marked, 0), 1);
}

#[test]
fn a_reset_after_data_was_taken_for_a_refusal_when_the_syn_ack_was_not_seen() {
    let mut capture = Capture::with(&[]);
    capture.send(Client, "S", b"");
    capture.sequence[1] = capture.sequence[1].wrapping_add(1);
    capture.send(Client, "A", &token(1, 1, b"a"));
    capture.send(Listener, "A", &token(1, 1, b"b"));
    capture.send(Listener, "R", b"");
    assert_eq!(capture.finish().protocols[0].refused_connections.get(), 0);
}

#[test]
fn repeated_resets_folded_later_connections_of_the_same_ports() {
    let mut capture = Capture::with(&[]);
    for i in 0..1500_u32 {
        capture.sequence = [i * 1000, i * 2000];
        capture.connect();
        capture.send(Client, "R", b"");
        capture.send(Client, "R", b"");
    }
    let analysis = capture.finish();
    assert_eq!(analysis.protocols[0].connections.get(), 1500);
    assert_eq!(analysis.evidence.mid_stream_connections, 0);
}

#[test]
fn a_reset_outside_of_any_window_ended_a_stream() {
    let mut capture = Capture::with(&[]);
    capture.connect();
    capture.raw(Client, "R", 0x7000_0000, b"");
    capture.send(Client, "A", &token(1, 1, b"a"));
    let ring = &capture.finish().protocols[0];
    assert_eq!((ring.messages.get(), ring.packets.teardown.get()), (1, 1));
}

#[test]
fn a_connection_to_itself_has_no_gap() {
    let mut capture = Capture::with(&["t=5000:segment"]).on_ports(5000, 5000);
    capture.send(Client, "S", b"");
    capture.sequence[1] = capture.sequence[0];
    capture.raw(Client, "SA", u32::MAX, b"");
    for _ in 0..6 {
        capture.send(Client, "A", b"hello");
        capture.sequence[1] = capture.sequence[0];
        capture.send(Client, "A", b"");
    }
    let analysis = capture.finish();
    assert_eq!(analysis.evidence.gaps, 0);
    assert_eq!(analysis.protocols[0].bytes.payload.get(), 30);
}

#[test]
fn each_datagram_is_ours_or_foreign_for_itself() {
    let mut capture = Capture::with(&[]);
    for payload in [
        b"stray".to_vec(),
        token(1, 1, b"a"),
        token(1, 2, b"b"),
        b"stray".to_vec(),
    ] {
        capture.datagram(RING, &payload);
    }
    let analysis = capture.finish();
    let [own, foreign] = &analysis.protocols[..] else {
        panic!("two rows")
    };
    assert_eq!(
        (own.messages.get(), own.messages_by_kind["token"].get()),
        (2, 2)
    );
    assert_eq!((foreign.foreign, foreign.messages.get()), (true, 2));
}

#[test]
fn a_cut_in_which_messages_may_begin_is_evidence() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    let mut data = Vec::new();
    PacketBuilder::ethernet2([0; 6], [0; 6])
        .ipv4([127, 0, 0, 1], [127, 0, 0, 1], 64)
        .tcp(50_000, 5000, capture.sequence[0], 1000)
        .write(&mut data, b"one\ntwo\nthree\n")
        .unwrap();
    capture.feed(&data, 14 + 20 + 20 + 4);
    let evidence = capture.finish().evidence;
    assert_eq!((evidence.cut_unframed_bytes, evidence.gaps), (10, 0));
}

/// Bytes of one row: payload, seen again, outside of the stream, in gaps.
fn stream_bytes(analysis: &Analysis) -> [u64; 4] {
    let bytes = &analysis.protocols[0].bytes;
    [
        bytes.payload.get(),
        bytes.retransmitted.get(),
        bytes.outside_stream.get(),
        bytes.gap_bytes.get(),
    ]
}

#[test]
fn fin_proves_the_length_of_a_stream_of_which_nothing_was_captured() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    capture.sequence[0] = capture.sequence[0].wrapping_add(1000);
    capture.close();
    let analysis = capture.finish();
    assert_eq!(stream_bytes(&analysis), [0, 0, 0, 1000]);
    assert_eq!(analysis.evidence.gaps, 1);
}

#[test]
fn data_on_syn_belongs_to_the_stream_whether_it_was_accepted_or_sent_again() {
    for accepted in [true, false] {
        let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
        capture.send(Client, "S", b"fast\nop");
        if !accepted {
            capture.sequence[0] -= 7;
        }
        capture.send(Listener, "SA", b"");
        if !accepted {
            capture.send(Client, "A", b"fast\nop");
        }
        capture.send(Client, "A", b"en\n");
        capture.close();
        let analysis = capture.finish();
        let again = if accepted { 0 } else { 7 };
        assert_eq!(stream_bytes(&analysis), [10, again, 0, 0]);
        assert_eq!(analysis.protocols[0].messages.get(), 2);
        assert_eq!(analysis.evidence, Evidence::default());
    }
}

#[test]
fn a_simultaneous_open_is_one_connection() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.raw(Client, "S", 0, b"");
    capture.raw(Listener, "S", 0, b"");
    capture.sequence = capture.sequence.map(|number| number.wrapping_add(1));
    capture.raw(Client, "SA", u32::MAX, b"");
    capture.raw(Listener, "SA", u32::MAX, b"");
    capture.send(Listener, "A", b"one\n");
    capture.send(Client, "A", b"two\nthree\n");
    capture.close();
    let analysis = capture.finish();
    let row = &analysis.protocols[0];
    assert_eq!((row.connections.get(), row.packets.handshake.get()), (1, 4));
    assert_eq!(
        (
            row.to_listener.messages.get(),
            row.from_listener.messages.get()
        ),
        (2, 1)
    );
    assert_eq!(stream_bytes(&analysis), [14, 0, 0, 0]);
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn a_half_closed_connection_still_carries_the_other_way() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    capture.send(Client, "FA", b"all of it\n");
    for _ in 0..3 {
        capture.send(Listener, "A", b"answer\n");
        capture.send(Client, "A", b"");
    }
    capture.send(Listener, "FA", b"end\n");
    capture.send(Client, "A", b"");
    let analysis = capture.finish();
    let row = &analysis.protocols[0];
    assert_eq!(
        (
            row.to_listener.messages.get(),
            row.from_listener.messages.get()
        ),
        (1, 4)
    );
    assert_eq!((row.connections.get(), row.packets.teardown.get()), (1, 2));
    assert_eq!(stream_bytes(&analysis), [35, 0, 0, 0]);
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn a_zero_window_probe_brings_a_byte_and_a_keep_alive_probe_none() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    capture.send(Client, "A", b"one\n");
    capture.send(Listener, "A", b"");
    // The first byte of what waits for a window, twice; then all of it.
    capture.raw(Client, "A", 0, b"t");
    capture.raw(Client, "A", 0, b"t");
    capture.send(Client, "A", b"two\n");
    capture.send(Listener, "A", b"");
    // Probes one byte below what is expected, with garbage and without.
    capture.raw(Client, "A", u32::MAX, b"\0");
    capture.raw(Client, "A", u32::MAX, b"");
    let analysis = capture.finish();
    assert_eq!(stream_bytes(&analysis), [8, 2, 1, 0]);
    assert_eq!(analysis.protocols[0].messages.get(), 2);
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn a_second_copy_with_other_bytes_is_evidence_and_the_first_counts() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    capture.raw(Client, "A", 4, b"two\n");
    capture.raw(Client, "A", 4, b"tw\n\n");
    capture.send(Client, "A", b"one\n");
    let analysis = capture.finish();
    assert_eq!(analysis.evidence.conflicting_bytes, 1);
    assert_eq!(stream_bytes(&analysis), [8, 4, 0, 0]);
    assert_eq!(analysis.protocols[0].messages.get(), 2);
}

#[test]
fn the_text_of_a_reset_is_outside_of_the_stream() {
    let mut capture = Capture::with(&["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    capture.send(Client, "A", b"one\n");
    capture.raw(Listener, "RA", 0, b"no such service");
    capture.raw(Listener, "A", 0, b"late\n");
    let analysis = capture.finish();
    assert_eq!(stream_bytes(&analysis), [4, 0, 20, 0]);
    assert_eq!(analysis.protocols[0].messages.get(), 1);
}

#[test]
fn closed_connections_make_room_before_an_open_one_is_forgotten() {
    let limits = Limits {
        connections: 8,
        ended: 4,
        ..Limits::default()
    };
    let mut capture = Capture::within(limits, &["t=5000:line"]).on_ports(49_999, 5000);
    capture.connect();
    let open = (capture.sequence, capture.ports);
    for i in 0..1000 {
        capture.ports = [50_000 + i, 5000];
        capture.connect();
        capture.send(Client, "A", b"one\n");
        capture.close();
    }
    (capture.sequence, capture.ports) = open;
    capture.send(Client, "A", b"still here\n");
    let analysis = capture.finish();
    let row = &analysis.protocols[0];
    assert_eq!((row.connections.get(), row.messages.get()), (1001, 1001));
    assert_eq!(analysis.evidence, Evidence::default());
}

#[test]
fn a_full_store_gives_up_holes_and_says_what_came_too_late() {
    let limits = Limits {
        held: 300,
        ..Limits::default()
    };
    let mut capture = Capture::within(limits, &["t=5000:line"]).on_ports(50_000, 5000);
    capture.connect();
    // Every other line of ten is shown first. Two are held; the third finds no room, and
    // the three holes before it are given up.
    for ahead in (1..10).step_by(2) {
        capture.raw(
            Client,
            "A",
            50 * ahead,
            &[[b'a'; 49].as_slice(), b"\n"].concat(),
        );
    }
    for ahead in (0..10).step_by(2) {
        capture.raw(
            Client,
            "A",
            50 * ahead,
            &[[b'b'; 49].as_slice(), b"\n"].concat(),
        );
    }
    let analysis = capture.finish();
    assert_eq!(stream_bytes(&analysis), [500, 0, 0, 0]);
    assert_eq!(analysis.evidence.late_bytes, 150);
    // Three lines came behind a hole and three too late.
    let row = &analysis.protocols[0];
    assert_eq!((row.messages.get(), row.bytes.unframed.get()), (4, 300));
}

#[test]
fn what_comes_late_belongs_to_the_ended_connection_for_a_minute_whoever_else_has_ended() {
    for (seconds, others, connections, doubtful) in [
        (59, 1, 2, 0),
        (61, 1, 3, 0),
        // There was room for one: it cannot be told any more what this is the rest of.
        (59, 2, 4, 1),
        (61, 2, 4, 0),
    ] {
        let limits = Limits {
            ended: 2,
            ..Limits::default()
        };
        let mut capture = Capture::within(limits, &["mine=80:segment"]).on_ports(CLIENT, 80);
        capture.connect();
        capture.send(Client, "A", b"first");
        capture.close();
        let ended = capture.time;
        for other in 1..=others {
            capture.ports[0] = CLIENT + other;
            capture.connect();
            capture.close();
        }
        capture.ports[0] = CLIENT;
        capture.time = ended + seconds * 1_000_000_000 - 1_000_000;
        capture.raw(Client, "A", 0, b"late");
        let analysis = capture.finish();
        let case = (seconds, others);
        assert_eq!(
            analysis.protocols[0].connections.get(),
            connections,
            "{case:?}"
        );
        assert_eq!(analysis.evidence.doubtful_connections, doubtful, "{case:?}");
    }
}

#[test]
fn segments_for_which_there_was_no_room_are_told() {
    let limits = Limits {
        held: 0,
        ..Limits::default()
    };
    let mut capture = Capture::within(limits, &["mine=80:line"]).on_ports(CLIENT, 80);
    capture.connect();
    capture.raw(Client, "A", 5, b"later");
    let analysis = capture.finish();
    assert_eq!(analysis.evidence.segments_without_room, 1);
    assert!(analysis.evidence.is_limited());
}

proptest! {
    #[test]
    fn identities_hold_for_any_traffic(
        framing in prop::sample::select(vec!["wirewatt", "line", "length-prefixed/1", "turn", "segment"]),
        packets in prop::collection::vec(
            (any::<bool>(), prop::sample::select(vec!["S", "SA", "A", "A", "A", "FA", "R", "RA", "", "SF"]),
             prop_oneof![9 => Just(0_u32), 1 => 0_u32..500, 1 => any::<u32>()],
             prop::collection::vec(prop::sample::select(vec![0x57_u8, 0xa7, 1, 0, 10]), 0..120),
             prop_oneof![4 => Just(500_usize), 1 => 0_usize..120], prop::sample::select(vec![RING, 5000, 80])),
            0..40,
        ),
    ) {
        let mut capture = Capture::with(&[&format!("mine=5000:{framing}")]);
        for (from_client, flags, ahead, payload, _captured, port) in packets {
            capture.ports[1] = port;
            let from = if from_client { Client } else { Listener };
            if ahead == 0 {
                capture.send(from, flags, &payload);
            } else {
                capture.raw(from, flags, ahead, &payload);
            }
        }
        capture.finish();
    }

    /// Many conversations at once, some of whose ends, beginnings and acknowledgments are missing, in
    /// times that go back and forth: [`Capture::finish`] holds parts against the whole.
    #[test]
    fn parts_of_any_traffic_add_up_to_the_whole(
        framing in prop::sample::select(vec!["wirewatt", "line", "turn", "segment"]),
        packets in prop::collection::vec(
            (prop::sample::select(vec![40_000_u16, 40_001, 40_002, 40_003]),
             prop::sample::select(vec![RING, 7200, 5000, 80, 8790]),
             any::<bool>(), prop::sample::select(vec!["S", "SA", "SA", "A", "A", "A", "A", "FA", "RA", "udp"]),
             prop_oneof![6 => Just(0_u32), 1 => 1_u32..300],
             prop::sample::select(vec![0_u64, 1, 2, 3, 5, 9]),
             prop::sample::select(vec![0_i64, 0, 0, 700, -300, 61_000])),
            0..80,
        ),
    ) {
        let mut capture = Capture::with(&[&format!("mine=5000:{framing}")]);
        let mut sequences = std::collections::BTreeMap::new();
        for (client, listener, from_client, flags, ahead, operation, millis) in packets {
            capture.ports = [client, listener];
            capture.time += millis * 1_000_000;
            capture.sequence = *sequences.entry((client, listener)).or_insert([1000, 2000]);
            let payload = match operation {
                0 => Vec::new(),
                9 => b"no frame\n".to_vec(),
                _ => token(operation, 1, b"x"),
            };
            let from = if from_client { Client } else { Listener };
            match flags {
                "udp" if listener == 8790 => capture.marker(),
                "udp" => capture.datagram(listener, &payload),
                _ if ahead == 0 => capture.send(from, flags, &payload),
                _ => capture.raw(from, flags, ahead, &payload),
            }
            sequences.insert((client, listener), capture.sequence);
        }
        capture.finish();
    }
}

/// Chunks of a few packets each.
struct InChunks<'a>(std::slice::Chunks<'a, (Timestamp, Vec<u8>, u32)>);

impl ChunkSource for InChunks<'_> {
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        mut place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        let Some(packets) = self.0.next() else {
            return false;
        };
        chunk.clear();
        for (time, data, original_length) in packets {
            let packet = CapturedPacket {
                timestamp: *time,
                link_type: LinkType(1),
                original_length: *original_length,
                data,
            };
            place(&packet, chunk.len());
            chunk.extend_from_slice(data);
        }
        true
    }
}

/// A file in blocks.
struct InBlocks {
    capture: CaptureFile,
    length: usize,
    /// Where to stop, as at Ctrl-C.
    enough: Option<u64>,
}

impl ChunkSource for &mut InBlocks {
    fn take_chunk(
        &mut self,
        chunk: &mut Vec<u8>,
        place: impl FnMut(&CapturedPacket<'_>, usize),
    ) -> bool {
        self.enough.is_none() && self.capture.take_chunk(chunk, place)
    }

    fn blocks(&mut self) -> Option<Blocks> {
        let blocks = self.capture.blocks()?;
        Some(blocks.of_length(self.length))
    }

    fn has_come_to(&mut self, offset: FileBytes) -> bool {
        self.enough.is_none_or(|enough| offset.0 < enough)
    }

    fn go_on_at(&mut self, offset: FileBytes) {
        self.capture.go_on_at(offset);
    }
}

fn conversation_of_lines() -> Capture {
    let mut capture = Capture::with(&["mine=80:line"]).on_ports(CLIENT, 80);
    capture.connect();
    for _ in 0..100 {
        capture.send(Client, "A", b"one\ntwo\r\n");
        capture.send(Listener, "A", b"three\n");
    }
    capture
}

#[test]
fn a_cut_or_damaged_file_ends_in_blocks_as_it_does_from_front_to_back() {
    let capture = conversation_of_lines();
    let whole = capture.file();
    let mut damaged = whole.clone();
    // A captured length of the record that begins there, beyond any.
    let record = 24 + 3 * (16 + 54) + 16 + 54 + 9;
    damaged[record + 8..][..4].fill(0xff);
    let cases = [
        &whole[..],
        &whole[..whole.len() - 1],
        &whole[..5000],
        &whole[..24],
        &damaged,
    ];
    for content in cases {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let mut one = CaptureFile::open(file.path()).unwrap();
        let mut analyzer = capture.another_analyzer();
        let ending = format!("{:?}", one.for_each(|packet| analyzer.packet(&packet)));
        let analysis = analyzer.finish();
        for (threads, length) in [(2, 500), (3, 4000)] {
            let mut blocks = InBlocks {
                capture: CaptureFile::open(file.path()).unwrap(),
                length,
                enough: None,
            };
            let threads = NonZeroU16::new(threads).unwrap();
            let found = analyze(&mut blocks, threads, || capture.another_analyzer());
            assert_eq!(found, analysis, "{ending}");
            assert_eq!(format!("{:?}", blocks.capture.ending().unwrap()), ending);
        }
    }
}

#[test]
fn blocks_are_read_no_further_than_is_wanted() {
    let capture = conversation_of_lines();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), capture.file()).unwrap();
    let mut blocks = InBlocks {
        capture: CaptureFile::open(file.path()).unwrap(),
        length: 1000,
        enough: Some(3000),
    };
    let threads = NonZeroU16::new(2).unwrap();
    let found = analyze(&mut blocks, threads, || capture.another_analyzer());
    let read = found.packets.get();
    assert!((30..50).contains(&read), "{read}");
    assert!(blocks.capture.ending().is_none());
}

#[test]
fn a_count_too_many_breaks_an_identity() {
    let mut capture = Capture::with(&["x=80:line"]).on_ports(CLIENT, 80);
    capture.connect();
    capture.send(Client, "A", b"one\n");
    let mut analysis = capture.finish();
    analysis.packets += Packets::new(1);
    analysis.protocols[0].messages += Messages::new(1);
    let broken = ["x: messages by way", "x: counts by time", "all: packets"];
    assert_eq!(analysis.broken_identities(), broken);
}
