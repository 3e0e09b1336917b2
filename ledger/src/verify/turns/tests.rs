//! Stories of a lane, one line for each event: append, type, turn, call, payload. A good one has no finding; each fault
//! is a good one with a line changed, left out or put in.

use ruche_domain::numbers::Position;
use ruche_domain::stream::Category;

mod forged;
mod keys;
mod numbers;
mod order;
mod undoing;
mod unread;

use super::table::Kind;
use super::{Step, TurnRules};
use crate::verify::finding::Findings;

/// Turn 1 calls for a payment that is taken back, tries again and commits; turn 2 waits and takes its place.
const GOOD: &str = r#"
1 message.received 1 -
1 turn.opened 1 -
2 turn.message_coalesced 1 -
3 turn.sealed 1 -
3 config.effective_resolved 1 -
3 turn.readied 1 - {"attempt":1,"not_before":3}
4 turn.started 1 - {"attempt":1,"lease_epoch":1,"lease_expires_at":50}
5 infra.lease_renewed 1 - {"lease_epoch":1,"expires_at":9}
5 turn.step_started 1 - {"step_id":"look","attempt":1}
5 turn.step_completed 1 - {"step_id":"look","attempt":1}
5 turn.step_started 1 - {"step_id":"pay","attempt":1}
6 tool.proposed 1 7 {"side_effect":"compensatable"}
6 policy.evaluated 1 7 {"verdict":"allow"}
7 tool.started 1 7 {"side_effect":"compensatable","attempt":1}
8 tool.completed 1 7 {"attempt":1}
9 infra.lease_expired 1 - {"lease_epoch":1}
9 turn.readied 1 - {"attempt":2,"not_before":9}
10 turn.opened 2 -
10 turn.sealed 2 -
10 turn.queued 2 -
11 turn.started 1 - {"attempt":2,"lease_epoch":2,"lease_expires_at":60}
11 turn.step_started 1 - {"step_id":"pay","attempt":2}
12 turn.supersede_requested 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}
12 turn.drained 1 -
12 turn.compensating 1 -
13 tool.compensation_started 1 7 {"attempt":1}
13 tool.compensation_failed 1 7 {"attempt":1,"exhausted":false}
14 tool.compensation_started 1 7 {"attempt":2}
14 tool.compensated 1 7
14 turn.superseded 1 - {"successor_turn_id":"02020202-0202-0202-0202-020202020202"}
14 turn.readied 2 - {"attempt":1,"not_before":14}
15 turn.started 2 - {"attempt":1,"lease_epoch":3,"lease_expires_at":60}
16 tool.proposed 2 8 {"side_effect":"irreversible"}
16 policy.evaluated 2 8 {"verdict":"require_approval"}
16 approval.requested 2 8 {"mode":"blocking"}
17 approval.resolved 2 8 {"outcome":"approved"}
17 infra.lease_renewed 2 - {"lease_epoch":3,"expires_at":70}
18 approval.consumed 2 8
18 tool.started 2 8 {"side_effect":"irreversible","attempt":1}
18 turn.commit_point_reached 2 8
19 tool.outcome_unknown 2 8 {"attempt":1}
19 turn.attempt_failed 2 - {"attempt":1,"retry_at":20}
19 infra.manual_intervention_required 2 8
20 tool.outcome_asserted 2 8 {"outcome":"completed"}
20 turn.readied 2 - {"attempt":2,"not_before":20}
21 turn.started 2 - {"attempt":2,"lease_epoch":4,"lease_expires_at":60}
22 tool.proposed 2 9 {"side_effect":"idempotent"}
22 policy.evaluated 2 9 {"verdict":"require_approval"}
22 approval.requested 2 9 {"mode":"detached"}
22 tool.deferred 2 9
23 turn.committed 2 -
23 message.sent 2 -
24 approval.resolved 2 9 {"outcome":"approved"}
24 turn.opened 3 9
24 config.effective_resolved 3 -
24 turn.readied 3 - {"attempt":1,"not_before":24}
25 turn.started 3 - {"attempt":1,"lease_epoch":5,"lease_expires_at":60}
26 approval.consumed 3 9
26 tool.started 3 9 {"side_effect":"idempotent","attempt":1}
"#;

