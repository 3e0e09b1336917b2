//! Who may do what: each sentence of `0002_roles.sql`, said by a session with that role and no other rights.

use ruche_domain::numbers::{Epoch, LeafIndex, Position, StreamVersion};
use ruche_ledger::hash::Hash;
use ruche_ledger::right_edge::HashTile;
use ruche_ledger::seal::TreeStore;
use ruche_ledger::store::{AppendOutcome, EventStore};
use ruche_ledger::testing::{Author, appended, check_ledger, ledger};
use ruche_ledger_postgres::{OpenError, PostgresOptions, PostgresStore};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::server::Private;
use super::{Noon, database, open, open_ledger, server, session};

const TABLES: [&str; 8] = [
    "head",
    "epoch",
    "record",
    "payload",
    "stream_head",
    "idempotency",
    "tile",
    "tree_head",
];

/// A database with two ledgers of three records each, with payloads, keys, tiles and tree heads.
async fn two_ledgers(server: &str) -> String {
    let url = database(server).await;
    let store = open(&url).await;
    for n in [1, 2] {
        let author = open_ledger(&*store, n).await;
        let event = || author.event(author.stream(1), "{}");
        appended(
            store
                .append(ledger(n), author.append_keyed(1, 1, vec![event(), event()]))
                .await,
        );
    }
    let owner = session(&url).await;
    owner
        .batch_execute(
            "INSERT INTO ruche.tile SELECT ledger, 1, 0, 0, last_leaf_hash FROM ruche.head; \
             INSERT INTO ruche.tree_head SELECT ledger, 1, 3, 'x' FROM ruche.head",
        )
        .await
        .unwrap();
    store.close().await.unwrap();
    url
}

/// A session that is a role, as if it had logged in as it.
async fn as_role(url: &str, role: &str) -> Client {
    let client = session(url).await;
    let become_it = format!("SET SESSION AUTHORIZATION {role}; SET search_path = ruche");
    client.batch_execute(&become_it).await.unwrap();
    client
}

async fn of_ledger(client: &Client, n: u128) {
    let set = format!("SET ruche.ledger = '{}'", ledger(n).0);
    client.batch_execute(&set).await.unwrap();
}

async fn count(client: &Client, table: &str) -> i64 {
    let query = format!("SELECT count(*) FROM {table}");
    client.query_one(&query, &[]).await.unwrap().get(0)
}

