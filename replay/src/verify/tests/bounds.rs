//! A verification has an end, however long the ledger is.

use std::sync::atomic::Ordering;

use ruche_ledger::testing::Author;

use super::long::End;
use super::*;
use crate::TurnTold;

#[tokio::test]
async fn a_budget_that_ends_says_how_far_it_went() {
    let world = World::of(5, 60).await;
    world.seal(9).await;
    let verify = async |range: Range, budget: Budget| {
        world
            .verification()
            .verify(world.ledger, range, &budget, &|_, _| ())
            .await
    };
    let last = world.last().await;
    let records = world
        .store
        .read_ledger(world.ledger, Position::START, 1_000)
        .await;
    let records = records.expect("records");
    for count in 1..=50 {
        let report = verify(Range::default(), Budget::new(count, u64::MAX, || false)).await;
        let report = report.expect("a part");
        let next = report.next.expect("it did not come to the end");
        assert_eq!(
            (report.findings.clone(), report.to.next()),
            (vec![], next),
            "{report:?}"
        );
        assert!(
            report.records_read >= count && report.records == report.records_read,
            "{report:?}"
        );
        assert_eq!(report.unsealed, 0, "nothing is said of what was not read");
        let begins = records
            .iter()
            .find(|record| record.position == next)
            .expect("it is there");
        assert_eq!(begins.leaf.append.first, next.index, "appends are judged whole");
        // Where it goes on nothing was looked at yet, so as little is an answer to that.
        let behind = Range {
            from: Some(next),
            to: None,
        };
        let nothing = verify(behind, Budget::new(count, u64::MAX, || false)).await;
        assert!(
            matches!(nothing, Err(ReplayError::OutOfBudget { at }) if at == next),
            "{nothing:?}"
        );
        let rest = verify(behind, Budget::unbounded()).await.expect("the rest");
        assert_eq!((rest.findings, rest.next, rest.to), (vec![], None, last));
    }
    let bytes = verify(Range::default(), Budget::new(u64::MAX, 1, || false)).await;
    assert!(
        bytes.expect("a part").next.is_none(),
        "the first page holds all of it"
    );
    let time = verify(Range::default(), Budget::new(u64::MAX, u64::MAX, || true)).await;
    assert!(
        matches!(time, Err(ReplayError::OutOfBudget { at: Position::START })),
        "{time:?}"
    );
    let at = StateAt::new(
        world.store.clone(),
        world.ledger,
        last,
        Budget::new(1, u64::MAX, || false),
    );
    let session = world.crowd.lanes()[0];
    let state = at
        .await
        .expect("the ledger is there")
        .of(What::Lane(session), None)
        .await;
    assert!(matches!(state, Err(ReplayError::OutOfBudget { .. })), "{state:?}");
}

/// What a report says of records, without where it begins and ends.
fn sums(reports: &[&Report]) -> (u64, [u64; 3], Vec<Fault>) {
    let decided = reports.iter().map(|report| report.decided);
    let decided = decided.map(|decided| [decided.appends, decided.keys, decided.votes]);
    let faults = reports.iter().flat_map(|report| report.findings.clone());
    (
        reports.iter().map(|report| report.records).sum(),
        decided.fold([0; 3], |all, one| std::array::from_fn(|n| all[n] + one[n])),
        faults.collect(),
    )
}

/// Two epochs; in each a turn that is over is committed once more.
async fn of_two_epochs() -> (World, u64) {
    let mut world = World::of(5, 60).await;
    let forge = async |world: &World| {
        let (lane, turn) = world.turn(TurnState::Committed).await;
        let stream = lane_stream(lane);
        world.forge(stream, turn.id, None, TurnCommitted::default()).await
    };
    forge(&world).await;
    world.seal(9).await;
    let border = world.last().await.index.0 + 1;
    let opening = Author::new(77).opening(world.ledger, 2, Some(world.last().await));
    world
        .store
        .open_epoch(world.ledger, opening)
        .await
        .expect("an epoch");
    for _ in 0..20 {
        world.crowd.step().await;
    }
    forge(&world).await;
    world.seal(9).await;
    (world, border)
}

