//! The house: imports point only downwards, and the two wings do not meet.
//!
//! The analysing wing counts what is on the wire; the other wing puts it there. If they shared
//! code, a mistake in it could cancel itself and every account would agree on a wrong number.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules from top to bottom. A module may import those below it.
const FLOORS: [&str; 14] = [
    "cli",
    "experiment",
    "report",
    "audit",
    "energy",
    "analysis",
    "tally",
    "message",
    "flow",
    "packet",
    "capture",
    "ledger",
    "protocols",
    "units",
];

/// The modules that produce traffic, from top to bottom.
const PRODUCERS: [&str; 3] = ["simulation", "node", "algorithm"];

/// What producers may import besides each other: their own record, quantities, and the table of
/// numbers, which is data.
const PRODUCERS_MAY_USE: [&str; 3] = ["ledger", "protocols", "units"];

/// Who may import producers.
const ABOVE_THE_WALL: [&str; 2] = ["cli", "experiment"];

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The top-level module that a file belongs to; nothing for `main.rs` and `lib.rs`.
fn module_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix("src").unwrap();
    let first = inside
        .components()
        .next()
        .unwrap()
        .as_os_str()
        .to_str()
        .unwrap();
    let module = first.trim_end_matches(".rs");
    (!matches!(module, "main" | "lib")).then(|| module.to_owned())
}

/// Top-level modules that a file names, comments aside: after `crate::`, or after as many
/// `super::` as lead to the crate's root from `depth` folders below it.
fn imports(text: &str, depth: usize) -> BTreeSet<String> {
    let to_root = "super::".repeat(depth);
    let mut found = imports_after("crate::", text);
    found.extend(imports_after(&to_root, text));
    found
}

/// The text without its module of tests, which stands last.
fn without_tests(text: &str) -> &str {
    let tests = ["#[cfg(test)]\nmod tests {", "#[cfg(test)]\npub mod tests {"];
    let ends = tests.iter().filter_map(|begin| text.find(begin));
    &text[..ends.min().unwrap_or(text.len())]
}

fn imports_after(root: &str, text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let code: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    for rest in code.join("\n").split(root).skip(1) {
        let names = match rest.strip_prefix('{') {
            // `use crate::{a::b, c}`: names at the first level of the braces.
            Some(group) => {
                let mut depth = 1;
                let mut level = String::new();
                for c in group.chars() {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    if depth == 0 {
                        break;
                    }
                    if depth == 1 {
                        level.push(c);
                    }
                }
                level
            }
            None => rest.split([';', ',', ')']).next().unwrap().to_owned(),
        };
        for name in names.split(',') {
            let name: String = name
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            if FLOORS.contains(&name.as_str()) || PRODUCERS.contains(&name.as_str()) {
                found.insert(name);
            }
        }
    }
    found
}

fn may_import(importer: &str, imported: &str) -> bool {
    if importer == imported {
        return true;
    }
    let producer = |module: &str| PRODUCERS.iter().position(|name| *name == module);
    let floor = |module: &str| FLOORS.iter().position(|name| *name == module);
    match (producer(importer), producer(imported)) {
        (Some(importer), Some(imported)) => importer < imported,
        (Some(_), None) => PRODUCERS_MAY_USE.contains(&imported),
        (None, Some(_)) => ABOVE_THE_WALL.contains(&importer),
        (None, None) => floor(importer) < floor(imported),
    }
}

#[test]
fn imports_point_downwards_and_never_through_the_wall() {
    let mut files = Vec::new();
    rust_files(Path::new("src"), &mut files);
    let mut edges = 0;
    let mut wrong = Vec::new();
    for file in files {
        // Tests may look from anywhere.
        if file.ends_with("tests.rs") {
            continue;
        }
        let Some(module) = module_of(&file) else {
            continue;
        };
        assert!(
            FLOORS.contains(&module.as_str()) || PRODUCERS.contains(&module.as_str()),
            "{module} has no place in this test's list: give it one"
        );
        // In `src/node/codec.rs` two `super::` lead to the root, in `src/node/mod.rs` one does, and
        // a `mod` inside a file needs one more: both are looked for.
        let inside = file.strip_prefix("src").unwrap().components().count();
        let depth = if file.ends_with("mod.rs") {
            inside - 1
        } else {
            inside
        };
        let text = fs::read_to_string(&file).unwrap();
        // The tests of an algorithm run it in the simulation, which is above it.
        let text = match module.as_str() {
            "algorithm" if file.ends_with("tests.rs") => "",
            "algorithm" => without_tests(&text),
            _ => &text,
        };
        let mut imported_here = imports(text, depth);
        imported_here.extend(imports(text, depth + 1));
        for imported in imported_here {
            edges += 1;
            if !may_import(&module, &imported) {
                wrong.push(format!("{} imports {imported}", file.display()));
            }
        }
    }
    assert!(
        edges > 50,
        "only {edges} imports found: does the search still work?"
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_search_finds_imports_however_they_are_written() {
    let text = "use crate::tally::X;\n// crate::node\nuse crate::{flow::{A, units}, packet};\n\
                fn f() { crate::capture::g() }";
    let found: Vec<_> = imports(text, 2).into_iter().collect();
    assert_eq!(found, ["capture", "flow", "packet", "tally"]);
    let sideways = "use super::super::message::Label;\nuse super::codec::Frame;";
    assert_eq!(
        imports(sideways, 2).into_iter().collect::<Vec<_>>(),
        ["message"]
    );
}

#[test]
fn the_wall_stands_in_both_directions() {
    assert!(!may_import("message", "node"));
    assert!(!may_import("node", "message"));
    assert!(!may_import("audit", "algorithm"));
    assert!(!may_import("flow", "tally"));
    assert!(may_import("experiment", "node"));
    assert!(may_import("node", "algorithm"));
    assert!(!may_import("algorithm", "node"));
}
