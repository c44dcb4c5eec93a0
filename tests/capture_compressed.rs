//! Compressed captures: whole, in several members, cut anywhere, damaged anywhere. Written by the
//! libraries, and by gzip, zstd, xz and lz4 themselves.

mod common;

use std::io::{Cursor, Write};
use std::process::Stdio;

use common::{command, have_tools, run, wirewatt};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use lzma_rust2::{XzOptions, XzWriter};
use wirewatt::capture::{CaptureFile, Compression, Ending, FileError};

const ALL: [Compression; 4] = [
    Compression::Gzip,
    Compression::Zstd,
    Compression::Xz,
    Compression::Lz4,
];

fn pack(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let memory = "memory takes it";
    match compression {
        Compression::Gzip => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).expect(memory);
            encoder.finish().expect(memory)
        }
        Compression::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).expect(memory);
            encoder.include_checksum(true).expect(memory);
            encoder.write_all(bytes).expect(memory);
            encoder.finish().expect(memory)
        }
        Compression::Xz => {
            let options = XzOptions::with_preset(1);
            let mut encoder = XzWriter::new(Vec::new(), options).expect(memory);
            encoder.write_all(bytes).expect(memory);
            encoder.finish().expect(memory)
        }
        Compression::Lz4 => {
            let info = FrameInfo::new()
                .block_size(BlockSize::Max64KB)
                .content_checksum(true);
            let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
            encoder.write_all(bytes).expect(memory);
            encoder.finish().expect(memory)
        }
    }
}

/// A classic capture of so many packets of 100 bytes that cannot be compressed.
fn capture(packets: u32) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 65_535, 1] {
        file.extend(u32::to_le_bytes(word));
    }
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for number in 0..packets {
        for word in [number, 0, 100, 100] {
            file.extend(u32::to_le_bytes(word));
        }
        for _ in 0..25 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            file.extend((random as u32).to_le_bytes());
        }
    }
    file
}

type Packets = Vec<(i64, Vec<u8>)>;

fn read(bytes: &[u8]) -> Result<(Packets, Ending), FileError> {
    let mut file = CaptureFile::from_reader("test", Cursor::new(bytes.to_vec()))?;
    let mut packets = Vec::new();
    file.for_each(|packet| packets.push((packet.timestamp.as_nanos(), packet.data.to_vec())));
    Ok((packets, file.into_ending().expect("it was read to its end")))
}

#[track_caller]
fn assert_whole(stored: &[u8], plain: &[u8], what: &str) {
    let (packets, ending) = read(stored).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(ending.is_complete(), "{what}: {ending}");
    assert!(packets == read(plain).expect("plain").0, "{what}");
}

