//! Answers: the sums of a question's rows, and what its formula makes of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use ruche_domain::ids::LedgerId;

use super::{AnalyticsError, Exact, Figure, PARTS_MAX, Question, ROWS_MAX, Row, TOOK};
use crate::analytics::metric::{Family, Formula};
use crate::analytics::prices::{self, COST_PLACES, Charged, Price};
use crate::analytics::{Grain, bins};
use crate::money::Money;
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError, Row as Values};

/// Decimal places of a ratio or mean.
const RATIO_PLACES: usize = 6;
/// Sums of money by three columns. Rests are summed in two parts, so that no sum of theirs passes 2^63 below nine billion
/// rows.
const MONEY_SUMS: &str = "CAST(SUM(cost_units) AS BIGINT), CAST(SUM(cost_nanos) AS BIGINT), \
    CAST(SUM(cost_rest / 1000000000) AS BIGINT), CAST(SUM(cost_rest % 1000000000) AS BIGINT)";

/// The costs of turns that were superseded.
static WASTED_COSTS: LazyLock<String> = LazyLock::new(|| {
    let turns = Family::Waste.table();
    format!("{turns} JOIN turn_cost ON turn_cost.ledger = turn.ledger AND turn_cost.turn = turn.turn")
});

/// What a row is found by: the start of its time and the values of its dimensions.
type Key = (Option<i64>, Vec<String>);

/// The rows of the answer, in the order of their times and dimensions. A question by nothing has one row.
///
/// # Errors
/// Those of [`AnalyticsError`].
pub async fn rows(
    store: &dyn ReadStore,
    ledger: LedgerId,
    question: &Question,
) -> Result<Vec<Row>, AnalyticsError> {
    let grain = question.check()?;
    let asking = Asking {
        store,
        ledger,
        question,
        grain,
    };
    let mut rows = match question.formula() {
        Formula::Count(column) => asking.sums(&[column], |sums| counted(sums[0])).await?,
        Formula::Told { value, known, of } => {
            asking
                .sums(&[value, known, of], |sums| told(sums[0], sums[1], sums[2]))
                .await?
        }
        Formula::Ratio { part, of } => asking.sums(&[part, of], |sums| ratio(sums[0], sums[1])).await?,
        Formula::Percentile => asking.percentiles().await?,
        Formula::Score => asking.scores().await?,
        Formula::Reported => asking.reported().await?,
        Formula::WorkedOut => asking.worked_out().await?,
    };
    rows.sort_by(|a, b| (a.bucket, &a.key, &a.currency).cmp(&(b.bucket, &b.key, &b.currency)));
    if rows.len() > ROWS_MAX {
        return Err(question.too_many(store, ledger, grain).await);
    }
    Ok(rows)
}

/// The rows of a question, each with the figure of the same dimensions in another time, of the bucket as far behind the
/// start of that. Nothing where nothing was there.
///
/// # Errors
/// Those of [`rows`].
pub async fn compared(
    store: &dyn ReadStore,
    ledger: LedgerId,
    question: &Question,
    other: Option<(i64, i64)>,
) -> Result<Vec<(Row, Option<Figure>)>, AnalyticsError> {
    let now = rows(store, ledger, question).await?;
    let mut then = HashMap::new();
    if let Some((from, to)) = other {
        let apart = question.from - from;
        let question = Question {
            from,
            to,
            ..question.clone()
        };
        for row in rows(store, ledger, &question).await? {
            let place = (row.bucket.map(|at| at + apart), row.key, row.currency);
            then.insert(place, row.figure);
        }
    }
    let beside = |row: Row| -> (Row, Option<Figure>) {
        let place = (row.bucket, row.key.clone(), row.currency.clone());
        let figure = then.remove(&place);
        (row, figure)
    };
    Ok(now.into_iter().map(beside).collect())
}

/// A count, which is known of everything that it counts.
fn counted(sum: i64) -> Figure {
    Figure {
        value: Some(sum.to_string()),
        count: sum,
        known: sum,
    }
}

/// A sum, of which `known` of `count` told their part.
fn told(sum: i64, known: i64, count: i64) -> Figure {
    Figure {
        value: (known > 0).then(|| sum.to_string()),
        count,
        known,
    }
}

fn ratio(part: i64, of: i64) -> Figure {
    let value = (of > 0).then(|| quotient(i128::from(part), 0, of));
    Figure {
        value,
        count: of,
        known: of,
    }
}

/// A decimal of so many places divided by a number above zero, rounded to [`RATIO_PLACES`], halves up.
fn quotient(units: i128, places: usize, by: i64) -> String {
    let scale = |power: usize| 10_i128.pow(u32::try_from(power).unwrap_or(0));
    let (above, below) = (scale(RATIO_PLACES), i128::from(by) * scale(places));
    let whole = units.div_euclid(below) * above;
    let rest = (units.rem_euclid(below) * above * 2 + below).div_euclid(below * 2);
    Exact {
        units: whole + rest,
        places: RATIO_PLACES,
    }
    .to_string()
}

