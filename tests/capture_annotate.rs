//! Annotated copies: the same packets, each with what was seen in it.

mod common;

use std::path::{Path, PathBuf};

use common::{count, have_tools, run, tshark_fields, wirewatt};
use serde_json::Value;
use wirewatt::capture::{CaptureFile, FileFacts};

fn annotate(original: &Path, copy: &Path, arguments: &[&str]) -> common::Finished {
    run(wirewatt()
        .arg("annotate")
        .arg(original)
        .arg("-o")
        .arg(copy)
        .args(arguments))
}

type Packets = Vec<(i64, u16, u32, Vec<u8>)>;

fn read(path: &Path) -> (Packets, FileFacts) {
    let mut file = CaptureFile::open(path).expect("a capture");
    let mut packets = Vec::new();
    let ending = file.for_each(|packet| {
        let time = packet.timestamp.as_nanos();
        let data = packet.data.to_vec();
        packets.push((time, packet.link_type.0, packet.original_length, data));
    });
    assert!(ending.is_complete(), "{ending}");
    (packets, file.facts().clone())
}

fn analyzed(path: &Path, arguments: &[&str]) -> Value {
    let finished = run(wirewatt()
        .args(["analyze", "--json"])
        .args(arguments)
        .arg(path));
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    finished.json()
}

/// Asserts that the copy differs in its comments alone, and returns those.
#[track_caller]
fn assert_same_but_for_comments(original: &Path, copy: &Path, arguments: &[&str]) -> Vec<String> {
    let (packets, facts) = read(original);
    let (copied, copied_facts) = read(copy);
    assert!(packets == copied, "{}", original.display());
    assert_eq!(facts.interfaces, copied_facts.interfaces);
    assert_eq!(facts.link_types, copied_facts.link_types);
    assert_eq!(facts.snaplen, copied_facts.snaplen);
    assert_eq!(facts.drops, copied_facts.drops);
    let (before, after) = (analyzed(original, arguments), analyzed(copy, arguments));
    for part in ["protocols", "unclassified", "undecoded", "completeness"] {
        assert_eq!(before[part], after[part], "{part}");
    }
    if !have_tools(&["tshark"]) {
        return Vec::new();
    }
    let mut fields = vec![
        "frame.number",
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.encap_type",
        "frame.packet_flags",
        "frame.protocols",
        "ip.id",
        "tcp.seq_raw",
        "tcp.ack_raw",
        "tcp.analysis.flags",
        "udp.length",
        "data.data",
    ];
    // Classic captures have no interfaces.
    if original
        .extension()
        .is_some_and(|extension| extension == "pcapng")
    {
        fields.extend(["frame.interface_id", "frame.interface_name"]);
    }
    let shown = |path: &Path| tshark_fields(path, "", &fields);
    assert_eq!(shown(original), shown(copy));
    let comments = tshark_fields(copy, "", &["frame.comment"]);
    comments.into_iter().map(|row| row.concat()).collect()
}

#[test]
fn messages_of_our_nodes_are_named_packet_by_packet() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["centralized", "ring", "two-phase-commit"] {
        let copy = folder.path().join(format!("{name}.pcapng"));
        let original = PathBuf::from(format!("captures/{name}.pcapng"));
        let finished = annotate(&original, &copy, &[]);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        assert_eq!(finished.stdout, "");
        let comments = assert_same_but_for_comments(&original, &copy, &[]);
        if comments.is_empty() {
            return;
        }
        assert!(
            comments
                .iter()
                .all(|comment| comment.starts_with("wirewatt: "))
        );
        // Every kind as often as the report has it.
        let report = analyzed(&original, &[]);
        let row = common::protocol(&report, name);
        let kinds = row["messages_by_kind"].as_object().expect("kinds");
        assert!(!kinds.is_empty());
        for (kind, messages) in kinds {
            let named = comments
                .iter()
                .filter(|comment| comment.contains(&format!("; {kind} ")));
            assert_eq!(
                named.count() as u64,
                messages.as_u64().expect("a count"),
                "{kind}"
            );
        }
        for (class, words) in [
            ("handshake", "; handshake"),
            ("data", "; data"),
            ("pure_ack", "; pure ACK"),
            ("teardown", "; teardown"),
        ] {
            let begin = format!("wirewatt: {name}{words}");
            let named = comments
                .iter()
                .filter(|comment| comment.starts_with(&begin));
            assert_eq!(
                named.count() as u64,
                count(row, &format!("/packets/{class}")),
                "{class}"
            );
        }
        if name == "two-phase-commit" {
            assert_eq!(
                comments[17],
                "wirewatt: two-phase-commit; data; vote-yes 2 -> 0, operation 1, sequence 1 (56 B)"
            );
        }
    }
}