fn id(text: &str) -> Option<[u8; 16]> {
    text.parse().ok().map(|byte| [byte; 16])
}

/// A start that says nothing of a key runs under one that is its call's alone.
fn with_key(step: &Step, payload: &str) -> String {
    match (payload.strip_suffix('}'), step.call) {
        (Some(said), Some(call)) if step.kind == Kind::CallStarted && !said.contains("_key") => {
            format!(r#"{said},"idempotency_key":"{}"}}"#, hex::encode(call))
        }
        _ => payload.to_owned(),
    }
}

/// What is found in a story: names and numbers of lines; then the turns that are not over.
fn judged(story: &str, erased: &[&str]) -> (Vec<String>, Vec<String>) {
    let (mut rules, mut findings) = (TurnRules::default(), Findings::keeping(100));
    let lines = story.lines().filter(|line| !line.is_empty());
    for (index, line) in lines.enumerate() {
        if line == "hole" {
            rules.forget();
            continue;
        }
        let mut words = line.splitn(5, ' ');
        let mut word = || words.next().unwrap_or_default();
        let (append, event_type, turn, call, payload) = (word(), word(), word(), word(), word());
        // `!` behind a type: another credential recorded it.
        let (event_type, by_another) = event_type
            .strip_suffix('!')
            .map_or((event_type, false), |name| (name, true));
        // `~` behind it: it names no session; `@`: another one.
        let (event_type, session) = match event_type.strip_suffix(['~', '@']) {
            Some(name) if event_type.ends_with('~') => (name, None),
            Some(name) => (name, Some([4; 16])),
            None => (event_type, Some([3; 16])),
        };
        let is_approval = event_type.starts_with("approval.");
        let (category, stream) = if is_approval {
            (Category::Approval, id(call).unwrap())
        } else {
            (Category::Lane, [99; 16])
        };
        let at: u64 = append.parse().unwrap();
        let step = Step {
            kind: Kind::of(event_type, category).unwrap_or_else(|| panic!("{event_type}")),
            stream,
            session,
            turn: id(turn),
            call: id(call),
            actor: Some([if by_another { 2 } else { 1 }; 16]),
            occurred_at: at,
            position: Position::new(1, index as u64),
            append: at,
        };
        let payload = with_key(&step, payload);
        let payload = Some(payload.as_bytes()).filter(|_| !erased.contains(&line));
        rules.record(&step, payload, &mut findings);
    }
    let kept = findings.kept().iter();
    let found = kept.map(|found| format!("{} {}", found.kind, found.index.unwrap()));
    let open = rules.not_over().into_iter();
    let open = open.map(|(at, turn, state)| format!("{} {} {state}", at.index, turn.0.as_bytes()[0]));
    (found.collect(), open.collect())
}

fn line_of(line: &str) -> usize {
    let found = GOOD.trim().lines().position(|known| known == line);
    found.unwrap_or_else(|| panic!("{line}"))
}

/// The good story without some lines, with others in front of one. Gives what is found, in the words of the good story.
fn found(change: impl FnOnce(&mut Vec<String>)) -> Vec<String> {
    let mut lines: Vec<String> = GOOD.trim().lines().map(str::to_owned).collect();
    change(&mut lines);
    let story = lines.join("\n");
    let told = judged(&story, &[]).0.into_iter().map(|told| {
        let (kind, at) = told.split_once(' ').unwrap();
        format!("{kind} at {}", lines[at.parse::<usize>().unwrap()])
    });
    told.collect()
}

#[test]
fn a_good_story_has_no_finding_and_says_which_turn_is_not_over() {
    assert_eq!(judged(GOOD, &[]), (vec![], vec!["53 3 PROCESSING".to_owned()]));
}
