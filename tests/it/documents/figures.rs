//! The figures of `/metrics`: the operators' table, the list in the code and the places that count say the same.

use std::collections::BTreeSet;

use ruche_api::figures::{FIGURES, Figure, Kind};

use crate::repository::{TextFile, texts};

const TABLE: &str = "docs/operations/metrics.md";

/// What a figure's name ends with, so that its unit can be read.
const UNITS: [&str; 9] = [
    "_total",
    "_seconds",
    "_events",
    "_records",
    "_ledgers",
    "_lanes",
    "_projections",
    "_connections",
    "_operations",
];
/// Gauges of what the name says in the middle.
const STATES: [&str; 4] = [
    "ruche_http_requests_in_flight",
    "ruche_appends_waiting",
    "ruche_ready_turns",
    "ruche_queued_turns",
];

fn row(figure: &Figure) -> String {
    let kind = match figure.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let labels = match figure.labels {
        [] => "–".to_owned(),
        labels => labels.join(", "),
    };
    format!("| `{}` | {kind} | {labels} | {} |", figure.name, figure.help)
}

/// Names that a source counts under, with the kind of figure.
fn counted(source: &TextFile) -> BTreeSet<(String, &'static str)> {
    let mut found = BTreeSet::new();
    for kind in ["counter", "gauge", "histogram"] {
        for after in source.text.split(&format!("{kind}!(")).skip(1) {
            let Some(text) = after.trim_start().strip_prefix('"') else {
                continue;
            };
            let name = text.split('"').next().unwrap_or_default();
            found.insert((name.to_owned(), kind));
        }
    }
    found
}

#[test]
fn the_table_for_operators_is_the_list_in_the_code() {
    let table = texts().into_iter().find(|file| file.path == TABLE).expect(TABLE);
    let written: Vec<&str> = table
        .text
        .lines()
        .filter(|line| line.starts_with("| `ruche_") && line.matches(" | ").count() == 3)
        .collect();
    let known: Vec<String> = FIGURES.iter().map(row).collect();
    assert_eq!(written, known, "{TABLE} and api/src/figures.rs");
}

#[test]
fn every_figure_that_is_counted_is_known_and_the_other_way_round() {
    let sources = texts()
        .into_iter()
        .filter(|file| file.path.starts_with("api/src/") && file.path.ends_with(".rs"));
    let counted: BTreeSet<_> = sources.flat_map(|source| counted(&source)).collect();
    let known = FIGURES.iter().map(|figure| {
        let kind = match figure.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        (figure.name.to_owned(), kind)
    });
    assert_eq!(counted, known.collect());
}

#[test]
fn names_say_the_unit() {
    for figure in FIGURES {
        let ends = UNITS.iter().any(|unit| figure.name.ends_with(unit));
        assert!(ends || STATES.contains(&figure.name), "{}", figure.name);
        assert_eq!(
            figure.kind == Kind::Counter,
            figure.name.ends_with("_total"),
            "{}",
            figure.name
        );
    }
}
