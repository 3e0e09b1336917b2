//! The views of `ruche_bi`, as tools read them: with SQL, as users of PostgreSQL who belong to one tenant.

use std::sync::Arc;

use ruche_domain::ids::LedgerId;
use ruche_projections::bi::{self, Cell, Kind, Period, Table};
use ruche_projections::rebuild::{OnDifference, RebuildProgress};
use ruche_projections::store::Snapshots;
use ruche_projections::testing::Story;
use ruche_projections::testing::extremes::{Choices, events};
use ruche_projections::testing::world::World;
use ruche_projections_postgres::{BiError, grant, logins, migrate, revoke};
use ruche_projections_sqlite::SqliteReadStore;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::common::{Postgres, database, server, session, skipped, with_user};

/// A user of the server with this name and no rights.
async fn login(admin: &Client, name: &str) -> String {
    let name = format!("bi_{name}_{}", std::process::id());
    let make = format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN PASSWORD 'bi'");
    admin.batch_execute(&make).await.unwrap();
    name
}

/// Two tenants with something in every table.
async fn two_tenants() -> (World, Postgres, [LedgerId; 2]) {
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let ledgers = [world.projected(1, 3).await, world.projected(2, 1).await];
    for ledger in ledgers {
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
    (world, postgres, ledgers)
}

/// Rows of a query as text.
async fn rows(client: &Client, sql: &str) -> Result<Vec<Vec<Option<String>>>, tokio_postgres::Error> {
    let messages = client.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|n| row.get(n).map(str::to_owned))
                .collect::<Vec<_>>(),
        ),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

async fn count(client: &Client, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

/// A value as SQL shows it once it is text; times by [`column`].
fn shown(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Null => None,
        // As the server holds it.
        Cell::Text(text) => Some(text.replace('\u{1}', "\u{1}\u{3}").replace('\0', "\u{1}\u{2}")),
        Cell::Int(number) | Cell::Time(number) => Some(number.to_string()),
        Cell::Flag(flag) => Some(flag.to_string()),
        Cell::Decimal(money) => Some(money.to_string()),
        Cell::Real(number) => Some(number.to_string()),
    }
}

/// A column as text; a time as microseconds.
fn column(column: &bi::Column) -> String {
    match column.kind {
        Kind::Time => format!("(extract(epoch FROM {}) * 1000000)::bigint::text", column.name),
        _ => format!("{}::text", column.name),
    }
}

async fn exported(from: &dyn Snapshots, table: &Table, ledger: LedgerId) -> Vec<Vec<Cell>> {
    let snapshot = from.snapshot(ledger).await.unwrap();
    let (mut rows, mut after) = (Vec::new(), None);
    loop {
        let (page, next) = bi::page(&*snapshot, table, ledger, Period::default(), after.as_ref())
            .await
            .unwrap();
        rows.extend(page);
        after = next;
        if after.is_none() {
            return rows;
        }
    }
}

fn sorted(table: &Table, mut rows: Vec<Vec<Option<String>>>) -> Vec<Vec<Option<String>>> {
    for row in &mut rows {
        for (column, value) in table.columns.iter().zip(row) {
            if let (Kind::Real, Some(text)) = (column.kind, value) {
                *text = text.parse::<f64>().unwrap().to_string();
            }
        }
    }
    rows.sort_unstable();
    rows
}

