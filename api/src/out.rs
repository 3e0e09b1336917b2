//! Text for people: tables that line up, times that read, a progress bar where somebody looks.

use std::fmt;
use std::io::IsTerminal;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment};
use indicatif::{ProgressBar, ProgressStyle};
use ruche_domain::numbers::Micros;

pub use crate::app::offline_verifier::harmless;

/// A table without lines, so that it can be cut and pasted.
pub struct Table(comfy_table::Table);

impl Table {
    /// With these columns.
    pub fn new<const N: usize>(columns: [&str; N]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_header(columns);
        Self(table)
    }

    /// With as many columns as are asked for.
    pub fn of(columns: impl IntoIterator<Item = String>) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(NOTHING).set_header(columns);
        Self(table)
    }

    /// One more row of such a table. A cell that is said to be a number stands to the right.
    pub fn row_of(&mut self, cells: impl IntoIterator<Item = (String, bool)>) {
        let cell = |(text, is_number): (String, bool)| {
            let side = match is_number {
                true => CellAlignment::Right,
                false => CellAlignment::Left,
            };
            Cell::new(harmless(&text)).set_alignment(side)
        };
        self.0.add_row(cells.into_iter().map(cell).collect::<Vec<_>>());
    }

    /// One more row, on one line whatever its cells hold.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.0.add_row(cells.map(|cell| harmless(&cell)));
    }
}

impl fmt::Display for Table {
    /// Lines without spaces at their ends, and no line end behind the last one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.0.lines().enumerate() {
            let before = if number == 0 { "" } else { "\n" };
            write!(f, "{before}{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// RFC 3339, UTC, whole seconds.
pub fn time(at: Micros) -> String {
    at.to_rfc3339()
}

/// A bar on standard error, or nothing where nobody looks at a terminal.
pub fn progress(total: u64, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} [{wide_bar}] {human_pos}/{human_len} {per_sec} {eta}")
        .expect("the template is a constant");
    ProgressBar::new(total).with_style(style).with_message(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00Z"),
            (1_700_000_000_999_999, "2023-11-14T22:13:20Z"),
            (4_107_542_399_000_000, "2100-02-28T23:59:59Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(Micros(micros)), text);
        }
    }

    #[test]
    fn a_cell_cannot_paint_or_split_its_row() {
        let mut table = Table::new(["a"]);
        table.row(["\u{1b}[31mred\nnext\u{202e}".into()]);
        let text = table.to_string();
        assert_eq!(text.lines().count(), 2, "{text:?}");
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(text.contains(r"\u{1b}[31mred\u{a}next"), "{text:?}");
    }

    #[test]
    fn tables_line_up() {
        let mut table = Table::new(["a", "long"]);
        table.row(["x".into(), "1".into()]);
        table.row(["yyyy".into(), "2".into()]);
        let lines: Vec<_> = table.to_string().lines().map(str::to_owned).collect();
        assert_eq!(lines[1].find('1'), lines[2].find('2'));
    }
}
