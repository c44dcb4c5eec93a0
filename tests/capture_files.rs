//! Saved captures, built byte by byte: every feature of the formats that is read, and every
//! fault.

use std::io::{self, Read, Write};

use proptest::prelude::*;
use wirewatt::capture::{
    CaptureFile, CapturedPacket, Damage, Ending, FileBytes, FileError, FileFormat, Merged,
    RecordedDrops,
};
use wirewatt::units::{LinkType, Packets};

#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    nanos: i64,
    link_type: u16,
    original: u32,
    data: Vec<u8>,
}

impl From<CapturedPacket<'_>> for Owned {
    fn from(packet: CapturedPacket<'_>) -> Self {
        Self {
            nanos: packet.timestamp.as_nanos(),
            link_type: packet.link_type.0,
            original: packet.original_length,
            data: packet.data.to_vec(),
        }
    }
}

fn open(bytes: &[u8]) -> Result<CaptureFile, FileError> {
    CaptureFile::from_reader("test", io::Cursor::new(bytes.to_vec()))
}

/// Reads by chunks and packet by packet, and asserts that both show the same.
fn read(bytes: &[u8]) -> (Vec<Owned>, CaptureFile) {
    let mut packets = Vec::new();
    let mut chunked = open(bytes).expect("a readable header");
    chunked.for_each(|packet| packets.push(Owned::from(packet)));
    let mut single = open(bytes).expect("a readable header");
    let mut again = Vec::new();
    while let Some(packet) = single.next_packet() {
        again.push(Owned::from(packet));
    }
    assert_eq!(packets, again);
    assert_eq!(
        format!("{:?}", chunked.ending()),
        format!("{:?}", single.ending())
    );
    (packets, chunked)
}

fn ending(file: &CaptureFile) -> &Ending {
    file.ending().expect("the file was read to its end")
}

/// Writes numbers in one byte order.
#[derive(Clone, Copy)]
struct Writer {
    big: bool,
}

impl Writer {
    fn u16(self, n: u16) -> Vec<u8> {
        if self.big {
            n.to_be_bytes().to_vec()
        } else {
            n.to_le_bytes().to_vec()
        }
    }

    fn u32(self, n: u32) -> Vec<u8> {
        if self.big {
            n.to_be_bytes().to_vec()
        } else {
            n.to_le_bytes().to_vec()
        }
    }

    fn u64(self, n: u64) -> Vec<u8> {
        if self.big {
            n.to_be_bytes().to_vec()
        } else {
            n.to_le_bytes().to_vec()
        }
    }

    fn words(self, words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|&word| self.u32(word)).collect()
    }

    fn classic_header(self, magic: u32, version: (u16, u16), snaplen: u32, link: u32) -> Vec<u8> {
        [
            self.u32(magic),
            self.u16(version.0),
            self.u16(version.1),
            self.words(&[0, 0, snaplen, link]),
        ]
        .concat()
    }

    fn record(self, seconds: u32, fraction: u32, original: u32, data: &[u8]) -> Vec<u8> {
        [
            self.words(&[seconds, fraction, data.len() as u32, original]),
            data.to_vec(),
        ]
        .concat()
    }

    fn block(self, block_type: u32, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(4), 0xEE);
        let length = self.u32(body.len() as u32 + 12);
        [self.u32(block_type), length.clone(), body, length].concat()
    }

    fn section(self) -> Vec<u8> {
        self.section_version(1, 0)
    }

    fn section_version(self, major: u16, minor: u16) -> Vec<u8> {
        let body = [
            self.u32(0x1A2B_3C4D),
            self.u16(major),
            self.u16(minor),
            self.u64(u64::MAX),
        ]
        .concat();
        self.block(0x0A0D_0D0A, &body)
    }

    fn option(self, code: u16, value: &[u8]) -> Vec<u8> {
        let mut padded = value.to_vec();
        padded.resize(value.len().next_multiple_of(4), 0);
        [self.u16(code), self.u16(value.len() as u16), padded].concat()
    }

    fn interface(self, link: u16, snaplen: u32, options: &[Vec<u8>]) -> Vec<u8> {
        let body = [
            self.u16(link),
            self.u16(0),
            self.u32(snaplen),
            options.concat(),
        ]
        .concat();
        self.block(1, &body)
    }

    fn enhanced(self, interface: u32, units: u64, original: u32, data: &[u8]) -> Vec<u8> {
        self.enhanced_with(interface, units, original, data, &[])
    }

    fn enhanced_with(
        self,
        interface: u32,
        units: u64,
        original: u32,
        data: &[u8],
        options: &[u8],
    ) -> Vec<u8> {
        let mut body = self.words(&[
            interface,
            (units >> 32) as u32,
            units as u32,
            data.len() as u32,
            original,
        ]);
        body.extend(data);
        body.resize(body.len().next_multiple_of(4), 0xEE);
        body.extend(options);
        self.block(6, &body)
    }
}

