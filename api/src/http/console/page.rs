//! The page of analytics, put together: filters, the figures of the whole time, four charts; and the page of an error.

use std::fmt::Write as _;

use axum::response::{IntoResponse as _, Response};
use ruche_projections::analytics::{Bucket, Dimension, Figure, Metric, Row};
use ruche_projections::runner::Lag;

use super::super::Refusal;
use super::answers::{Answers, Choices, Total};
use super::asked::{Asked, BUCKETS, Costs, FILTERS, date};
use super::charts::{self, number};
use super::html::{self, MARK, Text};
use super::scale::{Durations, grouped, short};
use super::{ANALYTICS, charts::Shown};
use crate::auth::Principal;
use crate::error_codes;

/// Days of the times that are one click away.
const SPANS: [i64; 3] = [7, 30, 90];

/// The body of the page.
pub(super) fn analytics(principal: &Principal, asked: &Asked, answers: &Answers) -> String {
    let mut html = header(principal);
    html.push_str("<main>\n");
    html.push_str(&filters(asked, &answers.choices));
    html.push_str(&lag(answers.lag.as_ref()));
    html.push_str(&elsewhere(asked, answers.elsewhere));
    html.push_str(&totals(asked, &answers.totals));
    html.push_str("<div class=\"charts\">\n");
    let mut shown = charts::costs(asked, &answers.cost);
    let more = shown.split_off(1);
    shown.push(charts::latency(asked, &answers.latency));
    shown.push(charts::outcomes(asked, &answers.outcomes));
    shown.push(charts::tool_errors(asked, &answers.tool_errors));
    shown.extend(more);
    shown
        .iter()
        .map(Shown::html)
        .for_each(|chart| html.push_str(&chart));
    html.push_str("</div>\n</main>\n");
    html
}

fn header(principal: &Principal) -> String {
    let who = principal.user.as_deref().unwrap_or("a key of the tenant");
    format!(
        "<header>\n<a class=\"home\" href=\"{ANALYTICS}\">{MARK} Ruche</a>\n<h1>Analytics</h1>\n\
         <p class=\"who\">{}</p>\n<form method=\"post\" action=\"/console/logout\"><button class=\"quiet\">Log out</button></form>\n\
         </header>\n",
        Text(who)
    )
}

/// The form of the filters, and the times that are one click away.
fn filters(asked: &Asked, choices: &[Choices]) -> String {
    let mut html = format!(
        "<form class=\"filters\" method=\"get\" action=\"{ANALYTICS}\">\n\
         <label>From<input type=\"date\" name=\"from\" value=\"{}\" required></label>\n\
         <label>To, that day too<input type=\"date\" name=\"to\" value=\"{}\" required></label>\n",
        date(asked.from),
        date(asked.last_day())
    );
    let steps = BUCKETS.map(|bucket| {
        let word = bucket.name().to_lowercase();
        (word.clone(), word, bucket == asked.bucket)
    });
    html.push_str(&select("By", "bucket", &steps));
    for ((dimension, name), choices) in FILTERS.into_iter().zip(choices) {
        html.push_str(&choice(
            dimension,
            name,
            asked.value_of(dimension),
            choices.as_deref(),
        ));
    }
    let sources = [
        ("reported", "as reported", Costs::Reported),
        ("prices", "by prices", Costs::ByPrices),
    ];
    let sources =
        sources.map(|(word, label, costs)| (word.to_owned(), label.to_owned(), costs == asked.costs));
    html.push_str(&select("Cost", "costs", &sources));
    html.push_str("<button>Show</button>\n</form>\n<nav class=\"spans\" aria-label=\"Times\">\n");
    for days in SPANS {
        let width = Bucket::Day.width_us();
        let from = (asked.to - days * width).max(0);
        let (address, is_here) = (address(asked, from, asked.last_day()), asked.from == from);
        let here = if is_here { " aria-current=\"true\"" } else { "" };
        let _infallible = writeln!(html, "<a href=\"{}\"{here}>{days} days</a>", Text(address));
    }
    let _infallible = writeln!(html, "<a href=\"{ANALYTICS}\">Start again</a>\n</nav>");
    html
}

