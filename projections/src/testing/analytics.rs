//! What analysts ask, against answers made by hand. The tests are named after the list of questions that people ask of
//! records like these.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

mod plans;
mod story;

use ruche_domain::ids::LedgerId;

use super::START_US;
use super::world::{Fresh, World};
use crate::analytics::{self, Bucket, Dimension, Metric, Question, bins};
use story::{DAY, DAY_US, events};

pub(super) use plans::AskedStore;
pub use plans::{questions, written_out};

/// The world of the events above.
struct Asked {
    world: World,
    ledger: LedgerId,
}

impl Asked {
    async fn of(fresh: Fresh) -> Self {
        let world = World::new(fresh).await;
        let ledger = world.feed.open(1).await;
        world.feed.append(ledger, events()).await;
        let caught_up = world.runner().catch_up(ledger).await;
        caught_up.expect("nothing fails here");
        Self { world, ledger }
    }

    async fn ask(&self, question: Question) -> Vec<String> {
        let rows = analytics::rows(self.world.reads(), self.ledger, &question).await;
        let told = rows.expect("it can be read").into_iter().map(|row| {
            let day = row
                .bucket
                .map(|at| ((at.cast_unsigned() - DAY) / DAY_US).to_string());
            let value = row.figure.value.unwrap_or_else(|| "null".to_owned());
            let currency = row.currency.map(|currency| format!(" {currency}"));
            let of = format!(
                "{value}{} {}/{}",
                currency.unwrap_or_default(),
                row.figure.known,
                row.figure.count
            );
            day.into_iter()
                .chain(row.key)
                .chain([of])
                .collect::<Vec<_>>()
                .join(" | ")
        });
        told.collect()
    }

    /// The figure over all of the time, by dimensions.
    async fn by<const N: usize>(&self, metric: Metric, by: [Dimension; N]) -> Vec<String> {
        self.ask(question(metric, &by)).await
    }

    async fn total(&self, metric: Metric) -> String {
        self.by(metric, []).await.join(", ")
    }

    /// A duration within the error of bins, and how many told it.
    async fn percentile(&self, metric: Metric, per_mille: i64, expected_us: i64) -> String {
        let told = self
            .ask(Question {
                per_mille,
                ..question(metric, &[])
            })
            .await
            .remove(0);
        let (value, of) = told.split_once(' ').expect("a value and a number");
        let value: i64 = value.parse().expect("a number");
        let wrong = (value - expected_us).abs() * 1_000;
        assert!(
            wrong <= expected_us * bins::ERROR_PER_MILLE_MAX,
            "{metric:?}: {value}"
        );
        of.to_owned()
    }
}

fn question(metric: Metric, by: &[Dimension]) -> Question {
    Question {
        metric,
        group_by: by.to_vec(),
        bucket: None,
        from: DAY.cast_signed(),
        to: (START_US + DAY_US).cast_signed(),
        filter: vec![],
        per_mille: 950,
    }
}

pub async fn query_01_cost_by_day_agent_and_model(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let by_day = Question {
        bucket: Some(Bucket::Day),
        ..question(Metric::Cost, &[Dimension::Agent, Dimension::Model])
    };
    let expected = [
        "0 | shop | m-1 | 0.0031000000000000001 USD 1/2",
        "0 | shop | m-2 | null 0/1",
        "1 | desk | m-1 | 0.01 EUR 1/1",
    ];
    assert_eq!(asked.ask(by_day).await, expected);
    // 800 plain, 200 cached, 100 written, before the price doubled; 400 and 50 behind it.
    assert_eq!(
        asked
            .by(Metric::CostByPrices, [Dimension::Scenario, Dimension::Model])
            .await,
        ["refunds | m-1 | 0.0056 USD 2/3", "refunds | m-2 | null 0/1"]
    );
    assert_eq!(asked.total(Metric::CostByPrices).await, "0.0056 USD 2/4");
    let other = Question {
        filter: vec![(Dimension::Agent, "nobody".into())],
        ..question(Metric::Cost, &[])
    };
    assert_eq!(asked.ask(other).await, ["null 0/0"]);
}

pub async fn query_02_tokens_by_model_and_week(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let by_week = |metric| Question {
        bucket: Some(Bucket::Week),
        to: START_US.cast_signed(),
        ..question(metric, &[Dimension::Model])
    };
    assert_eq!(
        asked.ask(by_week(Metric::InputTokens)).await,
        ["0 | m-1 | 1400 2/3", "0 | m-2 | null 0/1"]
    );
    assert_eq!(
        asked.ask(by_week(Metric::OutputTokens)).await[0],
        "0 | m-1 | 150 2/3"
    );
    assert_eq!(
        asked.ask(by_week(Metric::CachedTokens)).await[0],
        "0 | m-1 | 200 1/3"
    );
    assert_eq!(
        asked.ask(by_week(Metric::ReasoningTokens)).await[0],
        "0 | m-1 | 40 1/3"
    );
    assert_eq!(asked.total(Metric::CacheWrittenTokens).await, "null 0/4");
    assert_eq!(asked.total(Metric::ModelCalls).await, "4 4/4");
    assert_eq!(asked.total(Metric::ModelErrorRate).await, "0.25 4/4");
}