/// What calls cost by tables of prices.
#[derive(Default)]
struct WorkedOut {
    calls: i64,
    /// By currency: the sum in units of 10^-18, and of how many calls it is.
    costs: BTreeMap<String, (i128, i64)>,
}

struct Asking<'a> {
    store: &'a dyn ReadStore,
    ledger: LedgerId,
    question: &'a Question,
    grain: Grain,
}

impl Asking<'_> {
    /// Sums of columns of a table, by what is asked by and by `also`; no more rows than `max`.
    async fn read(
        &self,
        table: &str,
        also: &[&str],
        sums: &[String],
        max: usize,
    ) -> Result<Vec<Values>, AnalyticsError> {
        let mut by = self.question.columns(self.grain);
        by.extend(also.iter().map(|column| (*column).to_owned()));
        let selected = [by.as_slice(), sums].concat().join(", ");
        let select: Select = self.question.select(self.ledger, self.grain, table, &selected);
        let by = by.join(", ");
        let select = match by.as_str() {
            "" => select,
            by => select.text(&format!(" GROUP BY {by} ORDER BY {by}")),
        };
        let rows = select
            .text(" LIMIT ")
            .bind(max as i64 + 1)
            .rows(self.store)
            .await?;
        match rows.len() > max {
            true => Err(self.question.too_many(self.store, self.ledger, self.grain).await),
            false => Ok(rows),
        }
    }

    fn table(&self) -> &'static str {
        self.question.family().table()
    }

    async fn sums(
        &self,
        columns: &[&str],
        figure: impl Fn(&[i64]) -> Figure,
    ) -> Result<Vec<Row>, AnalyticsError> {
        let mut rows = Vec::new();
        for (key, sums) in self.summed(self.table(), columns).await? {
            // Rows of a family hold several sums: what this one is not about is no row of it.
            if self.is_of_everything() || sums.iter().any(|sum| *sum != 0) {
                rows.push(row(key, None, figure(&sums)));
            }
        }
        Ok(rows)
    }

    /// Whether the answer is one row, which is there even where nothing is.
    fn is_of_everything(&self) -> bool {
        self.question.bucket.is_none() && self.question.group_by.is_empty()
    }

    async fn summed(&self, table: &str, columns: &[&str]) -> Result<Vec<(Key, Vec<i64>)>, AnalyticsError> {
        let sums: Vec<String> = columns.iter().map(|column| sum(column)).collect();
        let read = |values| {
            let fields = &mut Fields::new(values);
            let key = self.question.read_key(fields)?;
            let sums = columns
                .iter()
                .map(|_| fields.int())
                .collect::<Result<Vec<_>, _>>()?;
            Ok::<_, ReadStoreError>((key, sums))
        };
        let rows = self.read(table, &[], &sums, ROWS_MAX).await?;
        Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
    }

    async fn percentiles(&self) -> Result<Vec<Row>, AnalyticsError> {
        let mut groups: BTreeMap<Key, Vec<(i64, i64)>> = BTreeMap::new();
        let are_decisions = self.question.family() == Family::Decisions;
        let (bin, n) = if are_decisions { (TOOK, "1") } else { ("bin", "n") };
        for values in self.read(self.table(), &[bin], &[sum(n)], PARTS_MAX).await? {
            let fields = &mut Fields::new(values);
            let key = self.question.read_key(fields)?;
            let (told, n) = (fields.int()?, fields.int()?);
            // In the order of durations, so in that of their bins.
            let bin = if are_decisions { bins::of(Some(told)) } else { told };
            groups.entry(key).or_default().push((bin, n));
        }
        if groups.is_empty() && self.is_of_everything() {
            groups.insert((None, vec![]), vec![]);
        }
        let percentile = |(key, bins): (Key, Vec<(i64, i64)>)| row(key, None, self.percentile(&bins));
        Ok(groups.into_iter().map(percentile).collect())
    }

    fn percentile(&self, all: &[(i64, i64)]) -> Figure {
        let count = all.iter().map(|(_, n)| n).sum();
        let known: Vec<_> = all
            .iter()
            .copied()
            .filter(|(bin, _)| *bin != bins::UNKNOWN)
            .collect();
        let value = bins::percentile(&known, self.question.per_mille);
        Figure {
            value: value.map(|value| value.to_string()),
            count,
            known: known.iter().map(|(_, n)| n).sum(),
        }
    }

    async fn scores(&self) -> Result<Vec<Row>, AnalyticsError> {
        let sums = [sum("scores"), sum("told"), MONEY_SUMS.to_owned()];
        let mut rows = Vec::new();
        for values in self.read(self.table(), &[], &sums, ROWS_MAX).await? {
            let fields = &mut Fields::new(values);
            let key = self.question.read_key(fields)?;
            let (count, known) = (fields.int()?, fields.int()?);
            let value = match known > 0 {
                true => Some(mean(read_money(fields)?, known)),
                false => None,
            };
            rows.push(row(key, None, Figure { value, count, known }));
        }
        Ok(rows)
    }

    async fn reported(&self) -> Result<Vec<Row>, AnalyticsError> {
        let (calls, costs_of) = match self.question.family() {
            Family::Waste => ("turn.llm_calls", WASTED_COSTS.as_str()),
            _ => ("calls", "analytics_cost"),
        };
        let calls = self.summed(self.table(), &[calls]).await?;
        let mut costs: HashMap<Key, Vec<(String, Money, i64)>> = HashMap::new();
        let sums = [MONEY_SUMS.to_owned(), sum("costs")];
        for values in self.read(costs_of, &["currency"], &sums, PARTS_MAX).await? {
            let fields = &mut Fields::new(values);
            let key = self.question.read_key(fields)?;
            let cost = (fields.text()?, read_money(fields)?, fields.int()?);
            costs.entry(key).or_default().push(cost);
        }
        let mut rows = Vec::new();
        for (key, sums) in calls {
            let count = sums[0];
            let told = costs.remove(&key).unwrap_or_default();
            if told.is_empty() {
                rows.push(row(
                    key,
                    None,
                    Figure {
                        value: None,
                        count,
                        known: 0,
                    },
                ));
                continue;
            }
            for (currency, amount, known) in told {
                let figure = Figure {
                    value: Some(amount.to_string()),
                    count,
                    known,
                };
                rows.push(row(key.clone(), Some(currency), figure));
            }
        }
        Ok(rows)
    }

    async fn worked_out(&self) -> Result<Vec<Row>, AnalyticsError> {
        let tables = self.price_tables().await?;
        let columns = [
            "calls",
            "priced",
            "priced_input",
            "priced_output",
            "priced_cache_read",
            "priced_cache_creation",
        ];
        let mut groups: BTreeMap<Key, WorkedOut> = BTreeMap::new();
        // A model that is asked by stands there twice, which does not matter.
        for values in self
            .read(self.table(), &["model", "price"], &columns.map(sum), PARTS_MAX)
            .await?
        {
            let fields = &mut Fields::new(values);
            let group = groups.entry(self.question.read_key(fields)?).or_default();
            let (model, table) = (fields.text()?, fields.int()?);
            group.calls += fields.int()?;
            let priced = fields.int()?;
            let tokens = Charged {
                input: fields.int()?,
                output: fields.int()?,
                cache_read: fields.int()?,
                cache_creation: fields.int()?,
            };
            let price = tables.get(&table).and_then(|prices| prices.get(&model));
            if let (Some(price), true) = (price, priced > 0) {
                let sum = group.costs.entry(price.currency.clone()).or_default();
                sum.0 += price.of(tokens).units;
                sum.1 += priced;
            }
        }
        if groups.is_empty() && self.is_of_everything() {
            groups.insert((None, vec![]), WorkedOut::default());
        }
        let mut rows = Vec::new();
        for (key, WorkedOut { calls: count, costs }) in groups {
            if costs.is_empty() {
                rows.push(row(
                    key.clone(),
                    None,
                    Figure {
                        value: None,
                        count,
                        known: 0,
                    },
                ));
            }
            for (currency, (units, known)) in costs {
                let value = Exact {
                    units,
                    places: COST_PLACES,
                }
                .to_string();
                let figure = Figure {
                    value: Some(value),
                    count,
                    known,
                };
                rows.push(row(key.clone(), Some(currency), figure));
            }
        }
        Ok(rows)
    }

    async fn price_tables(&self) -> Result<HashMap<i64, HashMap<String, Price>>, AnalyticsError> {
        let select = Select::of("position, prices", "analytics_price", self.ledger);
        let mut tables = HashMap::new();
        for values in select.rows(self.store).await? {
            let fields = &mut Fields::new(values);
            let (position, table) = (fields.int()?, fields.optional_text()?);
            tables.insert(position, prices::read(&table.unwrap_or_default()));
        }
        Ok(tables)
    }
}

fn row((bucket, key): Key, currency: Option<String>, figure: Figure) -> Row {
    Row {
        bucket,
        key,
        currency,
        figure,
    }
}

fn sum(column: &str) -> String {
    format!("COALESCE(CAST(SUM({column}) AS BIGINT), 0)")
}

/// Reads what [`MONEY_SUMS`] gives; no money where there are no rows.
fn read_money(fields: &mut Fields) -> Result<Money, ReadStoreError> {
    let mut next = || Ok(fields.optional_int()?.unwrap_or(0));
    Ok(Money::of_sums(next()?, next()?, next()?, next()?))
}

/// The mean of so many values whose sum is exact.
fn mean(sum: Money, of: i64) -> String {
    let text = sum.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    // 27 places at most and a sum below 2^63 billionths of a billion: cut to what 128 bits divide.
    let fraction = &fraction[..fraction.len().min(12)];
    let units = format!("{whole}{fraction}").parse().unwrap_or(0);
    quotient(units, fraction.len(), of)
}