const LITTLE: Writer = Writer { big: false };
const BIG: Writer = Writer { big: true };

fn packet(nanos: i64, link_type: u16, original: u32, data: &[u8]) -> Owned {
    Owned {
        nanos,
        link_type,
        original,
        data: data.to_vec(),
    }
}

#[test]
fn classic_files_of_both_orders_and_all_magics() {
    for writer in [LITTLE, BIG] {
        for (magic, nanos_per_unit) in [(0xa1b2_c3d4, 1_000), (0xa1b2_3c4d, 1)] {
            let file = [
                writer.classic_header(magic, (2, 4), 96, 1),
                writer.record(3_000_000_000, 7, 100, b"abc"),
                writer.record(1, 999_999, 5, b"defgh"),
            ]
            .concat();
            let (packets, file) = read(&file);
            let first = 3_000_000_000_000_000_000 + 7 * nanos_per_unit;
            let second = 1_000_000_000 + 999_999 * nanos_per_unit;
            assert_eq!(
                packets,
                [
                    packet(first, 1, 100, b"abc"),
                    packet(second, 1, 5, b"defgh")
                ]
            );
            assert!(ending(&file).is_complete());
            assert_eq!(file.format(), FileFormat::Pcap);
            assert_eq!(file.facts().snaplen, Some(96));
            assert!(file.facts().link_types.iter().eq([&LinkType(1)]));
        }
        let modified = [
            writer.classic_header(0xa1b2_cd34, (2, 4), 96, 113),
            writer.words(&[1, 2, 3, 60, 8, 0]),
            b"xyz".to_vec(),
        ]
        .concat();
        assert_eq!(read(&modified).0, [packet(1_000_002_000, 113, 60, b"xyz")]);
    }
}

#[test]
fn old_versions_have_the_two_lengths_the_other_way_round() {
    let record = LITTLE.words(&[1, 0, 60, 3]);
    let file = [
        LITTLE.classic_header(0xa1b2_c3d4, (2, 2), 96, 1),
        record,
        b"abc".to_vec(),
    ]
    .concat();
    assert_eq!(read(&file).0, [packet(1_000_000_000, 1, 60, b"abc")]);
}

#[test]
fn link_type_is_told_apart_from_frame_check_bits() {
    let header = LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 96, 0x4400_0001);
    let (_, file) = read(&header);
    assert!(file.facts().link_types.iter().eq([&LinkType(1)]));
}

#[test]
fn an_original_length_below_the_captured_one_is_raised_to_it() {
    let file = [
        LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 96, 1),
        LITTLE.record(0, 0, 2, b"abcd"),
    ]
    .concat();
    assert_eq!(read(&file).0[0].original, 4);
}

