//! `ruche query`: one figure by dimensions and time, of a running server or of a store that no server runs on.

pub(super) mod arguments;
mod asked;
mod saved;
mod shown;

use std::process::ExitCode;

use clap::Args;
use ruche_domain::Object;
use ruche_domain::numbers::Micros;
use ruche_projections::analytics::{Bucket, Dimension, Metric, Question, Window};
use serde_json::{Map, Value, json};

use super::{CliError, Common, print, tenant_name};
use crate::graphql::question_of;
use crate::out::Table;
use arguments::{dimension, filter, length, metric, per_mille, span};
use asked::Answer;
use saved::Place;

pub(super) const EXAMPLES: &str = "\
Examples:
  ruche query --list
  ruche query COST --tenant demo --by agent,model --from 2026-01-01 --to 2027-01-01
  ruche query TURNS --tenant demo --by outcome --where agent=support --last 7d --csv
  ruche query TURN_LATENCY --percentile 99 --by agent --bucket week --spark --server http://127.0.0.1:4000
  ruche query COST --by agent,model --bucket day --last 30d --save 'costs of a month' --tenant demo
  ruche query --saved 'costs of a month' --spark --tenant demo

A value that nobody told is empty, which is not zero: `known` says how many of `count` told theirs. More is in
docs/analytics.md.";

/// Options that say what is asked, which a saved question says itself.
const OF_A_QUESTION: [&str; 9] = [
    "metric",
    "by",
    "bucket",
    "from",
    "to",
    "last",
    "filter",
    "percentile",
    "compare_from",
];
/// The share of durations that analytics tells where none is asked for, in thousandths.
const PER_MILLE_DEFAULT: i64 = 950;

/// What is asked.
#[derive(Args)]
pub struct QueryArgs {
    /// The figure; --list shows all of them
    #[arg(value_parser = metric, required_unless_present_any = ["list", "saved", "list_saved", "drop"])]
    metric: Option<Metric>,
    /// List the figures with their units and dimensions
    #[arg(long)]
    list: bool,
    /// One row for each combination of these, such as agent,model
    #[arg(long, value_name = "DIMENSIONS", value_delimiter = ',', value_parser = dimension)]
    by: Vec<Dimension>,
    /// And of these times: minute, hour, day or week, UTC
    #[arg(long, value_parser = arguments::bucket)]
    bucket: Option<Bucket>,
    /// From this day or time on; 30 days before --to if absent, and the start of a bucket
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    from: Option<i64>,
    /// Before this day or time; the end of today if absent
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    to: Option<i64>,
    /// The last of a time, such as 90m, 24h, 30d or 4w: up to the end of the bucket that runs, or of the day, hour or minute
    #[arg(long, value_name = "LENGTH", value_parser = length, conflicts_with_all = ["from", "to"])]
    last: Option<i32>,
    /// Only what has this value, such as agent=support; several have to hold all
    #[arg(long = "where", value_name = "DIMENSION=VALUE", value_parser = filter)]
    filter: Vec<(Dimension, String)>,
    /// Of durations: the share that does not exceed the value; 95 if absent
    #[arg(long, value_parser = per_mille)]
    percentile: Option<i64>,
    /// The start of another time, as long, whose figures stand beside those of this one
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    compare_from: Option<i64>,
    /// Save the question under a name in place of asking it, or put it in the place of the one that stands there; without
    /// a time it is about the last 30 days of whenever it is asked
    #[arg(long, value_name = "NAME", requires = "metric", conflicts_with_all = ["csv", "spark", "list"])]
    save: Option<String>,
    /// Ask the question that is saved under a name
    #[arg(long, value_name = "NAME", conflicts_with_all = OF_A_QUESTION, conflicts_with_all = ["save", "list"])]
    saved: Option<String>,
    /// As of this day or time, where a saved question is about the last of a time; now if absent
    #[arg(long, value_name = "TIME", value_parser = arguments::time, requires = "saved")]
    at: Option<i64>,
    /// List the saved questions
    #[arg(long, conflicts_with_all = OF_A_QUESTION, conflicts_with_all = ["save", "saved", "list", "csv", "spark"])]
    list_saved: bool,
    /// Drop the question that is saved under a name
    #[arg(long, value_name = "NAME", conflicts_with_all = OF_A_QUESTION,
        conflicts_with_all = ["save", "saved", "list_saved", "list", "csv", "spark"])]
    drop: Option<String>,
    /// One row for each combination, with a line over the buckets in place of a row for each of them
    #[arg(long, conflicts_with_all = ["csv", "compare_from"])]
    spark: bool,
    /// Comma-separated values with a line of names
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// The running server to ask, such as http://127.0.0.1:4000; the store itself if absent
    #[arg(long, value_name = "URL", requires = "key", conflicts_with = "tenant")]
    server: Option<String>,
    /// API key with the role reader; with the role writer to save and to drop
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Tenant whose figures they are, where the store itself is asked
    #[arg(long, value_parser = tenant_name, required_unless_present_any = ["server", "list"])]
    tenant: Option<String>,
}

