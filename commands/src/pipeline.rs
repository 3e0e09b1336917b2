//! The command pipeline: the one way in which facts get into a ledger.
//!
//! # The life of a command
//!
//! 1. The context and the input are checked; the command names the streams it looks at. Nothing was read yet.
//! 2. The streams are loaded and folded into the command's state, then those that only the state can name.
//! 3. The command decides. A refusal ends it here, unless its idempotency key says that it was carried out before; so
//!    does the finding that everything is already as the command wants it, which claims no key.
//! 4. The decided events are prepared: strict JSON, schema, ids, commitment. Still nothing was written, so a process
//!    that dies up to here has done nothing.
//! 5. One append, guarded by the versions of the streams as they were seen, and by the idempotency key. It is atomic:
//!    a process that dies around it has written all or nothing, and the client's retry finds out which.
//!    A refusal that is to be seen is appended too, under no key: the client is told the refusal all the same.
//! 6. On a conflict steps 2 to 5 are repeated, a bounded number of times, one command of a node after the other. On
//!    "unknown" step 5 is repeated with the very same events, so that the key decides.

mod load;
mod recent;
mod gates;

use std::sync::Arc;

use ruche_domain::envelope::{ACFEvent, Actor};
use ruche_domain::limits::{CLOCKS_APART_US_MAX, COMMAND_ATTEMPTS_MAX, COMMAND_SENDS_MAX};
use ruche_domain::numbers::{LeafIndex, Micros, Position, SchemaVersion, StreamVersion};
use ruche_domain::ports::{Clock, Random, event_id};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::leaf::{KeyClaim, KeyLayer};
use ruche_ledger::store::{
    AppendOutcome, AppendRequest, EventStore, Expectation, ExpectedVersion, PreparedEvent, Receipt, Record,
};
use uuid::Uuid;

use crate::command::{Command, CommandReceipt, Decision, Load, RecordedEvent};
use crate::context::{CommandContext, Ground};
use crate::error::CommandError;
use crate::ports::{LedgerSecrets, PayloadValidator, SecretsOf};
use crate::prepare::Preparer;
use gates::{Gates, Turn};
use recent::Recent;

/// Carries out commands. Cheap to share; what it holds saves work and decides nothing.
pub struct Commands {
    store: Arc<dyn EventStore>,
    /// Where receipts are read back: there, a payload that is in an archive keeps nobody from the first answer.
    receipts: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    random: Arc<dyn Random>,
    secrets: Arc<dyn SecretsOf>,
    validator: Arc<dyn PayloadValidator>,
    recent: Recent,
    gates: Gates,
}

/// One try to append came to an end.
enum Tried {
    Written(CommandReceipt),
    Moved(StreamId),
}

impl Commands {
    /// A pipeline on these components.
    pub fn new(
        store: Arc<dyn EventStore>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        secrets: Arc<dyn SecretsOf>,
        validator: Arc<dyn PayloadValidator>,
    ) -> Self {
        Self {
            receipts: store.clone(),
            store,
            clock,
            random,
            secrets,
            validator,
            recent: Recent::new(),
            gates: Gates::default(),
        }
    }

    /// Reads first answers back from `receipts`, which is the same store and gives records whose payloads are archived.
    #[must_use]
    pub fn reading_back_from(self, receipts: Arc<dyn EventStore>) -> Self {
        Self { receipts, ..self }
    }

    /// The keyed hashes of a ledger, for callers that look things up by clients' own ids.
    pub fn secrets_of(&self, ledger: ruche_domain::ids::LedgerId) -> LedgerSecrets {
        self.secrets.secrets_of(ledger)
    }