#[test]
fn pcapng_with_everything_in_it() {
    for (writer, other) in [(LITTLE, BIG), (BIG, LITTLE)] {
        let microseconds = writer.interface(1, 65_535, &[writer.option(2, b"eth0")]);
        let binary = writer.interface(
            113,
            0,
            &[
                writer.option(2, b"any"),
                writer.option(9, &[0x80 | 10]),
                writer.option(14, &writer.u64(100)),
                writer.option(0, &[]),
                vec![0xFF; 8],
            ],
        );
        let picoseconds = writer.interface(101, 0, &[writer.option(9, &[12])]);
        let statistics = |interface: u32, dropped: u64, by_system: u64| {
            let options = [
                writer.option(5, &writer.u64(dropped)),
                writer.option(7, &writer.u64(by_system)),
            ];
            writer.block(
                5,
                &[writer.words(&[interface, 0, 0]), options.concat()].concat(),
            )
        };
        let obsolete = [
            writer.u16(1),
            writer.u16(3),
            writer.words(&[0, 1024, 5, 9]),
            b"12345".to_vec(),
        ]
        .concat();
        let file = [
            writer.section(),
            microseconds,
            binary,
            picoseconds,
            // Two to the minus ten seconds, offset by 100 seconds.
            writer.enhanced(1, 1024 + 512, 60, b"odd"),
            // Name resolution, an unknown block, a huge unknown one.
            writer.block(4, &[0; 24]),
            writer.block(0x0BAD, b""),
            writer.block(0x8000_0001, &vec![7; 3 << 20]),
            writer.enhanced_with(
                0,
                2_000_001,
                4,
                b"four",
                &[writer.option(4, &writer.u64(11)), writer.option(0, &[])].concat(),
            ),
            // Takes over the time of the one before, and is cut by the snap length.
            writer.block(3, &[writer.u32(5), b"five5".to_vec()].concat()),
            writer.block(2, &obsolete),
            writer.enhanced(2, 5_999, 0, b""),
            statistics(0, 1, 100),
            statistics(0, 2, 200),
            statistics(1, 40, 0),
            other.section(),
            other.interface(276, 20, &[]),
            other.enhanced(0, 3, 20, &[1; 20]),
        ]
        .concat();
        let (packets, file) = read(&file);
        assert_eq!(ending(&file).to_string(), "complete");
        let expected = [
            packet(101_500_000_000, 113, 60, b"odd"),
            packet(2_000_001_000, 1, 4, b"four"),
            packet(2_000_001_000, 1, 5, b"five5"),
            packet(101_000_000_000, 113, 9, b"12345"),
            packet(5, 101, 0, b""),
            packet(3_000, 276, 20, &[1; 20]),
        ];
        assert_eq!(packets, expected);
        assert_eq!(file.format(), FileFormat::Pcapng);
        assert_eq!(file.facts().interfaces, ["eth0", "any"]);
        assert_eq!(file.facts().snaplen, Some(65_535));
        let link_types: Vec<u16> = file.facts().link_types.iter().map(|link| link.0).collect();
        assert_eq!(link_types, [1, 101, 113, 276]);
        let drops = RecordedDrops {
            interface: Packets::new(42),
            system: Packets::new(200),
            between_packets: Packets::new(14),
        };
        assert_eq!(file.facts().drops, drops);
        assert_eq!(drops.total(), Packets::new(242));
    }
}

#[test]
fn comments_are_read_over_and_counted() {
    for writer in [LITTLE, BIG] {
        let comment = writer.option(1, "ein längerer Kommentar".as_bytes());
        let mut section = writer.section();
        // Before the section's length at its end, and in both lengths.
        let end = section.len() - 4;
        section.splice(end..end, comment.iter().copied());
        let length = writer.u32(section.len() as u32);
        section[4..8].copy_from_slice(&length);
        let end = section.len() - 4;
        section[end..].copy_from_slice(&length);
        let two = [comment.clone(), comment.clone(), writer.option(0, &[])].concat();
        let statistics = [writer.words(&[0, 0, 0]), comment.clone()].concat();
        let file = [
            section,
            writer.interface(1, 0, &[comment.clone(), writer.option(9, &[9])]),
            writer.enhanced_with(0, 77, 9, b"five5", &two),
            writer.block(5, &statistics),
            writer.enhanced(0, 78, 4, b"four"),
        ]
        .concat();
        let (packets, file) = read(&file);
        assert!(ending(&file).is_complete());
        let expected = [packet(77, 1, 9, b"five5"), packet(78, 1, 4, b"four")];
        assert_eq!(packets, expected);
        assert_eq!(file.facts().comments, 5);
    }
}

