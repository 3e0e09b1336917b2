//! How the server finds the rows of figures.

use ruche_projections::testing::analytics::{questions, written_out};
use ruche_projections::testing::pages::pages;
use ruche_projections::testing::world::World;

use crate::common::{Postgres, session, skipped};

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("'\\x{digits}'::bytea")
}

/// Each question of analysts reads one range of a key, or of the index of turns that were superseded. Tables of a test are
/// so small that the planner reads them whole where it may, which says nothing; of turns and decisions there are many here.
#[tokio::test]
async fn figures_are_found_by_their_time() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    World::on(Box::new(postgres.clone())).projected(1, 1).await;
    let client = session(&postgres.url).await;
    let set = "SET search_path = ruche_read_1; SET enable_seqscan = off";
    client.batch_execute(set).await.unwrap();
    let turns = "INSERT INTO turn (ledger, turn, first_at, first_position, last_position, ended_at, status) \
        SELECT decode(repeat('01', 16), 'hex'), decode(lpad(to_hex(n), 32, '0'), 'hex'), n, n, n, n, 'committed' \
        FROM generate_series(1, 20000) n";
    client.batch_execute(turns).await.unwrap();
    let approvals = "INSERT INTO approval (ledger, approval, position, requested_at, decided_at) \
        SELECT decode(repeat('01', 16), 'hex'), decode(lpad(to_hex(n), 32, '0'), 'hex'), n, n, n \
        FROM generate_series(1, 20000) n; ANALYZE";
    client.batch_execute(approvals).await.unwrap();
    for (metric, sql, params) in questions().await {
        let sql = written_out(&sql, &params, hex);
        let plan = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let is_range = |line: &String| {
            let by_time = ["(bucket >= ", "(ended_at >= ", "(decided_at >= "];
            line.contains("Index Cond") && by_time.iter().any(|range| line.contains(range))
        };
        assert!(plan.iter().any(is_range), "{metric:?}: {plan:#?}\n{sql}");
        assert!(
            !plan.iter().any(|line| line.contains("Seq Scan")),
            "{metric:?}: {plan:#?}"
        );
    }
}

/// Pages that people look at most are found by an index. There are many sessions here, and many of other names and people.
#[tokio::test]
async fn pages_are_found_by_an_index() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    World::on(Box::new(postgres.clone())).projected(1, 1).await;
    let client = session(&postgres.url).await;
    let set = "SET search_path = ruche_read_1; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";
    client.batch_execute(set).await.unwrap();
    let sessions = "INSERT INTO session (ledger, session, external_id, started_at, first_position, last_position, last_at, \
        provenance) SELECT decode(repeat('01', 16), 'hex'), decode(lpad(to_hex(n), 32, '0'), 'hex'), 'n' || n, n, n, n, n, \
        'imported' FROM generate_series(1, 20000) n; ANALYZE";
    client.batch_execute(sessions).await.unwrap();
    for page in pages().await {
        let sql = written_out(&page.sql, &page.params, hex);
        let plan = client.query(&format!("EXPLAIN {sql}"), &[]).await.unwrap();
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let what = page.what;
        assert!(
            plan.iter().any(|line| line.contains(page.on_postgres)),
            "{what}: {plan:#?}\n{sql}"
        );
    }
}
