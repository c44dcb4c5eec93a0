//! Hand-made analyses that the tests of the report share.
#![allow(dead_code)]

use serde_json::Value;
use wirewatt::analysis::{Analysis, Completeness, Evidence, SourceLosses};
use wirewatt::audit::{
    self, Account, Audit, Expected, Finding, FindingCount, IdentityRow, MessageAudit, MessageId,
    Unmatched, Verdict,
};
use wirewatt::energy::Library;
use wirewatt::report::{
    Models, PropertyKind, PropertyRow, Report, RunSetup, RunSummary, Source, SourceKind, chart,
    html,
};
use wirewatt::tally::{
    Bucket, BytesByClass, DirectionTally, Excess, LayerBytes, Operations, PacketCounts, Pair,
    PairTally, Projection, ProtocolTally, Series,
};
use wirewatt::units::*;

/// 2023-11-14T22:13:20Z.
pub const START: i64 = 1_700_000_000_000_000_000;

pub const KINDS: [&str; 4] = ["vote-request", "vote-yes", "commit", "ack"];

/// One committed transaction of two-phase commit, N = 4, on the loopback: three connections, each
/// with a three-way handshake, four messages of 56 + 8 bytes, as many pure ACKs, and three
/// segments to close.
pub fn two_phase_commit() -> ProtocolTally {
    let (messages, packets) = (12, [6_u64, 6, 0, 12, 15, 0]);
    let (headers, payload) = (52, 64);
    let class_bytes = [
        6 * 60,
        6 * headers,
        0,
        12 * (headers + payload),
        15 * headers,
        0,
    ];
    let ip: u64 = class_bytes.iter().sum();
    let total: u64 = packets.iter().sum();
    let projected = IpBytes::new((total - 12) * 52 + 12 * (52 + 64));
    let projection = Projection::of(
        Mtu::ETHERNET,
        Packets::new(total),
        projected,
        Excess::default(),
    );
    let mut series = Series::default();
    for step in 0..12_i64 {
        let bucket = Bucket {
            messages: Messages::new(1 + u64::from(step == 4)),
            packets: Packets::new(3),
            ip: IpBytes::new(200),
        };
        series.add(START + step * 1_500_000, &bucket);
    }
    let kinds = || KINDS.map(|kind| (kind.to_owned(), Messages::new(3)));
    let pair = |from: u32, to: u32| {
        let pair = Pair {
            from: from.to_string(),
            to: to.to_string(),
        };
        let tally = PairTally {
            messages: Messages::new(2),
            payload: PayloadBytes::new(128),
        };
        (pair, tally)
    };
    ProtocolTally {
        name: "two-phase-commit".to_owned(),
        ports: "8190-8289".to_owned(),
        framing: "wirewatt".to_owned(),
        connections: Connections::new(3),
        messages: Messages::new(messages),
        messages_by_kind: kinds().into(),
        acknowledged_by_kind: kinds().into(),
        packets: PacketCounts::from_classes(packets),
        bytes_by_class: BytesByClass::from_classes(class_bytes),
        bytes: LayerBytes {
            message: MessageBytes::new(12 * 8),
            framing: FramingBytes::new(12 * 56),
            payload: PayloadBytes::new(12 * payload),
            transport_header: TransportHeaderBytes::new(ip - 12 * payload - total * 20),
            ip_header: IpHeaderBytes::new(total * 20),
            link_header: LinkHeaderBytes::new(total * 14),
            ip: IpBytes::new(ip),
            wire: WireBytes::new(ip + total * 14),
            ..LayerBytes::default()
        },
        to_listener: DirectionTally {
            messages: Messages::new(6),
            packets: Packets::new(21),
            payload: PayloadBytes::new(384),
        },
        from_listener: DirectionTally {
            messages: Messages::new(6),
            packets: Packets::new(18),
            payload: PayloadBytes::new(384),
        },
        pairs: (1..4).flat_map(|i| [pair(0, i), pair(i, 0)]).collect(),
        series,
        operations: Operations::counted(1, Some("transaction".to_owned())),
        projection,
        ..ProtocolTally::default()
    }
}

