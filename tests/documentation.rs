//! What pages quote stands in the files that they quote.

use std::fs;

/// The blocks of a page whose fence names a file of the repository, and that file.
fn quoted(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(page).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(fence) = line.strip_prefix("```") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if let Some((_, file)) = fence.split_once(' ') {
            blocks.push((file.to_owned(), block.join("\n")));
        }
    }
    blocks
}

#[test]
fn the_walk_through_a_new_algorithm_quotes_the_files_as_they_are() {
    let blocks = quoted("docs/adding-an-algorithm.md");
    for (file, block) in &blocks {
        let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{file}: {error}"));
        // Whole lines.
        let text = format!("\n{text}\n");
        assert!(
            text.contains(&format!("\n{block}\n")),
            "{file} has no longer:\n{block}"
        );
    }
    let of = |file: &str| blocks.iter().filter(|(name, _)| name == file).count();
    assert_eq!(of("src/algorithm/centralized.rs"), 9);
    assert_eq!(of("src/algorithm/catalog.rs"), 1);
    assert_eq!(of("src/algorithm/mod.rs"), 1);
    assert_eq!(of("data/protocols.toml"), 1);
    assert_eq!(blocks.len(), 12);
}
