//! `ruche query`: one figure by dimensions and time, of a running server or of a store that no server runs on.

pub(super) mod arguments;
mod asked;
mod shown;

use std::process::ExitCode;

use clap::Args;
use ruche_projections::analytics::{Bucket, Dimension, Metric};

use super::{CliError, Common, print, tenant_name};
use crate::out::Table;
use arguments::{dimension, filter, metric, per_mille, span};
use asked::Answer;

pub(super) const EXAMPLES: &str = "\
Examples:
  ruche query --list
  ruche query COST --tenant demo --by agent,model --from 2026-01-01 --to 2027-01-01
  ruche query TURNS --tenant demo --by outcome --where agent=support --from 2026-01-01 --to 2027-01-01 --csv
  ruche query TURN_LATENCY --percentile 99 --by agent --bucket week --spark --server http://127.0.0.1:4000

A value that nobody told is empty, which is not zero: `known` says how many of `count` told theirs. More is in
docs/analytics.md.";

/// What is asked.
#[derive(Args)]
pub struct QueryArgs {
    /// The figure; --list shows all of them
    #[arg(value_parser = metric, required_unless_present = "list")]
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
    /// Only what has this value, such as agent=support; several have to hold all
    #[arg(long = "where", value_name = "DIMENSION=VALUE", value_parser = filter)]
    filter: Vec<(Dimension, String)>,
    /// Of durations: the share that does not exceed the value
    #[arg(long, default_value = "95", value_parser = per_mille)]
    percentile: i64,
    /// The start of another time, as long, whose figures stand beside those of this one
    #[arg(long, value_name = "TIME", value_parser = arguments::time)]
    compare_from: Option<i64>,
    /// One row for each combination, with a line over the buckets in place of a row for each of them
    #[arg(long, requires = "bucket", conflicts_with_all = ["csv", "compare_from"])]
    spark: bool,
    /// Comma-separated values with a line of names
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// The running server to ask, such as http://127.0.0.1:4000; the store itself if absent
    #[arg(long, value_name = "URL", requires = "key", conflicts_with = "tenant")]
    server: Option<String>,
    /// API key with the role reader
    #[arg(long, env = "RUCHE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// Tenant whose figures they are, where the store itself is asked
    #[arg(long, value_parser = tenant_name, required_unless_present_any = ["server", "list"])]
    tenant: Option<String>,
}

/// Runs the command.
pub async fn run(common: Common, args: QueryArgs) -> Result<ExitCode, CliError> {
    let Some(metric) = args.metric.filter(|_| !args.list) else {
        print(&common, &listed(), |metrics| list(metrics))?;
        return Ok(ExitCode::SUCCESS);
    };
    let (from, to) = span(args.from, args.to, args.bucket)?;
    let question = ruche_projections::analytics::Question {
        metric,
        group_by: args.by,
        bucket: args.bucket,
        from,
        to,
        filter: args.filter,
        per_mille: args.percentile,
    };
    let other = args.compare_from.map(|start| (start, start + (to - from)));
    let answer = match (&args.server, &args.key, &args.tenant) {
        (Some(server), Some(key), _) => Answer::of_server(server, key, &question, other).await?,
        (_, _, Some(tenant)) => Answer::of_store(&common, tenant, &question, other).await?,
        _ => {
            return Err(CliError::Usage(
                "--server or --tenant is needed; see `ruche query --help`".into(),
            ));
        }
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