/// Requests and replies of a server that nobody here wrote, by a framing that approximates.
pub fn redis() -> ProtocolTally {
    let projected = IpBytes::new(2000 * (52 + 40));
    let projection = Projection::of(
        Mtu::ETHERNET,
        Packets::new(2000),
        projected,
        Excess::default(),
    );
    let packets = [2, 3, 4, 1_991, 0, 0];
    let class_bytes = [120, 156, 4 * 92, 1_991 * 92, 0, 0];
    let mut series = Series::default();
    for step in 0..40_i64 {
        let bucket = Bucket {
            messages: Messages::new(20 + (step * 7 % 11) as u64),
            packets: Packets::new(50),
            ip: IpBytes::new(4600),
        };
        series.add(START + step * 700_000, &bucket);
    }
    let payload = 1_991 * 40;
    let ip: u64 = class_bytes.iter().sum();
    ProtocolTally {
        name: "redis".to_owned(),
        ports: "6379".to_owned(),
        framing: "segment".to_owned(),
        approximate: true,
        connections: Connections::new(1),
        messages: Messages::new(1_991),
        incomplete_messages: Messages::new(1),
        packets: PacketCounts::from_classes(packets),
        bytes_by_class: BytesByClass::from_classes(class_bytes),
        bytes: LayerBytes {
            message: MessageBytes::new(payload - 90),
            incomplete: IncompleteBytes::new(30),
            unframed: UnframedBytes::new(60),
            payload: PayloadBytes::new(payload),
            gap_bytes: GapBytes::new(1448),
            retransmitted: RetransmittedBytes::new(160),
            transport_header: TransportHeaderBytes::new(ip - payload - 160 - 40_000),
            ip_header: IpHeaderBytes::new(40_000),
            link_header: LinkHeaderBytes::new(28_000),
            ip: IpBytes::new(ip),
            wire: WireBytes::new(ip + 28_000),
            ..LayerBytes::default()
        },
        series,
        projection,
        ..ProtocolTally::default()
    }
}

/// What a formula and honest nodes say of [`two_phase_commit`].
pub fn accounts() -> Vec<Account> {
    let three = Messages::new(3);
    KINDS
        .map(|kind| Account {
            outside_formula: None,
            formula: None,
            protocol: "two-phase-commit".to_owned(),
            kind: kind.to_owned(),
            expected: Some(Expected::Number(three)),
            attempted: three,
            suppressed: Messages::ZERO,
            refused: Messages::ZERO,
            sent: three,
            unknown: Messages::ZERO,
            received: three,
            handled: three,
        })
        .into()
}

pub fn models() -> Models {
    let library = Library::built_in();
    let grid = library.grid("us-2018").unwrap();
    Models::of(&library, grid).unwrap()
}

pub fn analysis(protocols: Vec<ProtocolTally>) -> Analysis {
    let packets = protocols.iter().map(|p| p.packets.total).sum();
    Analysis {
        first_packet: (!protocols.is_empty()).then(|| Timestamp::from_nanos(START)),
        last_packet: (!protocols.is_empty()).then(|| Timestamp::from_nanos(START + 21_300_000)),
        packets,
        protocols,
        ..Analysis::default()
    }
}

pub fn audit_of(analysis: &Analysis, completeness: &Completeness) -> Audit {
    audit::reconcile(&accounts(), &analysis.protocols, completeness.state)
}

/// A capture file without a packet.
pub fn empty() -> Report {
    let analysis = analysis(Vec::new());
    let losses = SourceLosses::default();
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    let source = Source {
        files: vec!["empty.pcap".to_owned()],
        snaplen: Some(262_144),
        ..Source::default()
    };
    Report::new(&analysis, completeness, source, None, &models())
}

/// A live run of one algorithm, audited.
pub fn one_protocol() -> Report {
    let analysis = analysis(vec![two_phase_commit()]);
    let losses = SourceLosses {
        packets_dropped: Some(Packets::ZERO),
        softnet_dropped: Some(Packets::ZERO),
        markers_seen: Some(true),
        cut_short: false,
        ..SourceLosses::default()
    };
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    let source = Source {
        kind: SourceKind::Live,
        interface: Some("lo".to_owned()),
        snaplen: Some(65_535),
        link_types: vec![LinkType(1)],
        ..Source::default()
    };
    let audit = audit_of(&analysis, &completeness);
    Report::new(&analysis, completeness, source, Some(audit), &models())
}

