//! What was promised does not go back, whoever writes: said in SQL, past the engine.

use ruche_ledger::seal::TreeHeadStore;
use ruche_ledger::tree_head::SignedTreeHead;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::many::{ORIGIN, signed, tree_heads};
use super::{database, server, session};

const UPDATE: &str = "UPDATE ruche_tree_heads.tree_head SET size = $1, note = $2";

async fn update(client: &Client, size: i64, head: &SignedTreeHead) -> Result<u64, Option<SqlState>> {
    let updated = client.execute(UPDATE, &[&size, &head.as_bytes()]).await;
    updated.map_err(|error| error.code().cloned())
}

#[tokio::test]
async fn a_promise_goes_neither_back_nor_away_in_sql() {
    let Some(server) = server() else { return };
    let url = database(&server).await;
    let heads = tree_heads(&url).await;
    let promised = signed(ORIGIN, 4, 1);
    heads.compare_and_swap(ORIGIN, None, &promised).await.unwrap();
    let owner = session(&url).await;
    let (back, wrong) = (
        Err(Some(SqlState::RESTRICT_VIOLATION)),
        Err(Some(SqlState::CHECK_VIOLATION)),
    );
    assert_eq!(update(&owner, 3, &signed(ORIGIN, 3, 1)).await, back, "it shrinks");
    assert_eq!(
        update(&owner, 4, &signed(ORIGIN, 4, 2)).await,
        back,
        "another root"
    );
    assert_eq!(
        update(&owner, 9, &signed(ORIGIN, 3, 1)).await,
        wrong,
        "only the note shrinks"
    );
    let other = signed("test.example/b/e1", 9, 1);
    assert_eq!(update(&owner, 9, &other).await, wrong, "of another log");
    for (sql, code) in [
        (
            "UPDATE ruche_tree_heads.tree_head SET origin = 'x'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE ruche_tree_heads.tree_head SET size = 9",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "UPDATE ruche_tree_heads.tree_head SET note = 'x'",
            SqlState::CHECK_VIOLATION,
        ),
        (
            "DELETE FROM ruche_tree_heads.tree_head",
            SqlState::RESTRICT_VIOLATION,
        ),
        (
            "TRUNCATE ruche_tree_heads.tree_head",
            SqlState::RESTRICT_VIOLATION,
        ),
        (
            "UPDATE ruche_tree_heads.identity SET id = gen_random_uuid()",
            SqlState::RESTRICT_VIOLATION,
        ),
        (
            "DELETE FROM ruche_tree_heads.identity",
            SqlState::RESTRICT_VIOLATION,
        ),
        ("TRUNCATE ruche_tree_heads.identity", SqlState::RESTRICT_VIOLATION),
    ] {
        let refused = owner.batch_execute(sql).await;
        let found = refused.as_ref().err().and_then(|error| error.code());
        assert_eq!(found, Some(&code), "{sql}: {refused:?}");
    }
    // A whole row of another log is what an origin that changes would look like.
    let renamed = "UPDATE ruche_tree_heads.tree_head SET origin = $1, size = $2, note = $3";
    let renamed = owner
        .execute(renamed, &[&"test.example/b/e1", &9_i64, &other.as_bytes()])
        .await;
    let code = renamed.as_ref().err().and_then(|error| error.code());
    assert_eq!(code, Some(&SqlState::RESTRICT_VIOLATION), "{renamed:?}");
    assert_eq!(heads.latest(ORIGIN).await, Ok(Some(promised.clone())));
    // The same promise again, and a larger one, are what sealers write.
    assert_eq!(update(&owner, 4, &promised).await, Ok(1));
    assert_eq!(update(&owner, 5, &signed(ORIGIN, 5, 2)).await, Ok(1));
}