fn word(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

/// Ethernet, IPv4, TCP from 10.0.0.1 to 10.0.0.2 or back.
fn segment(up: bool, flags: u8, sequence: u32, acknowledgment: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0];
    frame.extend((40 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, if up { 1 } else { 2 }]);
    frame.extend([10, 0, 0, if up { 2 } else { 1 }]);
    let (source, destination) = if up { (40_000, 5140) } else { (5140, 40_000) };
    for port in [source, destination] {
        frame.extend(u16::to_be_bytes(port));
    }
    frame.extend(sequence.to_be_bytes());
    frame.extend(acknowledgment.to_be_bytes());
    frame.extend([0x50, flags, 1, 0, 0, 0, 0, 0]);
    frame.extend(payload);
    frame
}

const SYN: u8 = 2;
const ACK: u8 = 16;
const RST: u8 = 4;

/// What happens to a stream of lines, a packet at a time, and what is said of each.
fn eventful() -> Vec<(Vec<u8>, &'static str)> {
    let mut arp = vec![0xff; 6];
    arp.extend([2, 0, 0, 0, 0, 1, 8, 6]);
    arp.resize(42, 0);
    let mut icmp = segment(true, ACK, 0, 0, b"");
    icmp[23] = 1;
    vec![
        (segment(true, SYN, 99, 0, b""), "log; handshake"),
        (segment(false, SYN | ACK, 499, 100, b""), "log; handshake"),
        (
            segment(true, ACK, 100, 500, b"one\ntwo\nth"),
            "log; data; 2 messages complete",
        ),
        (
            segment(true, ACK, 110, 500, b"r"),
            "log; data; 1 B new, of a message that goes on",
        ),
        (
            segment(true, ACK, 104, 500, b"two\nth"),
            "log; retransmission; 6 B seen before",
        ),
        (
            segment(true, ACK, 111, 500, b"ee\n"),
            "log; data; 1 message complete",
        ),
        // Ten bytes pass unseen. What comes behind them waits, until they are acknowledged often enough.
        (
            segment(true, ACK, 124, 500, b"six\n"),
            "log; data; 4 B new, of a message that goes on",
        ),
        (segment(false, ACK, 500, 128, b""), "log; pure ACK"),
        (segment(false, ACK, 500, 128, b""), "log; pure ACK"),
        (segment(false, ACK, 500, 128, b""), "log; pure ACK"),
        (
            segment(false, ACK, 500, 128, b""),
            "log; pure ACK; 4 B unframed; 10 B missing: no packet showed them",
        ),
        (
            segment(true, ACK, 127, 500, b"\n"),
            "log; other; 1 B outside of the stream",
        ),
        (arp, "undecoded: "),
        (icmp, "unclassified"),
        (segment(true, RST, 128, 0, b""), "log; teardown"),
    ]
}

fn classic(magic: u32, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = [magic, 2 | 4 << 16, 0, 0, 65_535, 1].map(word).concat();
    for (number, packet) in packets.iter().enumerate() {
        let length = packet.len() as u32;
        file.extend(
            [1_700_000_000 + number as u32, 999_999, length, length + 3]
                .map(word)
                .concat(),
        );
        file.extend(packet);
    }
    file
}

#[test]
fn what_is_unusual_about_a_packet_is_said_and_classic_files_keep_their_times() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let original = folder.path().join("x.pcap");
    let (packets, expected): (Vec<_>, Vec<_>) = eventful().into_iter().unzip();
    for magic in [0xa1b2_c3d4, 0xa1b2_3c4d] {
        let copy = folder.path().join(format!("{magic}.pcapng"));
        // The snap length has cut three bytes of padding.
        std::fs::write(&original, classic(magic, &packets)).expect("written");
        let arguments = ["--protocol", "log=5140:line"];
        let finished = annotate(&original, &copy, &arguments);
        assert_eq!(finished.status.code(), Some(0), "{finished}");
        assert!(finished.stderr.contains("15 packets"), "{finished}");
        let comments = assert_same_but_for_comments(&original, &copy, &arguments);
        for (number, (comment, expected)) in comments.iter().zip(&expected).enumerate() {
            let said = comment.strip_prefix("wirewatt: ").expect("ours");
            let alike = match expected.ends_with(": ") {
                true => said.starts_with(expected),
                false => said == *expected,
            };
            assert!(
                alike,
                "packet {}: {said:?}, expected {expected:?}",
                number + 1
            );
        }
    }
}