/// A run that broke a promise and lost a message: nothing of this happened to the capture.
pub fn faulty_run() -> Report {
    let mut report = one_protocol();
    report.command = [
        "/usr/bin/wirewatt",
        "run",
        "two-phase-commit",
        "--option",
        "vote-no=2",
    ]
    .map(str::to_owned)
    .into();
    let audit = report.audit.as_mut().expect("it is audited");
    let unmatched = |sequence, finding: Finding, why: &str| Unmatched {
        id: MessageId {
            sender: 0,
            incarnation: 1 + u32::from(sequence > 2),
            receiver: 2,
            sequence,
        },
        kind: "vote-request".to_owned(),
        finding,
        verdict: finding.verdict(),
        why: why.to_owned(),
    };
    audit.verdict = Verdict::Mismatch;
    audit.messages = Some(MessageAudit {
        matched: Messages::new(10),
        retransmitted: Messages::new(1),
        others: Messages::new(2),
        findings: [Finding::NotReceived, Finding::Refused]
            .map(|finding| FindingCount {
                finding,
                verdict: finding.verdict(),
                messages: Messages::new(1),
            })
            .into(),
        unmatched: vec![
            unmatched(3, Finding::NotReceived, "on the wire and not received"),
            unmatched(1, Finding::Refused, "refused"),
        ],
    });
    audit.identities = [
        ("vote-request = vote-yes + vote-no", false),
        ("ack <= commit", true),
    ]
    .map(|(text, holds)| IdentityRow {
        protocol: "two-phase-commit".to_owned(),
        text: text.to_owned(),
        holds,
        attempted: true,
        wire: holds,
        verdict: if holds {
            Verdict::Exact
        } else {
            Verdict::Mismatch
        },
    })
    .into();
    let property = |name: &str, kind, holds, why: &str| PropertyRow {
        name: name.to_owned(),
        about: "no two processes decide differently".to_owned(),
        kind,
        holds,
        why: why.to_owned(),
    };
    report.of_run(RunSummary {
        setup: Some(RunSetup {
            started: Timestamp::from_nanos(START),
            rounds: 1,
            payload: 0,
            seed: 7,
            addresses: vec!["127.0.0.1:8190".to_owned()],
            options: [("vote-no".to_owned(), "2".to_owned())].into(),
        }),
        faults: Vec::new(),
        stalled: None,
        time: None,
        algorithm: "two-phase-commit".to_owned(),
        processes: 4,
        connections: "persistent".to_owned(),
        operations: 1,
        ended: 1,
        succeeded: 1,
        problems: Vec::new(),
        properties: vec![
            property("validity", PropertyKind::Safety, Some(true), ""),
            property(
                "agreement",
                PropertyKind::Safety,
                Some(false),
                "process 1 committed and process 2 aborted",
            ),
            property(
                "termination",
                PropertyKind::Liveness,
                None,
                "not judged: the run did not come to its end",
            ),
        ],
    })
}

