//! How sessions are made: what is taken from the URL, what is refused, and that TLS is TLS.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ruche_ledger::store::{EventStore, StoreError};
use ruche_ledger::testing::check_ledger;
use ruche_ledger::testing::ledger;
use ruche_ledger_postgres::{Database, OpenError, PostgresOptions, PostgresStore};
use tokio_postgres::Client;

use super::server::{Private, own, until};
use super::{Noon, database, open, open_ledger, server, session};

fn parse(url: &str) -> Result<Database, OpenError> {
    Database::parse(&PostgresOptions::new(url))
}

#[test]
fn what_a_url_says_is_taken_or_refused_by_name() {
    let base = "postgresql://user:p%40ss?word@host/db";
    for (parameters, expected) in [
        ("sslmode=allow", "sslmode=allow"),
        ("sslmode=verify_full", "sslmode=verify_full"),
        (
            "sslrootcert=/does/not/exist&sslmode=verify-full",
            "/does/not/exist",
        ),
        ("options=-c%20role%3Dpostgres", "sets role"),
        ("options=--search-path%3Dpublic", "sets search_path"),
        ("options=-csearch_path%3Dpublic", "sets search_path"),
        (
            "options=-c%20default_transaction_read_only%3Don",
            "default_transaction_read_only",
        ),
        ("options=-B%205", "`-B`"),
        ("options=-c", "`-c`"),
        ("target_session_attrs=read-only", "read-only"),
        ("sslcert=%2", "sslcert"),
        ("sslmode=%2", "percent sign"),
    ] {
        let error = parse(&format!("{base}?{parameters}")).err();
        let error = error.unwrap_or_else(|| panic!("{parameters} was taken"));
        let mut text = error.to_string();
        if let OpenError::Database { source, .. } = &error {
            text = std::error::Error::source(source).map_or(text, ToString::to_string);
        }
        assert!(text.contains(expected), "{parameters}: {text}");
        assert!(!text.contains("ss?word"), "{parameters}: {text}");
    }
    for parameters in ["unknown=1", "gssencmode=disable", "sslkey=/k", "krbsrvname=x"] {
        let Err(OpenError::Database { source, .. }) = parse(&format!("{base}?{parameters}")) else {
            panic!("{parameters} was taken");
        };
        let name = parameters.split('=').next().unwrap();
        let text = std::error::Error::source(&source).unwrap().to_string();
        assert!(text.contains(name), "{text}");
    }
    for weaker in ["off", "local", "remote_write", "OFF"] {
        for form in ["-c%20synchronous_commit%3D", "--synchronous-commit%3D"] {
            let refused = parse(&format!("{base}?options={form}{weaker}"));
            assert!(
                matches!(&refused, Err(OpenError::NotDurable { setting: "synchronous_commit", value }) if value == weaker),
                "{weaker}: {:?}",
                refused.err()
            );
        }
    }
    for taken in [
        "",
        "?sslmode=disable&connect_timeout=3&options=-c%20work_mem%3D8MB%20--synchronous_commit%3Dremote_apply",
        "?sslmode=prefer&target_session_attrs=read-write&keepalives_idle=10",
    ] {
        let taken = parse(&format!("{base}{taken}"));
        assert!(taken.is_ok(), "{:?}", taken.err());
    }
    let read_url = |read_url: &str| {
        Database::parse(&PostgresOptions {
            read_url: Some(read_url.into()),
            ..PostgresOptions::new(base)
        })
    };
    assert!(read_url("postgresql://pooler/db").is_ok());
    assert!(read_url("postgresql://pooler/db?options=-c%20work_mem%3D8MB").is_err());
}

