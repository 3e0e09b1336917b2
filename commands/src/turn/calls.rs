//! Which call an outcome belongs to, and what a turn may say about its calls.

use super::{Settled, TurnStep};
use crate::error::CommandError;

/// What to do with a tool's answer that names no call and fits none that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StrayAnswers {
    /// The turn is refused. Whoever reports a turn knows its calls.
    #[default]
    Refused,
    /// It is recorded as a call that nobody proposed. For sources that are not ours to correct: an import leaves
    /// nothing of a conversation out.
    Kept,
}

/// A call of a turn, as far as an outcome can name it.
#[derive(Clone, Copy)]
pub(super) struct MadeCall<'a> {
    pub name: Option<&'a str>,
    pub provider_call_id: Option<&'a str>,
    pub is_settled: bool,
}

/// The call that an outcome belongs to: the one that it numbers; else the first unsettled one with the provider's id
/// of the outcome; else the first unsettled one of its tool.
pub(super) fn call_of<'a>(
    settled: &Settled,
    calls: impl ExactSizeIterator<Item = MadeCall<'a>> + Clone,
) -> Option<usize> {
    if let Some(number) = settled.call {
        return usize::try_from(number)
            .ok()
            .filter(|number| *number < calls.len());
    }
    let first = |wanted: &dyn Fn(&MadeCall<'a>) -> bool| {
        calls.clone().position(|call| !call.is_settled && wanted(&call))
    };
    let by_id = settled
        .outcome
        .provider_call_id()
        .and_then(|id| first(&|call| call.provider_call_id == Some(id)));
    by_id.or_else(|| {
        let name = settled.outcome.tool_name()?;
        first(&|call| call.name == Some(name))
    })
}

/// Holds the outcomes of a turn against its calls: an outcome follows its call, and a call comes out once.
pub(super) fn check(steps: &[TurnStep], stray: StrayAnswers, at: &str) -> Result<(), CommandError> {
    let mut calls: Vec<MadeCall<'_>> = Vec::new();
    for (number, step) in steps.iter().enumerate() {
        let proposed = match step {
            TurnStep::Received(message) => &message.what.tool_calls,
            TurnStep::Said(said) => &said.message.tool_calls,
            TurnStep::ModelFailed(_) => continue,
            TurnStep::Settled(settled) => {
                let place = format!("{at}/steps/{number}/settled");
                match settled_call(settled, &calls, stray, &place)? {
                    Some(call) => calls[call].is_settled = true,
                    None => calls.push(stray_call(settled)),
                }
                continue;
            }
        };
        calls.extend(proposed.iter().map(|call| MadeCall {
            name: Some(&call.name),
            provider_call_id: call.provider_call_id.as_deref(),
            is_settled: false,
        }));
    }
    Ok(())
}

/// The call that comes out here; none is a stray answer that is kept.
fn settled_call(
    settled: &Settled,
    calls: &[MadeCall<'_>],
    stray: StrayAnswers,
    place: &str,
) -> Result<Option<usize>, CommandError> {
    let found = call_of(settled, calls.iter().copied());
    if let Some(number) = settled.call {
        let field = format!("{place}/call");
        return match found.map(|found| calls[found].is_settled) {
            Some(false) => Ok(found),
            Some(true) => Err(CommandError::input(
                field,
                format!("call {number} was settled by an earlier step"),
            )),
            None => Err(CommandError::input(
                field,
                format!(
                    "there is no call {number}: {} were made before this step",
                    calls.len()
                ),
            )),
        };
    }
    match (stray, found) {
        (StrayAnswers::Kept, found) => Ok(found),
        (StrayAnswers::Refused, Some(found)) if !is_contradicted(settled, &calls[found]) => Ok(Some(found)),
        (StrayAnswers::Refused, _) => Err(CommandError::input(
            place,
            "no unsettled call that was made before this step fits; say its number in `call`",
        )),
    }
}

/// Whether a call was found by its tool's name although the provider's ids say that it is another one.
fn is_contradicted(settled: &Settled, call: &MadeCall<'_>) -> bool {
    match (settled.outcome.provider_call_id(), call.provider_call_id) {
        (Some(answered), Some(called)) => answered != called,
        _ => false,
    }
}

/// A stray answer counts as a call of its own, so that later numbers mean what they mean in the record.
fn stray_call(settled: &Settled) -> MadeCall<'_> {
    MadeCall {
        name: settled.outcome.tool_name(),
        provider_call_id: settled.outcome.provider_call_id(),
        is_settled: true,
    }
}