#[tokio::test]
async fn a_part_and_what_it_says_is_left_are_the_whole() {
    let (world, border) = of_two_epochs().await;
    let verify = async |range: Range, budget: Budget| {
        let verification = world.verification();
        verification
            .verify(world.ledger, range, &budget, &|_, _| ())
            .await
    };
    let whole = world.report(Range::default()).await;
    assert_eq!(whole.total(), 2, "{whole:?}");
    let mut ends_at_border = 0;
    for count in 1..whole.records {
        let part = verify(Range::default(), Budget::new(count, u64::MAX, || false)).await;
        let part = part.expect("a part");
        let Some(next) = part.next else {
            // The last append is longer than what was left.
            assert_eq!(part.to, whole.to, "{count}");
            continue;
        };
        let behind = Range {
            from: Some(next),
            to: None,
        };
        let rest = verify(behind, Budget::unbounded()).await.expect("the rest");
        assert_eq!(rest.from, next, "{count}");
        assert_eq!(sums(&[&part, &rest]), sums(&[&whole]), "{count}");
        if next == Position::new(2, 0) {
            ends_at_border += 1;
            // All of the epoch was looked at, so its tree heads were, too.
            assert_eq!(part.to, Position::new(1, border - 1));
            assert_eq!(
                (part.not_covered.len(), part.tree_heads.len()),
                (0, 2),
                "{part:?}"
            );
            let nothing = verify(behind, Budget::new(count, u64::MAX, || false)).await;
            assert!(
                matches!(nothing, Err(ReplayError::OutOfBudget { at }) if at == next),
                "{nothing:?}"
            );
        } else {
            assert_eq!(part.to.next(), next, "{count}");
            assert_eq!(part.not_covered.len(), 1, "its tree heads: {part:?}");
        }
    }
    assert!(ends_at_border > 0, "no budget ended where an epoch does");
}

#[tokio::test]
async fn leaves_behind_a_range_count() {
    let (world, _) = World::with_long_lane(400, End::Answered).await;
    world.seal(9).await;
    let all = world.last().await.index.0 + 1;
    assert!(all > 2 * READ_RECORDS_MAX as u64, "more than two pages: {all}");
    let range = Range {
        from: None,
        to: Some(Position::new(1, 7)),
    };
    let verify = async |records: u64| {
        let budget = Budget::new(records, u64::MAX, || false);
        let verification = world.verification();
        let report = verification
            .verify(world.ledger, range, &budget, &|_, _| ())
            .await;
        let report = report.expect("the range is read");
        assert_eq!((report.next, report.findings.len()), (None, 0), "{report:?}");
        let is_covered = report.not_covered.is_empty();
        assert_eq!(report.tree_heads.len(), if is_covered { 2 } else { 0 });
        (is_covered, budget.is_spent())
    };
    // What the tree heads sign is worked out from all leaves.
    assert_eq!(verify(all + 1).await, (true, false));
    assert_eq!(verify(all).await, (true, true));
    assert_eq!(verify(all - 1).await, (false, true));
    assert_eq!(verify(READ_RECORDS_MAX as u64).await, (false, true));
}

#[tokio::test]
async fn time_ends_within_a_page() {
    let (world, _) = World::with_long_lane(100, End::Answered).await;
    // As long as it is asked fewer times than there are records.
    let asked = std::sync::atomic::AtomicU64::new(0);
    let is_over = move || asked.fetch_add(1, Ordering::Relaxed) > 100;
    let budget = Budget::new(u64::MAX, u64::MAX, is_over);
    let report = world
        .verification()
        .verify(world.ledger, Range::default(), &budget, &|_, _| ())
        .await;
    let report = report.expect("a part");
    let next = report.next.expect("it did not come to the end");
    assert!(next.index.0 < READ_RECORDS_MAX as u64, "{next}");
    assert_eq!((report.records_read, report.to.next()), (next.index.0, next));
    assert_eq!(report.findings, []);
}

#[test]
fn what_two_judges_find_is_counted_once_beyond_the_hundred_too() {
    let mut collected = Collected::new(Position::START, Position::new(1, 999));
    let of = |n| Fault::at(report::ILLEGAL_TRANSITION, Position::new(1, n), "wrong");
    for n in 0..150 {
        collected.push(of(n));
        collected.push(of(n));
    }
    let report = collected.report(0);
    assert_eq!((report.total(), report.findings.len()), (150, FINDINGS_TOLD_MAX));
}

/// Lanes that were put away piece by piece are what all of their events make of them.
#[tokio::test]
async fn what_is_put_away_comes_back_as_it_was() {
    let mut put_away = 0;
    for seed in 1..=8 {
        let world = World::of(seed, 200).await;
        let records = world
            .store
            .read_ledger(world.ledger, Position::START, 100_000)
            .await;
        let (mut collected, mut decisions) = (
            Collected::new(Position::START, world.last().await),
            Decisions::default(),
        );
        for record in records.expect("records") {
            decisions.take(&record, &mut collected);
        }
        decisions.end(&mut collected);
        for (id, lane) in world.crowd.lanes().into_iter().zip(world.lanes().await) {
            let at_hand = decisions.at_hand(lane_stream(id));
            let folded = decisions.whole(lane_stream(id));
            put_away += folded.turns.len() - at_hand;
            let turns: Vec<TurnView> = folded
                .turns
                .iter()
                .map(|turn| TurnView::new(lane_stream(id), turn, &folded, TurnTold::default()))
                .collect();
            // What records tell beside is nothing that the machine goes by.
            let told = lane.turns.into_iter();
            let as_decided = told.map(|turn| TurnView {
                told: TurnTold::default(),
                ..turn
            });
            assert_eq!(turns, as_decided.collect::<Vec<_>>(), "seed {seed}");
        }
    }
    assert!(put_away > 40, "{put_away} turns were put away");
}
