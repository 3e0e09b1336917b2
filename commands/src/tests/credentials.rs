//! What a credential was given is its own: leases, permits and answers are no use to another one that read them.

use ruche_domain::envelope::Actor;
use ruche_domain::side_effect::SideEffectPolicy;
use uuid::Uuid;

use super::effects::{done, started};
use super::tool_calls::{World, types};
use super::undoing::{report_undone, undoing};
use crate::command::{Command, CommandReceipt};
use crate::error::CommandError;
use crate::governed::*;
use crate::session::StartSession;

impl World {
    /// The same tenant's other credential sends it.
    async fn send_as_other<C: Command>(
        &self,
        key: &str,
        command: &C,
    ) -> Result<CommandReceipt, CommandError> {
        let mut context = self.ledger.context.with_key(key);
        context.actor = Actor {
            reference: Some(Uuid::from_u128(0xB0B)),
            ..context.actor
        };
        self.ledger.commands.execute(&context, command).await
    }

    async fn refuses_the_other<C: Command>(&self, key: &str, command: &C, field: &str) {
        let before = self.ledger.size().await;
        let refused = self.send_as_other(key, command).await.unwrap_err();
        assert_eq!(refused.path(), Some(vec![field.to_owned()]), "{refused}");
        assert!(refused.to_string().contains("another credential"), "{refused}");
        assert_eq!(self.ledger.size().await, before);
    }
}

#[tokio::test]
async fn a_lease_that_was_read_in_the_ledger_is_no_lease() {
    let world = World::on("api").await;
    world.register("book", SideEffectPolicy::Idempotent).await;
    let call = world.proposed("a", "book", "7").await;
    let start = world.start(call);
    world.refuses_the_other("other-start", &start, "lease").await;
    let start = world.send("b", &start).await.unwrap();
    let report = world.report(call, started(&start).0, done("booked"));
    world.refuses_the_other("other-report", &report, "lease").await;
    let (lane, turn, lease) = (world.lane(), world.turn, world.lease.clone());
    let beat = HeartbeatTurn { lane, turn, lease };
    world.refuses_the_other("other-beat", &beat, "lease").await;
    let propose = world.propose("book", Some("8"));
    world.refuses_the_other("other-propose", &propose, "lease").await;
    // Whoever was given it goes on.
    world.send("c", &report).await.unwrap();
}

#[tokio::test]
async fn a_try_at_undoing_is_reported_by_who_began_it() {
    let (world, call) = undoing().await;
    let lane = world.lane();
    let begun = world
        .send("begin", &StartCompensation { lane, call })
        .await
        .unwrap();
    let report = report_undone(&world, call, begun.events[0].receipt.position);
    world.refuses_the_other("other", &report, "permit").await;
    let undone = world.send("own", &report).await.unwrap();
    assert!(types(&undone).contains(&"tool.compensated"));
}

#[tokio::test]
async fn an_idempotency_key_is_one_of_each_credential() {
    let world = World::on("api").await;
    let first = world.send("k", &StartSession::new("one")).await.unwrap();
    let again = world.send("k", &StartSession::new("one")).await.unwrap();
    assert!(again.duplicate);
    assert_eq!(again.receipts(), first.receipts());
    // The other one's key is another key, for this request and for others.
    let other = world.send_as_other("k", &StartSession::new("two")).await.unwrap();
    assert!(!other.duplicate);
    assert_ne!(other.receipts(), first.receipts());
    let mismatch = world.send("k", &StartSession::new("two")).await.unwrap_err();
    assert!(
        matches!(mismatch, CommandError::IdempotencyMismatch),
        "{mismatch}"
    );
}
