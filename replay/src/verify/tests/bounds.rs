//! A verification has an end, however long the ledger is.

use super::*;

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
                .map(|turn| TurnView::new(lane_stream(id), turn, &folded))
                .collect();
            assert_eq!(turns, lane.turns, "seed {seed}");
        }
    }
    assert!(put_away > 40, "{put_away} turns were put away");
}
