//! Vectors that stand for facts, as they are told. Whose version one is, is worked out by queries (`nearest`): what an event
//! says of a record is told of the version that the record had then.

use ruche_domain::events::MemoryEmbedded;

use super::{Moment, record_key};
use crate::bounds;
use crate::change::Change;

/// What is said of a turn that is over already is known where it stands, or never.
const VECTOR: &str = "INSERT INTO memory_vector (ledger, turn, position, recorded_at, known, known_at, dropped, model, record, \
    numbers, vector) VALUES ($1, $2, $3, $4, \
    COALESCE($5, (SELECT CAST($3 AS BIGINT) FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome = 'committed')), \
    COALESCE($6, (SELECT CAST($4 AS BIGINT) FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome = 'committed')), \
    (SELECT t.outcome FROM memory_turn t WHERE t.ledger = $1 AND t.turn = $2 AND t.outcome <> 'committed'), \
    $7, $8, $9, $10)";

// As those of facts, and found in the same way.
pub(super) const KNOWN: &str = "UPDATE memory_vector SET known = $1, known_at = $2 FROM memory_vector w \
    WHERE w.ledger = $3 AND w.turn = $4 AND w.known IS NULL AND w.dropped IS NULL AND memory_vector.ledger = w.ledger \
    AND memory_vector.model = w.model AND memory_vector.record = w.record AND memory_vector.position = w.position";
pub(super) const DROPPED: &str = "UPDATE memory_vector SET dropped = $1 FROM memory_vector w \
    WHERE w.ledger = $2 AND w.turn = $3 AND w.known IS NULL AND w.dropped IS NULL AND memory_vector.ledger = w.ledger \
    AND memory_vector.model = w.model AND memory_vector.record = w.record AND memory_vector.position = w.position";
pub(super) const KEPT: &str = "UPDATE memory_vector SET kept = 1 FROM memory_vector w \
    WHERE w.ledger = $1 AND w.turn = $2 AND w.known IS NULL AND w.dropped IS NULL AND memory_vector.ledger = w.ledger \
    AND memory_vector.model = w.model AND memory_vector.record = w.record AND memory_vector.position = w.position \
    AND memory_vector.kept IS NULL";
pub(super) const OF_ATTEMPT_DROPPED: &str = "UPDATE memory_vector SET dropped = $1 FROM memory_vector w \
    WHERE w.ledger = $2 AND w.turn = $3 AND w.known IS NULL AND w.dropped IS NULL AND memory_vector.ledger = w.ledger \
    AND memory_vector.model = w.model AND memory_vector.record = w.record AND memory_vector.position = w.position \
    AND memory_vector.kept IS NULL";

/// A vector of a version of a fact.
pub(super) fn embedded(at: &Moment<'_>, told: &MemoryEmbedded) -> Change {
    let numbers = i64::try_from(told.vector.count()).unwrap_or(i64::MAX);
    let mut params = at.params();
    params.extend([
        bounds::name(&told.model).into_owned().into(),
        record_key(told.store.as_ref(), &told.record_id).into(),
        numbers.into(),
        told.vector.as_bytes().to_vec().into(),
    ]);
    at.change(VECTOR, params)
}