/// What a tool sees is what an export holds, and both engines export the same, row for row and in the same order.
#[tokio::test]
async fn a_view_an_export_and_the_other_engine_say_the_same() {
    if skipped() {
        return;
    }
    let (world, postgres, ledgers) = two_tenants().await;
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteReadStore::open(folder.path()).unwrap();
    let runner = ruche_projections::runner::Runner::new(world.feed_store(), Arc::new(sqlite.clone()));
    let mut admin = session(&postgres.url).await;
    for (ledger, name) in ledgers.into_iter().zip(["first", "second"]) {
        runner.catch_up(ledger).await.unwrap();
        let user = login(&admin, name).await;
        grant(&mut admin, &user, (name, ledger), true).await.unwrap();
        let tool = session(&with_user(&postgres.url, &user, "bi")).await;
        for table in bi::all() {
            let here = exported(&postgres.models, table, ledger).await;
            assert_eq!(here, exported(&sqlite, table, ledger).await, "{}", table.name);
            let columns: Vec<String> = table.columns.iter().map(column).collect();
            let sql = format!("SELECT {} FROM ruche_bi.{}", columns.join(", "), table.name);
            let seen = rows(&tool, &sql).await.unwrap();
            let here: Vec<Vec<_>> = here.iter().map(|row| row.iter().map(shown).collect()).collect();
            assert!(!here.is_empty(), "{}", table.name);
            assert_eq!(sorted(table, seen), sorted(table, here), "{}", table.name);
        }
    }
}

/// A user sees one tenant, whatever is set, and can do nothing else.
#[tokio::test]
async fn a_login_sees_its_tenant_and_nothing_that_it_sets_changes_that() {
    if skipped() {
        return;
    }
    let (_world, postgres, [a, b]) = two_tenants().await;
    let mut admin = session(&postgres.url).await;
    let names = [
        login(&admin, "a").await,
        login(&admin, "b").await,
        login(&admin, "nobody").await,
    ];
    grant(&mut admin, &names[0], ("a", a), false).await.unwrap();
    grant(&mut admin, &names[1], ("b", b), true).await.unwrap();
    // In the group, and on no list.
    let member = format!("GRANT ruche_bi TO {}", names[2]);
    admin.batch_execute(&member).await.unwrap();
    let mut tools = Vec::new();
    for name in &names {
        tools.push(session(&with_user(&postgres.url, name, "bi")).await);
    }
    for (tool, ledger) in tools.iter().zip([a, b]) {
        for (table, texts) in bi::all().map(|table| (table, ledger == b || !table.shows_texts)) {
            let sql = format!("SELECT DISTINCT ledger_id FROM ruche_bi.{}", table.name);
            let own = if texts {
                vec![vec![Some(ledger.to_string())]]
            } else {
                vec![]
            };
            assert_eq!(rows(tool, &sql).await.unwrap(), own, "{}", table.name);
            assert_eq!(
                count(&tools[2], &format!("ruche_bi.{}", table.name)).await,
                0,
                "{}",
                table.name
            );
        }
    }
    let (tool, other) = (&tools[0], &names[1]);
    let hex: String = b.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let before = count(tool, "ruche_bi.sessions").await;
    for set in [
        format!("SET ruche.ledger = '{hex}'"),
        "SET row_security = off".to_owned(),
        "SET search_path = ruche_read_1, ruche_read, ruche".to_owned(),
    ] {
        tool.batch_execute(&set).await.unwrap();
        assert_eq!(count(tool, "ruche_bi.sessions").await, before, "{set}");
    }
    tool.batch_execute("SET ROLE ruche_bi").await.unwrap();
    assert_eq!(
        count(tool, "ruche_bi.sessions").await,
        before,
        "who logged in counts"
    );
    tool.batch_execute("RESET ROLE").await.unwrap();
    let forged = format!(
        "INSERT INTO ruche_read.bi_login VALUES ('{}', '\\x{hex}', 'b', true)",
        names[0]
    );
    for sql in [
        format!("SET SESSION AUTHORIZATION {other}"),
        format!("SET ROLE {other}"),
        "SET ROLE ruche_app".to_owned(),
        forged,
        "UPDATE ruche_read.bi_login SET texts = true".to_owned(),
        "SELECT * FROM ruche_read.bi_login".to_owned(),
        "SELECT * FROM ruche_read.current".to_owned(),
        "SELECT * FROM ruche_read_1.session".to_owned(),
        "SELECT * FROM ruche_read_1.bi_sessions".to_owned(),
        "INSERT INTO ruche_bi.scenarios (version) VALUES ('x')".to_owned(),
        "UPDATE ruche_bi.scenarios SET version = 'x'".to_owned(),
        "DELETE FROM ruche_bi.scenarios".to_owned(),
        "CREATE VIEW ruche_bi.mine AS SELECT 1".to_owned(),
        "CREATE OR REPLACE VIEW ruche_bi.sessions AS SELECT 1 AS ledger_id".to_owned(),
        "DROP VIEW ruche_bi.sessions".to_owned(),
        "ALTER VIEW ruche_bi.sessions SET (security_barrier = false)".to_owned(),
        "CREATE TABLE public.mine (a int)".to_owned(),
    ] {
        let error = tool.batch_execute(&sql).await.unwrap_err();
        assert_eq!(
            error.code(),
            Some(&SqlState::INSUFFICIENT_PRIVILEGE),
            "{sql}: {error}"
        );
    }
    // A function that costs nothing is asked first, and would tell of every row, were the view no barrier.
    let spy = "CREATE TEMP TABLE seen (ledger text); \
        CREATE FUNCTION pg_temp.spy(ledger text) RETURNS bool LANGUAGE plpgsql COST 0.0000001 AS \
        'BEGIN INSERT INTO seen VALUES (ledger); RETURN true; END'";
    tool.batch_execute(spy).await.unwrap();
    rows(
        tool,
        "SELECT 1 FROM ruche_bi.sessions WHERE pg_temp.spy(ledger_id)",
    )
    .await
    .unwrap();
    let seen = rows(tool, "SELECT DISTINCT ledger FROM seen").await.unwrap();
    assert_eq!(seen, [[Some(a.to_string())]], "no function sees a row of others");
    let open = "SELECT count(*) FROM pg_class c WHERE relkind = 'v' AND relnamespace = 'ruche_bi'::regnamespace \
        AND NOT 'security_barrier=true' = ANY (reloptions)";
    assert_eq!(admin.query_one(open, &[]).await.unwrap().get::<_, i64>(0), 0);

    assert!(revoke(&mut admin, &names[0]).await.unwrap());
    assert!(!revoke(&mut admin, &names[0]).await.unwrap());
    assert_eq!(
        count(tool, "ruche_bi.sessions").await,
        0,
        "a session that is open sees nothing from then on"
    );
    let left: Vec<(String, bool)> = logins(&admin)
        .await
        .unwrap()
        .into_iter()
        .map(|l| (l.login, l.texts))
        .collect();
    assert_eq!(left, [(names[1].clone(), true)]);
}

