//! Comma-separated values: RFC 4180, and no cell that a spreadsheet would take for a formula.
//!
//! A text that begins with one of [`FORMULA`] gets an apostrophe in front, which spreadsheets do not show. So does one that
//! begins with an apostrophe: taking the first one away from each text that has one gives back what was written. Numbers stay
//! numbers. What is not known is an empty cell, empty text is `""`.

/// What a spreadsheet takes for the beginning of a formula, or passes over in front of one.
const FORMULA: [char; 8] = ['=', '+', '-', '@', '\t', '\r', '\n', '\''];

/// A cell of a row.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// Not known.
    Unknown,
    /// Text that somebody wrote.
    Text(&'a str),
    /// A number, a time, yes or no: nothing that somebody wrote.
    Plain(&'a str),
}

impl<'a> Cell<'a> {
    /// A number as somebody else wrote it: text unless it is one.
    pub fn number(text: &'a str) -> Self {
        match text.parse::<f64>() {
            Ok(_) => Self::Plain(text),
            Err(_) if text.is_empty() => Self::Unknown,
            Err(_) => Self::Text(text),
        }
    }
}

/// Adds a row.
pub fn row<'a>(out: &mut String, cells: impl IntoIterator<Item = Cell<'a>>) {
    for (place, cell) in cells.into_iter().enumerate() {
        if place > 0 {
            out.push(',');
        }
        match cell {
            Cell::Unknown => {}
            Cell::Plain(text) => out.push_str(text),
            Cell::Text("") => out.push_str("\"\""),
            Cell::Text(text) => self::text(out, text),
        }
    }
    out.push_str("\r\n");
}

fn text(out: &mut String, text: &str) {
    let guard = if text.starts_with(FORMULA) { "'" } else { "" };
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(guard);
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(guard);
        out.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(cells: &[Cell<'_>]) -> String {
        let mut out = String::new();
        row(&mut out, cells.iter().copied());
        out
    }

    #[test]
    fn a_cell_is_quoted_where_it_has_to_be() {
        let cells = ["a", "b,c", "say \"x\"", "", "two\nlines"].map(Cell::Text);
        assert_eq!(
            line(&cells),
            "a,\"b,c\",\"say \"\"x\"\"\",\"\",\"two\nlines\"\r\n"
        );
        assert_eq!(line(&[Cell::Unknown, Cell::Plain("1")]), ",1\r\n");
    }

    #[test]
    fn no_text_is_a_formula_and_numbers_stay_numbers() {
        for text in ["=1+1", "+1", "-1", "@a", "\ta", "'a"] {
            assert_eq!(line(&[Cell::Text(text)]), format!("'{text}\r\n"), "{text:?}");
        }
        assert_eq!(line(&[Cell::Text("\r=1")]), "\"'\r=1\"\r\n");
        assert_eq!(
            line(&[Cell::Text("=HYPERLINK(\"x\",1)")]),
            "\"'=HYPERLINK(\"\"x\"\",1)\"\r\n"
        );
        assert_eq!(line(&[Cell::Text("a=1")]), "a=1\r\n");
        assert_eq!(
            line(&[Cell::number("-0.5"), Cell::number(""), Cell::number("-1+cmd")]),
            "-0.5,,'-1+cmd\r\n"
        );
    }
}
