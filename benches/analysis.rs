//! How fast saved captures are analysed, beside reading them alone.
//!
//! `cargo bench --bench analysis -- [NAME=PORTS[:FRAMING]] FILE...`; without a protocol, Redis on
//! port 6379 by segments. Each is timed eleven times, the best counts.

use std::sync::Arc;
use std::time::Instant;

use wirewatt::analysis::{Analyzer, ProtocolPlan};
use wirewatt::capture::CaptureFile;

fn main() {
    let arguments = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'));
    let (protocols, files): (Vec<String>, Vec<String>) =
        arguments.partition(|argument| argument.contains('='));
    if files.is_empty() {
        eprintln!("name capture files to analyse: cargo bench --bench analysis -- FILE...");
        return;
    }
    let protocol = protocols
        .first()
        .map_or("redis=6379:segment", String::as_str);
    let definition = protocol.parse().expect("NAME=PORTS[:FRAMING]");
    let plan = Arc::new(ProtocolPlan::new(&[definition]).expect("ports that do not overlap"));
    for file in &files {
        time(file, "reading alone", || {
            let mut packets = 0_u64;
            let mut capture = CaptureFile::open(file).expect("capture");
            capture.for_each(|_| packets += 1);
            packets
        });
        time(file, protocol, || {
            let mut analyzer = Analyzer::new(Arc::clone(&plan));
            let mut capture = CaptureFile::open(file).expect("capture");
            capture.for_each(|packet| analyzer.packet(&packet));
            analyzer.finish().packets.get()
        });
    }
}

fn time(file: &str, what: &str, run: impl Fn() -> u64) {
    let (mut best, mut packets) = (f64::MAX, 0);
    for _ in 0..11 {
        let start = Instant::now();
        packets = run();
        best = best.min(start.elapsed().as_secs_f64());
    }
    println!(
        "{file}: {what}: {:.1} ms, {packets} packets, {:.1} ns a packet, {:.1} M/s",
        best * 1e3,
        best * 1e9 / packets as f64,
        packets as f64 / best / 1e6,
    );
}