#[test]
fn simple_packets_are_as_long_as_the_snap_length() {
    let file = [
        LITTLE.section(),
        LITTLE.interface(1, 3, &[]),
        LITTLE.block(3, &[LITTLE.u32(100), b"abc".to_vec()].concat()),
    ]
    .concat();
    assert_eq!(read(&file).0, [packet(0, 1, 100, b"abc")]);
}

#[test]
fn drops_of_earlier_sections_stay_in_the_sum() {
    let section = [
        LITTLE.section(),
        LITTLE.interface(1, 0, &[]),
        LITTLE.block(
            5,
            &[LITTLE.words(&[0, 0, 0]), LITTLE.option(5, &LITTLE.u64(3))].concat(),
        ),
    ]
    .concat();
    let (_, file) = read(&[section.clone(), section].concat());
    assert_eq!(file.facts().drops.total(), Packets::new(6));
}

#[test]
fn a_record_larger_than_the_buffer() {
    let data = vec![0x5A; 5 << 20];
    for file in [
        [
            LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 0, 1),
            LITTLE.record(0, 0, 5 << 20, &data),
            LITTLE.record(1, 0, 1, b"!"),
        ]
        .concat(),
        [
            LITTLE.section(),
            LITTLE.interface(1, 0, &[]),
            LITTLE.enhanced(0, 0, 5 << 20, &data),
            LITTLE.enhanced(0, 1_000_000, 1, b"!"),
        ]
        .concat(),
    ] {
        let (packets, file) = read(&file);
        assert_eq!(
            packets,
            [
                packet(0, 1, 5 << 20, &data),
                packet(1_000_000_000, 1, 1, b"!")
            ]
        );
        assert!(ending(&file).is_complete());
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn three_packets() -> Vec<u8> {
    [
        LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 96, 1),
        LITTLE.record(1, 0, 3, b"one"),
        LITTLE.record(2, 0, 3, b"two"),
        LITTLE.record(3, 0, 5, b"three"),
    ]
    .concat()
}

#[test]
fn gzip_is_unpacked_and_its_cut_is_a_cut() {
    let packed = gzip(&three_packets());
    assert_eq!(read(&packed).0, read(&three_packets()).0);
    // Two members in a row are one stream.
    let halves = [gzip(&three_packets()[..50]), gzip(&three_packets()[50..])].concat();
    assert_eq!(read(&halves).0.len(), 3);
    let (packets, file) = read(&packed[..packed.len() - 9]);
    assert!(packets.len() <= 3);
    assert!(
        matches!(ending(&file), Ending::Cut { .. }),
        "{:?}",
        file.ending()
    );
}

#[test]
fn cut_in_the_middle_of_a_record_is_no_error_for_what_came_before() {
    let file = three_packets();
    let (packets, file) = read(&file[..file.len() - 2]);
    assert_eq!(packets.len(), 2);
    let Ending::Cut {
        offset,
        needed,
        there,
    } = ending(&file)
    else {
        panic!("{:?}", file.ending());
    };
    assert_eq!((offset.0, needed.0, there.0), (24 + 19 + 19, 21, 19));
    assert_eq!(
        ending(&file).to_string(),
        "cut in the middle of the record at offset 62 B: 21 B needed, 19 B there; all whole \
         records before it were read"
    );
}

#[test]
fn cut_inside_a_block_that_is_skipped() {
    let whole = [LITTLE.section(), LITTLE.block(4, &[0; 2000])].concat();
    let (_, file) = read(&whole[..whole.len() - 1]);
    let Ending::Cut {
        offset,
        needed,
        there,
    } = ending(&file)
    else {
        panic!("{:?}", file.ending());
    };
    assert_eq!((offset.0, needed.0, there.0), (28, 2012, 2011));
}

