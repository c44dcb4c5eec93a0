//! Charts of ordinary and of hostile reports: that they are drawn, are documents, and say what they show.

mod report_fixture;

use std::collections::BTreeSet;
use std::process::Command;

use report_fixture::{
    START, analysis, empty, everything, faulty_run, models, one_protocol, redis, two_phase_commit,
};
use wirewatt::analysis::{Completeness, MessageLog, MessageSeen, SourceLosses};
use wirewatt::energy::Library;
use wirewatt::message::{Label, Way};
use wirewatt::report::chart::{self, Chart, Shape};
use wirewatt::report::compare::Comparison;
use wirewatt::report::{Compared, Models, Report, Source};
use wirewatt::tally::{Bucket, LayerBytes, Pair, PairTally, ProtocolTally, Series};
use wirewatt::units::{
    FramingBytes, IpBytes, MessageBytes, Messages, Mtu, Packets, PayloadBytes, Timestamp,
    TransportHeaderBytes, WireBytes,
};

const HOSTILE: &str = "</text><script>alert('&\")</script>\u{1}\u{202e}\u{ffff}\n";

fn report_of(protocols: Vec<ProtocolTally>, models: &Models) -> Report {
    let analysis = analysis(protocols);
    let losses = SourceLosses::default();
    let completeness = Completeness::judge(analysis.packets, &analysis.evidence, &losses);
    Report::new(&analysis, completeness, Source::default(), None, models)
}

fn named(name: String, tally: &ProtocolTally) -> ProtocolTally {
    ProtocolTally {
        name,
        ..tally.clone()
    }
}

/// Names as a protocols file may have them, ends as addresses.
fn hostile() -> Report {
    let mut tally = named(HOSTILE.repeat(30), &two_phase_commit());
    let pairs = std::mem::take(&mut tally.pairs);
    tally.pairs = pairs
        .into_iter()
        .map(|(pair, tally)| {
            let name = |end: &str| format!("{end}{HOSTILE}[2001:db8:85a3:8d3:1319:8a2e:370:7348]");
            let pair = Pair {
                from: name(&pair.from),
                to: name(&pair.to),
            };
            (pair, tally)
        })
        .collect();
    report_of(vec![tally, named("wide ".repeat(40), &redis())], &models())
}

/// From one message to 10^18, and a protocol of which only handshakes passed.
fn extremes() -> Report {
    let mut protocols = Vec::new();
    for power in [0, 9, 18] {
        let count = 10_u64.pow(power);
        let mut tally = named(format!("ten-to-{power}"), &two_phase_commit());
        tally.messages = Messages::new(count);
        tally.bytes = LayerBytes {
            message: MessageBytes::new(count),
            transport_header: TransportHeaderBytes::new(1),
            wire: WireBytes::new(count + 1),
            ..LayerBytes::default()
        };
        tally.projection.frames = Packets::new(count);
        tally.pairs = (0..count.min(60))
            .map(|n| {
                let pair = Pair {
                    from: n.to_string(),
                    to: (n + 1).to_string(),
                };
                let tally = PairTally {
                    messages: Messages::new(1 + n * (count / 6000)),
                    payload: PayloadBytes::new(u64::MAX / 1000),
                };
                (pair, tally)
            })
            .collect();
        tally.series = Series::default();
        let bucket = Bucket {
            messages: Messages::new(count),
            packets: Packets::new(count),
            ip: IpBytes::new(count),
        };
        for start in [START, START + 315_576_000_000_000_000] {
            tally.series.add(start, &bucket);
        }
        protocols.push(tally);
    }
    protocols.push(ProtocolTally {
        name: "silent".to_owned(),
        packets: two_phase_commit().packets,
        ..ProtocolTally::default()
    });
    report_of(protocols, &models())
}

fn crowd() -> Report {
    let tally = two_phase_commit();
    let protocols = (0..25).map(|n| named(format!("algorithm-{n}"), &tally));
    report_of(protocols.collect(), &models())
}

