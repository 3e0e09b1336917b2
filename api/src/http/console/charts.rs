//! The charts of the page of analytics: which rows become which marks.

use std::collections::BTreeMap;

use ruche_projections::analytics::{Bucket, Figure, Metric, Row};

use super::answers::SHARES;
use super::asked::{Asked, Costs};
use super::chart::{Chart, Point, Series, Shape};
use super::scale::{Durations, grouped, short, start};
use super::table::{Cell, Table};
use crate::limits::CHART_SERIES_MAX;

/// Colours of what has none of its own.
const COLOURS: [&str; CHART_SERIES_MAX] = ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"];
/// The colour of all that is shown as one.
const REST: &str = "rest";
/// How turns come out, from the best to the worst, with the colour of each.
const OUTCOMES: [(&str, &str); 11] = [
    ("answered", "good"),
    ("awaiting_user_input", "s0"),
    ("unspecified", "s5"),
    ("knowledge_gap", "s1"),
    ("capability_gap", "s3"),
    ("out_of_scope", "s4"),
    ("safety_refusal", "s6"),
    ("blocked", "s7"),
    ("cancelled", "pale"),
    ("superseded", REST),
    ("failed", "bad"),
];
/// Currencies that have a chart; those of more stand in the table.
const CURRENCIES_MAX: usize = 4;

/// A chart and its numbers.
pub(super) struct Shown {
    pub chart: Chart,
    /// Of the charts of several currencies the first has the table of all.
    pub table: Option<Table>,
}

impl Shown {
    pub(super) fn html(&self) -> String {
        let table = self.table.as_ref().map(Table::html);
        self.chart.html(&table.unwrap_or_default())
    }
}

const fn word(bucket: Bucket) -> &'static str {
    match bucket {
        Bucket::Minute => "minute",
        Bucket::Hour => "hour",
        Bucket::Day => "day",
        Bucket::Week => "week",
    }
}

/// A value for drawing. What the read models give is a decimal.
pub(super) fn number(value: &str) -> f64 {
    value.parse().unwrap_or(0.0)
}

fn named(name: &str) -> String {
    if name.is_empty() {
        "(none named)".to_owned()
    } else {
        name.to_owned()
    }
}

/// How much is known of what all rows are about.
fn coverage(figure: &Figure, things: &str, what: &str) -> String {
    let (known, count) = (
        grouped(&figure.known.to_string()),
        grouped(&figure.count.to_string()),
    );
    match figure.coverage() {
        None => String::new(),
        Some(_) if figure.known == figure.count => format!("All of {count} {things} told {what}."),
        Some(share) => format!("Of {count} {things} {known} told {what}: a coverage of {share} %."),
    }
}

fn and(sum: &mut Figure, figure: &Figure) {
    sum.count += figure.count;
    sum.known += figure.known;
}

impl Asked {
    fn chart(&self, id: &str, title: String, shape: Shape, metric: Metric) -> Chart {
        let without = self.without(metric);
        let notes = match without.is_empty() {
            true => vec![],
            false => vec![format!(
                "Not filtered by {}, which this figure does not have.",
                without.join(" and ")
            )],
        };
        Chart {
            id: id.to_owned(),
            title,
            unit: String::new(),
            shape,
            bucket: self.bucket,
            from: self.from,
            to: self.to,
            series: vec![],
            unknown: vec![],
            notes,
        }
    }

    fn at(&self, row: &Row) -> (i64, String) {
        let at = row.bucket.unwrap_or(self.from);
        (at, start(self.bucket, at))
    }
}

