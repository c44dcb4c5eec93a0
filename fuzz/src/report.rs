//! Reports: what was read is written as it was read, and shown in every form.

use wirewatt::report::{Style, chart, html, json, text};

/// Reads a report, writes it, reads it again and renders it.
pub fn run(data: &[u8]) {
    let Ok(report) = json::read(data) else {
        return;
    };
    let mut written = Vec::new();
    json::write(&report, &mut written).expect("memory takes all");
    let again = json::read(&written[..]).expect("what was written can be read");
    let mut twice = Vec::new();
    json::write(&again, &mut twice).expect("memory takes all");
    assert_eq!(String::from_utf8(written), String::from_utf8(twice));
    assert!(!text::render(&report, Style::default()).is_empty());
    let charts = chart::of_report(&report, None);
    let _ = html::render(&report, &charts);
}