/// Who could see more by another way gets nothing, and nobody gets a second tenant.
#[tokio::test]
async fn a_login_that_is_somebody_else_is_refused() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    migrate(&mut session(&url).await).await.unwrap();
    let mut admin = session(&url).await;
    let ledger = LedgerId::from_bytes([7; 16]);
    for (name, right) in [
        ("super", "SUPERUSER"),
        ("bypass", "BYPASSRLS"),
        ("roles", "CREATEROLE"),
        ("copies", "REPLICATION"),
        ("node", "IN ROLE ruche_app"),
        ("all", "IN ROLE pg_read_all_data"),
    ] {
        let user = login(&admin, name).await;
        admin
            .batch_execute(&format!("DROP ROLE {user}; CREATE ROLE {user} LOGIN {right}"))
            .await
            .unwrap();
        let error = grant(&mut admin, &user, ("t", ledger), false).await.unwrap_err();
        assert!(matches!(error, BiError::TooMuch { .. }), "{name}: {error}");
        admin.batch_execute(&format!("DROP ROLE {user}")).await.unwrap();
    }
    let error = grant(&mut admin, "nobody at all", ("t", ledger), false)
        .await
        .unwrap_err();
    assert!(matches!(error, BiError::NoLogin { .. }), "{error}");
    let user = login(&admin, "two").await;
    grant(&mut admin, &user, ("first", ledger), false).await.unwrap();
    let other = LedgerId::from_bytes([8; 16]);
    let error = grant(&mut admin, &user, ("second", other), false)
        .await
        .unwrap_err();
    assert!(
        matches!(&error, BiError::OtherTenant { tenant, .. } if tenant == "first"),
        "{error}"
    );
    grant(&mut admin, &user, ("first", ledger), true).await.unwrap();
    assert!(
        logins(&admin).await.unwrap()[0].texts,
        "the same tenant again changes what is shown of it"
    );
    let mut tool = session(&with_user(&url, &user, "bi")).await;
    let error = grant(&mut tool, &user, ("second", other), true)
        .await
        .unwrap_err();
    assert!(matches!(error, BiError::NotOwner { .. }), "{error}");
    assert!(matches!(
        revoke(&mut tool, &user).await,
        Err(BiError::NotOwner { .. })
    ));
}