/// A grid without emissions has no place on a logarithmic axis.
fn without_emissions() -> Report {
    let library = wirewatt::energy::Library::built_in();
    let grid = library.grid("0").expect("a rate");
    let models = Models::of(&library, grid).expect("models");
    report_of(vec![two_phase_commit()], &models)
}

/// What no capture has and a report from elsewhere may: the ends of every number.
fn beyond() -> Report {
    let report = report_of(vec![two_phase_commit()], &models());
    let mut value = serde_json::to_value(&report).unwrap();
    let protocol = &mut value["protocols"][0];
    let bucket = serde_json::json!({ "messages": 1, "packets": 1, "ip": 1 });
    protocol["series"] = serde_json::json!({
        "bucket_ns": u64::MAX,
        "buckets": { (i64::MIN.to_string()): bucket, (i64::MAX.to_string()): bucket },
    });
    let all = serde_json::json!({ "0": u64::MAX, (u64::MAX.to_string()): u64::MAX });
    protocol["latency"]["reply"] = serde_json::json!({ "count": u64::MAX, "buckets": all });
    for bytes in protocol["bytes"].as_object_mut().unwrap().values_mut() {
        *bytes = u64::MAX.into();
    }
    protocol["carbon"]["grams"] = f64::MAX.into();
    protocol["carbon"]["high"] = f64::MAX.into();
    serde_json::from_value(value).unwrap()
}

fn reports() -> Vec<(&'static str, Report)> {
    vec![
        ("empty", empty()),
        ("one", one_protocol()),
        ("everything", everything()),
        ("faulty", faulty_run()),
        ("hostile", hostile()),
        ("extremes", extremes()),
        ("beyond", beyond()),
        ("crowd", crowd()),
        ("without-emissions", without_emissions()),
    ]
}

fn ids(charts: &[Chart]) -> Vec<&'static str> {
    charts.iter().map(|chart| chart.id).collect()
}

/// What a reader of XML minds, as far as charts could get it wrong: a tag that is not one, an attribute
/// that ends early, an `&` that begins no entity, tags that do not nest, characters that are none.
fn assert_is_document(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = svg;
    while let Some((text, tag)) = rest.split_once('<') {
        assert!(!text.contains('>'), "{text}");
        let (tag, behind) = tag.split_once('>').expect("a tag ends");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        let name = tag.trim_start_matches('/');
        let name = name.split([' ', '/']).next().expect("a name");
        let known = "svg rect line polyline polygon circle text title desc";
        assert!(known.split(' ').any(|one| one == name), "<{tag}>");
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(closed));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = behind;
    }
    assert_eq!(open, [""; 0]);
    assert_eq!(rest.trim(), "");
    for entity in svg.split('&').skip(1) {
        let known = ["lt;", "gt;", "amp;", "quot;", "apos;"];
        assert!(known.iter().any(|one| entity.starts_with(one)), "&{entity}");
    }
    let is_text = |c: char| !c.is_control() || c == '\n';
    assert!(svg.chars().all(is_text) && !svg.contains('\u{ffff}'));
}

/// Writes charts to a folder for eyes: `REPORT_PICTURES=/tmp/pictures cargo test`.
fn keep(name: &str, charts: &[Chart]) {
    if let Some(folder) = std::env::var_os("REPORT_PICTURES") {
        let folder = std::path::Path::new(&folder).join(name);
        chart::write_all(charts, &folder).unwrap();
    }
}

fn assert_is_drawn(name: &str, chart: &Chart) {
    let drawing = chart.svg().unwrap();
    let what = format!("{name} {}", chart.id);
    assert_is_document(&drawing.svg);
    assert_is_document(&chart.svg_document().unwrap());
    assert!(
        !drawing.svg.contains("NaN") && !drawing.svg.contains("inf"),
        "{what}"
    );
    assert!(!chart.title.is_empty() && !chart.about.is_empty(), "{what}");
    assert_eq!((drawing.width, drawing.height), chart.size());
    assert_eq!(drawing.width, 800);
    let (width, height) = (drawing.width as i32, drawing.height as i32);
    for mark in &drawing.marks {
        let inside = |(x, y): (i32, i32)| (0..=width).contains(&x) && (0..=height).contains(&y);
        let ends = match mark.shape {
            Shape::Area {
                x,
                y,
                width,
                height,
            } => [(x, y), (x + width, y + height)],
            Shape::Line { from, to, .. } => [from, to],
        };
        assert!(ends.into_iter().all(inside), "{what}: {mark:?}");
        assert!(!mark.words.contains("NaN"), "{what}: {mark:?}");
    }
    for place in drawing.svg.split("<text x=\"").skip(1) {
        let x: i32 = place.split('"').next().unwrap().parse().unwrap();
        assert!((0..=width).contains(&x), "{what}: {place}");
    }
}

