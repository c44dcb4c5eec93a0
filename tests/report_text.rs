//! The report's text, as snapshots. `UPDATE_SNAPSHOTS=1 cargo test` writes them anew.

mod report_fixture;

use report_fixture::{empty, everything, faulty_run, one_protocol};
use wirewatt::analysis::LiveTotals;
use wirewatt::report::Compared;
use wirewatt::report::Style;
use wirewatt::report::text::{comparison, live_lines, render};
use wirewatt::units::{IpBytes, Messages, Packets, PayloadBytes};

fn snapshot(name: &str, text: &str) {
    let path = format!("{}/tests/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::create_dir_all(format!("{}/tests/snapshots", env!("CARGO_MANIFEST_DIR"))).unwrap();
        std::fs::write(&path, text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{path} differs");
}

const NARROW: Style = Style {
    width: 80,
    color: false,
};

#[test]
fn reports_read_as_they_did() {
    snapshot("report_empty", &render(&empty(), Style::default()));
    snapshot(
        "report_one_protocol",
        &render(&one_protocol(), Style::default()),
    );
    snapshot(
        "report_everything",
        &render(&everything(), Style::default()),
    );
    snapshot("report_everything_80", &render(&everything(), NARROW));
    snapshot("report_faulty_run", &render(&faulty_run(), NARROW));
}

#[test]
fn every_line_fits() {
    for report in [empty(), one_protocol(), everything(), faulty_run()] {
        for width in [80, 100] {
            let text = render(
                &report,
                Style {
                    width,
                    color: false,
                },
            );
            let long = text.lines().find(|line| line.chars().count() > width);
            assert_eq!(long, None);
        }
    }
}

#[test]
fn colour_changes_nothing_else() {
    let plain = render(&everything(), NARROW);
    let painted = render(
        &everything(),
        Style {
            color: true,
            ..NARROW
        },
    );
    assert_ne!(plain, painted);
    let mut stripped = painted;
    for escape in ["\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m", "\u{1b}[0m"] {
        stripped = stripped.replace(escape, "");
    }
    assert_eq!(plain, stripped);
}

/// us-2018 weighs CO2 alone (EPA eGRID2018): a figure by it is not a CO2e figure.
#[test]
fn a_grid_of_co2_alone_is_never_called_co2e() {
    for report in [one_protocol(), everything()] {
        let text = render(&report, Style::default());
        assert!(
            text.contains("CO2 alone") && !text.contains("CO2e"),
            "{text}"
        );
    }
}

#[test]
fn runs_compare_in_one_table() {
    let (one, all) = (one_protocol(), everything());
    let run = |protocol, processes, report| Compared {
        protocol,
        processes,
        report,
    };
    let runs = [
        run("two-phase-commit", Some(4), &one),
        run("redis", None, &all),
        run("centralized", Some(4), &one),
    ];
    snapshot("comparison", &comparison(&runs, Style::default()));
    snapshot("comparison_80", &comparison(&runs, NARROW));
}

#[test]
fn live_totals_are_one_line_a_protocol() {
    let row = |name: &str, n: u64| LiveTotals {
        name: name.to_owned(),
        packets: Packets::new(n),
        messages: Messages::new(n / 3),
        ip: IpBytes::new(n * 60),
        payload: PayloadBytes::new(n * 8),
    };
    let rows = [
        row("two-phase-commit", 39),
        row("redis", 1_234_567),
        row("unclassified", 0),
    ];
    let lines = live_lines(&rows);
    snapshot("live", &(lines.join("\n") + "\n"));
}