/// What calls cost, by model; a chart for each currency.
pub(super) fn costs(asked: &Asked, rows: &[Row]) -> Vec<Shown> {
    let known = of_calls(asked, rows);
    let mut all = Figure::default();
    known.values().for_each(|figure| and(&mut all, figure));
    let mut by_currency = BTreeMap::<&str, Vec<&Row>>::new();
    for row in rows {
        if let Some(currency) = &row.currency {
            by_currency.entry(currency).or_default().push(row);
        }
    }
    let mut currencies: Vec<(&str, Vec<&Row>)> = by_currency.into_iter().collect();
    currencies.sort_by_key(|(_, rows)| std::cmp::Reverse(rows.len()));
    let more = currencies.len().saturating_sub(CURRENCIES_MAX);
    currencies.truncate(CURRENCIES_MAX);
    if currencies.is_empty() {
        currencies.push(("", vec![]));
    }
    let several = currencies.len() > 1;
    let mut shown = Vec::new();
    for (n, (currency, rows_of)) in currencies.into_iter().enumerate() {
        let id = if n == 0 {
            "cost".to_owned()
        } else {
            format!("cost-{}", n + 1)
        };
        let unit = if currency.is_empty() { "money" } else { currency };
        let of = if several {
            format!(" in {unit}")
        } else {
            String::new()
        };
        let title = format!("Cost{of} by {} and model", word(asked.bucket));
        let mut chart = asked.chart(&id, title, Shape::Bars, asked.cost_metric());
        unit.clone_into(&mut chart.unit);
        chart.series = by_model(asked, &rows_of, &known);
        let nothing = known.iter().filter(|(_, figure)| figure.known == 0);
        chart.unknown = nothing
            .map(|(at, figure)| {
                let told = format!(
                    "{}: {}",
                    start(asked.bucket, *at),
                    coverage(figure, "model calls", "their cost")
                );
                (*at, told)
            })
            .collect();
        chart.notes.insert(
            0,
            match asked.costs {
                Costs::Reported => format!(
                    "As those say who recorded the calls. {}",
                    coverage(&all, "model calls", "it")
                ),
                Costs::ByPrices => format!(
                    "By the tables of prices. {}",
                    coverage(&all, "model calls", "what it takes")
                ),
            },
        );
        if n == 0 && more > 0 {
            chart
                .notes
                .push(format!("{more} more currencies stand in the table."));
        }
        let table = (n == 0).then(|| cost_table(asked, &chart.title, rows));
        shown.push(Shown { chart, table });
    }
    shown
}

/// Of each time, how many calls there were, and how many told their cost. A model has a row for each currency, and its
/// calls are those of all of them.
fn of_calls(asked: &Asked, rows: &[Row]) -> BTreeMap<i64, Figure> {
    let mut of_models = BTreeMap::<(i64, &[String]), Figure>::new();
    for row in rows {
        let figure = of_models.entry((asked.at(row).0, &row.key)).or_default();
        figure.count = row.figure.count;
        figure.known += row.figure.known;
    }
    let mut of_times = BTreeMap::<i64, Figure>::new();
    for ((at, _), figure) in &of_models {
        and(of_times.entry(*at).or_default(), figure);
    }
    of_times
}

/// The models that cost most, each in a colour, and all others in one.
fn by_model(asked: &Asked, rows: &[&Row], known: &BTreeMap<i64, Figure>) -> Vec<Series> {
    let mut models = BTreeMap::<&str, (f64, BTreeMap<i64, f64>)>::new();
    for row in rows {
        let model = row.key.first().map_or("", String::as_str);
        let value = row.figure.value.as_deref().map_or(0.0, number);
        let of_model = models.entry(model).or_default();
        of_model.0 += value;
        *of_model.1.entry(asked.at(row).0).or_default() += value;
    }
    let currency = rows
        .first()
        .and_then(|row| row.currency.as_deref())
        .unwrap_or_default();
    let mut models: Vec<_> = models
        .into_iter()
        .map(|(model, (sum, values))| (named(model), sum, values))
        .collect();
    models.sort_by(|a, b| b.1.total_cmp(&a.1));
    let others = models.split_off(models.len().min(CHART_SERIES_MAX));
    let mut rest = BTreeMap::<i64, f64>::new();
    for (_, _, values) in &others {
        values
            .iter()
            .for_each(|(at, value)| *rest.entry(*at).or_default() += value);
    }
    let shown = models
        .into_iter()
        .map(|(name, _, values)| (name, values))
        .zip(COLOURS);
    let mut shown: Vec<_> = shown
        .map(|((name, values), class)| (name, class, values))
        .collect();
    if !others.is_empty() {
        shown.push((format!("{} others", others.len()), REST, rest));
    }
    let series = shown.into_iter().map(|(name, class, values)| {
        let points = values.into_iter().map(|(at, value)| Point {
            at,
            value,
            told: format!("{}, {name}: {} {currency}", start(asked.bucket, at), short(value)),
            is_whole: known.get(&at).is_none_or(|figure| figure.known == figure.count),
        });
        let points = points.collect();
        Series { name, class, points }
    });
    series.collect()
}

