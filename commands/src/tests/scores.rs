use ruche_domain::events::{EvalScored, SessionEndReason, SessionEnded, SessionStarted};
use ruche_domain::ids::{CallId, TurnId};
use uuid::Uuid;

use crate::testing::{given, session};
use crate::{ScoreSession, SessionRef};

fn score(scores: Vec<EvalScored>) -> ScoreSession {
    ScoreSession {
        session: SessionRef::Id(session("s-1")),
        scores,
    }
}

#[test]
fn an_ended_session_can_be_scored_and_one_that_never_was_cannot() {
    let reward = score(vec![EvalScored::new("reward".to_owned())]);
    let ended = SessionEnded::new(SessionEndReason::Completed);
    let over = given()
        .in_session("s-1", SessionStarted::default())
        .in_session("s-1", ended);
    assert_eq!(over.when(&reward).types(), ["eval.scored"]);
    given().when(&reward).refused("ILLEGAL_TRANSITION");
    given().when(&score(Vec::new())).refused("INVALID_INPUT");
}

#[test]
fn a_score_of_a_call_says_so_in_its_envelope() {
    let mut of_call = EvalScored::new("correct".to_owned());
    of_call.turn_id = Some(TurnId(Uuid::from_u128(1)));
    of_call.call_id = Some(CallId(Uuid::from_u128(2)));
    let given = given().in_session("s-1", SessionStarted::default());
    let events = given.when(&score(vec![of_call.clone()])).events();
    assert_eq!(
        (events[0].turn, events[0].call),
        (of_call.turn_id, of_call.call_id)
    );
}
