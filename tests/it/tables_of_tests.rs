//! Tables in documents that name tests: each test is there, and each test of a folder that is named so stands in the table.

use std::collections::BTreeSet;

use crate::repository::{self, texts};

/// A table, and the tests that it is about.
pub struct Table {
    /// The document.
    pub document: &'static str,
    /// The folder of the tests, each of which the document has to name.
    pub folder: &'static str,
    /// What the names of those begin with, in front of two digits and an underscore, such as `a_` of `a_07_…`.
    pub prefix: &'static str,
}

impl Table {
    /// Whether a name is one of these.
    fn is_of_it(&self, name: &str) -> bool {
        let Some(rest) = name.strip_prefix(self.prefix) else {
            return false;
        };
        let bytes = rest.as_bytes();
        bytes.len() > 3 && bytes[0].is_ascii_digit() && bytes[1].is_ascii_digit() && bytes[2] == b'_'
    }

    /// The document and the tests agree.
    ///
    /// # Panics
    /// If they do not, with the names.
    pub fn check(&self) {
        let document = self.document;
        let (mut there, mut told_here) = (BTreeSet::new(), BTreeSet::new());
        for file in texts() {
            if !file.path.starts_with("tests/it/") {
                continue;
            }
            let found = ["\nfn ", "\nasync fn "].map(|before| names(&file.text, before));
            let found: BTreeSet<String> = found.into_iter().flatten().collect();
            if file.path.starts_with(self.folder) {
                told_here.extend(found.iter().filter(|name| self.is_of_it(name)).cloned());
            }
            there.extend(found);
        }
        let table = std::fs::read_to_string(repository::root().join(document)).expect("the table");
        // A name of a test has words in it; other names in backticks are of fields and events.
        let named = names(&table, "`");
        let of_it: BTreeSet<String> = named.iter().filter(|name| self.is_of_it(name)).cloned().collect();
        let rows = table.lines().filter(|line| line.starts_with('|'));
        let last = rows.filter_map(|row| row.trim_end_matches(['|', ' ']).rsplit('|').next());
        let last: BTreeSet<String> = last.flat_map(|cell| names(cell, "`")).collect();
        let gone: Vec<&String> = last.union(&of_it).filter(|name| !there.contains(*name)).collect();
        assert!(
            gone.is_empty(),
            "{document} names tests that are not there: {gone:?}"
        );
        let unnamed: Vec<&String> = told_here.difference(&named).collect();
        assert!(unnamed.is_empty(), "{document} does not name {unnamed:?}");
        assert!(!told_here.is_empty());
    }
}

/// The names in a text that stand behind `before`.
fn names(text: &str, before: &str) -> BTreeSet<String> {
    let found = text.split(before).skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        rest[..end.unwrap_or(rest.len())].to_owned()
    });
    found.filter(|name| name.len() > 5).collect()
}
