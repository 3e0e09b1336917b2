//! A server that takes connections and answers nothing: whoever waits for it is told in time, and nothing has to be restarted
//! when it goes on, or when another one takes its place.

use futures_util::future::join_all;
use ruche_ledger::halts::Halts;
use ruche_ledger::lease::Leases;
use ruche_ledger::seal::{TreeHeadStore, TreeHeadStoreError};
use ruche_ledger::store::StoreError;
use ruche_ledger::testing::ledger;
use ruche_ledger_postgres::{
    OpenError, PostgresHalts, PostgresLeases, PostgresTreeHeads, TREE_HEAD_CONNECTIONS,
};
use uuid::Uuid;

use super::many::{ORIGIN, at, signed, tree_heads};
use super::proxy::{Fault, On, Proxy};
use super::server::{Private, until};
use super::support::soon;
use super::{open, server, session};

/// What is asked of a server beside the records.
struct Asked {
    heads: PostgresTreeHeads,
    halts: PostgresHalts,
    leases: PostgresLeases,
}

impl Asked {
    /// All sessions that it may have, idle.
    async fn of(url: &str) -> Self {
        let asked = Self {
            heads: at(&heads_of(url)).tree_heads(),
            halts: at(url).halts(),
            leases: at(url).leases(Uuid::from_u128(1)),
        };
        for at_once in join_all((0..TREE_HEAD_CONNECTIONS).map(|_| asked.heads.latest(ORIGIN))).await {
            at_once.unwrap();
        }
        assert!(asked.answers().await);
        asked
    }

    async fn answers(&self) -> bool {
        let (ledgers, origin) = ([ledger(1)], "test.example/other/e1");
        let (head, halts, leases) = tokio::join!(
            self.heads.latest(origin),
            self.halts.halted(),
            self.leases.tend(&ledgers)
        );
        head.is_ok() && halts.is_ok() && leases.is_ok()
    }

    /// More of each than it has sessions, so that some wait for others.
    async fn is_refused(&self) {
        let ledgers = [ledger(1)];
        let heads = join_all((0..=TREE_HEAD_CONNECTIONS).map(|_| self.heads.latest(ORIGIN)));
        let halts = join_all((0..2).map(|_| self.halts.halted()));
        let leases = join_all((0..2).map(|_| self.leases.tend(&ledgers)));
        let (heads, halts, leases) = soon(async { tokio::join!(heads, halts, leases) }).await;
        for head in heads {
            assert!(
                matches!(head, Err(TreeHeadStoreError::Unavailable(_))),
                "{head:?}"
            );
        }
        for halts in halts {
            assert!(matches!(halts, Err(StoreError::Unavailable { .. })), "{halts:?}");
        }
        for leases in leases {
            assert!(
                matches!(leases, Err(StoreError::Unavailable { .. })),
                "{leases:?}"
            );
        }
    }
}

/// The database of tree heads beside that of the ledgers.
fn heads_of(url: &str) -> String {
    url.replace("/postgres", "/heads")
}

/// A server with both databases.
async fn private(shared: &str) -> (Private, PostgresTreeHeads) {
    let private = Private::start(shared, "", |_| ()).await;
    let url = private.url();
    open(&url).await;
    let owner = session(&url).await;
    owner.batch_execute("CREATE DATABASE heads").await.unwrap();
    let heads = tree_heads(&heads_of(&url)).await;
    (private, heads)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_server_is_told_in_time_and_used_again_when_it_goes_on() {
    let Some(shared) = server() else { return };
    let (private, _) = private(&shared).await;
    let asked = Asked::of(&private.url()).await;
    let frozen = private.freeze();
    asked.is_refused().await;
    drop(frozen);
    until("it goes on", || asked.answers()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_server_that_was_replaced_is_given_up() {
    let Some(shared) = server() else { return };
    let ((old, _), (new, heads)) = (private(&shared).await, private(&shared).await);
    let promised = signed(ORIGIN, 4, 1);
    heads.compare_and_swap(ORIGIN, None, &promised).await.unwrap();
    let proxy = Proxy::start(&old.url()).await;
    let asked = Asked::of(&proxy.url(&old.url())).await;
    // It is never heard of again, and its connections do not end.
    let _frozen = old.freeze();
    asked.is_refused().await;
    proxy.move_to(&new.url());
    until("the other one is used", || asked.answers()).await;
    assert_eq!(asked.heads.latest(ORIGIN).await, Ok(Some(promised)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_try_for_room_at_a_server_that_was_replaced_is_given_up() {
    let Some(shared) = server() else { return };
    let (old, new) = (
        Private::start(&shared, "", |_| ()).await,
        Private::start(&shared, "", |_| ()).await,
    );
    let proxy = Proxy::start(&old.url()).await;
    proxy.arm(On::Run("generate_series"), Fault::StallRequest);
    let database = at(&proxy.url(&old.url()));
    let tried = tokio::spawn(async move { database.try_for_room().await });
    until("it hangs", || async { proxy.happened() == 1 }).await;
    proxy.move_to(&new.url());
    let tried = soon(tried).await.unwrap();
    assert!(matches!(tried, Err(OpenError::NoAnswer { .. })), "{tried:?}");
}