pub async fn query_03_turn_latency_by_channel_agent_and_configuration(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    // Told of two turns; of the one of a lane the ledger knows it.
    for (per_mille, expected) in [(10, 500_000), (500, 1_500_000), (990, 120_000_000)] {
        let of = asked.percentile(Metric::TurnLatency, per_mille, expected).await;
        assert_eq!(of, "3/3");
    }
    let by = [Dimension::Channel, Dimension::Config];
    let told = asked.by(Metric::TurnLatency, by).await;
    let config = "ab".repeat(32);
    for (row, start) in told.iter().zip([
        format!("app | {config} | "),
        "mail |  | ".into(),
        "web |  | ".into(),
    ]) {
        assert!(row.starts_with(&start), "{row}");
    }
    assert_eq!(told.len(), 3);
}

pub async fn query_04_time_to_the_first_chunk_by_model(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(asked.percentile(Metric::FirstChunk, 950, 200_000).await, "1/3");
    let by = asked.by(Metric::FirstChunk, [Dimension::Model]).await;
    assert_eq!(by[1], "m-2 | null 0/1");
    // The call that failed did not say how long it took.
    assert_eq!(asked.percentile(Metric::ModelLatency, 500, 900_000).await, "3/4");
}

pub async fn query_05_tool_errors_and_durations_by_tool(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let by = [Dimension::Tool];
    assert_eq!(
        asked.by(Metric::ToolErrorRate, by).await,
        ["find | 0 1/1", "refund | 1 1/1", "transfer | 0 1/1"]
    );
    assert_eq!(asked.total(Metric::ToolErrorRate).await, "0.333333 3/3");
    let slow = Question {
        filter: vec![(Dimension::Tool, "transfer".into())],
        ..question(Metric::ToolLatency, &by)
    };
    let told = asked.ask(slow).await;
    assert!(
        told[0].starts_with("transfer | 29") && told[0].ends_with(" 1/1"),
        "{told:?}"
    );
    let of = asked.percentile(Metric::ToolLatency, 1_000, 3_000_000).await;
    assert_eq!(of, "2/3", "of the call that failed nobody knows it");
}

pub async fn query_06_retries_and_outcomes_in_doubt(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let by = [Dimension::Tool];
    assert_eq!(asked.by(Metric::ToolRetries, by).await, ["refund | 1 1/1"]);
    assert_eq!(
        asked.by(Metric::ToolOutcomesUnknown, by).await,
        ["refund | 1 1/1"]
    );
    assert_eq!(
        asked.by(Metric::ToolCallsUnclassified, by).await,
        ["refund | 1 1/1"]
    );
    assert_eq!(asked.total(Metric::ToolCalls).await, "3 3/3");
}

pub async fn query_07_turns_by_outcome_and_stop_reason(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let by = [Dimension::Agent, Dimension::Outcome, Dimension::StopReason];
    let expected = [
        "bank | failed | worker_lost | 1 1/1",
        "desk | failed | budget | 1 1/1",
        "desk | superseded |  | 1 1/1",
        "shop | answered |  | 1 1/1",
    ];
    assert_eq!(asked.by(Metric::Turns, by).await, expected);
    assert_eq!(
        asked.total(Metric::Turns).await,
        "4 4/4",
        "a turn with two models is one turn"
    );
}

pub async fn query_08_turns_that_were_superseded(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(
        asked.by(Metric::SupersededRate, [Dimension::Agent]).await,
        ["bank | 0 1/1", "desk | 0.5 2/2", "shop | 0 1/1"]
    );
    assert_eq!(asked.total(Metric::FailureRate).await, "0.5 4/4");
    let by = [Dimension::Agent, Dimension::Channel, Dimension::Config];
    assert_eq!(
        asked.by(Metric::WastedInputTokens, by).await,
        ["desk | mail |  | 400 1/1"]
    );
    assert_eq!(
        asked.by(Metric::WastedCost, by).await,
        ["desk | mail |  | 0.01 EUR 1/1"]
    );
    let by_day = Question {
        bucket: Some(Bucket::Day),
        ..question(Metric::WastedOutputTokens, &[])
    };
    assert_eq!(asked.ask(by_day).await, ["1 | 50 1/1"]);
    let none = Question {
        to: (DAY + DAY_US).cast_signed(),
        ..question(Metric::WastedCost, &[])
    };
    assert_eq!(asked.ask(none).await, ["null 0/0"]);
}