/// Numbers in one byte order.
fn bytes_of(big: bool, n: u32) -> [u8; 4] {
    if big {
        n.to_be_bytes()
    } else {
        n.to_le_bytes()
    }
}

fn option(big: bool, code: u16, value: &[u8]) -> Vec<u8> {
    let numbers = [code, value.len() as u16];
    let mut option = Vec::new();
    for n in numbers {
        option.extend(if big {
            n.to_be_bytes()
        } else {
            n.to_le_bytes()
        });
    }
    option.extend(value);
    option.resize(option.len().next_multiple_of(4), 0);
    option
}

fn block(big: bool, block_type: u32, parts: &[&[u8]]) -> Vec<u8> {
    let mut body = parts.concat();
    body.resize(body.len().next_multiple_of(4), 0);
    let length = bytes_of(big, body.len() as u32 + 12);
    [&bytes_of(big, block_type)[..], &length, &body, &length].concat()
}

/// A section with everything that has to come through: two interfaces of other units and offsets,
/// options, an obsolete and a simple packet, statistics, names, secrets, an unknown block.
fn section(big: bool) -> Vec<u8> {
    let words = |words: &[u32]| {
        words
            .iter()
            .flat_map(|n| bytes_of(big, *n))
            .collect::<Vec<_>>()
    };
    let link = |n: u16| {
        if big {
            [n.to_be_bytes(), [0; 2]]
        } else {
            [n.to_le_bytes(), [0; 2]]
        }
        .concat()
    };
    let end = option(big, 0, &[]);
    let frame = segment(true, ACK, 5, 6, b"four");
    let (length, comment) = (frame.len() as u32, option(big, 1, b"theirs"));
    let offset = if big {
        100_u64.to_be_bytes()
    } else {
        100_u64.to_le_bytes()
    };
    let drops = if big {
        7_u64.to_be_bytes()
    } else {
        7_u64.to_le_bytes()
    };
    let version = if big { [0, 1, 0, 0] } else { [1, 0, 0, 0] };
    let padded = frame.len().next_multiple_of(4) - frame.len();
    let packet = [&frame[..], &vec![0; padded]].concat();
    let obsolete_head = if big {
        [0, 1, 0xff, 0xff]
    } else {
        [1, 0, 0xff, 0xff]
    };
    [
        block(
            big,
            0x0a0d_0d0a,
            &[&words(&[0x1a2b_3c4d]), &version, &[0xff; 8], &comment, &end],
        ),
        block(
            big,
            1,
            &[&link(1), &words(&[0]), &option(big, 2, b"eth0"), &end],
        ),
        block(
            big,
            1,
            &[
                &link(1),
                &words(&[96]),
                &option(big, 9, &[0x80 | 10]),
                &option(big, 14, &offset),
                &end,
            ],
        ),
        block(big, 6, &[&words(&[1, 0, 2048, length, length]), &packet]),
        // Flags: inbound.
        block(
            big,
            6,
            &[
                &words(&[0, 0, 9, length, length + 9]),
                &packet,
                &option(big, 2, &words(&[1])),
                &comment,
                &end,
            ],
        ),
        // Options without an end.
        block(
            big,
            6,
            &[&words(&[0, 0, 10, length, length]), &packet, &comment],
        ),
        block(
            big,
            2,
            &[&obsolete_head, &words(&[0, 4096, length, length]), &packet],
        ),
        block(big, 3, &[&words(&[length]), &packet]),
        block(big, 4, &[&end]),
        block(big, 0x0bad_beef, &[b"whatever it is.."]),
        block(
            big,
            5,
            &[&words(&[0, 0, 11]), &option(big, 5, &drops), &end],
        ),
    ]
    .concat()
}

#[test]
fn whatever_is_in_a_pcapng_comes_through_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (original, copy) = (
        folder.path().join("x.pcapng"),
        folder.path().join("y.pcapng"),
    );
    let file = [section(false), section(true), section(false)].concat();
    std::fs::write(&original, &file).expect("written");
    let finished = annotate(&original, &copy, &[]);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    assert!(
        finished
            .stderr
            .contains("3 simple packet blocks have no room"),
        "{finished}"
    );
    let comments = assert_same_but_for_comments(&original, &copy, &[]);
    if !comments.is_empty() {
        let (ours, theirs) = ("wirewatt: unclassified; data; 4 B unframed", "theirs");
        let repeated = "wirewatt: unclassified; retransmission; 4 B seen before";
        assert_eq!(comments[0], ours);
        assert_eq!(comments[1], format!("{repeated},{theirs}"));
        assert_eq!(comments[2], format!("{repeated},{theirs}"));
        assert_eq!(comments[4], "", "a simple packet block");
        assert_eq!(comments.len(), 15);
    }
    // Without our comments it is the original, but for the end of options that a comment needs.
    let copied = std::fs::read(&copy).expect("read");
    for kept in [&b"whatever it is.."[..], &section(true)[..64]] {
        let times = |bytes: &[u8]| {
            bytes
                .windows(kept.len())
                .filter(|window| *window == kept)
                .count()
        };
        assert_eq!(times(&copied), times(&file));
    }
    let facts = |path: &Path| read(path).1.comments;
    assert_eq!(facts(&copy), facts(&original) + 12);
}