fn cost_table(asked: &Asked, title: &str, rows: &[Row]) -> Table {
    let row = |row: &Row| {
        vec![
            Cell::Text(asked.at(row).1),
            Cell::Text(row.key.first().map_or_else(String::new, |model| named(model))),
            Cell::exact(row.figure.value.as_deref()),
            Cell::Text(row.currency.clone().unwrap_or_default()),
            Cell::count(row.figure.known),
            Cell::count(row.figure.count),
            Cell::coverage(&row.figure),
        ]
    };
    table(
        asked,
        title,
        &[
            "Model",
            "Cost",
            "Currency",
            "Calls that told it",
            "Calls",
            "Coverage",
        ],
        rows.iter().map(row),
    )
}

fn table(asked: &Asked, title: &str, columns: &[&str], rows: impl Iterator<Item = Vec<Cell>>) -> Table {
    let time = match asked.bucket {
        Bucket::Minute => "Minute, UTC",
        Bucket::Hour => "Hour, UTC",
        Bucket::Day => "Day, UTC",
        Bucket::Week => "Week from, UTC",
    };
    let columns = std::iter::once(&time)
        .chain(columns)
        .map(|column| (*column).to_owned());
    Table {
        caption: format!("{title}. Times in which nothing happened are left out."),
        columns: columns.collect(),
        rows: rows.collect(),
    }
}

/// How long turns took: three shares of all of them.
pub(super) fn latency(asked: &Asked, rows: &[Vec<Row>; 3]) -> Shown {
    let title = format!("Latency of turns by {}", word(asked.bucket));
    let mut chart = asked.chart("latency", title, Shape::Lines, Metric::TurnLatency);
    let values = rows
        .iter()
        .flatten()
        .filter_map(|row| row.figure.value.as_deref());
    let unit = Durations::of(values.map(number).fold(0.0, f64::max));
    unit.name().clone_into(&mut chart.unit);
    let shown = rows.iter().zip(SHARES).zip(["s0", "s1", "s3"]);
    let series = shown.map(|((rows, (_, name)), class)| Series {
        name: name.to_owned(),
        class,
        points: rows
            .iter()
            .filter_map(|row| lasting(asked, row, name, unit))
            .collect(),
    });
    chart.series = series.collect();
    let mut all = Figure::default();
    for row in &rows[0] {
        and(&mut all, &row.figure);
        if row.figure.value.is_none() {
            let (at, time) = asked.at(row);
            let told = coverage(&row.figure, "turns", "how long they took");
            chart.unknown.push((at, format!("{time}: {told}")));
        }
    }
    let told = coverage(&all, "turns that were committed or failed", "how long they took");
    chart.notes.insert(
        0,
        format!("Half of the turns, 95 and 99 of a hundred took at most this long. {told}"),
    );
    let shown = |row: &Row| {
        row.figure.value.as_deref().map_or(Cell::Unknown, |us| {
            Cell::Number(us.to_owned(), short(unit.of_us(number(us))))
        })
    };
    let of_times = rows[0]
        .iter()
        .zip(&rows[1])
        .zip(&rows[2])
        .map(|((half, most), all)| {
            vec![
                Cell::Text(asked.at(half).1),
                shown(half),
                shown(most),
                shown(all),
                Cell::count(half.figure.known),
                Cell::count(half.figure.count),
                Cell::coverage(&half.figure),
            ]
        });
    let names = SHARES.map(|(_, name)| format!("{name}, {}", unit.name()));
    let columns = [
        &names[0],
        &names[1],
        &names[2],
        "Turns that told it",
        "Turns",
        "Coverage",
    ];
    let table = table(asked, &chart.title, &columns, of_times);
    Shown {
        chart,
        table: Some(table),
    }
}

