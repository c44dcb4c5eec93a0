//! Files that are cut, damaged or empty.

use super::common::{
    broken_identities, have_tools, run, skip, text, third_party_captures, total, wirewatt,
};
use super::tshark::{self, Reading};
use super::{Ours, protocols_file, wirewatt_reading};

#[test]
fn cut_captures_are_read_as_far_as_tshark_reads_them() {
    let captures = third_party_captures();
    if captures.is_empty() {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    }
    if !have_tools(&["tshark"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());
    let whole = [
        "tcpdump/dns-badcookie.pcap",
        "tcpdump/pptp.pcap", // big-endian
        "wireshark/dhcp-nanosecond.pcap",
        "wireshark/dhcp.pcapng",
    ];
    let mut wrong = Vec::new();
    for name in whole {
        let Some(path) = captures.get(name) else {
            wrong.push(format!("{name} is not among the captures"));
            continue;
        };
        let bytes = std::fs::read(path).expect("the capture can be read");
        // In the first record's header, in the middle, one byte short.
        for length in [30, bytes.len() / 2, bytes.len() - 1] {
            let cut = folder.path().join("cut");
            std::fs::write(&cut, &bytes[..length]).expect("the cut file can be written");
            let expected = match tshark::read_as_far_as_possible(&cut) {
                // A pcapng file that is cut in its first block is none to tshark, which goes on to
                // take it for text.
                Reading::Read { .. } if is_cut_inside_first_block(name, length) => 0,
                Reading::Read { frames, .. } => frames.len() as u64,
                Reading::Refused(why) => panic!("{name} cut to {length}: tshark refuses: {why}"),
            };
            match wirewatt_reading(&cut, &protocols) {
                Ok(Ours::Read {
                    counts,
                    damaged: true,
                }) if counts.of("frames") == expected => {}
                reading => wrong.push(format!(
                    "{name} cut to {length}: expected {expected} frames, {reading:?}"
                )),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_cut_inside_first_block(name: &str, length: usize) -> bool {
    name.ends_with(".pcapng") && length == 30
}

/// Nothing in a file makes the analyzer panic (this is a debug build: neither does an overflow),
/// refuse without a word, or lose a byte from its layers.
#[test]
fn damaged_captures_break_nothing() {
    let captures: Vec<_> = third_party_captures().into_iter().collect();
    if captures.is_empty() {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());
    let mut random = Random(20_250_101);
    let mut wrong = Vec::new();
    for variant in 0..DAMAGED_VARIANTS {
        let (name, path) = &captures[random.below(captures.len())];
        let mut bytes = std::fs::read(path).expect("the capture can be read");
        if variant % 3 < 2 {
            bytes.truncate(random.below(bytes.len()));
        }
        if variant % 3 > 0 {
            for _ in 0..=random.below(60) {
                let at = random.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = [0, 0xff, *byte ^ (1 << random.below(8))][random.below(3)];
                }
            }
        }
        let damaged = folder.path().join("damaged");
        std::fs::write(&damaged, &bytes).expect("the damaged file can be written");
        if let Err(why) = wirewatt_reading(&damaged, &protocols) {
            wrong.push(format!("{name}, variant {variant}: {why}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const DAMAGED_VARIANTS: usize = 600;

/// Numbers that are the same every time (Marsaglia's xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

#[test]
fn an_empty_capture_is_whole_and_proves_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("empty.pcap");
    // Magic, version 2.4, time zone, accuracy, snap length, EN10MB; and no record.
    let header: [u32; 6] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 262_144, 1];
    let bytes: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(&file, bytes).expect("the capture can be written");

    let finished = run(wirewatt().arg("analyze").arg(&file).arg("--json"));
    assert!(finished.status.success(), "{finished}");
    let report = finished.json();
    assert_eq!(total(&report, "/packets/total"), 0);
    assert_eq!(text(&report, "/completeness/state"), "unknown");
    assert_eq!(broken_identities(&report), Vec::<String>::new());
}