async fn setting(client: &Client, name: &str) -> String {
    let query = format!("SHOW {name}");
    client.query_one(&query, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_set_alike_whatever_the_server_says() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let owner = session(&url).await;
    owner
        .batch_execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); \
             EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation = serializable', current_database()); \
             EXECUTE format('ALTER DATABASE %I SET statement_timeout = 1', current_database()); END $$",
        )
        .await
        .unwrap();
    let database = parse(&url).unwrap();
    let pool = database.pool(1).unwrap();
    let client = database.connect().await.unwrap();
    let pooled = pool.get().await.unwrap();
    for client in [&client, &**pooled] {
        for (name, expected) in [
            ("synchronous_commit", "on"),
            ("default_transaction_isolation", "read committed"),
            ("statement_timeout", "30s"),
            ("lock_timeout", "10s"),
            ("idle_in_transaction_session_timeout", "10s"),
            ("application_name", "ruche"),
        ] {
            assert_eq!(setting(client, name).await, expected, "{name}");
        }
    }
    let stronger = format!(
        "{url}?application_name=mine&options=-c%20synchronous_commit%3Dremote_apply%20-c%20work_mem%3D8MB"
    );
    let client = parse(&stronger).unwrap().connect().await.unwrap();
    for (name, expected) in [
        ("synchronous_commit", "remote_apply"),
        ("work_mem", "8MB"),
        ("application_name", "mine"),
    ] {
        assert_eq!(setting(&client, name).await, expected, "{name}");
    }
    // And a store lives with both.
    for url in [&url, &stronger] {
        let store = open(url).await;
        if url == &stronger {
            assert_eq!(check_ledger(&*store, ledger(1)).await, 1);
        } else {
            open_ledger(&*store, 1).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_loses_data_is_refused_at_each_connection_that_writes() {
    let Some(shared) = server() else { return };
    let private = Private::start(&shared, "", |_| ()).await;
    let url = private.url();
    let admin = session(&url).await;
    let store = open(&url).await;
    open_ledger(&*store, 1).await;
    for name in ["fsync", "full_page_writes"] {
        admin
            .batch_execute(&format!("ALTER SYSTEM SET {name} = off"))
            .await
            .unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        until("the setting is off", || async {
            setting(&session(&url).await, name).await == "off"
        })
        .await;
        let refused = parse(&url).unwrap().connect().await;
        assert!(
            matches!(&refused, Err(OpenError::NotDurable { setting, .. }) if *setting == name),
            "{name}"
        );
        assert!(parse(&url).unwrap().pool(1).unwrap().get().await.is_err());
        let meant = PostgresOptions {
            allow_no_fsync: true,
            ..PostgresOptions::new(&url)
        };
        assert!(Database::parse(&meant).unwrap().connect().await.is_ok());
        // A node that was running all the time finds out when it connects again.
        admin
            .batch_execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ruche'",
            )
            .await
            .unwrap();
        let author = ruche_ledger::testing::Author::new(1);
        let request = || author.append(vec![author.event(author.stream(1), "{}")]);
        until("the append is refused for it", || async {
            let outcome = ruche_ledger::store::EventStore::append(&*store, ledger(1), request()).await;
            outcome.is_err_and(|error| error.to_string().contains(name))
        })
        .await;
        let reset = format!("ALTER SYSTEM SET {name} = on");
        admin.batch_execute(&reset).await.unwrap();
        admin.batch_execute("SELECT pg_reload_conf()").await.unwrap();
        until("it is taken again", || async {
            ruche_ledger::store::EventStore::append(&*store, ledger(1), request())
                .await
                .is_ok()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_primary_is_found_and_a_standby_is_refused() {
    let Some(shared) = server() else { return };
    // A standby without a primary: it waits for one for ever, and answers reads meanwhile.
    let standby = Private::start(&shared, "hot_standby = on", |data| {
        std::fs::write(data.join("standby.signal"), "").unwrap();
    })
    .await;
    let primary = Private::start(&shared, "", |_| ()).await;
    until("the standby answers", || async {
        tokio_postgres::connect(&standby.url(), tokio_postgres::NoTls)
            .await
            .is_ok()
    })
    .await;
    assert!(parse(&standby.url()).unwrap().connect().await.is_err());
    assert!(
        parse(&standby.url())
            .unwrap()
            .pool(1)
            .unwrap()
            .get()
            .await
            .is_err()
    );
    let host = |url: &str| url.split_once('@').unwrap().1.replace("/postgres", "");
    let both = format!(
        "postgresql://ruche@{},{}/postgres",
        host(&standby.url()),
        host(&primary.url())
    );
    assert!(parse(&standby.url()).unwrap().try_to_write().await.is_err());
    parse(&both).unwrap().try_to_write().await.unwrap();
    let client = parse(&both).unwrap().connect().await.unwrap();
    let row = client.query_one("SELECT pg_is_in_recovery()", &[]).await.unwrap();
    assert!(!row.get::<_, bool>(0));
    let store = open(&both).await;
    open_ledger(&*store, 1).await;
    assert_eq!(check_ledger(&*store, ledger(1)).await, 1);
    // A pooler that leads to a standby by now.
    let options = PostgresOptions {
        read_url: Some(standby.url()),
        ..PostgresOptions::new(both)
    };
    let store = PostgresStore::open(Arc::new(Noon), options).await.unwrap();
    let read = store.head(ledger(1)).await;
    assert!(
        matches!(&read, Err(StoreError::Unavailable { reason }) if reason.contains("recovery")),
        "{read:?}"
    );
}

/// That the server keeps the rows in a file is what the try rests on: a server that does not would never tell.
#[tokio::test(flavor = "multi_thread")]
async fn a_try_for_room_writes_a_file_of_a_mebibyte_and_leaves_nothing() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let owner = session(&url).await;
    let of = "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()";
    let written = || async { owner.query_one(of, &[]).await.unwrap().get::<_, i64>(0) };
    assert_eq!(written().await, 0);
    parse(&url).unwrap().try_for_room().await.unwrap();
    until("a file was written", || async { written().await >= 1_048_576 }).await;
    let left = owner.query("SELECT pg_ls_tmpdir()", &[]).await.unwrap();
    assert!(left.is_empty(), "{} files", left.len());
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// Makes a root, another root, and the certificate of a server called `localhost`.
fn certificates(data: &Path) {
    for name in ["root", "stranger"] {
        openssl(
            data,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out {name}.crt"
            ),
        );
    }
    openssl(
        data,
        "req -newkey rsa:2048 -nodes -subj /CN=server -keyout server.key -out server.csr",
    );
    std::fs::write(data.join("san"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        data,
        "x509 -req -in server.csr -CA root.crt -CAkey root.key -CAcreateserial -days 2 -extfile san -out server.crt",
    );
    for name in ["server.key", "server.crt"] {
        own(&data.join(name));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sslmode_is_what_it_says() {
    let Some(shared) = server() else { return };
    let mut folder = std::path::PathBuf::new();
    let private = Private::start(&shared, "ssl = on", |data| {
        certificates(data);
        data.clone_into(&mut folder);
    })
    .await;
    let plain = Private::start(&shared, "ssl = off", |_| ()).await;
    let root = |name: &str| format!("sslrootcert={}", folder.join(format!("{name}.crt")).display());
    let by_name = |url: &str| url.replace("127.0.0.1", "localhost");
    let cases = [
        // Host by its name, parameters, whether the session is encrypted, or `None` if there is none.
        (false, "sslmode=disable".to_owned(), Some(false)),
        (false, String::new(), Some(true)),
        (false, "sslmode=prefer".to_owned(), Some(true)),
        (false, "sslmode=require".to_owned(), Some(true)),
        (false, format!("sslmode=require&{}", root("root")), Some(true)),
        (false, format!("sslmode=require&{}", root("stranger")), None),
        (false, format!("sslmode=verify-ca&{}", root("root")), Some(true)),
        (true, format!("sslmode=verify-ca&{}", root("stranger")), None),
        (true, format!("sslmode=verify-full&{}", root("root")), Some(true)),
        (true, format!("{}&sslmode=verify-full", root("stranger")), None),
        // The certificate names `localhost`, and not the address.
        (false, format!("sslmode=verify-full&{}", root("root")), None),
    ];
    for (named, parameters, encrypted) in cases {
        let url = if named {
            by_name(&private.url())
        } else {
            private.url()
        };
        let found = is_encrypted(&format!("{url}?{parameters}")).await;
        assert_eq!(found, encrypted, "{url}?{parameters}");
    }
    // A server without TLS: only who does not insist gets a session.
    for (mode, encrypted) in [
        ("disable", Some(false)),
        ("prefer", Some(false)),
        ("require", None),
    ] {
        let url = format!("{}?sslmode={mode}", plain.url());
        assert_eq!(is_encrypted(&url).await, encrypted, "{mode}");
    }
    let url = format!("{}?sslmode=verify-full&{}", by_name(&private.url()), root("root"));
    let store = PostgresStore::open(Arc::new(Noon), PostgresOptions::new(&url))
        .await
        .unwrap();
    open_ledger(&store, 1).await;
    assert_eq!(check_ledger(&store, ledger(1)).await, 1);
    let open = session(&private.url()).await;
    let query = "SELECT count(*), count(*) FILTER (WHERE s.ssl) FROM pg_stat_activity a \
                 JOIN pg_stat_ssl s USING (pid) WHERE a.application_name = 'ruche'";
    // The sessions of the cases above go a moment after their clients.
    let mut looks = 0;
    loop {
        let row = open.query_one(query, &[]).await.unwrap();
        let (all, encrypted): (i64, i64) = (row.get(0), row.get(1));
        if all > 2 && all == encrypted {
            break;
        }
        looks += 1;
        assert!(looks < 2_000, "{encrypted} of {all} are encrypted");
    }
}

async fn is_encrypted(url: &str) -> Option<bool> {
    let client = parse(url).unwrap().connect().await.ok()?;
    let query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    Some(client.query_one(query, &[]).await.unwrap().get(0))
}