#[test]
fn every_chart_of_every_report_is_a_document_with_its_marks_inside() {
    for (name, report) in reports() {
        let charts = chart::of_report(&report, None);
        keep(name, &charts);
        let distinct: BTreeSet<_> = ids(&charts).into_iter().collect();
        assert_eq!(distinct.len(), charts.len(), "{name}");
        for chart in &charts {
            assert_is_drawn(name, chart);
        }
    }
}

#[test]
fn a_report_has_the_charts_that_it_has_something_for() {
    let all = [
        "messages",
        "pairs",
        "bytes-by-layer",
        "traffic",
        "emissions",
    ];
    let of = |report: &Report| ids(&chart::of_report(report, None));
    assert_eq!(of(&empty()), [""; 0]);
    assert_eq!(of(&one_protocol()), all);
    assert_eq!(of(&without_emissions()), &all[..4]);
}

#[test]
fn a_picture_is_as_large_as_it_says_and_shows_something() {
    for (name, report) in [("one", one_protocol()), ("hostile", hostile())] {
        for chart in chart::of_report(&report, None) {
            let file = chart.png().unwrap();
            let decoder = png::Decoder::new(std::io::Cursor::new(&file));
            let mut reader = decoder.read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let frame = reader.next_frame(&mut pixels).unwrap();
            let (width, height) = chart.size();
            assert_eq!((frame.width, frame.height), (2 * width, 2 * height));
            let dark = pixels.iter().filter(|value| **value < 128).count();
            assert!(dark > 1000, "{name} {}: {dark} dark samples", chart.id);
        }
    }
}

#[test]
fn names_stay_text_in_pictures_files_and_marks() {
    for chart in chart::of_report(&hostile(), None) {
        let drawing = chart.svg().unwrap();
        assert!(!drawing.svg.contains("<script"), "{}", chart.id);
        assert!(
            !chart.svg_document().unwrap().contains("<script"),
            "{}",
            chart.id
        );
        let has_controls = |text: &str| text.chars().any(char::is_control);
        let texts = drawing.marks.iter().map(|mark| &mark.words);
        for text in texts.chain([&chart.title, &chart.about]) {
            assert!(!has_controls(text) && !text.contains('\u{202e}'), "{text}");
        }
    }
}

#[test]
fn runs_stand_beside_each_other_under_their_numbers_of_processes() {
    let (one, faulty) = (one_protocol(), faulty_run());
    let run = |processes, report| Compared {
        protocol: "two-phase-commit",
        processes,
        report,
    };
    let charts = chart::of_comparison(&[run(Some(4), &one), run(None, &faulty)]);
    keep("comparison", &charts);
    assert_eq!(ids(&charts), ["messages", "bytes-by-layer", "emissions"]);
    for chart in &charts {
        assert_is_drawn("comparison", chart);
        let words = chart.svg().unwrap().marks;
        let of = |name: &str| {
            words
                .iter()
                .filter(|mark| mark.words.starts_with(name))
                .count()
        };
        let (first, second) = (of("two-phase-commit, n = 4: "), of("two-phase-commit: "));
        assert_eq!(first, second, "{}", chart.id);
        assert!(first > 0 && first + second == words.len(), "{}", chart.id);
    }

    let note = "Frames of several MTUs";
    assert!(!charts[2].svg_document().unwrap().contains(note));
    let mut jumbo = faulty.clone();
    for protocol in &mut jumbo.protocols {
        protocol.tally.projection.mtu = Mtu::new(9000).unwrap();
    }
    let charts = chart::of_comparison(&[run(Some(4), &one), run(None, &jumbo)]);
    assert!(charts[2].svg_document().unwrap().contains(note));
}

