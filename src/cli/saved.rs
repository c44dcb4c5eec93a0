//! What holds several reports: a folder of runs, and what `run --json` prints of several algorithms.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use crate::units::Timestamp;

/// The folders of runs in this one, in the order in which they began; by name where reports do not say.
pub(super) fn runs_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let folders = entries.into_iter().map(|entry| entry.path());
    let mut runs: Vec<(Option<Timestamp>, PathBuf)> = folders
        .filter(|path| path.join("report.json").exists())
        .map(|path| (started(&path.join("report.json")), path))
        .collect();
    runs.sort();
    Ok(runs.into_iter().map(|(_, path)| path).collect())
}

fn started(report: &Path) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Setup {
        started: Timestamp,
    }
    #[derive(Deserialize)]
    struct Run {
        setup: Option<Setup>,
    }
    #[derive(Deserialize)]
    struct Begun {
        run: Option<Run>,
    }
    let begun: Begun = serde_json::from_slice(&fs::read(report).ok()?).ok()?;
    Some(begun.run?.setup?.started)
}

/// The reports in an array of them, each with a name for it; nothing where the text is no array.
pub(super) fn reports_of_array(text: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    if text.trim_ascii_start().first() != Some(&b'[') {
        return None;
    }
    let reports: Vec<Value> = serde_json::from_slice(text).ok()?;
    let named = reports.iter().enumerate().map(|(i, report)| {
        // It may become the name of a folder.
        let is_plain = |name: &&str| {
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let algorithm = report.pointer("/run/algorithm").and_then(Value::as_str);
        let name = algorithm.filter(is_plain);
        let name = name.map_or_else(|| (i + 1).to_string(), str::to_owned);
        (name, report.to_string().into_bytes())
    });
    Some(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_an_array_have_the_names_of_their_algorithms() {
        let names = |text: &str| -> Option<Vec<String>> {
            let reports = reports_of_array(text.as_bytes())?;
            Some(reports.into_iter().map(|(name, _)| name).collect())
        };
        assert_eq!(names(r#"{"run": null}"#), None);
        assert_eq!(names("[{"), None);
        assert_eq!(names("[]"), Some(Vec::new()));
        let several = r#" [{"run": {"algorithm": "ring"}}, {"run": {"algorithm": ".."}}, {}]"#;
        let wanted = ["ring", "2", "3"].map(str::to_owned);
        assert_eq!(names(several), Some(wanted.to_vec()));
    }
}
