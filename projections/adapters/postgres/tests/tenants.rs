//! What the database itself keeps apart: sessions as `ruche_app` see the ledger that is set, and without one nothing.

use ruche_domain::events::{InterventionPoint, MemoryStoreCreated, PolicyEvaluated, PolicyVerdict};
use ruche_domain::ids::LedgerId;
use ruche_domain::measures::Digest;
use ruche_domain::stream::{Category, StreamId};
use ruche_projections::change::SqlValue;
use ruche_projections::rebuild::compared_tables;
use ruche_projections::testing::Story;
use ruche_projections::testing::extremes::{Choices, events};
use ruche_projections::testing::world::{Engine, World};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::common::{Postgres, session, skipped};

fn hex(ledger: LedgerId) -> String {
    ledger
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Rows of each table, and the ledgers that they are of, as a session sees them.
async fn seen(client: &Client) -> Vec<(i64, Vec<Vec<u8>>)> {
    let mut seen = Vec::new();
    for table in compared_tables() {
        let sql = format!("SELECT count(*), coalesce(array_agg(DISTINCT ledger), '{{}}') FROM {table}");
        let row = client.query_one(&sql, &[]).await.unwrap();
        seen.push((row.get(0), row.get(1)));
    }
    seen
}

/// Texts that the search function finds for a word of a ledger.
async fn found(client: &Client, ledger: LedgerId) -> i64 {
    let sql = format!(
        "SELECT count(*) FROM search_found('''{}flight''', '', '', {}, 100)",
        hex(ledger),
        i64::MAX
    );
    client.query_one(&sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn a_session_sees_the_ledger_that_is_set_and_nothing_without() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let (a, b) = (world.projected(1, 2).await, world.projected(2, 1).await);
    for ledger in [a, b] {
        let mut story = Story::new(9);
        let mut more = story.lane();
        story.enter(story.session_id(9));
        let extreme = events(&mut Choices::new(&[1])).into_iter();
        more.extend(extreme.map(|event| story.event(event)));
        // One of no session, in a stream of the client's own.
        let mut own = story.event(MemoryStoreCreated::new("s".to_owned()));
        own.event.session = None;
        own.event.stream = StreamId::new(Category::Memory, own.event.event_id.0);
        more.push(own);
        let point = InterventionPoint::PreToolCall;
        let (verdict, digest) = (PolicyVerdict::Allow, Digest([1; 32]));
        let asked = PolicyEvaluated::new("d".to_owned(), point, verdict, digest, digest);
        more.push(story.event(asked));
        world.feed.append(ledger, more).await;
        world.runner().catch_up(ledger).await.unwrap();
    }
    let owner = session(&postgres.url).await;
    owner
        .batch_execute("SET search_path = ruche_read_1")
        .await
        .unwrap();
    let all = seen(&owner).await;
    assert!(
        all.iter().all(|(rows, ledgers)| *rows > 0 && ledgers.len() == 2),
        "{all:?}"
    );

    let client = session(&postgres.url).await;
    let enter = "SET ROLE ruche_app; SET search_path = ruche_read_1";
    client.batch_execute(enter).await.unwrap();
    let nothing = vec![(0, vec![]); all.len()];
    assert_eq!(seen(&client).await, nothing);
    for (ledger, other) in [(a, b), (b, a)] {
        let set = format!("SET ruche.ledger = '{}'", hex(ledger));
        client.batch_execute(&set).await.unwrap();
        let own = seen(&client).await;
        assert!(
            own.iter()
                .all(|(rows, of)| *rows > 0 && *of == [ledger.as_bytes().to_vec()])
        );
        let (rows, every): (i64, i64) = (own.iter().map(|o| o.0).sum(), all.iter().map(|o| o.0).sum());
        assert!(rows < every);
        let gone = format!("DELETE FROM session WHERE ledger = '\\x{}'", hex(other));
        assert_eq!(client.execute(&gone, &[]).await.unwrap(), 0);
        let forged = format!(
            "INSERT INTO usage_session VALUES ('\\x{}', '\\x00', 'forged')",
            hex(other)
        );
        let error = client.execute(&forged, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
        // The function is its owner's, whom no policy binds.
        assert!(found(&client, ledger).await > 0);
        assert_eq!(found(&client, other).await, 0);
    }
    client.batch_execute("RESET ruche.ledger").await.unwrap();
    assert_eq!(
        seen(&client).await,
        nothing,
        "a setting that was taken back is none"
    );
    assert_eq!(found(&client, a).await, 0);
}

/// A statement that names its ledger and asks for rows of another gets none.
#[tokio::test]
async fn a_query_that_asks_for_another_ledger_gets_nothing() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let world = World::on(Box::new(postgres.clone()));
    let (a, b) = (world.projected(1, 1).await, world.projected(2, 1).await);
    let id = |ledger: LedgerId| SqlValue::Id(*ledger.as_bytes());
    for (sql, params) in [
        ("SELECT session FROM session WHERE ledger <> $1", vec![id(a)]),
        (
            "SELECT session FROM session WHERE $1 <> $2 AND ledger = $2",
            vec![id(a), id(b)],
        ),
    ] {
        assert_eq!(
            world.reads().query(sql, params).await.unwrap(),
            Vec::<Vec<SqlValue>>::new(),
            "{sql}"
        );
    }
    assert!(
        world.reads().query("SELECT 1", vec![]).await.is_err(),
        "a query without a ledger"
    );
}

#[tokio::test]
async fn the_role_owns_nothing_and_every_table_is_guarded() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    postgres.tamper("SELECT 1").await;
    let owner = session(&postgres.url).await;
    let sql =
        "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = 'ruche_app'";
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0);
    let sql = "SELECT relname::text FROM pg_class WHERE relnamespace = 'ruche_read_1'::regnamespace AND relkind = 'r' \
        AND relrowsecurity ORDER BY relname";
    let guarded: Vec<String> = owner
        .query(sql, &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut tables = compared_tables();
    tables.extend(["dead_letter", "projection_paused"]);
    tables.sort_unstable();
    assert_eq!(guarded, tables);
    let enter = "SET ROLE ruche_app; SET search_path = ruche_read_1";
    owner.batch_execute(enter).await.unwrap();
    let plan = owner.query("EXPLAIN SELECT * FROM session", &[]).await.unwrap();
    let plan: String = plan.iter().map(|row| row.get::<_, String>(0) + "\n").collect();
    assert!(
        plan.contains("InitPlan"),
        "the setting is read once for each statement: {plan}"
    );
    assert!(owner.batch_execute("DROP TABLE session").await.is_err());
    assert!(
        owner
            .batch_execute("SELECT * FROM ruche_read.current")
            .await
            .is_err()
    );
}