    /// Carries out a command: once per idempotency key, completely or not at all.
    ///
    /// # Errors
    /// As [`CommandError`] says; nothing was written unless it is `UnknownOutcome`.
    pub async fn execute<C: Command>(
        &self,
        context: &CommandContext,
        command: &C,
    ) -> Result<CommandReceipt, CommandError> {
        context.check()?;
        let secrets = self.secrets.secrets_of(context.ledger);
        let own_key = context.own_key();
        let mut ground = Ground {
            references: &secrets.references,
            now: self.clock.now(),
            idempotency_key: &own_key,
            ledger: context.ledger,
            tenant: context.tenant,
            actor: context.actor,
            user: context.user.as_deref(),
            schemas: &*self.validator,
        };
        let loads = command.loads(&ground)?;
        let claims = claims(&secrets, context, command, &ground)?;
        let mut turn = self.turn_behind_others(context, &loads).await?;
        let mut moved = None;
        for attempt in 1..=COMMAND_ATTEMPTS_MAX {
            // Whoever waited for its turn decides later than it came, behind what was decided meanwhile.
            ground.now = self.clock.now();
            let loaded = match self.load(context, command, &loads, &ground).await {
                // It cannot be decided again; whether it was carried out before, the keys say without any payload.
                Err(archived @ CommandError::Archived { .. }) => {
                    return self.earlier_answer(context, &claims, archived).await;
                }
                loaded => loaded?,
            };
            let (state, guards) = (loaded.state, loaded.guards);
            if loaded.lane_time.0.saturating_sub(ground.now.0) <= CLOCKS_APART_US_MAX {
                ground.now = ground.now.max(loaded.lane_time);
            }
            let decided = command.decide(&state, &ground);
            let decided = match decided.map_err(|refusal| refusal.of_command(C::NAME)) {
                Ok(decided) => decided,
                Err(refusal) if !command.may_hear_again(&state, &ground) => return Err(refusal),
                // What was allowed the first time may be refused now because it was carried out.
                Err(refusal) => {
                    let answer = self.earlier_answer(context, &claims, refusal).await;
                    return answer.map(|receipt| told(command, &state, &ground, receipt));
                }
            };
            let (events, refusal) = match decided {
                Decision::Append(events) => (events, None),
                Decision::AlreadySo(events) => {
                    let answer = self.already_so(context, &claims, events).await;
                    return answer.map(|receipt| told(command, &state, &ground, receipt));
                }
                Decision::Refused { events, refusal } => match self.look_up(context, &claims).await? {
                    Some(events) => return Ok(told(command, &state, &ground, first_answer(events))),
                    None => (events, Some(refusal.of_command(C::NAME))),
                },
            };
            let prepared = self.preparer(context, &secrets, ground.now).prepare(events)?;
            let own = command.expectation(&ground);
            let claims = if refusal.is_none() { &claims[..] } else { &[] };
            match self.append(context, claims, guards, own, prepared).await? {
                Tried::Written(receipt) => {
                    return refusal.map_or_else(|| Ok(told(command, &state, &ground, receipt)), Err);
                }
                Tried::Moved(stream) => {
                    tracing::debug!(command = C::NAME, %stream, attempt, "conflict");
                    moved = Some(stream);
                    if turn.is_none() && takes_turns(stream) {
                        turn = Some(self.gates.enter((context.ledger, stream)).await?);
                    }
                }
            }
        }
        let stream =
            moved.expect("COMMAND_ATTEMPTS_MAX is at least 1, and every attempt that goes on was a conflict");
        Err(CommandError::Contention { stream })
    }

    /// Its turn at a stream where others take turns already.
    async fn turn_behind_others(
        &self,
        context: &CommandContext,
        loads: &[Load],
    ) -> Result<Option<Turn>, CommandError> {
        let guarded = loads
            .iter()
            .filter(|load| load.guarded && takes_turns(load.stream));
        let mut keys = guarded.map(|load| (context.ledger, load.stream));
        match keys.find(|key| self.gates.is_busy(*key)) {
            Some(key) => self.gates.enter(key).await.map(Some),
            None => Ok(None),
        }
    }