#[test]
fn members_in_a_row_are_one_capture() {
    let plain = capture(300);
    for compression in ALL {
        let packed = |range: std::ops::Range<usize>| pack(compression, &plain[range]);
        let name = compression.to_string();
        assert_whole(&packed(0..plain.len()), &plain, &name);
        // In the middle of the header, of a record, and with an empty member between.
        let members = [
            packed(0..10),
            packed(10..5000),
            packed(0..0),
            packed(5000..plain.len()),
        ];
        assert_whole(&members.concat(), &plain, &name);
        let skippable = [&[0x5f, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        if matches!(compression, Compression::Zstd | Compression::Lz4) {
            let [first, second, ..] = members;
            let rest = packed(5000..plain.len());
            let with = [first, skippable.clone(), second, rest, skippable].concat();
            assert_whole(&with, &plain, &name);
        }
    }
    // Stream padding (the .xz file format, section 2.2).
    let xz = pack(Compression::Xz, &plain);
    assert_whole(&[&xz[..], &[0; 8]].concat(), &plain, "padded");
    let in_front = [&[0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4][..]].concat();
    let zstd = [in_front, pack(Compression::Zstd, &plain)].concat();
    assert_whole(&zstd, &plain, "as pzstd begins");
}

#[test]
fn a_cut_file_is_read_as_far_as_it_goes() {
    let plain = capture(6000);
    let all = read(&plain).expect("plain").0;
    for compression in ALL {
        let stored = pack(compression, &plain);
        for percent in [40, 70, 99] {
            let length = stored.len() * percent / 100;
            let (packets, ending) = read(&stored[..length])
                .unwrap_or_else(|error| panic!("{compression} at {percent} %: {error}"));
            assert!(
                matches!(ending, Ending::Cut { .. }),
                "{compression}: {ending}"
            );
            assert!(
                packets == all[..packets.len()],
                "{compression} at {percent} %"
            );
            // But for the block in which it is cut: of zstd 128 KiB, of the others less.
            let there = (length * all.len() / stored.len()).saturating_sub((128 << 10) / 116 + 1);
            assert!(
                packets.len() >= there,
                "{compression} at {percent} %: {}",
                packets.len()
            );
        }
    }
}

#[test]
fn wherever_it_is_cut_it_is_called_cut() {
    let plain = capture(10);
    let all = read(&plain).expect("plain").0;
    for compression in ALL {
        // Two members: between them nothing tells that it is cut, except the capture itself.
        let first = pack(compression, &plain[..500]);
        let stored = [first.clone(), pack(compression, &plain[500..])].concat();
        for length in 4..stored.len() {
            match read(&stored[..length]) {
                Ok((packets, Ending::Cut { .. })) => assert!(packets == all[..packets.len()]),
                Err(FileError::CutHeader { .. }) => {}
                Ok((_, other)) => panic!("{compression} of {length} bytes: {other}"),
                Err(error) => panic!("{compression} of {length} bytes: {error}"),
            }
        }
    }
}

#[test]
fn damage_never_passes_for_a_whole_capture() {
    let plain = capture(12);
    let all = read(&plain).expect("plain").0;
    for compression in ALL {
        let stored = pack(compression, &plain);
        let mut told = 0;
        for at in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[at] ^= 0x10;
            match read(&damaged) {
                // Bytes that mean nothing: times and flags in headers.
                Ok((packets, Ending::Complete)) => assert!(packets == all, "{compression} at {at}"),
                Ok((
                    _,
                    Ending::Failed(FileError::Compressed {
                        compression: told_of,
                        ..
                    }),
                )) => {
                    assert_eq!(told_of, compression);
                    told += 1;
                }
                Err(FileError::Compressed { .. }) => told += 1,
                Ok(_) | Err(_) => {}
            }
        }
        assert!(
            told > stored.len() / 2,
            "{compression}: {told} of {}",
            stored.len()
        );
    }
}

/// Damage in the last of two members, in the first bytes of a deflate block (RFC 1951, section 3.2.3:
/// there is no type 3), far behind the first bytes that the same call unpacks.
#[test]
fn all_before_a_damage_in_gzip_is_delivered() {
    let plain = capture(900);
    let all = read(&plain).expect("plain").0;
    let first = pack(Compression::Gzip, &plain[..24]);
    for stored_bytes in [50_000_usize, 65_535] {
        // A stored block of so many bytes (section 3.2.4), behind the header of a member.
        let (length, rest) = (stored_bytes as u16, &plain[24..24 + stored_bytes]);
        let block = [
            &[0][..],
            &length.to_le_bytes(),
            &(!length).to_le_bytes(),
            rest,
        ]
        .concat();
        let header = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
        let file = [&first[..], &header, &block, &[0b111; 100]].concat();
        let (packets, ending) = read(&file).expect("it begins well");
        assert_eq!(packets.len(), stored_bytes / 116);
        assert!(packets == all[..packets.len()]);
        assert!(
            ending.to_string().contains("gzip stream is damaged"),
            "{ending}"
        );
    }
}

/// As GNU gzip has it.
#[test]
fn zeros_behind_a_gzip_stream_are_padding_and_nothing_else_is() {
    let stored = pack(Compression::Gzip, &capture(5));
    for (behind, is_complete) in [
        (&[0_u8; 1][..], true),
        (&[0; 512], true),
        (&[0; 200_000], true),
        (b"x", false),
        (b"\0x", false),
        (&[0x1f], false),
        (&[0, 0x1f, 0x8b, 8], false),
    ] {
        let (packets, ending) = read(&[&stored, behind].concat()).expect("it begins well");
        assert_eq!(packets.len(), 5);
        assert_eq!(ending.is_complete(), is_complete, "{behind:?}: {ending}");
    }
}

#[test]
fn what_follows_the_stream_and_is_none_is_damage() {
    let plain = capture(5);
    for compression in ALL {
        let stored = [
            &pack(compression, &plain)[..],
            b"garbage that nobody asked for",
        ]
        .concat();
        let (packets, ending) = read(&stored).expect("it begins well");
        assert_eq!(packets.len(), 5, "{compression}");
        let text = ending.to_string();
        let begin = format!("test: its {compression} stream is damaged");
        assert!(text.starts_with(&begin), "{text}");
    }
}

#[test]
fn a_window_larger_than_the_memory_for_it_is_refused() {
    // RFC 8878, section 3.1.1.1.2: a window of 2 GiB, then one raw block of a byte.
    let zstd = [0x28, 0xb5, 0x2f, 0xfd, 0, 21 << 3, 9, 0, 0, 0];
    let error = read(&zstd).expect_err("too large").to_string();
    assert!(
        error.contains("zstd stream") && error.contains("memory"),
        "{error}"
    );
}

#[test]
fn what_the_tools_write_is_read() {
    if !have_tools(&["gzip", "zstd", "xz", "lz4"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plain = capture(20_000);
    let path = folder.path().join("plain.pcap");
    std::fs::write(&path, &plain).expect("written");
    for words in [
        "gzip -9",
        "zstd -1 --no-check",
        "zstd -19 --long=27 -T2",
        "xz -0 -T2 --block-size=100000",
        "xz -9 --check=sha256",
        "xz --x86 --lzma2=dict=4MiB --check=none",
        "lz4 -1",
        "lz4 -9 -BD --content-size -B4",
        "lz4 -BX --no-frame-crc",
    ] {
        let mut words = words.split(' ');
        let name = words.next().expect("a program");
        let output = command(name)
            .args(words.clone())
            .args(["-q", "-c"])
            .arg(&path)
            .stderr(Stdio::inherit())
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{name}");
        let what = format!("{name} {}", words.collect::<Vec<_>>().join(" "));
        assert_whole(&output.stdout, &plain, &what);
    }
}

#[test]
fn a_cut_compressed_capture_is_reported_and_said_to_be_cut() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let plain = capture(6000);
    for compression in ALL {
        let stored = pack(compression, &plain);
        let path = folder.path().join(format!("cut.{compression}"));
        std::fs::write(&path, &stored[..stored.len() / 2]).expect("written");
        let finished = run(wirewatt().args(["analyze", "--json"]).arg(&path));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        assert!(finished.stderr.contains("cut in the middle"), "{finished}");
        assert!(common::count(&finished.json(), "/completeness/packets_seen") > 1500);

        let damaged = folder.path().join(format!("damaged.{compression}"));
        let mut bytes = stored.clone();
        let middle = bytes.len() / 2;
        bytes[middle..middle + 4].fill(0xff);
        bytes[middle + 4..middle + 8].fill(0);
        std::fs::write(&damaged, bytes).expect("written");
        let finished = run(wirewatt().args(["analyze", "--json"]).arg(&damaged));
        assert_eq!(finished.status.code(), Some(2), "{finished}");
        // What a damaged record looks like may show before the checksum of the whole is reached.
        let said = [
            format!("its {compression} stream is damaged"),
            "damaged at offset".into(),
        ];
        assert!(
            said.iter().any(|said| finished.stderr.contains(said)),
            "{finished}"
        );
    }
}
