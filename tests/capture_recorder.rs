//! Recordings: read again by ourselves and, where it is installed, by Wireshark's own programs.

use std::io::Write;
use std::process::Command;

use proptest::prelude::*;
use wirewatt::capture::{
    CaptureFile, CapturedPacket, Ending, FileBytes, FileName, InterfaceDescription, KernelCounters,
    Merged, Recorder, RecorderError, RotatingRecorder, Rotation,
};
use wirewatt::units::{LinkType, Packets, Timestamp};

fn loopback() -> InterfaceDescription {
    InterfaceDescription {
        name: "lo".into(),
        link_type: LinkType(1),
        snaplen: 262_144,
        filter: Some("tcp port 1".into()),
    }
}

fn packet(nanos: i64, original_length: u32, data: &[u8]) -> CapturedPacket<'_> {
    CapturedPacket {
        timestamp: Timestamp::from_nanos(nanos),
        link_type: LinkType(1),
        original_length,
        data,
    }
}

fn counters() -> KernelCounters {
    KernelCounters {
        received: Packets::new(10),
        dropped: Packets::new(3),
        interface_dropped: Packets::new(1),
        softnet_dropped: Packets::new(2),
    }
}

/// `None`, with a printed reason, where the program is not installed.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Ok(output) => {
            assert!(
                output.status.success(),
                "{program}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            Some(String::from_utf8(output.stdout).expect("text"))
        }
        Err(error) => {
            // Past the test harness, which shows nothing of a test that passes.
            let reason = format!("SKIPPED: comparison with {program}: {error}\n");
            std::io::stderr()
                .write_all(reason.as_bytes())
                .expect("standard error");
            None
        }
    }
}

#[test]
fn wireshark_reads_what_is_recorded() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("recorded.pcapng");
    let mut recorder = Recorder::create(&path).expect("created");
    let lo = recorder.add_interface(&loopback()).expect("described");
    let any = InterfaceDescription {
        name: "any".into(),
        link_type: LinkType(276),
        snaplen: 0,
        filter: None,
    };
    let any = recorder.add_interface(&any).expect("described");
    let frame = [0x45; 61];
    recorder
        .write(lo, &packet(1_700_000_000_123_456_789, 61, &frame))
        .expect("written");
    recorder
        .write(lo, &packet(1_700_000_001_000_000_001, 1500, &frame[..60]))
        .expect("written");
    recorder
        .write(any, &packet(1_700_000_002_000_000_000, 64, &frame[..33]))
        .expect("written");
    assert_eq!(recorder.packets(), Packets::new(3));
    let length = recorder.finish(&[(lo, counters())]).expect("finished");
    assert_eq!(length.0, std::fs::metadata(&path).expect("file").len());

    let mut file = CaptureFile::open(&path).expect("opened");
    let mut seen = Vec::new();
    assert!(
        file.for_each(|p| seen.push((p.link_type.0, p.original_length, p.data.len())))
            .is_complete()
    );
    assert_eq!(seen, [(1, 61, 61), (1, 1500, 60), (276, 64, 33)]);
    assert_eq!(file.facts().interfaces, ["lo", "any"]);
    assert_eq!(file.facts().drops.interface, Packets::new(4));
    assert_eq!(file.facts().drops.system, Packets::new(2));

    let name = path.to_str().expect("text");
    let fields = [
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.interface_name",
    ];
    let mut arguments = vec!["-r", name, "-T", "fields"];
    arguments.extend(fields.iter().flat_map(|field| ["-e", field]));
    if let Some(table) = output_of("tshark", &arguments) {
        assert_eq!(
            table,
            "1700000000.123456789\t61\t61\tlo\n1700000001.000000001\t1500\t60\tlo\n\
             1700000002.000000000\t64\t33\tany\n"
        );
    }
    if let Some(summary) = output_of("capinfos", &[name]) {
        let summary = summary.split_whitespace().collect::<Vec<_>>().join(" ");
        for words in [
            concat!("Capture application: wirewatt ", env!("CARGO_PKG_VERSION")),
            "Number of packets = 2",
            "Number of stat entries = 1",
            "Time precision = nanoseconds (9)",
            "Filter string = tcp port 1",
        ] {
            assert!(summary.contains(words), "{words} is not in {summary}");
        }
    }
}

#[test]
fn a_recording_that_was_killed_is_readable_up_to_the_last_flush() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("killed.pcapng");
    let mut recorder = Recorder::create(&path).expect("created");
    let lo = recorder.add_interface(&loopback()).expect("described");
    let count = |path| {
        let (mut file, mut packets) = (CaptureFile::open(path).expect("opened"), 0);
        assert!(file.for_each(|_| packets += 1).is_complete());
        packets
    };
    recorder
        .write(lo, &packet(1, 5, b"first"))
        .expect("written");
    recorder.flush().expect("flushed");
    recorder
        .write(lo, &packet(2, 6, b"second"))
        .expect("written");
    assert_eq!(count(&path), 1);
    // Past its buffer it writes by itself, and at every moment only whole blocks.
    for number in 0..20_000 {
        recorder
            .write(lo, &packet(number, 64, &[7; 64]))
            .expect("written");
        if number % 999 == 0 {
            count(&path);
        }
    }
    drop(recorder);
    assert_eq!(count(&path), 20_002);
}