#[test]
fn damage_says_where_and_keeps_what_came_before() {
    let damage = |file: Vec<u8>| {
        let (packets, file) = read(&file);
        match ending(&file) {
            Ending::Failed(FileError::Damaged { offset, damage, .. }) => {
                (packets.len(), offset.0, *damage)
            }
            other => panic!("{other:?}"),
        }
    };
    let mut long = three_packets();
    long[24 + 19 + 8..][..4].copy_from_slice(&0xFFFF_FFF0_u32.to_le_bytes());
    let expected = Damage::TooLong {
        claimed: FileBytes(0xFFFF_FFF0),
        limit: FileBytes(16 << 20),
    };
    assert_eq!(damage(long), (1, 43, expected));

    // Of patched libpcaps: 4 and 8 bytes more in each header, so that the fraction of a second or the
    // second is read as a length.
    for extra in [4_usize, 8] {
        let mut old = three_packets()[..24].to_vec();
        old[16..20].copy_from_slice(&96_u32.to_le_bytes());
        for second in 0..2 {
            for word in [946_684_800 + second, 123_456, 60, 60] {
                old.extend(u32::to_le_bytes(word));
            }
            old.extend(vec![0; extra + 60]);
        }
        let expected = Damage::OldVariant {
            extra: FileBytes(extra as u64),
        };
        assert_eq!(damage(old), (1, 24 + 16 + 60, expected));
    }

    let begun = [
        LITTLE.section(),
        LITTLE.interface(1, 0, &[]),
        LITTLE.enhanced(0, 0, 4, b"good"),
    ]
    .concat();
    let at = begun.len() as u64;
    let after = |block: Vec<u8>| damage([begun.clone(), block].concat());
    let (packets, offset, found) = after(LITTLE.enhanced(7, 0, 4, b"none"));
    assert_eq!((packets, offset), (1, at));
    assert_eq!(
        found,
        Damage::UnknownInterface {
            index: 7,
            described: 1
        }
    );
    let mut differ = LITTLE.enhanced(0, 0, 4, b"none");
    *differ.last_mut().expect("bytes") = 1;
    assert!(matches!(after(differ).2, Damage::LengthsDiffer { .. }));
    let mut beyond = LITTLE.enhanced(0, 0, 4, b"none");
    beyond[20] = 200;
    let expected = Damage::BeyondBlock {
        claimed: FileBytes(200),
        room: FileBytes(4),
    };
    assert_eq!(after(beyond).2, expected);
    assert!(matches!(after(vec![0; 64]).2, Damage::BlockLength { .. }));
    let mut order = LITTLE.section();
    order[8] = 0;
    assert!(matches!(after(order).2, Damage::ByteOrder { .. }));
    let expected = Damage::SectionVersion { major: 3, minor: 1 };
    assert_eq!(after(LITTLE.section_version(3, 1)).2, expected);
}

#[test]
fn faults_of_the_whole_file_have_their_own_errors() {
    assert!(matches!(open(b""), Err(FileError::Empty { .. })));
    let foreign = open(b"#!/bin/sh").expect_err("a script");
    assert!(
        foreign.to_string().contains("begins with 23 21 2f 62"),
        "{foreign}"
    );
    let bzip2 = open(b"BZh91AY").expect_err("compressed");
    assert!(bzip2.to_string().contains("bzip2 -dc"), "{bzip2}");
    assert!(matches!(open(&[0xd4]), Err(FileError::Foreign { .. })));
    let cut = open(&three_packets()[..20]);
    let there = FileBytes(20);
    assert!(matches!(cut, Err(FileError::CutHeader { there: t, .. }) if t == there));
    let version = open(&LITTLE.classic_header(0xa1b2_c3d4, (9, 1), 0, 1)).expect_err("version");
    assert!(
        version.to_string().contains("pcap version 9.1"),
        "{version}"
    );
    let version = open(&BIG.section_version(2, 0)).expect_err("version");
    assert!(
        version.to_string().contains("pcapng version 2.0"),
        "{version}"
    );
    assert!(open(&gzip(&gzip(&three_packets()))).is_err());
    assert!(matches!(open(&gzip(b"")), Err(FileError::Empty { .. })));

    let missing = CaptureFile::open("/nonexistent/x.pcap").expect_err("missing");
    assert!(missing.to_string().contains("no such file"), "{missing}");
    let folder = tempfile::tempdir().expect("temporary folder");
    assert!(matches!(
        CaptureFile::open(folder.path()),
        Err(FileError::Directory { .. })
    ));
}

