//! Read model: what each ledger holds, counted. It looks at leaves only, so no payload can stop it.

use std::sync::LazyLock;

use ruche_domain::ids::LedgerId;
use ruche_domain::numbers::{Micros, Position};

use crate::change::{Add, Change};
use crate::counter::{Counter, KeyColumn, Upsert};
use crate::event::ProjectedEvent;
use crate::projection::{PoisonReason, Projection};
use crate::select::{Fields, Select};
use crate::store::{ReadStore, ReadStoreError};

/// Tables of this read model.
pub const TABLES: &[&str] = &["ledger_health", "ledger_type"];

const SUMS: &[&str] = &["records", "leaf_bytes", "payload_bytes", "payloads_missing"];

static LEDGER: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "ledger_health",
        key: &[KeyColumn::Param("ledger")],
        first: &["first_recorded_at"],
        of_turn: false,
        last: &["last_position", "last_recorded_at"],
        sums: [SUMS, &[]],
        money: false,
        also: "",
    }
    .upsert()
});

static TYPE: LazyLock<Upsert> = LazyLock::new(|| {
    Counter {
        table: "ledger_type",
        key: &[KeyColumn::Param("ledger"), KeyColumn::Param("event_type")],
        first: &["first_recorded_at"],
        of_turn: false,
        last: &["last_position", "last_recorded_at"],
        sums: [SUMS, &[]],
        money: false,
        also: "",
    }
    .upsert()
});

/// The projection.
pub struct LedgerHealth;

impl Projection for LedgerHealth {
    fn name(&self) -> &'static str {
        "ledger_health"
    }

    fn version(&self) -> u32 {
        1
    }

    fn apply(&self, event: &ProjectedEvent) -> Result<Vec<Change>, PoisonReason> {
        let record = &event.record;
        let present = record.payload.iter().filter_map(|fragment| fragment.bytes());
        let bytes: usize = present.clone().map(<[u8]>::len).sum();
        let missing = record.payload.len() - present.count();
        let sums = vec![1, record.leaf_bytes.len() as i64, bytes as i64, missing as i64];
        let recorded_at = event.recorded_at()?;
        let place = event.place()?;
        let add = |upsert: &'static Upsert, key| {
            Change::Add(Box::new(Add {
                about: vec![],
                upsert,
                key,
                first: vec![recorded_at.into()],
                last: vec![place.into(), recorded_at.into()],
                sums: sums.clone(),
                money: None,
                owner: None,
            }))
        };
        let event_type = event.header().event_type.clone();
        Ok(vec![
            add(&LEDGER, vec![event.ledger_key().into()]),
            add(&TYPE, vec![event.ledger_key().into(), event_type.into()]),
        ])
    }
}

/// What a ledger, or one event type of it, holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holdings {
    /// Records.
    pub records: u64,
    /// Bytes of their leaves.
    pub leaf_bytes: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Payload fragments that were gone when the record was projected.
    pub payloads_missing: u64,
    /// Recorded-at of the first.
    pub first_recorded_at: Micros,
    /// The last one.
    pub last_position: Position,
    /// Recorded-at of the last.
    pub last_recorded_at: Micros,
}

const COLUMNS: &str = "records, leaf_bytes, payload_bytes, payloads_missing, first_recorded_at, last_position, \
    last_recorded_at";

fn read(fields: &mut Fields) -> Result<Holdings, ReadStoreError> {
    Ok(Holdings {
        records: fields.count()?,
        leaf_bytes: fields.count()?,
        payload_bytes: fields.count()?,
        payloads_missing: fields.count()?,
        first_recorded_at: fields.time()?,
        last_position: fields.position()?,
        last_recorded_at: fields.time()?,
    })
}

/// What the ledger holds; nothing before its first record was projected.
///
/// # Errors
/// Those of the store; so for all queries.
pub async fn of_ledger(store: &dyn ReadStore, ledger: LedgerId) -> Result<Option<Holdings>, ReadStoreError> {
    let row = Select::of(COLUMNS, "ledger_health", ledger)
        .rows(store)
        .await?
        .pop();
    row.map(|row| read(&mut Fields::new(row))).transpose()
}

/// What the ledger holds, by event type.
///
/// # Errors
/// Those of the store.
pub async fn by_type(
    store: &dyn ReadStore,
    ledger: LedgerId,
) -> Result<Vec<(String, Holdings)>, ReadStoreError> {
    let columns = format!("event_type, {COLUMNS}");
    let select = Select::of(&columns, "ledger_type", ledger).text(" ORDER BY event_type");
    let read = |row| {
        let fields = &mut Fields::new(row);
        Ok((fields.text()?, read(fields)?))
    };
    select.rows(store).await?.into_iter().map(read).collect()
}
