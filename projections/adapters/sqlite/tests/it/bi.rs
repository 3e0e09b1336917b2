//! Tables for the tools of others: the views are what is declared, and show what is read.

use std::fmt::Write as _;
use std::path::PathBuf;

use ruche_domain::ids::LedgerId;
use ruche_projections::bi::{self, Cell, Dialect, Period, Table};
use ruche_projections::change::SqlValue;
use ruche_projections::store::{ReadStore, Snapshots};
use ruche_projections::testing::Story;
use ruche_projections::testing::extremes::{Choices, events};
use ruche_projections::testing::world::World;

use crate::common::{Sqlite, fresh};

/// Heading behind which the document is made of what is declared.
const CHAPTER: &str = "\n## The tables\n";

fn of_repository(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../..")).join(path)
}

/// What stands in a file behind its introduction has to be this; `RUCHE_UPDATE_GOLDEN` writes it.
fn same(path: &str, after: &str, made: &str) {
    let file = of_repository(path);
    let text = std::fs::read_to_string(&file).expect("a document");
    let at = text.find(after).map_or(text.len(), |at| at + after.len());
    let (introduction, found) = text.split_at(at);
    if std::env::var_os("RUCHE_UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, format!("{introduction}{made}")).expect("it is written");
        return;
    }
    assert_eq!(
        found, made,
        "{path} is not what is declared; set RUCHE_UPDATE_GOLDEN=1 to write it"
    );
}

fn documented() -> String {
    let mut text = String::new();
    for table in bi::all() {
        let texts = if table.shows_texts { " It holds texts." } else { "" };
        let rows = if table.has_time() {
            ""
        } else {
            " Its rows have no time."
        };
        let _ = write!(
            text,
            "\n### {}\n\n{}{texts}{rows}\n\n| column | PostgreSQL | SQLite | Parquet | |\n| --- | --- | --- | --- | --- |\n",
            table.name, table.about
        );
        for column in table.columns {
            let [postgres, sqlite, parquet] = column.kind.types();
            let _ = writeln!(
                text,
                "| `{}` | {postgres} | {sqlite} | {parquet} | {} |",
                column.name, column.about
            );
        }
    }
    text
}

#[test]
fn golden_views_and_document_are_what_is_declared() {
    let (sqlite, postgres) = (bi::views(Dialect::Sqlite), bi::views(Dialect::Postgres));
    same(
        "migrations/sqlite/read/0024_tables_for_others.sql",
        "sees them anyhow.\n",
        &sqlite,
    );
    same(
        "migrations/postgres/read/0022_tables_for_others.sql",
        "and choose by the ledger.\n",
        &postgres,
    );
    same("docs/sql.md", CHAPTER, &documented());
}

/// As a view shows it, floating-point numbers aside.
fn shown(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::Text(text) => Some(text.clone()),
        Cell::Int(number) => Some(number.to_string()),
        Cell::Flag(flag) => Some(i64::from(*flag).to_string()),
        Cell::Decimal(money) => Some(money.to_string()),
        Cell::Real(number) => Some(number.to_string()),
        Cell::Time(at) => {
            let micros = at.rem_euclid(1_000_000);
            let seconds = ruche_domain::numbers::Micros(at.cast_unsigned()).to_rfc3339();
            Some(format!("{}.{micros:06}Z", seconds.trim_end_matches('Z')))
        }
    }
}

async fn exported(sqlite: &Sqlite, table: &Table, ledger: LedgerId) -> Vec<Vec<Option<String>>> {
    let snapshot = sqlite.models.snapshot(ledger).await.expect("a snapshot");
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = bi::page(&*snapshot, table, ledger, Period::default(), after.as_ref())
            .await
            .expect("a page");
        rows.extend(page.iter().map(|row| row.iter().map(shown).collect::<Vec<_>>()));
        after = next;
        if after.is_none() {
            let counted = bi::count(&*snapshot, table, ledger, Period::default())
                .await
                .expect("a count");
            assert_eq!(counted, rows.len() as u64, "{}", table.name);
            return rows;
        }
    }
}