#[test]
fn an_error_of_the_system_in_the_middle_is_the_ending() {
    struct Failing(io::Cursor<Vec<u8>>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("the disk is on fire")),
                read => Ok(read),
            }
        }
    }
    let failing = Failing(io::Cursor::new(three_packets()));
    let mut file = CaptureFile::from_reader("disk", failing).expect("header");
    let mut packets = 0;
    let ending = file.for_each(|_| packets += 1).to_string();
    assert_eq!(packets, 3);
    assert!(
        ending.starts_with("disk: cannot be read at offset 83 B: the disk is on fire"),
        "{ending}"
    );
}

/// Memory must be flat whatever the file claims: a claim of 100 MiB in a short file.
#[test]
fn a_claim_allocates_nothing() {
    let file = [
        LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 128 << 20, 1),
        LITTLE.words(&[0, 0, 100 << 20, 100 << 20]),
    ]
    .concat();
    let before = peak_memory_kib();
    let (packets, file) = read(&file);
    assert!(packets.is_empty());
    assert!(matches!(ending(&file), Ending::Cut { needed, .. } if needed.0 == (100 << 20) + 16));
    assert!(
        peak_memory_kib() - before < 64 << 10,
        "{before} KiB grew to {}",
        peak_memory_kib()
    );
}

fn peak_memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("VmHWM");
    line.split_whitespace()
        .nth(1)
        .expect("number")
        .parse()
        .expect("number")
}

#[test]
fn too_many_interfaces_are_damage() {
    let mut file = LITTLE.section();
    for _ in 0..65_537 {
        file.extend(LITTLE.interface(1, 0, &[]));
    }
    let (_, file) = read(&file);
    let expected = Damage::TooManyInterfaces { limit: 65_536 };
    assert!(
        matches!(ending(&file), Ending::Failed(FileError::Damaged { damage, .. }) if *damage == expected)
    );
}

fn classic(times_and_marks: &[(u32, u8)]) -> Vec<u8> {
    let mut file = LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 96, 1);
    for &(seconds, mark) in times_and_marks {
        file.extend(LITTLE.record(seconds, 0, 1, &[mark]));
    }
    file
}

#[test]
fn several_files_are_one_capture_in_time_order() {
    let files = [
        classic(&[(1, b'a'), (5, b'b'), (2, b'c'), (9, b'd')]),
        classic(&[]),
        classic(&[(1, b'A'), (2, b'B'), (5, b'C'), (9, b'D')]),
    ];
    let mut merged = Merged::new(files.iter().map(|f| open(f).expect("header")).collect());
    let mut marks = String::new();
    merged.for_each(|packet| marks.push(packet.data[0] as char));
    // Time 2 after time 5 stays behind it: a file's own order is kept.
    assert_eq!(marks, "aABbcCdD");
    assert!(merged.files().iter().all(|file| ending(file).is_complete()));
    assert!(!merged.read_chunk(|_| panic!("nothing is left")));
}

/// Regression: chunks of several files ended after so many packets, however many bytes those were: two
/// bulk transfers took a gigabyte, and beyond four of them packets were looked for in the wrong places.
#[test]
fn chunks_of_several_files_stay_small_however_large_their_packets_are() {
    const PACKET: usize = 60_000;
    let file = |first: u32| {
        let mut file = LITTLE.classic_header(0xa1b2_c3d4, (2, 4), 65_535, 1);
        for time in first..first + 100 {
            file.extend(LITTLE.record(time, 0, PACKET as u32, &[time as u8; PACKET]));
        }
        file
    };
    let files = [file(0), file(50)];
    let mut merged = Merged::new(files.iter().map(|f| open(f).expect("header")).collect());
    let (mut chunk, mut places) = (Vec::new(), Vec::new());
    let mut packets = 0;
    loop {
        places.clear();
        let goes_on = merged.take_chunk(&mut chunk, |packet, at| {
            places.push((packet.timestamp.as_nanos() / 1_000_000_000, at));
        });
        assert!(chunk.len() < (512 << 10) + PACKET, "{}", chunk.len());
        for (time, at) in &places {
            assert_eq!(chunk[*at..][..PACKET], [*time as u8; PACKET]);
        }
        packets += places.len();
        if !goes_on {
            break;
        }
    }
    assert_eq!(packets, 200);
}

