//! A run that ends between any two steps: nothing is lost, and the next run goes on.

use std::cell::Cell;
use std::path::Path;

use ruche_api::app::{App, AppError, ArchiveStep};
use ruche_domain::numbers::Position;
use ruche_ledger::store::Record;

use super::World;

/// Enough for two pieces.
const CONVERSATIONS: usize = 180;

/// Gives up behind the step with this number.
fn until(step: usize, seen: &Cell<usize>) -> impl Fn(ArchiveStep) -> Result<(), AppError> + '_ {
    move |_| {
        seen.set(seen.get() + 1);
        match seen.get() == step {
            true => Err(AppError::ArchiveRefused("killed".to_owned())),
            false => Ok(()),
        }
    }
}

async fn records(app: &App) -> Vec<Record> {
    let ledger = app.events.ledgers().await.expect("ledgers")[0];
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records
            .last()
            .map_or(Position::START, |last| last.position.next());
        let page = app
            .events
            .read_ledger(ledger, from, 1_000)
            .await
            .expect("every payload is somewhere");
        if page.is_empty() {
            return records;
        }
        records.extend(page);
    }
}

/// Whether the run came to its end; every record is checked to be what it was.
#[tokio::main]
async fn archived(
    world: &World,
    before: Option<&[Record]>,
    archives: &Path,
    step: usize,
) -> (bool, Vec<Record>) {
    let mut common = world.home.common();
    common.archive_dir = Some(archives.to_owned());
    let app = App::open(&common, "a run that ends early")
        .await
        .expect("the store opens");
    let ledger = app.events.ledgers().await.expect("ledgers")[0];
    let seen = Cell::new(0);
    let done = match before {
        Some(_) => {
            app.archive(
                ledger,
                Position::new(1, 999_999),
                archives,
                &until(step, &seen),
                &mut Vec::new(),
            )
            .await
        }
        None => Ok(()),
    };
    let after = records(&app).await;
    if let Some(before) = before {
        assert_eq!(after[..before.len()], *before, "behind step {step}");
    }
    app.close().await.expect("it closes");
    (done.is_ok(), after)
}

/// Whether the run came to its end.
#[tokio::main]
async fn restored(world: &World, archive: &Path, step: usize) -> bool {
    let common = world.home.common();
    let app = App::open_with_models_as_they_are(&common, "a run that ends early")
        .await
        .expect("the store opens");
    let seen = Cell::new(0);
    let done = app.restore_archive(archive, &until(step, &seen)).await;
    app.close().await.expect("it closes");
    done.is_ok()
}

#[test]
fn a_run_that_ends_between_two_steps_loses_nothing_and_the_next_goes_on() {
    let world = World::new(CONVERSATIONS);
    let archives = world.path("archives");
    let (_, before) = archived(&world, None, &archives, 0);
    // The first run ends behind its first step, the next behind its second …
    let mut step = 1;
    while !archived(&world, Some(&before), &archives, step).0 {
        step += 1;
        assert!(step < 200, "it ends");
    }
    let told = world.run(&["archive", "list"])["archives"].clone();
    assert_eq!(
        told.as_array().map(Vec::len),
        Some(1),
        "one archive, however often it was begun: {told}"
    );
    let named = archives.join(told[0]["archive"].as_str().expect("a name"));
    let (export, keys) = world.export("export", &[]);
    assert_eq!(super::verdicts(&export, &keys, Some(&archives)).0, 0);

    let mut step = 1;
    while !restored(&world, &named, step) {
        step += 1;
        assert!(step < 200, "it ends");
    }
    let nothing = world.path("nothing");
    let (_, after) = archived(&world, None, &nothing, 0);
    assert_eq!(after[..before.len()], before[..]);
    assert_eq!(world.run(&["archive", "list"])["archives"], serde_json::json!([]));
}