async fn refused(client: &Client, sql: &str) {
    let refused = client.batch_execute(sql).await;
    let code = refused.as_ref().err().and_then(|error| error.code());
    assert_eq!(
        code,
        Some(&SqlState::INSUFFICIENT_PRIVILEGE),
        "{sql}: {refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_sees_one_ledger_and_writes_nothing() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let app = as_role(&url, "ruche_app").await;
    // No ledger set: nothing is there, and it is no error.
    for table in TABLES {
        assert_eq!(count(&app, table).await, 0, "{table}");
    }
    for n in [1, 2] {
        of_ledger(&app, n).await;
        for (table, rows) in TABLES.into_iter().zip([1, 1, 3, 3, 2, 1, 1, 1]) {
            assert_eq!(count(&app, table).await, rows, "{table}");
            let foreign = format!("{table} WHERE ledger <> '{}'", ledger(n).0);
            assert_eq!(count(&app, &foreign).await, 0, "{table}");
        }
    }
    // A ledger that was set for a transaction is gone with it, and leaves an empty text behind.
    app.batch_execute("RESET ruche.ledger").await.unwrap();
    let set = format!("BEGIN; SET LOCAL ruche.ledger = '{}'", ledger(1).0);
    app.batch_execute(&set).await.unwrap();
    assert_eq!(count(&app, "record").await, 3);
    app.batch_execute("COMMIT").await.unwrap();
    assert_eq!(count(&app, "record").await, 0);
    of_ledger(&app, 1).await;
    for table in TABLES {
        refused(&app, &format!("INSERT INTO {table} SELECT * FROM {table}")).await;
        refused(&app, &format!("UPDATE {table} SET ledger = ledger")).await;
        refused(&app, &format!("DELETE FROM {table}")).await;
        refused(&app, &format!("TRUNCATE {table}")).await;
    }
    refused(&app, "CREATE TABLE more (x int)").await;
    refused(&app, "SET ROLE ruche_append").await;
    refused(&app, "INSERT INTO migration VALUES (9)").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_appends_reads_no_record_and_changes_none() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let append = as_role(&url, "ruche_append").await;
    for (table, rows) in [
        ("head", 2),
        ("epoch", 2),
        ("stream_head", 4),
        ("idempotency", 2),
        ("tile", 2),
        ("tree_head", 2),
    ] {
        assert_eq!(count(&append, table).await, rows, "{table}");
        refused(&append, &format!("DELETE FROM {table}")).await;
        refused(&append, &format!("TRUNCATE {table}")).await;
    }
    for table in ["record", "payload"] {
        refused(&append, &format!("SELECT count(*) FROM {table}")).await;
        refused(&append, &format!("SELECT ledger FROM {table}")).await;
        refused(&append, &format!("COPY {table} TO STDOUT")).await;
        refused(&append, &format!("UPDATE {table} SET index = 9")).await;
        refused(&append, &format!("DELETE FROM {table}")).await;
        refused(&append, &format!("TRUNCATE {table}")).await;
    }
    // What would bring back what it inserts is a read as well.
    refused(
        &append,
        "INSERT INTO payload SELECT ledger, 1, 9, 0, last_leaf_hash, 'x' FROM head RETURNING bytes",
    )
    .await;
    for (sql, rows) in [
        ("INSERT INTO record SELECT ledger, 1, 3, 's', 0, 'x' FROM head", 2),
        (
            "INSERT INTO payload SELECT ledger, 1, 3, 0, last_leaf_hash, 'x' FROM head",
            2,
        ),
        ("UPDATE head SET size = size", 2),
        ("UPDATE stream_head SET version = version", 4),
        ("UPDATE tile SET hashes = hashes", 2),
        ("UPDATE tree_head SET size = size", 2),
    ] {
        assert_eq!(append.execute(sql, &[]).await.unwrap(), rows, "{sql}");
    }
    refused(&append, "UPDATE head SET halted = NULL").await;
    refused(&append, "UPDATE epoch SET origin = origin").await;
    refused(&append, "UPDATE idempotency SET count = count").await;
    refused(&append, "SET ROLE ruche_app").await;
}

/// What keeps a node out that does not know of a halt or a restore is not taken away by a statement that it has wrong.
#[tokio::test(flavor = "multi_thread")]
async fn who_appends_takes_no_halt_and_no_restore_away() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let owner = session(&url).await;
    let restored = "INSERT INTO ruche.restore SELECT ledger, epoch, size - 1 FROM ruche.head";
    owner.batch_execute(restored).await.unwrap();
    let append = as_role(&url, "ruche_append").await;
    let halt = "INSERT INTO halt SELECT ledger, epoch, 'behind' FROM head";
    assert_eq!(append.execute(halt, &[]).await.unwrap(), 2);
    refused(&append, "DELETE FROM halt").await;
    refused(&append, "TRUNCATE halt").await;
    refused(&append, "UPDATE halt SET epoch = 9").await;
    refused(
        &append,
        "INSERT INTO halt VALUES (gen_random_uuid(), 1, 'of no ledger')",
    )
    .await;
    refused(&append, "UPDATE head SET halted = NULL").await;
    // The function of the trigger has the rights of the owner, and writes where the table is that it is hung on.
    append
        .batch_execute("CREATE TEMP TABLE mine (ledger uuid, epoch bigint)")
        .await
        .unwrap();
    let hung = "CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION halt_head()";
    refused(&append, hung).await;
    let halted = "head WHERE halted = epoch";
    assert_eq!(count(&append, halted).await, 2);
    // One is let go, by its name.
    let release = format!("SELECT release_halt('{}')", ledger(1).0);
    append.batch_execute(&release).await.unwrap();
    assert_eq!(
        (count(&append, "halt").await, count(&append, halted).await),
        (1, 1)
    );
    for role in ["ruche_app", "ruche_eraser"] {
        refused(&as_role(&url, role).await, &release).await;
    }
    // A restore goes ledger by ledger, each once it is in a later epoch.
    let finish = "DELETE FROM restore";
    refused(&append, "TRUNCATE restore").await;
    refused(&append, "UPDATE restore SET epoch = 0").await;
    assert_eq!(append.execute(finish, &[]).await.unwrap(), 0);
    let next = format!("UPDATE ruche.head SET epoch = 2 WHERE ledger = '{}'", ledger(1).0);
    owner.batch_execute(&next).await.unwrap();
    assert_eq!(append.execute(finish, &[]).await.unwrap(), 1);
    assert_eq!(count(&append, "restore").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_erases_sees_which_payloads_there_are_and_deletes_them() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let eraser = as_role(&url, "ruche_eraser").await;
    let keys = "(SELECT ledger, epoch, index, fragment FROM payload) p";
    assert_eq!(count(&eraser, keys).await, 0);
    assert_eq!(eraser.execute("DELETE FROM payload", &[]).await.unwrap(), 0);
    of_ledger(&eraser, 1).await;
    assert_eq!(count(&eraser, keys).await, 3);
    for column in ["bytes", "opening", "*"] {
        refused(&eraser, &format!("SELECT {column} FROM payload")).await;
        refused(&eraser, &format!("DELETE FROM payload RETURNING {column}")).await;
    }
    refused(&eraser, "UPDATE payload SET index = 7").await;
    refused(
        &eraser,
        "INSERT INTO payload (ledger, epoch, index, fragment) VALUES (gen_random_uuid(), 1, 1, 1)",
    )
    .await;
    for table in TABLES.into_iter().filter(|table| *table != "payload") {
        refused(&eraser, &format!("SELECT FROM {table}")).await;
        refused(&eraser, &format!("DELETE FROM {table}")).await;
    }
    let erase = "DELETE FROM payload WHERE index = 1";
    assert_eq!(eraser.execute(erase, &[]).await.unwrap(), 1);
    let owner = session(&url).await;
    assert_eq!(count(&owner, "ruche.payload").await, 5);
    // The records are whole without it, and read so.
    let store = open(&url).await;
    assert_eq!(check_ledger(&*store, ledger(2)).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_erases_notes_archives_of_one_ledger_and_nobody_else_does() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let note = |n: u128| {
        let ledger = ledger(n).0;
        format!(
            "INSERT INTO archived_range VALUES ('{ledger}', 1, 0, 3, 'a', decode(repeat('05', 32), 'hex'))"
        )
    };
    for role in ["ruche_append", "ruche_app"] {
        let other = as_role(&url, role).await;
        of_ledger(&other, 1).await;
        for sql in [
            note(1),
            "DELETE FROM archived_range".to_owned(),
            "UPDATE archived_range SET behind = 9".to_owned(),
        ] {
            refused(&other, &sql).await;
        }
    }
    let eraser = as_role(&url, "ruche_eraser").await;
    of_ledger(&eraser, 1).await;
    refused(&eraser, &note(2)).await;
    assert_eq!(eraser.execute(&note(1), &[]).await.unwrap(), 1);
    // What is noted is made longer, and never that of another archive.
    assert_eq!(
        eraser
            .execute("UPDATE archived_range SET behind = 9", &[])
            .await
            .unwrap(),
        1
    );
    for column in ["archive", "digest", "first", "epoch", "ledger"] {
        refused(&eraser, &format!("UPDATE archived_range SET {column} = {column}")).await;
    }
    of_ledger(&eraser, 2).await;
    assert_eq!(
        eraser.execute("DELETE FROM archived_range", &[]).await.unwrap(),
        0,
        "of another ledger"
    );
    let app = as_role(&url, "ruche_app").await;
    for (n, seen) in [(1, 1), (2, 0)] {
        of_ledger(&app, n).await;
        assert_eq!(count(&app, "archived_range").await, seen);
    }
}

/// The login user of these tests may do everything. What the engine cannot do after a role lost it, it does as that role.
#[tokio::test(flavor = "multi_thread")]
async fn the_engine_has_the_rights_of_its_roles_and_no_others() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let (owner, store) = (session(&url).await, open(&url).await);
    let author = Author::new(1);
    let append = || async {
        let request = author.append(vec![author.event(author.stream(1), "{}")]);
        store.append(ledger(1), request).await.is_ok()
    };
    let read = || async { store.read_ledger(ledger(1), Position::START, 9).await.is_ok() };
    let by_stream = || async {
        let of_stream = store.read_stream(ledger(1), author.stream(1), StreamVersion(0), 9);
        of_stream.await.is_ok()
    };
    let hashes = || async {
        let hashes = store.leaf_hashes(ledger(1), Epoch(1), LeafIndex(0), 9);
        hashes.await.is_ok()
    };
    let ledgers = || async { store.ledgers().await.is_ok() };
    let put = || async {
        let hashes = vec![Hash([7; 32]); 2];
        let tile = HashTile {
            level: 1,
            index: 0,
            hashes,
        };
        store.put_tiles(ledger(1), Epoch(1), vec![tile]).await.is_ok()
    };
    let all = || async {
        let (of_records, of_streams) = (read().await, by_stream().await);
        [
            append().await,
            of_records,
            of_streams,
            hashes().await,
            ledgers().await,
            put().await,
        ]
    };
    assert_eq!(all().await, [true; 6]);
    for (right, expected) in [
        (
            "INSERT ON ruche.payload FROM ruche_append",
            [false, true, true, true, true, true],
        ),
        (
            "SELECT ON ruche.record FROM ruche_app",
            [true, false, false, false, true, true],
        ),
        (
            "SELECT ON ruche.payload FROM ruche_app",
            [true, false, false, true, true, true],
        ),
        (
            "INSERT ON ruche.tile FROM ruche_append",
            [true, true, true, true, true, false],
        ),
    ] {
        owner.batch_execute(&format!("REVOKE {right}")).await.unwrap();
        assert_eq!(all().await, expected, "{right}");
        let grant = format!("GRANT {}", right.replace("FROM", "TO"));
        owner.batch_execute(&grant).await.unwrap();
        assert_eq!(all().await, [true; 6], "{grant}");
    }
    // And a policy that shows nothing leaves nothing to read.
    owner
        .batch_execute("ALTER POLICY one_ledger ON ruche.record USING (false)")
        .await
        .unwrap();
    let records = store.read_ledger(ledger(1), Position::START, 9).await;
    assert_eq!(records, Ok(Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_role_owns_a_table_or_can_log_in() {
    let Some(server) = server() else { return };
    let url = two_ledgers(&server).await;
    let owner = session(&url).await;
    let owned = "pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname LIKE 'ruche\\_%'";
    assert_eq!(count(&owner, owned).await, 0);
    let able = "pg_roles WHERE rolname IN ('ruche_append', 'ruche_app', 'ruche_eraser') \
                AND (rolcanlogin OR rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb)";
    assert_eq!(count(&owner, able).await, 0);
    // Every table that names ledgers is guarded, if a role that is bound to one of them may touch it.
    let open = "pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'ledger' \
                CROSS JOIN unnest(ARRAY['ruche_app', 'ruche_eraser']) AS r(role) \
                WHERE c.relnamespace = 'ruche'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relrowsecurity \
                AND (has_table_privilege(role, c.oid, 'SELECT, INSERT, UPDATE, DELETE') \
                OR has_any_column_privilege(role, c.oid, 'SELECT, INSERT, UPDATE'))";
    assert_eq!(count(&owner, open).await, 0);
    // The ledger of a policy is computed once for a statement, and records are found by their keys.
    let app = as_role(&url, "ruche_app").await;
    of_ledger(&app, 1).await;
    app.batch_execute("SET enable_seqscan = off").await.unwrap();
    let explain = format!(
        "EXPLAIN SELECT epoch, index, leaf FROM record WHERE ledger = '{}' AND (epoch, index) >= (1, 0) \
         ORDER BY epoch, index LIMIT 10",
        ledger(1).0
    );
    let plan = app.query(&explain, &[]).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let plan = plan.join("\n");
    assert!(plan.contains("InitPlan"), "{plan}");
    assert!(plan.contains("Index Scan using record_pkey"), "{plan}");
    assert!(plan.contains("ROW(epoch, index) >= ROW(1, 0)"), "{plan}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_user_without_rights_is_told_what_an_administrator_runs() {
    let Some(shared) = server() else { return };
    let private = Private::start(&shared, "", |_| ()).await;
    let admin = session(&private.url()).await;
    admin
        .batch_execute("CREATE ROLE \"plain user\" LOGIN")
        .await
        .unwrap();
    admin
        .batch_execute("CREATE DATABASE plain OWNER \"plain user\"")
        .await
        .unwrap();
    let url = private
        .url()
        .replace("ruche@", "plain%20user@")
        .replace("/postgres", "/plain");
    let clock = || std::sync::Arc::new(Noon);
    let refused = PostgresStore::open(clock(), PostgresOptions::new(&url)).await;
    let Err(OpenError::Roles { sql }) = refused else {
        panic!("it opened, or failed otherwise: {:?}", refused.err());
    };
    admin.batch_execute(&sql).await.unwrap();
    let store = PostgresStore::open(clock(), PostgresOptions::new(&url))
        .await
        .unwrap();
    let author = open_ledger(&store, 1).await;
    let request = || author.append_keyed(1, 1, vec![author.event(author.stream(1), "{}")]);
    let first = appended(store.append(ledger(1), request()).await);
    let again = store.append(ledger(1), request()).await.unwrap();
    assert!(
        matches!(&again, AppendOutcome::Appended { receipts, duplicate: true } if *receipts == first),
        "{again:?}"
    );
    assert_eq!(check_ledger(&store, ledger(1)).await, 2);
    assert_eq!(store.ledgers().await, Ok(vec![ledger(1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_of_one_cluster_make_the_roles_at_the_same_time() {
    let Some(shared) = server() else { return };
    let private = Private::start(&shared, "", |_| ()).await;
    let admin = session(&private.url()).await;
    let mut urls = Vec::new();
    admin
        .batch_execute("CREATE ROLE maker LOGIN CREATEROLE")
        .await
        .unwrap();
    for n in 0..8 {
        admin
            .batch_execute(&format!("CREATE DATABASE many_{n} OWNER maker"))
            .await
            .unwrap();
        let url = private.url().replace("ruche@", "maker@");
        urls.push(url.replace("/postgres", &format!("/many_{n}")));
    }
    let opening = urls
        .iter()
        .flat_map(|url| [url, url])
        .map(|url| PostgresStore::open(std::sync::Arc::new(Noon), PostgresOptions::new(url)));
    for opened in futures_util::future::join_all(opening).await {
        opened.unwrap();
    }
}