fn choice(dimension: Dimension, name: &str, value: Option<&str>, choices: Option<&[String]>) -> String {
    let label = match dimension {
        Dimension::Agent => "Agent",
        Dimension::Model => "Model",
        _ => "Channel",
    };
    let Some(choices) = choices else {
        return format!(
            "<label>{label}<input name=\"{name}\" value=\"{}\" placeholder=\"all\"></label>\n",
            Text(value.unwrap_or_default())
        );
    };
    let mut options = vec![(String::new(), "all".to_owned(), value.is_none())];
    let is_there = value.is_none_or(|value| choices.iter().any(|choice| choice == value));
    let given = value.filter(|_| !is_there).map(str::to_owned);
    let all = choices.iter().cloned().chain(given);
    options.extend(all.map(|choice| (choice.clone(), choice.clone(), value == Some(choice.as_str()))));
    select(label, name, &options)
}

/// A choice between values, each with what it is called and whether it is chosen.
fn select(label: &str, name: &str, options: &[(String, String, bool)]) -> String {
    let mut html = format!("<label>{label}<select name=\"{name}\">\n");
    for (value, text, is_chosen) in options {
        let chosen = if *is_chosen { " selected" } else { "" };
        let _infallible = writeln!(
            html,
            "<option value=\"{}\"{chosen}>{}</option>",
            Text(value),
            Text(text)
        );
    }
    html.push_str("</select></label>\n");
    html
}

/// The address of the same page for another time.
fn address(asked: &Asked, from: i64, last: i64) -> String {
    let mut address = format!("{ANALYTICS}?from={}&to={}", date(from), date(last));
    let _infallible = write!(address, "&bucket={}", asked.bucket.name().to_lowercase());
    for (dimension, name) in FILTERS {
        if let Some(value) = asked.value_of(dimension) {
            let _infallible = write!(address, "&{name}={}", encoded(value));
        }
    }
    if asked.costs == Costs::ByPrices {
        address.push_str("&costs=prices");
    }
    address
}

