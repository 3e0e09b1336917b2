//! What a tool is given to tell a repeat by: the same while the effect may be there, another one once it is gone.

use ruche_domain::events::{MessageReceived, Role, ToolStarted};

use super::*;
use crate::session::SessionRef;

/// What a start says of its key: what the tool is given, and the generation.
type Given = (Option<String>, Option<u32>);

fn given(start: &ToolStarted) -> Given {
    (start.idempotency_key.clone(), start.generation)
}

fn unknown() -> Reported {
    Reported::Unknown {
        cause: "timeout".to_owned(),
        external_ref: None,
    }
}

impl World {
    /// A call takes the key and starts. What the tool is given, with the call.
    async fn starts_another(&self, key: &str) -> (CallId, Given) {
        let call = self.gets(key).await;
        let start = self.send(&format!("{key}-s"), &self.start(call)).await.unwrap();
        (call, given(&started(&start).1))
    }

    /// The same, and reports how it came out.
    async fn runs_another(&self, key: &str, outcome: Reported) -> (CallId, Given) {
        let call = self.gets(key).await;
        (call, self.runs_again(key, call, outcome).await)
    }

    async fn runs_again(&self, key: &str, call: CallId, outcome: Reported) -> Given {
        let start = self.send(&format!("{key}-s"), &self.start(call)).await.unwrap();
        let (permit, start) = started(&start);
        let report = self.report(call, permit, outcome);
        self.send(&format!("{key}-r"), &report).await.unwrap();
        given(&start)
    }

    /// A newer message takes the place of the turn.
    async fn is_superseded(&self, key: &str) {
        let newer = SubmitMessage {
            session: SessionRef::External("s".to_owned()),
            lane: self.lane(),
            message: MessageReceived::new(Role::User),
            flush: false,
        };
        let newer = self.send(key, &newer).await.unwrap();
        assert!(types(&newer).contains(&"turn.supersede_requested"));
    }
}

#[tokio::test]
async fn a_key_that_failed_and_is_taken_again_is_another_one_for_the_tool() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let first = ann.runs_another("a", failed()).await;
    let second = bob.runs_another("b", failed()).await;
    let third = ann.runs_another("c", done("ok")).await;
    assert_eq!([first.1.1, second.1.1, third.1.1], [1, 2, 3].map(Some));
    assert_ne!(first.1.0, second.1.0);
    assert_ne!(second.1.0, third.1.0);
}

#[tokio::test]
async fn a_key_whose_day_is_over_is_another_one_for_the_tool() {
    let (mut ann, _) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (_, first) = ann.runs_another("a", done("ok")).await;
    ann.wait_ms(DAY_MS);
    ann.claimed("b").await;
    let (_, second) = ann.starts_another("c").await;
    assert_eq!((first.1, second.1), (Some(1), Some(2)));
    assert_ne!(first.0, second.0);
}

#[tokio::test]
async fn a_key_whose_effect_was_undone_is_another_one_for_the_tool() {
    let (ann, bob) = two_lanes("web", SideEffectPolicy::Compensatable).await;
    let (call, first) = ann.runs_another("a", done("seat 12")).await;
    ann.is_superseded("b").await;
    bob.is_told_of("c", call).await;
    let lane = ann.lane();
    let undo = ann.send("d", &StartCompensation { lane, call }).await.unwrap();
    let undone = ReportCompensation {
        lane: ann.lane(),
        call,
        permit: undo.events[0].receipt.position,
        outcome: CompensationReport::Compensated {
            compensation_tool: None,
            external_ref: None,
        },
    };
    ann.send("e", &undone).await.unwrap();
    let (_, second) = bob.starts_another("f").await;
    assert_eq!((first.1, second.1), (Some(1), Some(2)));
    assert_ne!(first.0, second.0);
}

/// Attempts of one call are one effect: what the tool remembers is true of all of them.
#[tokio::test]
async fn a_call_that_is_started_again_has_its_key_again() {
    let (mut ann, _) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (call, first) = ann.starts_another("a").await;
    // The worker dies, and the next one does not know how it came out.
    ann.wait_ms(60_000);
    ann.claimed("b").await;
    let second = ann.runs_again("c", call, failed()).await;
    let third = ann.runs_again("d", call, done("ok")).await;
    assert_eq!(first.1, Some(1));
    assert_eq!([second, third], [first.clone(), first]);
}

/// The effect may be there: under the same key the tool does not bring it about twice.
#[tokio::test]
async fn a_call_in_doubt_hands_on_its_key_as_it_is() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (call, first) = ann.runs_another("a", unknown()).await;
    bob.is_told_of("b", call).await;
    ann.fails("c").await;
    let (_, second) = bob.runs_another("d", failed()).await;
    assert_eq!(second, first);
    let (_, third) = bob.runs_another("e", failed()).await;
    assert_eq!(
        third, first,
        "of the first try nobody knows, whatever failed since"
    );
    // The tool has done under the key what was asked, once.
    let mut ann = ann;
    ann.next_turn("f").await;
    let (_, fourth) = ann.runs_another("g", done("ticket 1")).await;
    assert_eq!(fourth, first);
    ann.wait_ms(DAY_MS);
    ann.claimed("h").await;
    let (_, fifth) = ann.starts_another("i").await;
    assert_eq!(fifth.1, Some(2));
}

