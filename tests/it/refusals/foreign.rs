//! Starts that name an approval which is not theirs, or not any more: nothing starts, and who approved of something else
//! finds the attempt beside it, once.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::good::Goods;
use super::known::NOBODYS;
use super::stage::types;
use super::story::{Came, Seen};
use crate::live::client::Client;

/// Longer than people have to decide, s.
const LAPSED_S: u64 = 25 * 3_600;

#[test]
fn a_start_under_an_approval_that_is_not_its_own_starts_nothing() {
    let mut seen = Seen::default();
    let mut goods = Goods::new(12, &mut seen);
    let lapsed = approved(&mut goods);
    let clock = &goods.story.stage.clock.0;
    clock.fetch_add(LAPSED_S * 1_000_000, Ordering::SeqCst);
    let used = approved(&mut goods);
    goods.runs();
    let start = goods.start_on(&used);
    let again = goods.story.request("startEffect", start, 0);
    assert!(
        matches!(&again, Came::Done(answer) if answer["unchanged"] == true),
        "its own, and used: what is done is done: {again:?}"
    );
    let good = approved(&mut goods);
    let theirs = of_another_tenant(&goods.story.stage.who.stranger);

    // On this channel the turn goes on while people decide.
    goods.goes_to("email");
    goods.turn();
    goods.call("charge_card");
    let sister = goods.approval();
    goods.call("charge_card");
    let own = goods.approval();
    let beside: &[&str] = &["approval.use_refused"];
    for (what, approval, code, left) in [
        ("another call's", &sister, "APPROVAL_MISMATCH", beside),
        ("another lane's", &good, "APPROVAL_MISMATCH", beside),
        ("one that is used", &used, "APPROVAL_MISMATCH", beside),
        ("one that lapsed", &lapsed, "APPROVAL_MISMATCH", beside),
        ("another tenant's", &theirs, "NOT_FOUND", &[]),
        ("nobody's", &json!(NOBODYS), "NOT_FOUND", &[]),
        (
            "its own, unsigned",
            &own,
            "ILLEGAL_TRANSITION",
            &["tool.start_refused"],
        ),
    ] {
        for (time, left) in [("once", left), ("again", &[])] {
            let (start, end) = (goods.start_on(approval), goods.story.stage.end());
            let came = goods.story.request("startEffect", start, 0);
            assert!(
                matches!(&came, Came::Refused(told) if told == code),
                "{what}, {time}: {came:?}"
            );
            let written = types(&goods.story.stage.records_from(end));
            assert_eq!(written, left, "{what}, {time}");
        }
    }
    runs_on_its_own(&mut goods, &own);
}

/// A call of a lane of its own that people allowed. Gives the request.
fn approved(goods: &mut Goods<'_>) -> Value {
    goods.goes_to("api");
    goods.turn();
    goods.call("charge_card");
    let vote = goods.vote();
    let voted = goods.story.request("voteOnApproval", vote, 0);
    assert!(
        matches!(&voted, Came::Done(answer) if answer["outcome"] == "APPROVED"),
        "{voted:?}"
    );
    goods.approval()
}

/// After all that, the call runs once people allow it.
fn runs_on_its_own(goods: &mut Goods<'_>, own: &Value) {
    let vote = goods.vote();
    super::done(&mut goods.story, "voteOnApproval", vote);
    let held = goods.story.known.held(0);
    super::done(&mut goods.story, "commitTurn", held);
    goods.claim();
    let start = goods.start_on(own);
    super::done(&mut goods.story, "startEffect", start);
}

/// A request of the same words in another tenant's ledger.
fn of_another_tenant(stranger: &Client) -> Value {
    let sent = |name: &str, input: Value, fields: &str| stranger.sent(name, name, input, fields);
    let lane = json!({ "agent": "shop", "interlocutor": "ann", "channel": "api" });
    let session = json!({ "externalId": "s" });
    sent("startSession", session.clone(), "position");
    let message = json!({ "session": session, "text": "do it", "lane": lane });
    sent("submitMessage", message, "position");
    let claim = sent("claimTurn", json!({ "lane": lane }), "turnId lease { id epoch }");
    let propose = json!({ "lane": lane, "turnId": claim["turnId"], "lease": claim["lease"], "tool": "charge_card",
        "arguments": "{ \"order\": 7 }", "businessKey": "order" });
    sent("proposeAction", propose, "approval { id }")["approval"]["id"].clone()
}
