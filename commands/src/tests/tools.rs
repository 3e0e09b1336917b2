use std::cell::Cell;
use std::collections::HashSet;
use std::sync::Arc;

use ruche_domain::envelope::Provenance;
use ruche_domain::side_effect::{SideEffectPolicy, ToolKind};

use super::tool_calls::{World, types};
use crate::testing::{NoObjection, TestLedger, given, references};
use crate::tool::tool_stream;
use crate::{CommandContext, RegisterTool, import};

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

#[tokio::test]
async fn an_import_takes_back_nothing_that_an_administrator_said() {
    let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
    let mut import = ledger.context.clone();
    import.provenance = Provenance::Imported;
    let sent = Cell::new(0);
    let unchanged = async |context: &CommandContext, name: &str, effect, is_imported| {
        let mut tool = RegisterTool::new(name, effect);
        tool.is_imported = is_imported;
        sent.set(sent.get() + 1);
        let context = context.with_key(sent.get().to_string());
        ledger.commands.execute(&context, &tool).await.unwrap().unchanged
    };
    let admin = &ledger.context;
    let (pure, irreversible) = (SideEffectPolicy::Pure, SideEffectPolicy::Irreversible);
    assert!(!unchanged(admin, "send_money", irreversible, false).await);
    assert!(unchanged(&import, "send_money", pure, true).await, "it stays");
    // What only an import said it may say otherwise, and an administrator has to say it again.
    assert!(!unchanged(&import, "look_up", irreversible, true).await);
    assert!(!unchanged(&import, "look_up", pure, true).await);
    assert!(!unchanged(admin, "look_up", pure, false).await);
    assert!(unchanged(admin, "look_up", pure, false).await);
}

/// Signatures do not depend on what a file says of calls that were made elsewhere.
#[tokio::test]
async fn a_tool_that_only_an_import_knows_is_asked_for() {
    let world = World::on("api").await;
    let mut tool = RegisterTool::new("refund", SideEffectPolicy::Idempotent);
    tool.is_imported = true;
    let mut import = world.ledger.context.with_key("import");
    import.provenance = Provenance::Imported;
    world.ledger.commands.execute(&import, &tool).await.unwrap();
    let proposed = world
        .send("first", &world.propose("refund", Some("order-7")))
        .await
        .unwrap();
    assert!(
        types(&proposed).contains(&"approval.requested"),
        "{:?}",
        types(&proposed)
    );
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

/// A tool that an administrator registered otherwise than the file says stays so and is told; one that stands as the file says, or
/// that only an import registered, is not.
#[tokio::test]
async fn tools_that_stay_otherwise_than_a_file_says_are_told() {
    let ledger = TestLedger::in_memory(Arc::new(NoObjection)).await;
    let context = |key: &str, provenance| {
        let mut context = ledger.context.with_key(key);
        context.provenance = provenance;
        context
    };
    let mapping = br#"{ "tools": [
        { "name": "same", "side_effect": "pure" }, { "name": "otherwise", "side_effect": "pure" },
        { "name": "by_import", "side_effect": "pure" }, { "name": "new", "side_effect": "pure" } ] }"#;
    let options = import::ImportOptions {
        mapping: import::ToolMapping::read(mapping).unwrap(),
        ..import::ImportOptions::default()
    };
    let (pure, irreversible) = (SideEffectPolicy::Pure, SideEffectPolicy::Irreversible);
    for (name, effect, is_imported) in [
        ("same", pure, false),
        ("otherwise", irreversible, false),
        ("by_import", irreversible, true),
    ] {
        let mut tool = RegisterTool::new(name, effect);
        tool.is_imported = is_imported;
        let provenance = if is_imported {
            Provenance::Imported
        } else {
            Provenance::Attested
        };
        let context = context(name, provenance);
        ledger.commands.execute(&context, &tool).await.unwrap();
    }
    let file = br#"[{"task_id":1,"trial":0,"reward":1,"traj":[]}]"#;
    let session = import::read(import::Format::TauBench, file)
        .flatten()
        .next()
        .unwrap();
    let mut plan = import::plan(session, &options);
    let names = ["same", "otherwise", "by_import", "new", "unknown"];
    plan.tools.extend(names.map(str::to_owned));
    // Whatever was imported before: what is told of tools is so each time.
    for run in 0..2 {
        let (import, mut known) = (context("import", Provenance::Imported), HashSet::new());
        let tools = import::import_tools(&ledger.commands, &import, &plan, &options.mapping, &mut known);
        let tools = tools.await.unwrap();
        assert_eq!(tools.kept, ["otherwise"], "run {run}");
        assert_eq!(tools.unclassified, ["unknown"], "run {run}");
    }
}
