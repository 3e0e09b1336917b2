//! As much of Markdown as the house rules need: fences, headings, links.

/// A fenced block of code.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// First word behind the opening fence, such as `json`; may be empty.
    pub language: String,
    /// Line of the opening fence, from 1.
    pub line: usize,
    /// Lines between the fences.
    pub text: String,
}

/// A line outside of fenced blocks.
#[derive(Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Number, from 1.
    pub number: usize,
    /// Text without the line's end.
    pub text: &'a str,
}

/// Splits a document into prose and fenced blocks. A fence that is never closed runs to the end, as in CommonMark.
pub fn split(document: &str) -> (Vec<Line<'_>>, Vec<Block>) {
    let mut prose = Vec::new();
    let mut blocks: Vec<Block> = Vec::new();
    let mut open: Option<&str> = None;
    for (index, text) in document.lines().enumerate() {
        let number = index + 1;
        match (open, fence(text)) {
            (None, Some((marks, rest))) => {
                let language = rest.split_whitespace().next().unwrap_or_default().to_owned();
                blocks.push(Block {
                    language,
                    line: number,
                    text: String::new(),
                });
                open = Some(marks);
            }
            (None, None) => prose.push(Line { number, text }),
            (Some(opened), Some((marks, rest))) if marks.starts_with(opened) && rest.trim().is_empty() => {
                open = None;
            }
            (Some(_), _) => {
                let block = blocks.last_mut().expect("an open fence has a block");
                block.text.push_str(text);
                block.text.push('\n');
            }
        }
    }
    (prose, blocks)
}

/// The run of three or more fence marks a line starts with, and what follows it.
fn fence(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let (marks, rest) = line.split_at(line.len() - line.trim_start_matches(mark).len());
    // Inline code such as ```x``` is no fence.
    (marks.len() >= 3 && !(mark == '`' && rest.contains('`'))).then_some((marks, rest))
}

/// Headings of the given level (1 for `#`), with their line numbers.
pub fn headings(document: &str, level: usize) -> Vec<(usize, String)> {
    let (prose, _) = split(document);
    let opening = format!("{} ", "#".repeat(level));
    prose
        .iter()
        .filter_map(|line| Some((line.number, line.text.strip_prefix(&opening)?.trim().to_owned())))
        .collect()
}

/// Targets of links, images and link definitions, with their line numbers; those in code are left out.
pub fn links(document: &str) -> Vec<(usize, String)> {
    let (prose, _) = split(document);
    let mut links = Vec::new();
    for line in prose {
        let text = without_inline_code(line.text);
        for part in text.split("](").skip(1) {
            links.push((line.number, target(part, ')')));
        }
        if let Some((label, definition)) = text.trim_start().split_once("]: ")
            && label.starts_with('[')
        {
            links.push((line.number, target(definition.trim(), ' ')));
        }
    }
    links
}

/// The target up to its end; a title behind it and angle brackets around it are dropped.
fn target(text: &str, end: char) -> String {
    let text = text.split(end).next().unwrap_or_default().trim();
    let text = text.split(" \"").next().unwrap_or_default();
    text.trim_start_matches('<').trim_end_matches('>').to_owned()
}

fn without_inline_code(line: &str) -> String {
    // Every second part lies between backticks; an unpaired last backtick opens nothing.
    let parts: Vec<&str> = line.split('`').collect();
    let unpaired = parts.len().is_multiple_of(2);
    let last = parts.len() - 1;
    let outside = |index: &usize| index.is_multiple_of(2) || (unpaired && *index == last);
    (0..parts.len())
        .filter(outside)
        .map(|index| parts[index])
        .collect()
}

#[test]
fn fences_split_prose_from_blocks() {
    let document = "a\n```json x\n{}\n```\nb\n~~~~\n```\n~~~\n~~~~\n  ```sh\n  ls\n  ```\nc ```inline``` d\n";
    let (prose, blocks) = split(document);
    let lines: Vec<(usize, &str)> = prose.iter().map(|line| (line.number, line.text)).collect();
    assert_eq!(lines, [(1, "a"), (5, "b"), (13, "c ```inline``` d")]);
    let block = |language: &str, line, text: &str| Block {
        language: language.into(),
        line,
        text: text.into(),
    };
    assert_eq!(
        blocks,
        [
            block("json", 2, "{}\n"),
            block("", 6, "```\n~~~\n"),
            block("sh", 10, "  ls\n")
        ]
    );
}

#[test]
fn headings_are_told_from_comments_in_code() {
    let document = "# One\n```sh\n# no\n```\n## Two\n#no\n";
    assert_eq!(headings(document, 1), [(1, "One".to_owned())]);
    assert_eq!(headings(document, 2), [(5, "Two".to_owned())]);
}

#[test]
fn links_are_found_in_prose_and_not_in_code() {
    let document =
        "[a](x.md#y) ![b](<z.png> \"t\") `[c](no.md)`\n```\n[d](no.md)\n```\n[e]: e.md\nodd ` [f](f.md)\n";
    let found = links(document);
    let targets: Vec<(usize, &str)> = found
        .iter()
        .map(|(line, target)| (*line, target.as_str()))
        .collect();
    assert_eq!(targets, [(1, "x.md#y"), (1, "z.png"), (5, "e.md"), (6, "f.md")]);
}