#[test]
fn a_capture_is_not_written_over_itself_and_a_cut_one_is_annotated_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("x.pcapng");
    let whole = section(false);
    std::fs::write(&path, &whole).expect("written");
    let link = folder.path().join("link.pcapng");
    std::os::unix::fs::symlink(&path, &link).expect("a link");
    let finished = annotate(&path, &link, &[]);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(
        finished.stderr.contains("is the capture itself"),
        "{finished}"
    );
    assert_eq!(std::fs::read(&path).expect("read"), whole);

    std::fs::write(&path, &whole[..whole.len() - 5]).expect("written");
    let copy = folder.path().join("copy.pcapng");
    let finished = annotate(&path, &copy, &[]);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    assert!(finished.stderr.contains("cut in the middle"), "{finished}");
    assert_eq!(read(&copy).0.len(), 5);

    let missing = annotate(&folder.path().join("none"), &copy, &[]);
    assert_eq!(missing.status.code(), Some(2), "{missing}");
    assert_eq!(read(&copy).0.len(), 5, "no copy is lost to a wrong name");
}

#[test]
fn an_existing_file_was_replaced_without_a_word() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let copy = folder.path().join("copy.pcapng");
    std::fs::write(&copy, "precious").expect("written");
    let finished = annotate(Path::new("captures/ring.pcapng"), &copy, &[]);
    assert_eq!(finished.status.code(), Some(2), "{finished}");
    let said = "copy.pcapng: exists already, and nothing is replaced";
    assert!(finished.stderr.contains(said), "{finished}");
    assert_eq!(std::fs::read(&copy).expect("read"), b"precious");
}

/// Ethernet and IPv4 around a part of a packet from 10.0.0.1 to 10.0.0.2 or back.
fn ipv4(up: bool, protocol: u8, identification: u16, place: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = segment(up, 0, 0, 0, b"")[..34].to_vec();
    frame[16..18].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
    frame[18..20].copy_from_slice(&identification.to_be_bytes());
    frame[20..22].copy_from_slice(&place.to_be_bytes());
    frame[23] = protocol;
    frame.extend(payload);
    frame
}

#[test]
fn fragments_and_icmp_errors_are_told_with_what_they_belong_to() {
    const MORE: u16 = 1 << 13;
    let (icmp, udp) = (1, 17);
    let mut datagram: Vec<u8> = [40_000_u16, 5140, 48, 0].map(u16::to_be_bytes).concat();
    datagram.extend([b'x'; 40]);
    // Port unreachable, with the header and eight bytes more of the packet that it is about.
    let about = |packet: &[u8]| [&[3, 3, 0, 0, 0, 0, 0, 0], &packet[14..42]].concat();
    let whole = ipv4(true, udp, 8, 0, &datagram);
    let mut of_nobody = about(&whole);
    of_nobody[8 + 20] = 1;
    let packets = [
        ipv4(true, udp, 7, MORE, &datagram[..24]),
        ipv4(true, udp, 7, 3, &datagram[24..]),
        whole.clone(),
        ipv4(false, icmp, 1, 0, &about(&whole)),
        ipv4(false, icmp, 2, 0, &of_nobody),
        ipv4(true, udp, 9, MORE, &datagram[..24]),
    ];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (original, copy) = (folder.path().join("x.pcap"), folder.path().join("x.pcapng"));
    std::fs::write(&original, classic(0xa1b2_c3d4, &packets)).expect("written");
    let arguments = ["--protocol", "log=5140:segment"];
    let finished = annotate(&original, &copy, &arguments);
    assert_eq!(finished.status.code(), Some(0), "{finished}");
    if !have_tools(&["tshark"]) {
        return;
    }
    let comments = tshark_fields(&copy, "", &["frame.comment"]).concat();
    let fragment = "wirewatt: fragment: the last of its packet tells the rest";
    assert_eq!(
        comments,
        [
            fragment,
            "wirewatt: log; data; 1 message complete",
            "wirewatt: log; data; 1 message complete",
            "wirewatt: log; ICMP error about one of its packets",
            "wirewatt: unclassified",
            fragment,
        ]
    );
}