/// Everything that a report can hold: an approximate framing, a gap, markers, foreign streams,
/// other and undecoded packets, an audit in which columns differ.
pub fn everything() -> Report {
    let mut foreign = redis();
    foreign.name = "ring".to_owned();
    foreign.ports = "7100-7199".to_owned();
    foreign.framing = "turn".to_owned();
    foreign.foreign = true;
    let mut marker = ProtocolTally {
        name: "marker".to_owned(),
        ports: "8790-8799".to_owned(),
        framing: "marker".to_owned(),
        packets: PacketCounts::from_classes([0, 0, 0, 4, 0, 0]),
        ..ProtocolTally::default()
    };
    marker.bytes.ip = IpBytes::new(176);
    marker.bytes.ip_header = IpHeaderBytes::new(80);
    marker.bytes.transport_header = TransportHeaderBytes::new(32);
    marker.bytes.payload = PayloadBytes::new(64);
    marker.bytes.message = MessageBytes::new(64);
    marker.bytes.wire = WireBytes::new(232);
    marker.bytes.link_header = LinkHeaderBytes::new(56);
    marker.bytes_by_class.data = IpBytes::new(176);
    let mut commit = two_phase_commit();
    commit.refused_connections = Connections::new(1);
    commit.connections = Connections::new(4);
    commit.icmp_errors = [("packet too big".to_owned(), Packets::new(1))].into();
    let mut analysis = analysis(vec![commit, redis(), foreign, marker]);
    analysis.evidence = Evidence {
        gaps: 1,
        gap_bytes: GapBytes::new(1448),
        truncated_packets: Packets::new(7),
        ..Evidence::default()
    };
    analysis.unclassified.packets = PacketCounts::from_classes([0, 0, 0, 0, 12, 3]);
    analysis.unclassified.bytes.ip = IpBytes::new(780);
    analysis.unclassified.bytes.ip_header = IpHeaderBytes::new(300);
    analysis.unclassified.bytes.transport_header = TransportHeaderBytes::new(480);
    analysis.unclassified.bytes.wire = WireBytes::new(780);
    analysis.unclassified.by_name = [("ICMP", 3), ("TCP", 12)]
        .map(|(name, packets)| (name.to_owned(), Packets::new(packets)))
        .into();
    analysis.undecoded.packets = PacketCounts::from_classes([0, 0, 0, 0, 0, 2]);
    analysis.undecoded.bytes.wire = WireBytes::new(120);
    analysis.undecoded.not_ip = WireBytes::new(120);
    analysis.undecoded.reasons = [("arp".to_owned(), Packets::new(2))].into();
    let losses = SourceLosses {
        packets_dropped: Some(Packets::new(5)),
        cut_short: true,
        ..SourceLosses::default()
    };
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    let mut accounts = accounts();
    accounts[0].attempted = Messages::new(6);
    accounts[0].refused = Messages::new(1);
    accounts[0].suppressed = Messages::new(2);
    accounts[0].expected = Some(Expected::Interval {
        low: Messages::new(3),
        high: Messages::new(6),
    });
    accounts[1].handled = Messages::new(2);
    let audit = audit::reconcile(&accounts, &analysis.protocols, completeness.state);
    let source = Source {
        files: vec!["morning.pcapng".to_owned(), "noon.pcapng".to_owned()],
        link_types: vec![LinkType(1), LinkType(113)],
        filter: Some("tcp".to_owned()),
        partial: true,
        ..Source::default()
    };
    Report::new(&analysis, completeness, source, Some(audit), &models())
}

/// The page on a report, with all of its charts.
pub fn page_of(report: &Report) -> String {
    html::render(report, &chart::of_report(report, None)).expect("charts can be drawn")
}

/// Ends elements and attributes, starts a script, and turns the line around.
pub const HOSTILE: &str = "\"></script><img src=x onerror=alert(1)>'\u{202e}&";

/// A report in which every text is [`HOSTILE`] that a report can be read with.
pub fn hostile() -> Report {
    let mut faulty = faulty_run();
    faulty.protocols.extend(everything().protocols);
    faulty.source = everything().source;
    let mut report = serde_json::to_value(&faulty).expect("JSON");
    let mut paths = Vec::new();
    texts(&report, String::new(), &mut paths);
    for path in paths {
        let text = report.pointer_mut(&path).expect("it was there");
        let old = text.take();
        *text = Value::from(format!("{HOSTILE}{}", old.as_str().unwrap_or_default()));
        if serde_json::from_value::<Report>(report.clone()).is_err() {
            *report.pointer_mut(&path).expect("it is there") = old;
        }
    }
    // Names that are keys.
    for protocol in report["protocols"].as_array_mut().expect("a list") {
        for map in ["messages_by_kind", "icmp_errors"] {
            if let Some(map) = protocol.get_mut(map).and_then(Value::as_object_mut) {
                let old = std::mem::take(map);
                map.extend(
                    old.into_iter()
                        .map(|(key, n)| (format!("{HOSTILE}{key}"), n)),
                );
            }
        }
    }
    serde_json::from_value(report).expect("a report")
}

/// Paths of all texts.
fn texts(value: &Value, path: String, into: &mut Vec<String>) {
    match value {
        Value::String(_) => into.push(path),
        Value::Array(items) => {
            for (place, item) in items.iter().enumerate() {
                texts(item, format!("{path}/{place}"), into);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                texts(item, format!("{path}/{key}"), into);
            }
        }
        _ => {}
    }
}
