//! What a document shows, compared with what was printed: numbers and ids may differ.

/// The first line of `shown` that is not among the lines of `printed`. Blank lines and lines with `…` stand for any.
pub fn missing(shown: &str, printed: &str) -> Option<String> {
    let printed: Vec<String> = printed.lines().map(masked).collect();
    let mut lines = shown
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.contains('…'));
    lines
        .find(|line| !printed.contains(&masked(line)))
        .map(str::to_owned)
}

/// A line with every number and id as `#`, and one space where there are several.
fn masked(line: &str) -> String {
    line.split_whitespace()
        .map(masked_word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn masked_word(word: &str) -> String {
    if word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-') {
        return "#".to_owned();
    }
    let mut masked = String::new();
    for letter in word.chars() {
        let is_inside = masked.ends_with('#');
        match letter {
            '0'..='9' | '.' | ',' if is_inside => {}
            '0'..='9' => masked.push('#'),
            _ => masked.push(letter),
        }
    }
    masked
}

#[test]
fn numbers_and_ids_may_differ_and_nothing_else() {
    let printed = "wrote 12 records of 092e0fb5-a6c4-8a70-b653-31a6660e836a\nVERIFIED  9 records in 0.2 s\n";
    assert_eq!(missing("VERIFIED 17,362 records in 0.1 s\n…", printed), None);
    assert_eq!(
        missing("wrote 9 records of 192e0fb5-a6c4-8a70-b653-31a6660e836b", printed),
        None
    );
    let line = "TAMPERED 17362 records in 0.1 s";
    assert_eq!(missing(line, printed).as_deref(), Some(line));
}