pub async fn query_09_messages_of_a_turn_and_what_gathering_adds(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(asked.total(Metric::MessagesPerTurn).await, "2 3/3");
    assert_eq!(asked.percentile(Metric::GatherWait, 950, 2_000_000).await, "1/1");
}

pub async fn query_10_what_turns_wait_for_a_worker(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(asked.percentile(Metric::QueueWait, 950, 3_000_000).await, "1/1");
    assert_eq!(asked.by(Metric::QueueWait, [Dimension::Agent]).await.len(), 1);
}

pub async fn query_11_how_long_people_take_to_decide(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(
        asked.percentile(Metric::ApprovalLatency, 500, 10_000_000).await,
        "2/2"
    );
    assert_eq!(
        asked.percentile(Metric::ApprovalLatency, 950, 60_000_000).await,
        "2/2"
    );
    assert_eq!(
        asked.by(Metric::ApprovalsRequested, [Dimension::Tool]).await,
        ["transfer | 3 3/3"]
    );
    assert_eq!(
        asked.by(Metric::ApprovalExpiryRate, [Dimension::Tool]).await,
        ["transfer | 0.333333 3/3"]
    );
    assert_eq!(asked.total(Metric::ApprovalDenialRate).await, "0.5 2/2");
}

pub async fn query_12_decisions_that_nobody_can_have_thought_about(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(asked.total(Metric::QuickDecisionRate).await, "0 2/2");
    assert_eq!(
        asked.by(Metric::ApprovalsGranted, [Dimension::Tool]).await,
        ["transfer | 1 1/1"]
    );
}

pub async fn query_23_two_configurations_side_by_side(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let config = "ab".repeat(32);
    assert_eq!(
        asked.by(Metric::Turns, [Dimension::Config]).await,
        [" | 3 3/3".to_owned(), format!("{config} | 1 1/1")]
    );
}

pub async fn query_24_scores_by_agent(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    assert_eq!(
        asked
            .by(Metric::ScoreMean, [Dimension::Agent, Dimension::Score])
            .await,
        ["desk | reward | 0.375 2/3"]
    );
}

pub async fn query_25_health_of_the_intake(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let held = asked.world.feed.end(asked.ledger).await.index.0 + 1;
    assert_eq!(asked.total(Metric::Events).await, format!("{held} {held}/{held}"));
    // An import is not late, whenever it is made. The opening of this ledger says no time.
    assert_eq!(
        asked.by(Metric::EventsLate, [Dimension::Provenance]).await,
        ["observed | 1 1/1", "reported | 1 1/1"]
    );
    assert_eq!(asked.total(Metric::IngestGaps).await, "1 1/1");
    assert_eq!(asked.total(Metric::SpansUnclassified).await, "1 1/1");
}

pub async fn what_makes_no_sense_is_refused_in_words(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let bad = question(Metric::Turns, &[Dimension::Tool]);
    let error = analytics::rows(asked.world.reads(), asked.ledger, &bad)
        .await
        .expect_err("it makes no sense");
    assert_eq!(
        error.to_string(),
        "`groupBy` has TOOL, which TURNS does not have; it has AGENT, CHANNEL, SCENARIO, CONFIG, OUTCOME, STOP_REASON"
    );
}

/// Whatever grain is read, the sums are the same.
pub async fn every_grain_adds_up_to_the_same(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    for metric in Metric::ALL {
        let day = question(*metric, &[]);
        let hour = Question {
            to: day.to + 3_600_000_000,
            ..day.clone()
        };
        let minute = Question {
            to: day.to + 60_000_000,
            ..day.clone()
        };
        let expected = asked.ask(day).await;
        assert_eq!(asked.ask(hour).await, expected, "{metric:?}");
        assert_eq!(asked.ask(minute).await, expected, "{metric:?}");
    }
}

/// The refusal names what has so many values.
pub async fn an_answer_with_too_many_rows_is_refused(fresh: Fresh) {
    let asked = Asked::of(fresh).await;
    let many = "INSERT INTO analytics_ingest (ledger, grain, bucket, provenance, events, late, gaps, missing, unclassified, \
        erased) SELECT a.ledger, a.grain, a.bucket, 'p' || n.i, 1, 0, 0, 0, 0, 0 FROM analytics_ingest a, \
        (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10001) SELECT i FROM n) n \
        WHERE a.grain = 2 AND a.provenance = 'observed'";
    asked.world.engine.tamper(many).await;
    let asking = question(Metric::Events, &[Dimension::Provenance]);
    let refused = analytics::rows(asked.world.reads(), asked.ledger, &asking).await;
    let told = refused.expect_err("it has too many rows").to_string();
    assert!(
        told.starts_with("more than 10000 rows: PROVENANCE has 1000"),
        "{told}"
    );
    let one = Question {
        filter: vec![(Dimension::Provenance, "p77".into())],
        ..asking
    };
    assert_eq!(asked.ask(one).await, ["p77 | 1 1/1"]);
}
