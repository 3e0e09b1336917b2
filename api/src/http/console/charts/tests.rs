use super::*;

const DAY: i64 = Bucket::Day.width_us();

fn asked() -> Asked {
    Asked {
        from: 0,
        to: 3 * DAY,
        bucket: Bucket::Day,
        filter: vec![],
        costs: Costs::Reported,
    }
}

fn row(day: i64, key: &str, currency: Option<&str>, value: Option<&str>, known: i64, count: i64) -> Row {
    Row {
        bucket: Some(day * DAY),
        key: vec![key.to_owned()],
        currency: currency.map(str::to_owned),
        figure: Figure {
            value: value.map(str::to_owned),
            count,
            known,
        },
    }
}

#[test]
fn a_day_of_which_nobody_told_the_cost_is_hatched_and_one_of_which_some_did_is_marked() {
    let rows = [
        row(0, "m", Some("USD"), Some("1.5"), 2, 2),
        row(1, "m", None, None, 0, 2),
        row(2, "m", Some("USD"), Some("2"), 1, 1),
        row(2, "n", None, None, 0, 3),
    ];
    let shown = costs(&asked(), &rows);
    let [only] = &shown[..] else {
        panic!("one currency");
    };
    let unknown: Vec<i64> = only.chart.unknown.iter().map(|(at, _)| at / DAY).collect();
    assert_eq!(unknown, [1]);
    let points: Vec<(i64, bool)> = only.chart.series[0]
        .points
        .iter()
        .map(|point| (point.at / DAY, point.is_whole))
        .collect();
    assert_eq!(
        points,
        [(0, true), (2, false)],
        "the bar of the last day may be more"
    );
    assert!(
        only.chart.notes[0].contains("Of 8 model calls 3 told it: a coverage of 37.5 %."),
        "{:?}",
        only.chart.notes
    );
    assert_eq!(only.table.as_ref().map(|table| table.rows.len()), Some(4));
}

#[test]
fn each_currency_has_a_chart_and_calls_are_counted_once() {
    let rows = [
        row(0, "m", Some("EUR"), Some("1"), 1, 2),
        row(0, "m", Some("USD"), Some("3"), 1, 2),
    ];
    let shown = costs(&asked(), &rows);
    let units: Vec<&str> = shown.iter().map(|shown| shown.chart.unit.as_str()).collect();
    assert_eq!(units, ["EUR", "USD"]);
    assert!(
        shown[0].chart.notes[0].contains("All of 2 model calls told it."),
        "{:?}",
        shown[0].chart.notes
    );
    assert!(shown[0].table.is_some() && shown[1].table.is_none());
}

#[test]
fn models_beyond_the_colours_are_shown_as_one() {
    let rows: Vec<Row> = (0..11)
        .map(|n| {
            row(
                0,
                &format!("m{n:02}"),
                Some("USD"),
                Some(&(n + 1).to_string()),
                1,
                1,
            )
        })
        .collect();
    let series = &costs(&asked(), &rows)[0].chart.series;
    assert_eq!(series.len(), CHART_SERIES_MAX + 1);
    assert_eq!(
        (series[0].name.as_str(), series[0].points[0].value),
        ("m10", 11.0)
    );
    let rest = &series[CHART_SERIES_MAX];
    assert_eq!(
        (rest.name.as_str(), rest.class, rest.points[0].value),
        ("3 others", REST, 6.0)
    );
}

#[test]
fn a_latency_that_nobody_told_is_a_gap() {
    let of = |value: Option<&str>, known| vec![row(0, "", None, value, known, 4)];
    let shown = latency(&asked(), &[of(None, 0), of(None, 0), of(None, 0)]);
    assert!(shown.chart.series.iter().all(|series| series.points.is_empty()));
    assert_eq!(shown.chart.unknown.len(), 1);
    let shown = latency(
        &asked(),
        &[
            of(Some("1500000"), 3),
            of(Some("3000000"), 3),
            of(Some("9000000"), 3),
        ],
    );
    assert_eq!(shown.chart.unit, "s");
    assert_eq!(shown.chart.series[2].points[0].value, 9.0);
    assert!(!shown.chart.series[0].points[0].is_whole);
}

#[test]
fn outcomes_have_their_own_colours_and_the_worst_stands_on_top() {
    let rows = [
        row(0, "failed", None, Some("1"), 1, 1),
        row(0, "answered", None, Some("5"), 5, 5),
        row(0, "new_word", None, Some("2"), 2, 2),
    ];
    let told: Vec<(String, &str)> = outcomes(&asked(), &rows)
        .chart
        .series
        .into_iter()
        .map(|series| (series.name, series.class))
        .collect();
    let expected = [("answered", "good"), ("failed", "bad"), ("other", REST)];
    assert_eq!(told, expected.map(|(name, class)| (name.to_owned(), class)));
}