/// Grams of CO2 are no grams of CO2e, and twice the PUE is another figure.
#[test]
fn emissions_of_two_gases_or_models_are_told_apart() {
    let of = |grid: &str, pue: f64| {
        let mut library = Library::built_in();
        library.set_pue(pue).unwrap();
        let grid = library.grid(grid).unwrap();
        report_of(
            vec![two_phase_commit()],
            &Models::of(&library, grid).unwrap(),
        )
    };
    let chart = |one: &Report, other: &Report| {
        let runs = [(one, 3), (other, 4)].map(|(report, n)| Compared {
            protocol: "two-phase-commit",
            processes: Some(n),
            report,
        });
        let charts = chart::of_comparison(&runs);
        let chart = charts.into_iter().find(|chart| chart.id == "emissions");
        let chart = chart.expect("drawn");
        let svg = chart.svg().unwrap().svg.replace('\n', " ");
        (chart.title, chart.about, svg)
    };
    let (co2, co2e, cooled) = (of("us-2018", 1.0), of("us-2023", 1.0), of("us-2018", 2.0));
    let (title, about, svg) = chart(&co2, &co2e);
    assert_eq!(title, "Emissions by algorithm, as models have it");
    let gases = about.split("n = 4").map(|half| half.contains(" CO2,"));
    assert_eq!(gases.collect::<Vec<_>>(), [true, false], "{about}");
    assert!(
        about.contains(" CO2e,") && svg.contains("Of several grids"),
        "{about}"
    );
    assert!(
        svg.contains("g CO2 </text>") && svg.contains("g CO2e </text>"),
        "{svg}"
    );
    let (title, _, svg) = chart(&co2, &cooled);
    assert_eq!(title, "CO2 by algorithm, as models have it");
    assert!(svg.contains("Of several models, hops or PUE"), "{svg}");
    let (_, _, svg) = chart(&co2, &co2);
    assert!(
        !svg.contains("Of several") && !svg.contains("g CO2 </text>"),
        "{svg}"
    );
}

#[test]
fn charts_are_written_as_both_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    let charts = chart::of_report(&one_protocol(), None);
    let path = folder.path().join("charts");
    chart::write_all(&charts, &path).unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<String> = ids(&charts)
        .into_iter()
        .flat_map(|id| [format!("{id}.png"), format!("{id}.svg")])
        .collect();
    expected.sort();
    assert_eq!(names, expected);
    let error = chart::write_all(&charts, &path.join("traffic.svg")).unwrap_err();
    assert!(error.to_string().contains("traffic.svg"), "{error}");
}

fn frame(sender: u32, receiver: u32, sequence: u64, timestamp: u64, at: i64) -> MessageSeen {
    MessageSeen {
        label: Label {
            protocol: 3,
            kind: 1,
            sender,
            receiver,
            incarnation: 1,
            run: 7,
            operation: 1,
            sequence,
            timestamp,
        },
        body: MessageBytes::new(8),
        framing: FramingBytes::new(56),
        time: Timestamp::from_nanos(START + at),
        connection: 0,
        way: Way::ToListener,
        end: 64,
        acknowledged: true,
        whole: true,
    }
}

