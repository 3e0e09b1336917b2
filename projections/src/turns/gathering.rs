//! What gathering messages did for the turns of a lane: how many messages they answer at once, and how long they waited for it.

use ruche_domain::ids::{LaneId, LedgerId};

use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Turns of a lane that are looked at, from the newest on.
pub const TURNS_LOOKED_AT_MAX: u64 = 1_000;

/// The newest turns of a lane, at most [`TURNS_LOOKED_AT_MAX`], which took their last message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gathering {
    /// How many turns.
    pub turns: u64,
    /// Messages of interlocutors in them.
    pub messages: u64,
    /// From the opening of a turn to the time at which it took no more messages, µs: half of the turns took no longer.
    pub added_wait_p50_us: Option<u64>,
    /// Of a hundred turns 95 took no longer.
    pub added_wait_p95_us: Option<u64>,
}

/// What gathering did for the turns of a lane.
///
/// # Errors
/// Those of the store.
pub async fn gathering(
    store: &dyn ReadStore,
    ledger: LedgerId,
    lane: LaneId,
) -> Result<Gathering, ReadStoreError> {
    let columns = "sealed_at - COALESCE(opened_at, first_at), user_messages";
    let rows = Select::of(columns, "turn", ledger)
        .and("lane = ", *lane.as_bytes())
        .text(" AND sealed_at IS NOT NULL ORDER BY first_position DESC, turn DESC LIMIT ")
        .bind(TURNS_LOOKED_AT_MAX.cast_signed())
        .rows(store)
        .await?;
    let mut waits = Vec::with_capacity(rows.len());
    let mut gathering = Gathering::default();
    for row in rows {
        let fields = &mut Fields::new(row);
        // A clock that went back is no wait.
        waits.push(u64::try_from(fields.int()?).unwrap_or(0));
        gathering.messages += fields.count()?;
    }
    waits.sort_unstable();
    let of_hundred = |n: usize| {
        let rank = (waits.len() * n).div_ceil(100);
        rank.checked_sub(1).map(|at| waits[at])
    };
    Ok(Gathering {
        turns: waits.len() as u64,
        added_wait_p50_us: of_hundred(50),
        added_wait_p95_us: of_hundred(95),
        ..gathering
    })
}
