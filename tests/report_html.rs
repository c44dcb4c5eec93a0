//! The page and its charts.

mod report_fixture;

use report_fixture::{
    HOSTILE, START, analysis, empty, everything, faulty_run, hostile, models, one_protocol,
    page_of, two_phase_commit,
};
use wirewatt::analysis::{Completeness, SourceLosses};
use wirewatt::report::Compared;
use wirewatt::report::{FaultCost, Report, RunCost, Source, chart, html};
use wirewatt::tally::{Bucket, ProtocolTally, Series};
use wirewatt::units::{Packets, TunnelHeaderBytes};

/// Writes pages and charts to a folder for eyes: `REPORT_PICTURES=/tmp/pictures cargo test`.
fn keep(name: &str, content: &str) {
    if let Some(folder) = std::env::var_os("REPORT_PICTURES") {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(std::path::Path::new(&folder).join(name), content).unwrap();
    }
}

#[test]
fn a_page_needs_nothing_from_elsewhere() {
    for (name, report) in [
        ("empty", empty()),
        ("one", one_protocol()),
        ("everything", everything()),
        ("faulty", faulty_run()),
    ] {
        let page = page_of(&report);
        keep(&format!("{name}.html"), &page);
        for outside in [
            "<link", "<img", "<iframe", "@import", "url(", "src=", "style=",
        ] {
            assert!(!page.contains(outside), "{name}: {outside}");
        }
        let links = page.matches("href=").count();
        assert_eq!(
            links,
            page.matches("href=\"#").count(),
            "{name}: links within"
        );
        assert_eq!(page.matches("<script").count(), 1, "{name}");
        let addresses = page.matches("http").count() - page.matches("http-equiv").count();
        let namespaces = page.matches("http://www.w3.org/2000/svg").count();
        assert_eq!(
            addresses, namespaces,
            "{name}: only the SVG namespace is an address"
        );
        assert!(page.contains("content=\"default-src 'none';"), "{name}");
        assert!(page.ends_with("</html>\n"));
    }
}

#[test]
fn charts_are_drawn_for_every_report() {
    for (name, report) in [
        ("empty", empty()),
        ("one", one_protocol()),
        ("everything", everything()),
    ] {
        let protocols: Vec<_> = report.seen_protocols().collect();
        let traffic = chart::traffic(&protocols).svg().unwrap().svg;
        let layers = chart::layers(&protocols).svg().unwrap().svg;
        keep(&format!("{name}-traffic.svg"), &traffic);
        keep(&format!("{name}-layers.svg"), &layers);
        for svg in [traffic, layers] {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
            assert!(
                !svg.contains("NaN") && !svg.contains("inf"),
                "{name}: {svg}"
            );
        }
    }
}

/// The legend told of tunnels where there were none, and nothing told what a hairline was.
#[test]
fn a_bar_names_the_layers_that_are_there_and_those_too_thin_for_their_share() {
    let mut tally = two_phase_commit();
    let svg = |tally: &ProtocolTally| {
        let analysis = analysis(vec![tally.clone()]);
        let losses = SourceLosses::default();
        let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
        let report = Report::new(&analysis, completeness, Source::default(), None, &models());
        let protocols: Vec<_> = report.seen_protocols().collect();
        chart::layers(&protocols).svg().unwrap().svg
    };
    let plain = svg(&tally);
    assert!(plain.contains("IP header") && !plain.contains("tunnel"));
    assert!(plain.contains("message 2.8 %"), "{plain}");
    tally.bytes.tunnel_header = TunnelHeaderBytes::new(20);
    assert!(svg(&tally).contains("IP header, tunnel header"));
}

/// Names come from files that anyone may have written.
#[test]
fn names_are_text_and_never_markup() {
    let report = hostile();
    let page = page_of(&report);
    keep("hostile.html", &page);
    let ours = page_of(&everything());
    for markup in ["<script", "<img", "<b", "onerror=", "\u{202e}"] {
        let of_names = page.replace("&lt;img src=x onerror=", "");
        let (there, own) = (of_names.matches(markup), ours.matches(markup));
        assert_eq!(there.count(), own.count(), "{markup}");
    }
    let shown = "&quot;&gt;&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;&#39;\\u{202e}&amp;";
    assert!(page.matches(shown).count() > 50, "{HOSTILE} is shown");
}

/// A page is sent around: what is in it once should not be in it a thousand times.
#[test]
fn a_page_stays_small() {
    let page = page_of(&one_protocol());
    assert!(page.len() < 200_000, "{} bytes", page.len());
}

#[test]
fn runs_compare_on_one_page() {
    let (one, all) = (one_protocol(), everything());
    let run = |protocol, report| Compared {
        protocol,
        processes: Some(4),
        report,
    };
    let page = html::comparison(&[run("two-phase-commit", &one), run("redis", &all)]).unwrap();
    keep("comparison.html", &page);
    assert_eq!(page.matches("<figure").count(), 3);
    assert!(page.ends_with("</html>\n"));
    let banner = page
        .lines()
        .find(|line| line.contains("<p class=\"verdict"));
    let banner = banner.expect("a verdict");
    assert!(banner.contains("class=\"verdict mismatch\""), "{banner}");
    assert!(
        banner.contains("of 2 runs: 1 exact, 1 mismatch"),
        "{banner}"
    );
}

/// One bucket, years between two buckets, times before the epoch, more protocols than panels.
#[test]
fn odd_series_are_drawn() {
    let decade = 315_576_000_000_000_000;
    let at = |starts: &[i64]| {
        let mut tally = two_phase_commit();
        tally.series = Series::default();
        let bucket = Bucket {
            packets: Packets::new(u64::from(u32::MAX)),
            ..Bucket::default()
        };
        for start in starts {
            tally.series.add(*start, &bucket);
        }
        tally
    };
    let series: [&[i64]; 4] = [&[0], &[-decade, START, START + decade], &[], &[-1, 1]];
    for starts in series {
        let analysis = analysis(vec![at(starts); 10]);
        let losses = SourceLosses::default();
        let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
        let report = Report::new(&analysis, completeness, Source::default(), None, &models());
        let protocols: Vec<_> = report.seen_protocols().collect();
        let svg = chart::traffic(&protocols).svg().unwrap().svg;
        keep(&format!("odd-{}.svg", starts.len()), &svg);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{starts:?}");
        assert_eq!(
            svg.contains("2 protocols with fewer packets"),
            !starts.is_empty()
        );
    }
}

#[test]
fn the_head_of_a_page_tells_what_failed_and_by_which_model_energy_is() {
    let mut report = faulty_run();
    let cost = RunCost::of(&report).unwrap();
    report.fault_cost = Some(FaultCost {
        without: cost.clone(),
        with: cost,
    });
    let run = report.run.as_mut().unwrap();
    (run.operations, run.succeeded) = (3, 1);
    let page = page_of(&report);
    let (head, rest) = page.split_once("</header>").unwrap();
    assert!(
        head.contains("; 1 of 3 operations succeeded</span>"),
        "{head}"
    );
    assert!(
        head.contains("by datacenter-3-hops (marginal device)"),
        "{head}"
    );
    assert!(head.contains("grid us-2018"), "{head}");
    // Bytes, joules and seconds in one column have no order.
    let (before, _) = rest
        .split_once("The run with its fault and without")
        .unwrap();
    let table = before.rsplit_once("<table").unwrap().1;
    assert!(table.starts_with(" class=\"as-written\">"), "{table}");
    let run = report.run.as_mut().unwrap();
    run.succeeded = 3;
    let page = page_of(&report);
    assert!(!page.contains("operations succeeded</span>"));
}