/// While the next generation is filled, and after it has taken over, every row is there once; a report that is open does not
/// hold the rebuild up, and is told to begin again rather than shown half of the rows.
#[tokio::test]
async fn a_rebuild_shows_nothing_twice_and_waits_for_no_report() {
    if skipped() {
        return;
    }
    let (world, postgres, [a, _]) = two_tenants().await;
    let mut admin = session(&postgres.url).await;
    let user = login(&admin, "during").await;
    grant(&mut admin, &user, ("a", a), true).await.unwrap();
    let url = with_user(&postgres.url, &user, "bi");
    let (tool, report) = (session(&url).await, session(&url).await);
    let sql = "SELECT count(*), count(DISTINCT session_id) FROM ruche_bi.sessions";
    let seen = async |client: &Client| {
        let row = client.query_one(sql, &[]).await.unwrap();
        (row.get::<_, i64>(0), row.get::<_, i64>(1))
    };
    let before = seen(&tool).await;
    assert!(before.0 > 0 && before.0 == before.1);
    let progress = RebuildProgress::default();
    // The next generation is filled and not current: steps of a rebuild that does not switch.
    admin
        .batch_execute("UPDATE ruche_read_1.session SET agent = 'tampered'")
        .await
        .unwrap();
    let kept = world
        .models
        .rebuild(world.feed_store(), OnDifference::Keep, &progress)
        .await
        .unwrap();
    assert!(!kept.switched);
    assert_eq!(seen(&tool).await, before);
    let tampered = "ruche_bi.sessions WHERE agent = 'tampered'";
    assert_eq!(count(&tool, tampered).await, before.0);

    report
        .batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        .await
        .unwrap();
    assert_eq!(seen(&report).await, before);
    let during = async {
        let mut looked = 0;
        loop {
            assert_eq!(seen(&tool).await, before);
            looked += 1;
            if postgres.models.generation().await.unwrap() > 1 {
                return looked;
            }
        }
    };
    let rebuild = world
        .models
        .rebuild(world.feed_store(), OnDifference::Switch, &progress);
    let finish = async {
        let looked = during.await;
        // It has switched. What is left for it to do is to drop the old tables, which the report still reads. What the report
        // sees of the new ones are rows that were there when it began: too few.
        let error = report.query_one(sql, &[]).await.unwrap_err();
        assert_eq!(
            error.code(),
            Some(&SqlState::T_R_SERIALIZATION_FAILURE),
            "{error}"
        );
        report.batch_execute("ROLLBACK").await.unwrap();
        assert_eq!(seen(&report).await, before);
        looked
    };
    let (rebuilt, looked) = futures_util::join!(rebuild, finish);
    assert!(rebuilt.unwrap().switched && looked > 0);
    assert_eq!(seen(&tool).await, before);
    assert_eq!(count(&tool, tampered).await, 0, "it is the new generation");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname ~ '^ruche_bi_'";
    assert_eq!(admin.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    let grants = "SELECT count(*) FROM information_schema.role_table_grants WHERE table_schema = 'ruche_bi' \
        AND grantee = 'ruche_bi' AND privilege_type <> 'SELECT'";
    assert_eq!(admin.query_one(grants, &[]).await.unwrap().get::<_, i64>(0), 0);
}
