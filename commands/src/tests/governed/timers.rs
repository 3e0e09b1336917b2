//! Timers that fire with nobody claiming, and claims by agent.

use super::*;

const SECOND: u64 = 1_000;

impl World {
    fn id(&self) -> ruche_domain::ids::LaneId {
        let ledger = self.ledger.context.ledger;
        self.lane()
            .id(&self.ledger.commands.secrets_of(ledger).references)
    }

    async fn fire(&self, key: &str) -> Result<CommandReceipt, CommandError> {
        self.send(key, &FireTimers { lane: self.id() }).await
    }

    fn claim_of(&self, agent: &str, channel: Option<&str>, lane: bool) -> ClaimTurnOfAgent {
        ClaimTurnOfAgent {
            agent: agent.to_owned(),
            channel: channel.map(str::to_owned),
            brain_build: None,
            lane: lane.then(|| self.id()),
        }
    }
}

#[tokio::test]
async fn a_window_closes_though_nobody_claims_and_under_the_settings_of_its_channel() {
    let world = World::on("web").await;
    world.send("a", &world.message("m-1", "hello")).await.unwrap();
    let early = world.fire("t-1").await.unwrap_err();
    assert_eq!(early.code(), "ILLEGAL_TRANSITION", "the window is open");
    world.wait_ms(600);
    let fired = world.fire("t-2").await.unwrap();
    assert_eq!(
        types(&fired),
        ["turn.sealed", "config.effective_resolved", "turn.readied"]
    );
    assert!(
        fired
            .events
            .iter()
            .all(|event| event.event.actor == Actor::SYSTEM)
    );
    let pinned = fired.events[1].agent_event().unwrap();
    let Some(ruche_domain::event::AgentEvent::ConfigEffectiveResolved(pinned)) = pinned else {
        panic!("{pinned:?}");
    };
    assert_eq!(
        pinned.values["debounce_us"], 600_000,
        "the lane's events say its channel"
    );
    assert!(world.fire("t-3").await.is_err(), "it fires once");
}

#[tokio::test]
async fn leases_lapse_until_the_attempts_run_out_and_each_timer_fires_once() {
    let world = World::on("api").await;
    world.send("a", &world.message("m-1", "hello")).await.unwrap();
    for attempt in 1..=3 {
        let key = format!("claim-{attempt}");
        world.send(&key, &world.claim()).await.unwrap();
        world.wait_ms(31 * SECOND);
        let (key_a, key_b) = (format!("a-{attempt}"), format!("b-{attempt}"));
        let (one, other) = tokio::join!(world.fire(&key_a), world.fire(&key_b));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let fired = one.or(other).unwrap();
        let then: &[&str] = match attempt {
            3 => &["turn.failed", "infra.manual_intervention_required"],
            _ => &["turn.readied"],
        };
        assert_eq!(types(&fired)[1..], *then);
        world.wait_ms(SECOND * attempt);
    }
    let records = world.records().await;
    let lapsed = records
        .iter()
        .filter(|record| record.leaf.event.event_type == "infra.lease_expired");
    assert_eq!(lapsed.count(), 3);
}

#[tokio::test]
async fn a_claim_of_an_agent_takes_only_turns_of_it_and_its_key_gives_the_same_again() {
    let world = World::on("api").await;
    world.send("a", &world.message("m-1", "hello")).await.unwrap();
    let strangers = [
        world.claim_of("other", None, true),
        world.claim_of("shop", Some("web"), true),
        world.claim_of("shop", None, false),
    ];
    for claim in strangers {
        let refused = world.send("c", &claim).await.unwrap_err();
        assert_eq!(refused.code(), "ILLEGAL_TRANSITION", "{claim:?}");
    }
    let claim = world.claim_of("shop", Some("api"), true);
    let first = world.send("c", &claim).await.unwrap();
    assert!(!first.duplicate);
    // Whatever lane is found then, or none.
    for lane in [true, false] {
        let again = world
            .send("c", &world.claim_of("shop", Some("api"), lane))
            .await
            .unwrap();
        assert_eq!((again.duplicate, claimed(&again)), (true, claimed(&first)));
    }
    let other = world
        .send("c", &world.claim_of("shop", None, true))
        .await
        .unwrap_err();
    assert_eq!(other.code(), "IDEMPOTENCY_MISMATCH");
}