/// A value in an address.
fn encoded(value: &str) -> String {
    let mut text = String::new();
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte))
            }
            byte => {
                let _infallible = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// Says so where the figures are not those of the ledger as it is now.
fn lag(lag: Option<&Lag>) -> String {
    let Some(lag) = lag else {
        return "<p class=\"banner\">Nothing is recorded here yet.</p>\n".to_owned();
    };
    let records = grouped(&lag.records.to_string());
    let words = match (lag.parked, lag.paused, lag.records) {
        (Some(before), ..) => format!(
            "The figures stand before record {before}, which they cannot read. An operator has to look: \
             <code>ruche projections</code>."
        ),
        (None, true, _) => {
            "The figures are paused. An operator has them go on: <code>ruche projections resume</code>."
                .to_owned()
        }
        (None, false, 0) => return String::new(),
        (None, false, _) => {
            format!("The figures are {records} records behind the ledger. Load the page again in a moment.")
        }
    };
    format!("<p class=\"banner\" role=\"status\">{words}</p>\n")
}

/// The way to where there is something to see.
fn elsewhere(asked: &Asked, found: Option<(i64, i64)>) -> String {
    let Some((first, to)) = found else {
        return String::new();
    };
    // Weeks, as a long time of days may be more than a chart shows.
    let weeks = Asked {
        bucket: Bucket::Week,
        ..asked.clone()
    };
    let last = to - Bucket::Day.width_us();
    format!(
        "<p class=\"banner\" role=\"status\">Nothing was recorded from {} to {} with these filters. <a href=\"{}\">There is \
         something between {} and {}.</a></p>\n",
        date(asked.from),
        date(asked.last_day()),
        Text(address(&weeks, first, last)),
        date(first),
        date(last)
    )
}

/// The figures of the whole time.
fn totals(asked: &Asked, totals: &[Total]) -> String {
    let mut html = "<dl class=\"totals\">\n".to_owned();
    for total in totals {
        let name = match total.metric {
            Metric::Turns => "Turns",
            Metric::TurnLatency => "Latency of turns, p95",
            Metric::ToolErrorRate => "Tool calls that failed",
            _ => "Cost",
        };
        let _infallible = writeln!(html, "<div><dt>{name}</dt>");
        for (row, before) in total
            .rows
            .iter()
            .filter(|(row, _)| total.rows.len() == 1 || row.figure.value.is_some())
        {
            html.push_str(&total_html(asked, total.metric, row, before.as_ref()));
        }
        html.push_str("</div>\n");
    }
    html.push_str("</dl>\n");
    html
}

fn total_html(asked: &Asked, metric: Metric, row: &Row, before: Option<&Figure>) -> String {
    let currency = row.currency.as_deref();
    let value = row.figure.value.as_deref();
    let shown = value.map_or_else(|| "—".to_owned(), |value| told(metric, value, currency));
    let mut small = match row.figure.coverage() {
        Some(share) if row.figure.known < row.figure.count => {
            format!(
                "coverage {share} % of {}; ",
                grouped(&row.figure.count.to_string())
            )
        }
        _ => String::new(),
    };
    small.push_str(
        &match (asked.before(), before.and_then(|figure| figure.value.as_deref())) {
            (None, _) => String::new(),
            (Some(_), None) => "nothing before".to_owned(),
            (Some(_), Some(then)) => {
                let change = value
                    .map(|value| change(number(value), number(then)))
                    .unwrap_or_default();
                format!("{}{change} before", told(metric, then, currency))
            }
        },
    );
    format!(
        "<dd><data value=\"{}\">{}</data></dd><dd class=\"small\">{}</dd>\n",
        Text(value.unwrap_or_default()),
        Text(shown),
        Text(small)
    )
}

/// A figure of the whole time, as it is told.
fn told(metric: Metric, value: &str, currency: Option<&str>) -> String {
    match metric {
        Metric::Turns => grouped(value),
        Metric::TurnLatency => {
            let unit = Durations::of(number(value));
            format!("{} {}", short(unit.of_us(number(value))), unit.name())
        }
        Metric::ToolErrorRate => format!("{} %", short(number(value) * 100.0)),
        _ => format!("{} {}", short(number(value)), currency.unwrap_or_default()),
    }
}

/// How much more it is than it was.
fn change(now: f64, then: f64) -> String {
    if then == 0.0 {
        return String::new();
    }
    let change = ((now / then - 1.0) * 100.0).round();
    match change {
        change if change > 999.0 => " (more than ten times)".to_owned(),
        change if change > 0.0 => format!(" (+{change} %)"),
        change if change < 0.0 => format!(" (−{} %)", -change),
        _ => " (as now)".to_owned(),
    }
}

/// The page of an error: what is wrong, in words, and the way out.
pub(super) fn refused(refusal: &Refusal) -> Response {
    let page = error_codes::page(refusal.code);
    let way = match refusal.code {
        error_codes::FORBIDDEN => "<a href=\"/console/login\">Log in with another key</a>",
        error_codes::OVERLOADED | error_codes::UNAVAILABLE | error_codes::INTERNAL => {
            "Load the page again in a moment"
        }
        _ => "Go back and change what you asked for",
    };
    let body = format!(
        "<main class=\"login\">\n<h1>{MARK} Ruche</h1>\n<p class=\"fault\" role=\"alert\">{}</p>\n\
         <p>{way}, or <a href=\"{ANALYTICS}\">start again</a>.</p>\n\
         <p class=\"note\">Status {}, code <a href=\"{page}\">{}</a></p>\n</main>\n",
        Text(&refusal.message),
        refusal.status.as_u16(),
        refusal.code
    );
    let mut answer = refusal.clone().into_response();
    html::page("Error", &body).instead_of(&mut answer);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_in_an_address_as_it_is() {
        assert_eq!(encoded("a b&c=é/"), "a%20b%26c%3D%C3%A9%2F");
    }

    #[test]
    fn changes_are_told() {
        assert_eq!(change(110.0, 100.0), " (+10 %)");
        assert_eq!(change(50.0, 100.0), " (−50 %)");
        assert_eq!(change(100.0, 100.0), " (as now)");
        assert_eq!(change(1.0, 0.0), "");
        assert_eq!(change(100.0, 1.0), " (more than ten times)");
    }
}