fn lasting(asked: &Asked, row: &Row, name: &str, unit: Durations) -> Option<Point> {
    let value = unit.of_us(number(row.figure.value.as_deref()?));
    let (at, time) = asked.at(row);
    Some(Point {
        at,
        value,
        told: format!("{time}, {name}: {} {}", short(value), unit.name()),
        is_whole: row.figure.known == row.figure.count,
    })
}

/// How turns came out.
pub(super) fn outcomes(asked: &Asked, rows: &[Row]) -> Shown {
    let title = format!("Turns by {} and outcome", word(asked.bucket));
    let mut chart = asked.chart("outcomes", title, Shape::Bars, Metric::Turns);
    "turns".clone_into(&mut chart.unit);
    let mut by_outcome = BTreeMap::<usize, Series>::new();
    for row in rows {
        let outcome = row.key.first().map_or("", String::as_str);
        let place = OUTCOMES
            .iter()
            .position(|(known, _)| *known == outcome)
            .unwrap_or(OUTCOMES.len());
        let (name, class) = match OUTCOMES.get(place) {
            Some((name, class)) => (name.replace('_', " "), *class),
            None => ("other".to_owned(), REST),
        };
        let (at, time) = asked.at(row);
        let value = row.figure.value.as_deref().map_or(0.0, number);
        let told = format!("{time}, {name}: {}", short(value));
        let series = by_outcome.entry(place).or_insert_with(|| Series {
            name,
            class,
            points: vec![],
        });
        series.points.push(Point {
            at,
            value,
            told,
            is_whole: true,
        });
    }
    chart.series = by_outcome.into_values().collect();
    let cells = |row: &Row| {
        vec![
            Cell::Text(asked.at(row).1),
            Cell::Text(
                row.key
                    .first()
                    .map_or_else(String::new, |outcome| outcome.replace('_', " ")),
            ),
            Cell::exact(row.figure.value.as_deref()),
        ]
    };
    let table = table(asked, &chart.title, &["Outcome", "Turns"], rows.iter().map(cells));
    Shown {
        chart,
        table: Some(table),
    }
}

/// Part of the tool calls that failed.
pub(super) fn tool_errors(asked: &Asked, rows: &[Row]) -> Shown {
    let title = format!("Tool calls that failed, by {}", word(asked.bucket));
    let mut chart = asked.chart("tool-errors", title, Shape::Lines, Metric::ToolErrorRate);
    "% of calls with an answer".clone_into(&mut chart.unit);
    let points = rows.iter().filter_map(|row| {
        let share = number(row.figure.value.as_deref()?) * 100.0;
        let (at, time) = asked.at(row);
        let count = grouped(&row.figure.count.to_string());
        let told = format!("{time}: {} % of {count} calls", short(share));
        Some(Point {
            at,
            value: share,
            told,
            is_whole: true,
        })
    });
    let points = points.collect();
    chart.series = vec![Series {
        name: "failed".to_owned(),
        class: "bad",
        points,
    }];
    for row in rows.iter().filter(|row| row.figure.value.is_none()) {
        let (at, time) = asked.at(row);
        chart.unknown.push((at, format!("{time}: no call has an answer")));
    }
    let cells = |row: &Row| {
        let value = row.figure.value.as_deref();
        vec![
            Cell::Text(asked.at(row).1),
            value.map_or(Cell::Unknown, |value| {
                Cell::Number(value.to_owned(), format!("{} %", short(number(value) * 100.0)))
            }),
            Cell::count(row.figure.count),
        ]
    };
    let columns = ["Failed", "Calls with an answer"];
    let table = table(asked, &chart.title, &columns, rows.iter().map(cells));
    Shown {
        chart,
        table: Some(table),
    }
}

#[cfg(test)]
mod tests;