#[test]
fn progress_counts_stored_bytes() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("three.pcap.gz");
    std::fs::write(&path, gzip(&three_packets())).expect("written");
    let mut merged = Merged::open([&path, &path]).expect("opened");
    let mut packets = 0;
    merged.for_each(|_| packets += 1);
    assert_eq!(packets, 6);
    assert_eq!(Some(merged.bytes_read()), merged.size());
}

/// The same bytes read by an independent crate, where its formats reach.
fn witness(bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
    use pcap_parser::traits::PcapNGPacketBlock;
    use pcap_parser::{Block, PcapBlockOwned, PcapError};
    let mut reader =
        pcap_parser::create_reader(1 << 20, io::Cursor::new(bytes.to_vec())).expect("reader");
    let mut packets = Vec::new();
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::Legacy(b) => packets.push((b.origlen, b.data.to_vec())),
                    PcapBlockOwned::NG(Block::EnhancedPacket(b)) => {
                        packets.push((b.orig_len(), b.packet_data().to_vec()));
                    }
                    _ => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Eof) => return packets,
            Err(PcapError::Incomplete(_)) => reader.refill().expect("refill"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn some_packets() -> impl Strategy<Value = Vec<(u32, Vec<u8>)>> {
    let data = proptest::collection::vec(any::<u8>(), 0..60);
    proptest::collection::vec((any::<u32>(), data), 0..12)
}

fn build(kind: u8, packets: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let writer = if kind & 1 == 0 { LITTLE } else { BIG };
    let mut file = if kind & 2 == 0 {
        writer.classic_header(0xa1b2_3c4d, (2, 4), 262_144, 1)
    } else {
        [
            writer.section(),
            writer.interface(1, 0, &[writer.option(9, &[9])]),
        ]
        .concat()
    };
    for (number, (more, data)) in packets.iter().enumerate() {
        let original = data.len() as u32 + more % 2000;
        file.extend(match kind & 2 {
            0 => writer.record(number as u32, *more % 1_000_000_000, original, data),
            _ => writer.enhanced(0, u64::from(*more), original, data),
        });
    }
    file
}

proptest! {
    #[test]
    fn an_independent_reader_sees_the_same(kind in 0u8..4, packets in some_packets()) {
        let file = build(kind, &packets);
        let ours: Vec<_> = read(&file).0.into_iter().map(|p| (p.original, p.data)).collect();
        prop_assert_eq!(ours, witness(&file));
    }

    #[test]
    fn every_prefix_yields_a_prefix(kind in 0u8..4, packets in some_packets(), at in any::<prop::sample::Index>()) {
        let file = build(kind, &packets);
        let whole = read(&file).0;
        prop_assert_eq!(whole.len(), packets.len());
        let length = at.index(file.len() + 1);
        if open(&file[..length]).is_err() {
            prop_assert!(length < 28);
        } else {
            let (part, end) = read(&file[..length]);
            prop_assert_eq!(&whole[..part.len()], &part[..]);
            let proper = matches!(ending(&end), Ending::Complete | Ending::Cut { .. });
            prop_assert!(proper, "{:?}", end.ending());
            prop_assert!(length < file.len() || ending(&end).is_complete());
        }
    }

    #[test]
    fn damaged_bytes_neither_panic_nor_hang(
        kind in 0u8..4,
        packets in some_packets(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut file = build(kind, &packets);
        for (at, value) in changes {
            let at = at.index(file.len());
            file[at] = value;
        }
        if open(&file).is_ok() {
            let (packets, end) = read(&file);
            prop_assert!(end.ending().is_some());
            let bytes: usize = packets.iter().map(|packet| packet.data.len()).sum();
            prop_assert!(bytes <= file.len());
        }
    }

    #[test]
    fn random_bytes_neither_panic_nor_hang(kind in 0u8..4, noise in proptest::collection::vec(any::<u8>(), 0..400)) {
        let file = [build(kind, &[]), noise].concat();
        read(&file);
    }
}
