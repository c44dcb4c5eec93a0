//! How fast saved captures are read, beside what the operating system needs to read the file.
//!
//! `cargo bench --bench reading -- FILE...`; each way of reading is timed five times, the best
//! counts.

use std::io::Read;
use std::time::Instant;

use wirewatt::capture::{CaptureFile, Merged};

fn main() {
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    if files.is_empty() {
        eprintln!("name capture files to read: cargo bench --bench reading -- FILE...");
        return;
    }
    for file in &files {
        time(file, "read(2) alone", || {
            let mut buffer = vec![0; 1 << 20];
            let mut input = std::fs::File::open(file).expect("file");
            while input.read(&mut buffer).expect("read") > 0 {}
            (0, 0)
        });
        time(file, "read_chunk", || {
            let (mut packets, mut bytes) = (0_u64, 0_u64);
            let mut capture = CaptureFile::open(file).expect("capture");
            while capture.read_chunk(|packet| {
                packets += 1;
                bytes += u64::from(packet.original_length);
            }) {}
            (packets, bytes)
        });
        time(file, "read_chunk, touching data", || {
            let (mut packets, mut bytes) = (0_u64, 0_u64);
            let mut capture = CaptureFile::open(file).expect("capture");
            while capture.read_chunk(|packet| {
                packets += 1;
                bytes += u64::from(packet.data.get(40).copied().unwrap_or(0));
            }) {}
            (packets, bytes)
        });
        time(file, "next_packet", || {
            let (mut packets, mut bytes) = (0_u64, 0_u64);
            let mut capture = CaptureFile::open(file).expect("capture");
            while let Some(packet) = capture.next_packet() {
                packets += 1;
                bytes += u64::from(packet.original_length);
            }
            (packets, bytes)
        });
        time(file, "merged with itself", || {
            let (mut packets, mut bytes) = (0_u64, 0_u64);
            let mut merged = Merged::open([file, file]).expect("captures");
            merged.for_each(|packet| {
                packets += 1;
                bytes += u64::from(packet.original_length);
            });
            (packets, bytes)
        });
    }
}

fn time(file: &str, way: &str, run: impl Fn() -> (u64, u64)) {
    let (mut best, mut counted) = (f64::MAX, (0, 0));
    for _ in 0..5 {
        let start = Instant::now();
        counted = run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    let rate = counted.0 as f64 / best / 1e6;
    println!(
        "{file}: {way}: {:.1} ms, {} packets, {rate:.1} M/s",
        best * 1e3,
        counted.0
    );
}