/// All that the view shows of a ledger, as text.
async fn viewed(sqlite: &Sqlite, table: &Table, ledger: LedgerId) -> Vec<Vec<Option<String>>> {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("CAST({} AS TEXT)", column.name))
        .collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE ledger_id = $1",
        columns.join(", "),
        bi::view_name(table)
    );
    let rows = sqlite
        .models
        .query(&sql, vec![SqlValue::Text(ledger.to_string())])
        .await
        .expect("rows");
    let text = |value: SqlValue| match value {
        SqlValue::Null => None,
        SqlValue::Text(text) => Some(text),
        other => panic!("{other:?}"),
    };
    rows.into_iter()
        .map(|row| row.into_iter().map(text).collect())
        .collect()
}

/// Numbers are written in two ways: `0.0` and `0`.
fn plain(table: &Table, mut rows: Vec<Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
    for row in &mut rows {
        for (column, value) in table.columns.iter().zip(row) {
            if column.kind == bi::Kind::Real
                && let Some(text) = value
            {
                // SQLite reads the digits of the greatest number as infinity.
                *text = text.parse::<f64>().expect("a number").min(f64::MAX).to_string();
            }
        }
    }
    rows.sort_unstable();
    rows
}

/// Every table has rows, each view shows them in the same form as an export, and nothing of another tenant is in an export.
#[tokio::test]
async fn views_show_what_exports_hold() {
    let sqlite = Sqlite::new();
    let mut world = World::new(fresh).await;
    world.models = std::sync::Arc::new(sqlite.models.clone());
    let (a, b) = (world.projected(1, 3).await, world.projected(2, 1).await);
    for ledger in [a, b] {
        for choice in 0..16 {
            let mut story = Story::new(40 + choice);
            let mut more = story.lane();
            story.enter(story.session_id(9));
            more.extend(
                events(&mut Choices::new(&[choice]))
                    .into_iter()
                    .map(|event| story.event(event)),
            );
            world.feed.append(ledger, more).await;
        }
        world.runner().catch_up(ledger).await.unwrap();
    }
    let mut empty = Vec::new();
    for table in bi::all() {
        for ledger in [a, b] {
            let rows = exported(&sqlite, table, ledger).await;
            if rows.is_empty() {
                empty.push(table.name);
            }
            assert!(
                rows.iter().all(|row| row[0] == Some(ledger.to_string())),
                "{}",
                table.name
            );
            let (exported, viewed) = (
                plain(table, rows),
                plain(table, viewed(&sqlite, table, ledger).await),
            );
            assert_eq!(exported, viewed, "{}", table.name);
        }
    }
    assert_eq!(empty, [""; 0], "tables without a row prove nothing");
}

/// What is committed after a snapshot is not in it, and a rebuild takes nothing from it.
#[tokio::test]
async fn a_snapshot_stays_what_it_was() {
    let sqlite = Sqlite::new();
    let mut world = World::new(fresh).await;
    world.models = std::sync::Arc::new(sqlite.models.clone());
    let ledger = world.projected(1, 2).await;
    let table = Table::named("sessions").unwrap();
    let held = sqlite.models.snapshot(ledger).await.unwrap();
    let standing = bi::standing(&*held, table, ledger).await.unwrap();
    let before = bi::count(&*held, table, ledger, Period::default()).await.unwrap();
    let mut story = Story::new(77);
    let more = story.session(5);
    world.feed.append(ledger, more).await;
    world.runner().catch_up(ledger).await.unwrap();
    assert!(world.rebuilt().await.switched);
    assert_eq!(
        bi::count(&*held, table, ledger, Period::default()).await.unwrap(),
        before
    );
    assert_eq!(bi::standing(&*held, table, ledger).await.unwrap(), standing);
    drop(held);
    let now = sqlite.models.snapshot(ledger).await.unwrap();
    assert_eq!(
        bi::count(&*now, table, ledger, Period::default()).await.unwrap(),
        before + 1
    );
    assert!(bi::standing(&*now, table, ledger).await.unwrap() > standing);
}