    fn preparer<'a>(
        &'a self,
        context: &'a CommandContext,
        secrets: &'a LedgerSecrets,
        now: Micros,
    ) -> Preparer<'a> {
        Preparer {
            clock: &*self.clock,
            random: &*self.random,
            validator: &*self.validator,
            references: &secrets.references,
            context,
            now,
        }
    }

    /// Appends, and asks again with the very same events while the outcome is unknown.
    async fn append(
        &self,
        context: &CommandContext,
        claims: &[KeyClaim],
        guards: Vec<Expectation>,
        own: Option<Expectation>,
        prepared: Vec<PreparedEvent>,
    ) -> Result<Tried, CommandError> {
        let expectations = merge(guards, own);
        let request = AppendRequest::new(expectations, prepared, claims.to_vec())?;
        let mut unknown = false;
        for _ in 0..COMMAND_SENDS_MAX {
            let outcome = match self.store.append(context.ledger, request.clone()).await {
                Ok(outcome) => outcome,
                // This try wrote nothing; whether an earlier one did is still not known.
                Err(error) if unknown => {
                    tracing::warn!(ledger = %context.ledger, %error, "append of unknown outcome cannot be settled");
                    return Err(CommandError::UnknownOutcome);
                }
                Err(error) => return Err(error.into()),
            };
            match outcome {
                AppendOutcome::Appended {
                    receipts,
                    duplicate: false,
                } => return Ok(Tried::Written(written(request.events, receipts))),
                AppendOutcome::Appended { receipts, .. } => {
                    let events = self.recorded(context, &receipts).await?;
                    // After "unknown" the events may be our own; then this is the first answer and no duplicate.
                    let first = events.first().map(|e| e.event.event_id);
                    let duplicate = first != request.events.first().map(|ours| ours.event.event_id);
                    return Ok(Tried::Written(CommandReceipt {
                        duplicate,
                        ..first_answer(events)
                    }));
                }
                AppendOutcome::KeyMismatch { .. } => return Err(CommandError::IdempotencyMismatch),
                AppendOutcome::Conflict {
                    stream,
                    expected,
                    actual,
                } => {
                    return match own {
                        Some(own) if own.stream == stream => Err(CommandError::WrongExpectedVersion {
                            stream,
                            expected,
                            actual,
                        }),
                        _ => Ok(Tried::Moved(stream)),
                    };
                }
                AppendOutcome::Unknown => {
                    unknown = true;
                    tracing::warn!(ledger = %context.ledger, "append of unknown outcome; asking by its key");
                }
            }
        }
        Err(CommandError::UnknownOutcome)
    }

    /// The answer that one of the keys stands for; if none does, the refusal.
    async fn earlier_answer(
        &self,
        context: &CommandContext,
        claims: &[KeyClaim],
        refusal: CommandError,
    ) -> Result<CommandReceipt, CommandError> {
        match self.look_up(context, claims).await? {
            Some(events) => Ok(first_answer(events)),
            None => Err(refusal),
        }
    }

    /// The answer that one of the keys stands for; if none does, that nothing had to be written.
    async fn already_so(
        &self,
        context: &CommandContext,
        claims: &[KeyClaim],
        events: Vec<RecordedEvent>,
    ) -> Result<CommandReceipt, CommandError> {
        let earlier = self.look_up(context, claims).await?;
        Ok(earlier.map_or_else(|| unchanged(events), first_answer))
    }

    /// What the keys stand for, the first that does. Keys are looked at before expectations, so an append that can never
    /// happen asks for them without writing: its stream is expected at a version that no stream reaches.
    async fn look_up(
        &self,
        context: &CommandContext,
        claims: &[KeyClaim],
    ) -> Result<Option<Vec<RecordedEvent>>, CommandError> {
        let stream = StreamId::new(Category::Ledger, Uuid::max());
        let never = Expectation {
            stream,
            version: ExpectedVersion::Exact(StreamVersion(u64::MAX)),
        };
        let id = event_id(&*self.clock, &*self.random);
        let event = ACFEvent::new(
            id,
            stream,
            "infra.effect_recorded",
            SchemaVersion(1),
            Micros(0),
            Actor::SYSTEM,
        );
        let question = PreparedEvent {
            event,
            payload: Vec::new(),
        };
        let request = AppendRequest::new(vec![never], vec![question], claims.to_vec())?;
        match self.store.append(context.ledger, request).await? {
            AppendOutcome::Appended { receipts, .. } => self.recorded(context, &receipts).await.map(Some),
            AppendOutcome::Conflict { .. } => Ok(None),
            AppendOutcome::KeyMismatch { .. } => Err(CommandError::IdempotencyMismatch),
            AppendOutcome::Unknown => Err(CommandError::UnknownOutcome),
        }
    }

    /// Reads back the records of an append. They stand side by side in one epoch.
    async fn recorded(
        &self,
        context: &CommandContext,
        receipts: &[Receipt],
    ) -> Result<Vec<RecordedEvent>, CommandError> {
        let (Some(first), Some(last)) = (receipts.first(), receipts.last()) else {
            return Ok(Vec::new());
        };
        let mut events = Vec::with_capacity(receipts.len());
        let mut from = first.position;
        while from <= last.position {
            let wanted = receipts.len() - events.len();
            let page = self.receipts.read_ledger(context.ledger, from, wanted).await?;
            let Some(end) = page.last() else {
                return Err(CommandError::Internal(
                    format!("record {from} was acknowledged and is not there").into(),
                ));
            };
            from = Position {
                epoch: end.position.epoch,
                index: LeafIndex(end.position.index.0 + 1),
            };
            events.extend(page.into_iter().map(recorded));
        }
        Ok(events)
    }
}

