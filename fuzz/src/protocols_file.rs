//! Protocols files, `--protocol` and framings as users write them.

use std::path::Path;

use wirewatt::analysis::{ProtocolDefinition, ProtocolPlan, parse_protocols_file};
use wirewatt::flow::TransportKind;
use wirewatt::message::FramingChoice;

/// Reads the text as each of the three. What it defines, it must define so.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match parse_protocols_file(Path::new("protocols.toml"), text) {
        Ok(definitions) => plan(&definitions),
        Err(error) => assert!(error.to_string().starts_with("protocols.toml:"), "{error}"),
    }
    match text.parse::<ProtocolDefinition>() {
        Ok(definition) => plan(&[definition]),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    if let Ok(framing) = text.parse::<FramingChoice>() {
        assert_eq!(framing.to_string().parse(), Ok(framing));
    }
}

/// Every port that a definition names is that protocol's, unless two claim it.
fn plan(definitions: &[ProtocolDefinition]) {
    let Ok(plan) = ProtocolPlan::new(definitions) else {
        return;
    };
    for (definition, planned) in definitions.iter().zip(plan.protocols()) {
        assert_eq!(definition.name, planned.name);
        let text = definition.ports.to_string();
        assert_eq!(text.parse().as_ref(), Ok(&definition.ports), "{text}");
        let kinds = match definition.transport {
            Some(kind) => vec![kind],
            None => vec![TransportKind::Tcp, TransportKind::Udp],
        };
        for kind in kinds {
            for port in text
                .split(',')
                .filter_map(|range| range.split('-').next()?.parse().ok())
            {
                let found = plan
                    .ports()
                    .protocol(kind, port)
                    .map(|index| plan.get(index));
                assert_eq!(
                    found.map(|found| &found.name),
                    Some(&definition.name),
                    "{port}"
                );
            }
        }
    }
}
