//! Answers for people and for spreadsheets.

use std::collections::BTreeMap;
use std::io::{self, Write};

use ruche_domain::numbers::Micros;
use ruche_projections::analytics::Question;

use super::asked::{Answer, Line};
use crate::cli::CliError;
use crate::csv::{self, Cell};
use crate::out::{Table, harmless};

/// Bars of a line over buckets, from the least to the most.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A bucket without a figure.
const GAP: char = '·';

impl Answer {
    fn has_currency(&self) -> bool {
        self.unit == "money"
    }

    fn columns(&self) -> Vec<String> {
        let mut columns: Vec<String> = self
            .has_buckets
            .then(|| "bucket".to_owned())
            .into_iter()
            .collect();
        columns.extend(self.by.iter().map(|name| name.to_lowercase()));
        let metric = self.metric.to_lowercase();
        columns.push(match self.unit {
            "count" | "money" | "ratio" | "mean" | "tokens" => metric,
            unit => format!("{metric}_{unit}"),
        });
        columns.extend(self.has_currency().then(|| "currency".to_owned()));
        columns.extend(["known", "count"].map(str::to_owned));
        columns.extend(self.is_compared.then(|| "compared".to_owned()));
        columns
    }

    /// The cells of a row, each with whether it is a number.
    fn cells(&self, line: &Line) -> Vec<(String, bool)> {
        let mut cells: Vec<(String, bool)> = line.bucket.clone().map(|at| (at, false)).into_iter().collect();
        cells.extend(line.key.iter().map(|value| (value.clone(), false)));
        cells.push((line.value.clone().unwrap_or_default(), true));
        if self.has_currency() {
            cells.push((line.currency.clone().unwrap_or_default(), false));
        }
        cells.extend([line.known, line.count].map(|number| (number.to_string(), true)));
        if self.is_compared {
            cells.push((line.compared.clone().unwrap_or_default(), true));
        }
        cells
    }
}

/// A table that lines up.
pub(super) fn table(answer: &Answer) -> String {
    let mut table = Table::of(answer.columns());
    for line in &answer.rows {
        table.row_of(answer.cells(line));
    }
    table.to_string()
}

/// Comma-separated values (RFC 4180) on standard output.
pub(super) fn csv(answer: &Answer) -> Result<(), CliError> {
    let mut text = String::new();
    csv::row(&mut text, answer.columns().iter().map(|name| Cell::Text(name)));
    for line in &answer.rows {
        let cells = answer.cells(line);
        csv::row(&mut text, cells.iter().map(cell));
    }
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written?),
    }
}

/// A cell of a file; one without a value is not known where it is a number, and has no such thing where it is not.
fn cell((text, is_number): &(String, bool)) -> Cell<'_> {
    match (text.is_empty(), is_number) {
        (true, _) => Cell::Unknown,
        (false, true) => Cell::number(text),
        (false, false) => Cell::Text(text),
    }
}

/// What a line is about: values of dimensions, and a currency.
type Series<'a> = (&'a [String], Option<&'a String>);

/// One row for each combination: its least and its greatest value, and a line over all buckets of the time.
pub(super) fn sparks(answer: &Answer, question: &Question) -> String {
    let mut series: BTreeMap<Series<'_>, BTreeMap<&str, f64>> = BTreeMap::new();
    for line in &answer.rows {
        let values = series.entry((&line.key, line.currency.as_ref())).or_default();
        let value = line.value.as_ref().and_then(|value| value.parse::<f64>().ok());
        if let (Some(bucket), Some(value)) = (&line.bucket, value) {
            values.insert(bucket, value);
        }
    }
    let width = question.bucket.map_or(i64::MAX, |bucket| bucket.width_us());
    let starts = (0..)
        .map(|n| question.from + n * width)
        .take_while(|at| *at < question.to);
    let starts: Vec<String> = starts.map(|at| Micros(at.cast_unsigned()).to_rfc3339()).collect();
    let mut columns: Vec<String> = answer.by.iter().map(|name| name.to_lowercase()).collect();
    columns.extend(answer.has_currency().then(|| "currency".to_owned()));
    columns.extend(["least", "most", "over time"].map(str::to_owned));
    let mut table = Table::of(columns);
    for ((key, currency), values) in series {
        let mut cells: Vec<(String, bool)> = key.iter().map(|value| (value.clone(), false)).collect();
        if answer.has_currency() {
            cells.push((currency.cloned().unwrap_or_default(), false));
        }
        let least = values.values().copied().fold(f64::INFINITY, f64::min);
        let most = values.values().copied().fold(f64::NEG_INFINITY, f64::max);
        let shown = |value: f64| {
            if value.is_finite() {
                value.to_string()
            } else {
                String::new()
            }
        };
        cells.extend([(shown(least), true), (shown(most), true)]);
        let bars = starts
            .iter()
            .map(|at| values.get(at.as_str()).map_or(GAP, |value| bar(*value, most)));
        cells.push((bars.collect(), false));
        table.row_of(cells);
    }
    let first = starts.first().map(|at| harmless(at)).unwrap_or_default();
    format!(
        "{table}\n{} of each {} from {first} on; {GAP} is a time without a figure",
        answer.metric,
        question.bucket.map_or("", |bucket| bucket.name()).to_lowercase()
    )
}

/// The bar of a value, from nothing to the greatest.
fn bar(value: f64, most: f64) -> char {
    let share = if most > 0.0 {
        (value / most).clamp(0.0, 1.0)
    } else {
        0.0
    };
    BARS[(share * (BARS.len() - 1) as f64).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_agents_are_no_formulas_and_figures_stay_numbers() {
        let mut text = String::new();
        let cells = [
            ("=agent", false),
            ("-0.5", true),
            ("", true),
            ("=1", true),
            ("", false),
        ];
        let cells = cells.map(|(text, is_number)| (text.to_owned(), is_number));
        csv::row(&mut text, cells.iter().map(cell));
        assert_eq!(text, "'=agent,-0.5,,'=1,\r\n");
    }

    #[test]
    fn bars_go_from_nothing_to_the_most() {
        let bars: String = [0.0, 1.0, 3.5, 7.0]
            .iter()
            .map(|value| bar(*value, 7.0))
            .collect();
        assert_eq!(bars, "▁▂▅█");
        assert_eq!(bar(0.0, 0.0), '▁');
    }
}