/// Headers say what whoever sent them pleased: numbers of any size, a process that writes to itself,
/// kinds that nobody knows, times that lie decades apart.
#[test]
fn whatever_frames_say_is_drawn_with_an_arrow_each_and_what_is_wrong_is_marked() {
    let mut messages = vec![
        frame(0, 1, 1, 5, 0),
        frame(0, 1, 2, 4, 1_000),
        frame(1, 0, 1, 9, 250_000),
        frame(2, 2, 1, u64::MAX, 300_000),
        frame(u32::MAX, 3, u64::MAX, 0, 400_000),
        frame(3, 2, 1, 10, 315_576_000_000_000_000),
    ];
    messages[2].whole = false;
    messages[3].label.kind = u16::MAX;
    messages[5].body = MessageBytes::new(u64::MAX - 56);
    let log = MessageLog {
        messages,
        left_out: 1,
        ..MessageLog::default()
    };
    let chart = chart::space_time(&log).expect("messages");
    keep("frames", &[chart::space_time(&log).expect("messages")]);
    assert_is_drawn("frames", &chart);
    let drawing = chart.svg().unwrap();
    let arrows = drawing.marks.iter();
    let arrows = arrows.filter(|mark| matches!(mark.shape, Shape::Line { .. }));
    assert_eq!(arrows.count(), 6);
    let wrong: Vec<_> = drawing
        .marks
        .iter()
        .filter(|mark| mark.words.contains("wrong:"))
        .collect();
    assert_eq!(wrong.len(), 1);
    assert!(
        wrong[0].words.starts_with("vote-request, 0 → 1, 64 B, "),
        "{wrong:?}"
    );
    assert!(drawing.svg.contains("timestamp contradicts another (1)"));
    let other_protocol = MessageLog {
        messages: vec![MessageSeen {
            label: Label {
                protocol: u16::MAX,
                ..log.messages[0].label
            },
            ..log.messages[0].clone()
        }],
        ..MessageLog::default()
    };
    assert_is_drawn(
        "frame",
        &chart::space_time(&other_protocol).expect("a message"),
    );
}

#[test]
fn analyze_draws_what_a_capture_shows() {
    let folder = tempfile::tempdir().unwrap();
    let analyzed = Command::new(env!("CARGO_BIN_EXE_wirewatt"))
        .args(["analyze", "captures/two-phase-commit.pcapng", "--charts"])
        .arg(folder.path().join("charts"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&analyzed.stderr);
    assert!(analyzed.status.success(), "{told}");
    assert!(told.contains("charts: "), "{told}");
    let drawn = std::fs::read_to_string(folder.path().join("charts/space-time.svg")).unwrap();
    assert_is_document(&drawn);
    assert_eq!(
        drawn.matches("<polygon").count(),
        12,
        "an arrow's head a message"
    );
    assert!(drawn.contains("12 messages between 4 processes of two-phase-commit"));
    assert!(drawn.contains("No Lamport timestamp contradicts another."));
}

/// Regression: the folder was made once everything had been read.
#[test]
fn a_folder_for_charts_that_cannot_be_is_told_before_anything_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let analyzed = Command::new(env!("CARGO_BIN_EXE_wirewatt"))
        .args(["analyze", "captures/two-phase-commit.pcapng", "--charts"])
        .arg(file.join("charts"))
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&analyzed.stderr);
    assert_eq!(analyzed.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot make the folder"), "{told}");
    assert!(analyzed.stdout.is_empty(), "no report");
}

#[test]
fn of_several_runs_kinds_that_one_alone_has_are_counted_and_not_drawn() {
    let report = |kinds: &[&str]| {
        let mut tally = two_phase_commit();
        tally.messages_by_kind = kinds
            .iter()
            .map(|kind| ((*kind).to_owned(), Messages::new(2)))
            .collect();
        report_of(vec![tally], &models())
    };
    let all = [
        report(&["vote", "ack"]),
        report(&["vote"]),
        report(&["token"]),
    ];
    let named = |n: usize| -> Vec<(String, &Report)> {
        let names = ["a", "b", "c"].into_iter().map(str::to_owned);
        names.zip(&all).take(n).collect()
    };
    let kinds = |n| {
        let charts = chart::compared(&Comparison::of(&named(n)));
        let found = charts.iter().find(|chart| chart.id == "kinds-compared");
        found.unwrap().svg().unwrap().svg
    };
    let three = kinds(3);
    assert!(three.contains("Not drawn: 2 kinds that one run alone has."));
    assert!(three.contains("vote") && !three.contains("token"));
    let two = kinds(2);
    assert!(two.contains("ack") && !two.contains("Not drawn"));
    let totals = &chart::compared(&Comparison::of(&named(2)))[0];
    let svg = totals.svg().unwrap().svg;
    assert!(
        svg.contains("Energy by datacenter-3-hops") || svg.contains("datacenter-3-hops (marginal")
    );
    assert!(svg.contains("grid us-2018"));
}
