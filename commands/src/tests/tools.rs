use std::sync::Arc;

use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};

use crate::RegisterTool;
use crate::testing::{NoObjection, TestLedger, given, references};
use crate::tool::tool_stream;

#[test]
fn a_tool_is_registered_and_registered_anew_only_when_something_changed() {
    let tool = RegisterTool::new("send_money", SideEffectPolicy::Irreversible);
    let stream = tool_stream(&references(), "send_money");
    assert_eq!(given().when(&tool).types(), ["tool.registered"]);
    let registered = || given().event(stream, tool.tool.clone());
    registered().when(&tool).already_so();
    let mut changed = tool.clone();
    changed.tool.tool_kind = Some(ToolKind::Execute);
    assert_eq!(registered().when(&changed).types(), ["tool.registered"]);
    // Back to the first: what stands is the last.
    let back = registered().event(stream, changed.tool.clone());
    assert_eq!(back.when(&tool).types(), ["tool.registered"]);
}

#[tokio::test]
async fn a_registration_that_changes_nothing_is_unchanged_and_no_duplicate() {
    let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
    let tool = RegisterTool::new("send_money", SideEffectPolicy::Irreversible);
    let mut answers = Vec::new();
    for key in ["first", "second", "first"] {
        let context = ledger.context.with_key(key);
        let receipt = ledger.commands.execute(&context, &tool).await.unwrap();
        answers.push((receipt.duplicate, receipt.unchanged));
    }
    assert_eq!(answers, [(false, false), (false, true), (true, false)]);
    assert_eq!(ledger.size().await, 2, "the opening and one registration");
}

#[test]
fn a_compensatable_tool_names_what_undoes_it_without_asking_anybody() {
    let mut book = RegisterTool::new("book", SideEffectPolicy::Compensatable);
    given().when(&book).refused("INVALID_INPUT");
    book.tool.compensation_tool = Some("cancel".to_owned());
    let cancel = tool_stream(&references(), "cancel");
    let refused = given().when(&book).refused("INVALID_INPUT");
    assert_eq!(
        refused.path(),
        Some(vec!["compensationTool".to_owned()]),
        "nobody registered it"
    );
    for (effect, may_undo) in [
        (SideEffectPolicy::Pure, true),
        (SideEffectPolicy::Idempotent, true),
        (SideEffectPolicy::Compensatable, false),
        (SideEffectPolicy::Irreversible, false),
    ] {
        let known = given().event(cancel, RegisterTool::new("cancel", effect).tool);
        if may_undo {
            assert_eq!(known.when(&book).types(), ["tool.registered"], "{effect}");
        } else {
            known.when(&book).refused("INVALID_INPUT");
        }
    }
    // What stands is the last registration of the tool that undoes.
    let strengthened = given()
        .event(
            cancel,
            RegisterTool::new("cancel", SideEffectPolicy::Idempotent).tool,
        )
        .event(
            cancel,
            RegisterTool::new("cancel", SideEffectPolicy::Irreversible).tool,
        );
    strengthened.when(&book).refused("INVALID_INPUT");
    // One that puts things back by another call of its own, and records of another system.
    book.tool.compensation_tool = Some("book".to_owned());
    given().when(&book).events();
    book.tool.compensation_tool = Some("cancel".to_owned());
    book.is_imported = true;
    given().when(&book).events();
    given()
        .when(&RegisterTool::new("", SideEffectPolicy::Pure))
        .refused("INVALID_INPUT");
}
