//! `report.json` is what `docs/report.schema.json` says, and holds the identities between layers.

mod report_fixture;

use report_fixture::{empty, everything, faulty_run, one_protocol};
use serde_json::{Value, json};
use wirewatt::report::{Report, json as report_json};
use wirewatt::units::WireBytes;

fn schema() -> Value {
    serde_json::from_str(include_str!("../docs/report.schema.json")).unwrap()
}

fn written(report: &Report) -> Vec<u8> {
    let mut file = Vec::new();
    report_json::write(report, &mut file).unwrap();
    file
}

fn reports() -> [(&'static str, Report); 4] {
    [
        ("empty", empty()),
        ("one protocol", one_protocol()),
        ("everything", everything()),
        ("faulty run", faulty_run()),
    ]
}

#[test]
fn the_schema_is_itself_valid() {
    assert!(jsonschema::meta::is_valid(&schema()));
}

#[test]
fn reports_are_valid() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (name, report) in reports() {
        let value: Value = serde_json::from_slice(&written(&report)).unwrap();
        let errors: Vec<_> = validator
            .iter_errors(&value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
    }
}

#[test]
fn what_is_added_is_valid_and_what_is_missing_is_not() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let report = serde_json::to_value(one_protocol()).unwrap();
    let mut added = report.clone();
    added["new"] = json!(1);
    added["protocols"][0]["new"] = json!(1);
    assert!(validator.is_valid(&added));
    for (at, name) in [
        ("", "completeness"),
        ("/source", "kind"),
        ("/protocols/0", "latency"),
        ("/protocols/0/bytes", "gap_bytes"),
        ("/protocols/0/energy", "class"),
        ("/audit/rows/0", "acknowledged"),
    ] {
        let mut missing = report.clone();
        let object = missing.pointer_mut(at).unwrap().as_object_mut().unwrap();
        object.remove(name).unwrap();
        assert!(!validator.is_valid(&missing), "{at}/{name}");
    }
}

#[test]
fn what_is_told_of_messages_identities_and_properties_is_promised() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let report = serde_json::to_value(faulty_run()).unwrap();
    for (at, names) in [
        (
            "/audit/messages",
            "matched retransmitted findings unmatched",
        ),
        ("/audit/messages/findings/0", "finding verdict messages"),
        (
            "/audit/messages/unmatched/0",
            "sender incarnation receiver sequence kind finding verdict why",
        ),
        (
            "/audit/identities/0",
            "protocol text holds attempted wire verdict",
        ),
        ("/run/properties/0", "name about kind holds why"),
    ] {
        for name in names.split_whitespace() {
            let mut missing = report.clone();
            let object = missing.pointer_mut(at).unwrap().as_object_mut().unwrap();
            assert!(object.remove(name).is_some(), "{at}/{name} is not written");
            assert!(!validator.is_valid(&missing), "{at}/{name} is not required");
        }
    }
    let mut unknown = report;
    unknown["audit"]["messages"]["findings"][0]["finding"] = json!("vanished");
    assert!(!validator.is_valid(&unknown));
}

/// The names that the first version promises, by where they stand.
#[test]
fn every_promised_name_is_required_and_written() {
    let promised = [
        (
            "",
            "schema tool source completeness protocols unclassified undecoded",
        ),
        ("/tool", "name version"),
        (
            "/source",
            "kind interface files first_packet last_packet snaplen",
        ),
        (
            "/completeness",
            "state packets_seen packets_dropped softnet_dropped gaps gap_bytes truncated_packets \
             reasons",
        ),
        (
            "/protocols/0",
            "name ports framing approximate connections messages incomplete_messages \
             messages_by_kind packets bytes_by_class bytes to_listener from_listener pairs series \
             operations latency projection energy carbon",
        ),
        (
            "/protocols/0/packets",
            "total handshake data pure_ack retransmission teardown other",
        ),
        (
            "/protocols/0/bytes",
            "message framing incomplete unframed payload gap_bytes retransmitted outside_stream \
             transport_header tunnel_header ip_header link_header link_trailer ip wire",
        ),
        ("/protocols/0/to_listener", "messages packets payload"),
        ("/protocols/0/from_listener", "messages packets payload"),
        ("/protocols/0/pairs/0", "from to messages payload"),
        ("/protocols/0/series", "bucket_ns buckets"),
        ("/protocols/0/operations", "count kind"),
        (
            "/protocols/0/projection",
            "mtu mss frames l2_bytes line_bytes",
        ),
        ("/protocols/0/energy", "joules low high model class"),
        ("/protocols/0/carbon", "grams gas gwp_basis low high grid"),
        ("/unclassified", "packets bytes"),
        ("/undecoded", "packets bytes reasons"),
        ("/audit", "verdict rows"),
        (
            "/audit/rows/0",
            "protocol kind expected attempted suppressed refused sent acknowledged received \
             handled wire verdict explanation",
        ),
    ];
    let report = serde_json::to_value(one_protocol()).unwrap();
    let validator = jsonschema::validator_for(&schema()).unwrap();
    for (at, names) in promised {
        for name in names.split_whitespace() {
            let mut missing = report.clone();
            let object = missing.pointer_mut(at).unwrap().as_object_mut().unwrap();
            assert!(object.remove(name).is_some(), "{at}/{name} is not written");
            assert!(!validator.is_valid(&missing), "{at}/{name} is not required");
        }
    }
}

#[test]
fn reports_read_back_as_they_were_written() {
    for (name, report) in reports() {
        let file = written(&report);
        let read = report_json::read(file.as_slice()).unwrap();
        assert_eq!(read.audit, report.audit, "{name}");
        assert_eq!(read.run, report.run, "{name}");
        assert_eq!(read.source, report.source, "{name}");
        assert_eq!(read.protocols.len(), report.protocols.len(), "{name}");
        for (read, written) in read.protocols.iter().zip(&report.protocols) {
            assert_eq!(read.tally, written.tally, "{name}");
            let (read, written) = (read.energy.joules.0, written.energy.joules.0);
            assert!((read - written).abs() <= written * 1e-15, "{name}");
        }
    }
}

#[test]
fn other_packets_are_counted_by_name() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let report = serde_json::to_value(everything()).unwrap();
    for name in [
        "/unclassified/by_name/ICMP",
        "/undecoded/reasons/arp",
        "/protocols/0/icmp_errors/packet too big",
    ] {
        let mut other = report.clone();
        let packets = other.pointer_mut(name).unwrap();
        assert!(packets.as_u64() > Some(0));
        *packets = json!("some");
        assert!(!validator.is_valid(&other), "{name}");
    }
}

#[test]
fn layers_add_up_in_every_report() {
    for (name, report) in reports() {
        for protocol in &report.protocols {
            let broken = protocol.tally.bytes.broken_identities(WireBytes::ZERO);
            assert!(
                broken.is_empty(),
                "{name}, {}: {broken:?}",
                protocol.tally.name
            );
        }
        let broken = report.unclassified.bytes.broken_identities(WireBytes::ZERO);
        assert!(broken.is_empty(), "{name}: {broken:?}");
        let undecoded = &report.undecoded;
        let broken = undecoded.bytes.broken_identities(undecoded.not_ip);
        assert!(broken.is_empty(), "{name}: {broken:?}");
    }
}