/// The worker of the first try died. That the second one failed says nothing of the first.
#[tokio::test]
async fn a_failure_behind_a_try_in_doubt_does_not_give_the_tool_another_key() {
    let (mut ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (call, first) = ann.starts_another("a").await;
    ann.wait_ms(60_000);
    ann.claimed("b").await;
    assert_eq!(ann.runs_again("c", call, failed()).await, first);
    let mut bob = bob;
    bob.claimed("d").await;
    let (_, other) = bob.runs_another("e", failed()).await;
    assert_eq!(other, first);
    // Back to the first call: it takes its key anew, and it is the same one.
    assert_eq!(ann.runs_again("f", call, failed()).await, first);
}

/// What a person settled before another call took the key is in doubt no more.
#[tokio::test]
async fn a_failure_behind_what_a_person_found_out_is_the_last_word() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (call, first) = ann.runs_another("a", unknown()).await;
    ann.fails("b").await;
    ann.is_found_not_there("c", call).await;
    let (_, second) = bob.runs_another("d", failed()).await;
    assert_eq!(second, first, "the person may be wrong");
    let (_, third) = bob.starts_another("e").await;
    assert_eq!(third.1, Some(2));
}

/// It is the same when the person is late: the doubt was there when the other call took the key.
#[tokio::test]
async fn what_a_person_finds_out_behind_the_next_call_does_not_raise_the_generation() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (call, first) = ann.runs_another("a", unknown()).await;
    ann.fails("b").await;
    let other = bob.gets("c").await;
    ann.is_found_not_there("d", call).await;
    assert_eq!(bob.runs_again("e", other, failed()).await, first);
    let (_, third) = bob.starts_another("f").await;
    assert_eq!(third, first);
}

/// The worker that was waited for too long says itself that its try failed.
#[tokio::test]
async fn a_try_that_failed_after_all_is_in_doubt_no_more() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let call = ann.gets("a").await;
    let start = ann.send("b", &ann.start(call)).await.unwrap();
    let (permit, first) = started(&start);
    for (key, outcome) in [("c", unknown()), ("d", failed())] {
        ann.send(key, &ann.report(call, permit, outcome)).await.unwrap();
    }
    let (_, second) = bob.starts_another("e").await;
    assert_eq!((first.generation, second.1), (Some(1), Some(2)));
}

/// A person who says that nothing happened may be wrong; the tool is not, if it is asked under the same key.
#[tokio::test]
async fn what_a_person_finds_not_to_have_happened_keeps_its_key() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Irreversible).await;
    let call = ann.gets("a").await;
    ann.decided("b", call, ApprovalOutcome::Approved).await;
    let first = ann.runs_again("c", call, unknown()).await;
    ann.is_found_not_there("d", call).await;
    let other = bob.gets("e").await;
    bob.decided("f", other, ApprovalOutcome::Approved).await;
    let second = bob.runs_again("g", other, done("charged")).await;
    assert_eq!(second, first);
}

#[tokio::test]
async fn who_never_started_leaves_the_key_as_it_was() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (_, first) = ann.runs_another("a", failed()).await;
    bob.gets("b").await;
    bob.fails("c").await;
    let (_, second) = ann.starts_another("d").await;
    assert_eq!((first.1, second.1), (Some(1), Some(2)));
}

/// A call that failed is started again behind another one that failed: it takes the key anew.
#[tokio::test]
async fn a_start_that_takes_the_key_anew_says_its_generation() {
    let (ann, bob) = two_lanes("api", SideEffectPolicy::Idempotent).await;
    let (call, _) = ann.runs_another("a", failed()).await;
    let (_, second) = bob.runs_another("b", failed()).await;
    let third = ann.runs_again("c", call, failed()).await;
    assert_eq!((second.1, third.1), (Some(2), Some(3)));
    assert_ne!(second.0, third.0);
}

/// What was there, could not be undone, and was put back by hand, is gone: the tool is not to answer with it.
/// While it is tried to undo, it is in doubt as it was: a person who finds nothing may be wrong, and the tool tells a repeat.
#[tokio::test]
async fn what_could_not_be_undone_yet_and_is_found_not_there_keeps_its_key() {
    let (ann, bob) = two_lanes("web", SideEffectPolicy::Compensatable).await;
    let in_doubt = Reported::Unknown {
        cause: "it hung".to_owned(),
        external_ref: None,
    };
    let (call, first) = ann.runs_another("a", in_doubt).await;
    ann.is_superseded("b").await;
    let lane = ann.lane();
    let begun = ann
        .send("begin", &StartCompensation { lane, call })
        .await
        .unwrap();
    let failed = ReportCompensation {
        lane: ann.lane(),
        call,
        permit: begun.events[0].receipt.position,
        outcome: CompensationReport::Failed {
            error_type: "down".to_owned(),
            error: None,
        },
    };
    ann.send("failed", &failed).await.unwrap();
    ann.is_found_not_there("d", call).await;
    let (_, second) = bob.starts_another("e").await;
    assert_eq!((first.1, second.1), (Some(1), Some(1)));
    assert_eq!(first.0, second.0);
}

#[tokio::test]
async fn what_a_person_took_back_by_hand_is_another_one_for_the_tool() {
    let (ann, bob) = two_lanes("web", SideEffectPolicy::Compensatable).await;
    let (call, first) = ann.runs_another("a", done("seat 12")).await;
    ann.is_superseded("b").await;
    for number in 0..5 {
        let lane = ann.lane();
        let begin = StartCompensation { lane, call };
        let begun = ann.send(&format!("begin-{number}"), &begin).await.unwrap();
        let failed = ReportCompensation {
            lane: ann.lane(),
            call,
            permit: begun.events[0].receipt.position,
            outcome: CompensationReport::Failed {
                error_type: "down".to_owned(),
                error: None,
            },
        };
        ann.send(&format!("failed-{number}"), &failed).await.unwrap();
    }
    bob.is_told_of("c", call).await;
    ann.is_found_not_there("d", call).await;
    let (_, second) = bob.starts_another("e").await;
    assert_eq!((first.1, second.1), (Some(1), Some(2)));
    assert_ne!(first.0, second.0);
}