/// Runs the command.
pub async fn run(common: Common, args: QueryArgs) -> Result<ExitCode, CliError> {
    if args.list {
        print(&common, &listed(), |metrics| list(metrics))?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = match (&args.server, &args.key, &args.tenant) {
        (Some(server), Some(key), _) => Place::Server(server, key),
        (_, _, Some(tenant)) => Place::Store(&common, tenant),
        _ => {
            return Err(CliError::Usage(
                "--server or --tenant is needed; see `ruche query --help`".into(),
            ));
        }
    };
    if args.list_saved {
        saved::list(&common, &place).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(name) = &args.drop {
        saved::drop(&common, &place, name).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let (question, other) = match (&args.saved, args.metric) {
        (Some(name), _) => {
            let words = saved::found(&place, name).await?;
            let at = args.at.map_or_else(arguments::now, Ok)?;
            question_of(words, Micros(at.cast_unsigned()))
                .map_err(|wrong| CliError::Failed(format!("{name} cannot be asked: {wrong}; save it anew")))?
        }
        (None, Some(metric)) => {
            if let Some(name) = &args.save {
                saved::save(&common, &place, name, words(&args, metric)?).await?;
                return Ok(ExitCode::SUCCESS);
            }
            asked_by(&args, metric)?
        }
        (None, None) => {
            return Err(CliError::Usage(
                "a figure is needed; `ruche query --list` shows them".into(),
            ));
        }
    };
    if args.spark && question.bucket.is_none() {
        return Err(CliError::Usage(
            "--spark needs --bucket: there is no line over a time that is not cut".into(),
        ));
    }
    let answer = match place {
        Place::Server(server, key) => Answer::of_server(server, key, &question, other).await?,
        Place::Store(common, tenant) => Answer::of_store(common, tenant, &question, other).await?,
    };
    if args.csv {
        shown::csv(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&common, &answer, |answer| match args.spark {
        true => shown::sparks(answer, &question),
        false => shown::table(answer),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The question that the options make, and the time that it is compared to.
fn asked_by(args: &QueryArgs, metric: Metric) -> Result<(Question, Option<(i64, i64)>), CliError> {
    let (from, to) = match args.last {
        Some(last) => Window::Last(i64::from(last) * 1_000_000)
            .at(arguments::now()?, args.bucket)
            .map_err(|wrong| CliError::Usage(arguments::told(&wrong)))?,
        None => span(args.from, args.to, args.bucket)?,
    };
    let question = Question {
        metric,
        group_by: args.by.clone(),
        bucket: args.bucket,
        from,
        to,
        filter: args.filter.clone(),
        per_mille: args.percentile.unwrap_or(PER_MILLE_DEFAULT),
    };
    let other = args.compare_from.map(|start| (start, start + (to - from)));
    Ok((question, other))
}

/// The words of the question that the options make: an `AnalyticsQueryInput`.
fn words(args: &QueryArgs, metric: Metric) -> Result<Object, CliError> {
    let mut words = Object::from([("metric".to_owned(), json!(metric.name()))]);
    let mut say = |name: &str, value: Value| words.insert(name.to_owned(), value);
    if !args.by.is_empty() {
        let by: Vec<_> = args.by.iter().map(|dimension| dimension.name()).collect();
        say("groupBy", json!(by));
    }
    if let Some(bucket) = args.bucket {
        say("bucket", json!(bucket.name()));
    }
    let length = if args.from.is_none() && args.to.is_none() {
        let last = args.last.unwrap_or_else(|| arguments::last_default(args.bucket));
        say("last", json!(last));
        i64::from(last) * 1_000_000
    } else {
        let (from, to) = span(args.from, args.to, args.bucket)?;
        say("from", json!(asked::time(from)));
        say("to", json!(asked::time(to)));
        to - from
    };
    if let Some(start) = args.compare_from {
        let period = json!({ "from": asked::time(start), "to": asked::time(start + length) });
        say("compareTo", period);
    }
    if !args.filter.is_empty() {
        let filter = args.filter.iter();
        let filter: Map<_, _> = filter
            .map(|(dimension, value)| (asked::field(*dimension).to_owned(), json!(value)))
            .collect();
        say("filter", Value::Object(filter));
    }
    if let Some(per_mille) = args.percentile {
        say("percentile", json!(per_mille as f64 / 10.0));
    }
    Ok(words)
}

#[derive(serde::Serialize)]
struct Listed {
    metric: &'static str,
    unit: &'static str,
    dimensions: Vec<&'static str>,
    description: &'static str,
}

fn listed() -> Vec<Listed> {
    let metrics = Metric::ALL.iter().map(|metric| Listed {
        metric: metric.name(),
        unit: metric.unit().name(),
        dimensions: metric.dimensions().into_iter().map(Dimension::name).collect(),
        description: metric.description(),
    });
    metrics.collect()
}

fn list(metrics: &[Listed]) -> String {
    let mut table = Table::new(["metric", "unit", "by", "what it is"]);
    for listed in metrics {
        let dimensions = listed.dimensions.join(",").to_lowercase();
        table.row([
            listed.metric.into(),
            listed.unit.into(),
            dimensions,
            listed.description.into(),
        ]);
    }
    table.to_string()
}
