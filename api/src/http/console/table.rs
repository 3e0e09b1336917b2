//! The numbers of a chart as a table, for those who read and those who copy.

use std::fmt::Write as _;

use ruche_projections::analytics::Figure;

use super::html::Text;
use super::scale::grouped;

/// A cell of a row.
pub(super) enum Cell {
    Text(String),
    /// A number as the read models give it, and as it is shown.
    Number(String, String),
    /// What nobody told.
    Unknown,
}

impl Cell {
    /// A decimal with all of its digits.
    pub(super) fn exact(value: Option<&str>) -> Self {
        value.map_or(Self::Unknown, |value| {
            Self::Number(value.to_owned(), grouped(value))
        })
    }

    pub(super) fn count(count: i64) -> Self {
        Self::exact(Some(&count.to_string()))
    }

    /// How much of what a figure is about it is known of, of a hundred.
    pub(super) fn coverage(figure: &Figure) -> Self {
        match figure.coverage() {
            Some(share) => Self::Number(share.to_string(), format!("{share} %")),
            None => Self::Unknown,
        }
    }
}

/// A table below a chart.
pub(super) struct Table {
    pub caption: String,
    pub columns: Vec<String>,
    /// As many cells as columns; the first names the row.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn html(&self) -> String {
        let mut html = format!(
            "<details><summary>The same as a table</summary>\n<div class=\"scroll\" tabindex=\"0\">\n<table>\n\
             <caption>{}</caption>\n<thead><tr>",
            Text(&self.caption)
        );
        for column in &self.columns {
            let _infallible = write!(html, "<th scope=\"col\">{}</th>", Text(column));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for row in &self.rows {
            html.push_str("<tr>");
            for (n, cell) in row.iter().enumerate() {
                html.push_str(&cell_html(n == 0, cell));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n</table>\n</div>\n</details>\n");
        html
    }
}

fn cell_html(is_first: bool, cell: &Cell) -> String {
    match cell {
        Cell::Text(text) if is_first => format!("<th scope=\"row\">{}</th>", Text(text)),
        Cell::Text(text) => format!("<td>{}</td>", Text(text)),
        Cell::Number(value, shown) => {
            format!(
                "<td class=\"number\"><data value=\"{}\">{}</data></td>",
                Text(value),
                Text(shown)
            )
        }
        Cell::Unknown => "<td class=\"number\"><abbr title=\"not known\">—</abbr></td>".to_owned(),
    }
}

#[test]
fn what_nobody_told_is_no_zero() {
    let figure = Figure {
        value: None,
        count: 3,
        known: 0,
    };
    let table = Table {
        caption: "a <b>".to_owned(),
        columns: vec!["Day".to_owned(), "Cost".to_owned(), "Coverage".to_owned()],
        rows: vec![vec![
            Cell::Text("<script>".to_owned()),
            Cell::exact(figure.value.as_deref()),
            Cell::coverage(&figure),
        ]],
    };
    let html = table.html();
    assert!(html.contains("<th scope=\"row\">&lt;script&gt;</th>"), "{html}");
    assert!(
        html.contains("—</abbr></td><td class=\"number\"><data value=\"0\">0 %</data></td>"),
        "{html}"
    );
    assert!(
        html.contains("a &lt;b&gt;") && !html.contains("<script>"),
        "{html}"
    );
}
