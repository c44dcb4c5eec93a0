//! One capture in every format that `editcap` writes: WireWatt reads it as it reads the original, or
//! says that it cannot read it and what to do.

use super::common::{command, have_tools, run, skip, third_party_captures};
use super::{Ours, protocols_file, wirewatt_reading};

/// Ethernet, which most formats can hold.
const ORIGINAL: &str = "wireshark/dhcp.pcap";

/// Formats that are read.
const READ: [&str; 4] = ["pcap", "pcapng", "nsecpcap", "modpcap"];

/// Variants of pcap from before 2001 with longer record headers under the magic of others. Wireshark
/// tries them all out; to libpcap and WireWatt they are damaged from the second record on.
const MISTAKEN: [&str; 3] = ["nokiapcap", "rh6_1pcap", "suse6_3pcap"];

#[test]
fn every_format_is_read_or_refused_by_name() {
    if !have_tools(&["editcap"]) {
        return;
    }
    let captures = third_party_captures();
    let Some(original) = captures.get(ORIGINAL) else {
        skip("no third-party captures (scripts/fetch-captures)");
        return;
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let protocols = protocols_file(folder.path());
    let Ok(Ours::Read { counts: whole, .. }) = wirewatt_reading(original, &protocols) else {
        panic!("{ORIGINAL} is not read");
    };

    let listed = run(command("editcap").arg("-F"));
    let lines = listed.stdout.lines().chain(listed.stderr.lines());
    let formats: Vec<_> = lines
        .filter_map(|line| line.split_once(" - ").map(|(format, _)| format.trim()))
        .collect();
    let mut wrong = Vec::new();
    let (mut read, mut mistaken, mut refused) = (Vec::new(), Vec::new(), 0);
    for format in formats {
        let file = folder.path().join(format);
        let converted = run(command("editcap")
            .args(["-F", format])
            .arg(original)
            .arg(&file));
        if !converted.status.success() {
            continue; // one that cannot hold Ethernet
        }
        match wirewatt_reading(&file, &protocols) {
            Ok(Ours::Read { counts, damaged }) if counts == whole && !damaged => read.push(format),
            Ok(Ours::Read { damaged: true, .. }) => mistaken.push(format),
            Ok(Ours::Refused(why)) if why.contains("editcap") => refused += 1,
            reading => wrong.push(format!("{format}: {reading:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    read.sort_by_key(|format| READ.iter().position(|known| known == format));
    assert_eq!(read, READ);
    assert_eq!(mistaken, MISTAKEN);
    assert!(refused >= 10, "only {refused} formats were refused");
}
