//! Making the schema, and who may.

use ruche_projections::testing::contract;
use ruche_projections::testing::world::World;
use ruche_projections_postgres::{OpenError, PostgresReadStore, migrate};

use crate::common::{Postgres, database, pool, pool_of, server, session, skipped, with_user};

#[tokio::test]
async fn a_database_that_is_not_migrated_or_too_new_is_refused() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let error = PostgresReadStore::open(pool(&url)).await.err().unwrap();
    assert!(
        matches!(error, OpenError::NotMigrated { found: 0, needed: 25 }),
        "{error}"
    );
    let mut client = session(&url).await;
    migrate(&mut client).await.unwrap();
    migrate(&mut client).await.unwrap();
    PostgresReadStore::open(pool(&url)).await.unwrap();
    client
        .batch_execute("INSERT INTO ruche_read.migration VALUES (99)")
        .await
        .unwrap();
    let error = migrate(&mut client).await.unwrap_err();
    assert!(
        matches!(error, OpenError::Newer { found: 99, known: 25 }),
        "{error}"
    );
    let error = PostgresReadStore::open(pool(&url)).await.err().unwrap();
    assert!(
        matches!(error, OpenError::Newer { found: 99, known: 25 }),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_start_at_once_migrate_once() {
    let Some(server) = server() else { return };
    let urls = [database(&server).await, database(&server).await];
    let mut nodes = Vec::new();
    for url in urls.iter().cycle().take(8) {
        let url = url.clone();
        nodes.push(tokio::spawn(
            async move { migrate(&mut session(&url).await).await },
        ));
    }
    for node in nodes {
        node.await.unwrap().unwrap();
    }
    for url in urls {
        contract::run(&PostgresReadStore::open(pool(&url)).await.unwrap()).await;
    }
}

#[tokio::test]
async fn a_pool_that_is_too_small_is_refused() {
    if skipped() {
        return;
    }
    let postgres = Postgres::new().await;
    let error = PostgresReadStore::open(pool_of(&postgres.url, 7))
        .await
        .err()
        .unwrap();
    assert!(
        matches!(error, OpenError::SmallPool { found: 7, least: 8 }),
        "{error}"
    );
    PostgresReadStore::open(pool_of(&postgres.url, 8)).await.unwrap();
}

/// A user that may make no roles is told what to ask for; with that alone everything works, a rebuild too.
#[tokio::test]
async fn a_user_without_rights_needs_one_statement_of_an_administrator() {
    let Some(server) = server() else { return };
    // The role is there, if no other test has made it.
    migrate(&mut session(&database(&server).await).await)
        .await
        .unwrap();
    let url = database(&server).await;
    let admin = session(&url).await;
    let user = format!("plain_{}", std::process::id());
    let name = url.rsplit('/').next().unwrap();
    let make = format!("CREATE ROLE {user} LOGIN PASSWORD 'plain'; ALTER DATABASE {name} OWNER TO {user}");
    admin.batch_execute(&make).await.unwrap();
    let own = with_user(&url, &user, "plain");
    let error = migrate(&mut session(&own).await).await.unwrap_err();
    let OpenError::Role { sql, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        *sql,
        format!("CREATE ROLE ruche_app NOLOGIN; GRANT ruche_app TO {user};")
    );
    let grant = sql.split_once("; ").unwrap().1;
    admin.batch_execute(grant).await.unwrap();
    let mut client = session(&own).await;
    migrate(&mut client).await.unwrap();
    let models = PostgresReadStore::open(pool(&own)).await.unwrap();
    let postgres = Postgres { url: own, models };
    let world = World::on(Box::new(postgres.clone()));
    world.projected(20, 1).await;
    assert!(world.rebuilt().await.switched);
    contract::run(&postgres.models).await;
}

/// A pooler in transaction mode hands the same session to another program at once. So after steps that were applied,
/// refused and stale, queries and a rebuild, no session holds anything.
#[tokio::test]
async fn nothing_outlives_a_transaction() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    migrate(&mut session(&url).await).await.unwrap();
    let pool = pool(&url);
    let models = PostgresReadStore::open(pool.clone()).await.unwrap();
    contract::run(&models).await;
    let url = database(&server).await;
    migrate(&mut session(&url).await).await.unwrap();
    let clean = pool_of(&url, 12);
    let models = PostgresReadStore::open(clean.clone()).await.unwrap();
    let world = World::on(Box::new(Postgres { url, models }));
    world.projected(1, 4).await;
    assert!(world.rebuilt().await.switched);
    for pool in [pool, clean] {
        let mut looked_at = Vec::new();
        while pool.status().available > 0 {
            let session = pool.get().await.unwrap();
            let sql = "SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('role'), \
                current_setting('search_path'), coalesce(current_setting('ruche.ledger', true), ''), \
                (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')";
            let row = session.query_typed_one(sql, &[]).await.unwrap();
            assert_eq!(
                (row.get::<_, i64>(0), row.get::<_, i64>(4)),
                (0, 0),
                "statements and locks"
            );
            let settings: [&str; 3] = [row.get(1), row.get(2), row.get(3)];
            assert_eq!(settings, ["none", "\"$user\", public", ""]);
            looked_at.push(session);
        }
        assert!(!looked_at.is_empty());
    }
}