/// Files begin with a packet that is no earlier than any before it: merged by time, all packets come in
/// the order in which they were recorded.
#[test]
fn files_of_a_rotation_keep_the_order_of_packets_whose_times_go_back() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().to_owned();
    let rotation = Rotation {
        size: Some(FileBytes(2_000)),
        ..Rotation::default()
    };
    let name: FileName = Box::new(move |number, _| path.join(format!("{number:05}.pcapng")));
    let mut recorder = RotatingRecorder::create(rotation, loopback(), name).expect("created");
    let mut recorded = Vec::new();
    for number in 0..2_000_i64 {
        // Two of three go back, by up to 29.
        let nanos = number * 10 - (number % 3) * 19;
        let data = number.to_le_bytes();
        let write = recorder.write(&packet(nanos.max(0), 60, &data), KernelCounters::default);
        write.expect("written");
        recorded.push(data.to_vec());
    }
    let (recording, problem) = recorder.finish(counters());
    assert!(problem.is_none());
    assert!(recording.files.len() > 30, "{}", recording.files.len());
    let mut merged = Merged::open(&recording.files).expect("opened");
    let mut seen = Vec::new();
    merged.for_each(|packet| seen.push(packet.data.to_vec()));
    assert!(seen == recorded);
    // What the kernel counted is divided among the files.
    let drops = merged
        .into_files()
        .iter()
        .map(|file| file.facts().drops.total())
        .sum::<Packets>();
    assert_eq!(drops, Packets::new(3 + 1 + 2));
}

#[test]
fn a_file_that_cannot_be_begun_ends_a_rotation_behind_a_whole_file() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("first.pcapng");
    let first = path.clone();
    let rotation = Rotation {
        every: Some(std::time::Duration::from_secs(1)),
        ..Rotation::default()
    };
    let name: FileName = Box::new(move |number, _| match number {
        1 => first.clone(),
        _ => "/dev/full".into(),
    });
    let mut recorder = RotatingRecorder::create(rotation, loopback(), name).expect("created");
    let second = 1_000_000_000;
    let mut write = |nanos| recorder.write(&packet(nanos, 4, b"four"), counters);
    write(second).expect("written");
    write(2 * second - 1).expect("written");
    let error = write(2 * second).expect_err("always full");
    assert!(matches!(error, RecorderError::DiskFull { .. }), "{error}");
    let (recording, problem) = recorder.finish(counters());
    assert!(problem.is_none());
    assert_eq!(recording.files, std::slice::from_ref(&path));
    let mut packets = 0;
    let mut file = CaptureFile::open(&path).expect("opened");
    assert!(file.for_each(|_| packets += 1).is_complete());
    assert_eq!((packets, file.facts().drops.total()), (2, Packets::new(6)));
}

#[test]
fn an_unwritable_path_is_known_before_anything_starts() {
    let error = Recorder::create("/nonexistent/folder/x.pcapng").expect_err("no such folder");
    assert!(matches!(error, RecorderError::Create { .. }));
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/folder/x.pcapng: cannot be created")
    );
}

#[test]
fn a_full_disk_is_told_once_with_the_file() {
    let error = Recorder::create("/dev/full").expect_err("always full");
    assert!(matches!(error, RecorderError::DiskFull { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("/dev/full: the disk is full after 0 B"),
        "{error}"
    );
}

proptest! {
    #[test]
    fn what_is_recorded_is_read_again(
        packets in proptest::collection::vec(
            (0..i64::MAX, any::<u16>(), proptest::collection::vec(any::<u8>(), 0..200)),
            0..20,
        ),
        cut in any::<prop::sample::Index>(),
    ) {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("round.pcapng");
        let mut recorder = Recorder::create(&path).expect("created");
        let lo = recorder.add_interface(&loopback()).expect("described");
        let mut expected = Vec::new();
        for (nanos, more, data) in &packets {
            let original = data.len() as u32 + u32::from(*more);
            recorder.write(lo, &packet(*nanos, original, data)).expect("written");
            expected.push((*nanos, original, data.clone()));
        }
        recorder.finish(&[(lo, counters())]).expect("finished");
        let read = |path: &std::path::Path| {
            let mut file = CaptureFile::open(path).expect("opened");
            let mut seen = Vec::new();
            file.for_each(|p| {
                seen.push((p.timestamp.as_nanos(), p.original_length, p.data.to_vec()));
            });
            (seen, file)
        };
        let (seen, file) = read(&path);
        prop_assert_eq!(&seen, &expected);
        prop_assert!(file.ending().is_some_and(Ending::is_complete));

        let bytes = std::fs::read(&path).expect("read");
        std::fs::write(&path, &bytes[..28 + cut.index(bytes.len() - 27)]).expect("cut");
        let (part, _) = read(&path);
        prop_assert_eq!(&part[..], &expected[..part.len()]);
    }
}