/// The claims of the command: the client's idempotency key first, then those of other layers. The first digest covers
/// the name and the client's input, nothing that Ruche made up.
fn claims<C: Command>(
    secrets: &LedgerSecrets,
    context: &CommandContext,
    command: &C,
    ground: &Ground<'_>,
) -> Result<Vec<KeyClaim>, CommandError> {
    let input = serde_json::to_vec(command).map_err(|error| CommandError::Internal(Box::new(error)))?;
    let correlation = context.correlation.as_deref().unwrap_or_default();
    let causation = context.causation.map(|id| *id.as_bytes());
    let causation = causation.as_ref().map_or(&[][..], |id| &id[..]);
    let parts = [C::NAME.as_bytes(), &input, correlation.as_bytes(), causation];
    let hasher = &secrets.idempotency;
    let own = hasher.claim(KeyLayer::Api, ground.idempotency_key, &parts);
    let layers = command.layer_keys(ground)?;
    let layers = layers
        .iter()
        .map(|layer| hasher.claim(layer.layer, &layer.key, &[&layer.request]));
    Ok(std::iter::once(own).chain(layers).collect())
}

/// The client's own expectation takes the place of the pipeline's guard on the same stream.
fn merge(mut guards: Vec<Expectation>, own: Option<Expectation>) -> Vec<Expectation> {
    if let Some(own) = own {
        guards.retain(|guard| guard.stream != own.stream);
        guards.insert(0, own);
    }
    guards
}

fn first_answer(events: Vec<RecordedEvent>) -> CommandReceipt {
    CommandReceipt {
        duplicate: true,
        unchanged: false,
        events,
        beside: Vec::new(),
    }
}

fn unchanged(events: Vec<RecordedEvent>) -> CommandReceipt {
    CommandReceipt {
        duplicate: false,
        unchanged: true,
        events,
        beside: Vec::new(),
    }
}

/// What a client is told: a first answer once more, unless it is outlived.
fn told<C: Command>(
    command: &C,
    state: &C::State,
    ground: &Ground<'_>,
    receipt: CommandReceipt,
) -> CommandReceipt {
    let outlived = receipt
        .duplicate
        .then(|| command.outlived(state, &receipt.events, ground))
        .flatten();
    outlived.map_or(receipt, unchanged).with(command.beside(state))
}

fn written(prepared: Vec<PreparedEvent>, receipts: Vec<Receipt>) -> CommandReceipt {
    let event = |(prepared, receipt): (PreparedEvent, Receipt)| RecordedEvent {
        receipt,
        event: prepared.event,
        payload: prepared
            .payload
            .into_iter()
            .next()
            .map(|fragment| fragment.bytes.into()),
    };
    CommandReceipt {
        duplicate: false,
        unchanged: false,
        events: prepared.into_iter().zip(receipts).map(event).collect(),
        beside: Vec::new(),
    }
}

fn recorded(record: Record) -> RecordedEvent {
    RecordedEvent {
        receipt: record.receipt(),
        payload: record.payload_bytes().map(<[u8]>::to_vec),
        event: record.leaf.event,
    }
}

/// Whether commands take turns at a stream: where each of them appends to it. At one that many look at and somebody changes
/// now and then, such as a tool's, a crowd would wait long after the change.
fn takes_turns(stream: StreamId) -> bool {
    !matches!(stream.category, Category::Tool | Category::Key | Category::Config)
}
