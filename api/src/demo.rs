//! The demo: six weeks of made-up conversations in a tenant of its own, recorded as `simulated`.
//!
//! # The life of a demo tenant
//!
//! 1. The tenant's configuration gets its first version. It says which story is told: its seed, how many sessions, up
//!    to which day. From here on the tenant belongs to the demo.
//! 2. Tools, prices and agents are published.
//! 3. Sessions are recorded, the oldest first, several at the same time, through the same commands as everybody's.
//! 4. The configuration says that the story is told.
//!
//! A process that dies on the way leaves a part of it. The next one reads the story's name from step 1, tells the same
//! story with the same idempotency keys, and so writes what is missing and nothing twice.

use futures_util::stream::{self, StreamExt, TryStreamExt};
use ruche_commands::command::{Command, CommandReceipt};
use ruche_commands::configuration::config_stream;
use ruche_commands::{CommandContext, CommandError, Commands};
use ruche_domain::envelope::{Actor, Provenance};
use ruche_domain::event::AgentEvent;
use ruche_domain::events::ConfigScope;
use ruche_domain::ids::{LedgerId, TenantId};
use ruche_domain::limits::READ_RECORDS_MAX;
use ruche_domain::numbers::{Micros, Position, StreamVersion};
use ruche_domain::stream::Category;
use ruche_ledger::store::{EventStore, StoreError};
use ruche_projections::runner::RunError;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::limits::{SEED_SESSIONS_MAX, SESSIONS_AT_ONCE_MAX};
use crate::out::progress;
use story::DemoSession;

pub(crate) mod dice;
pub(crate) mod record;
pub(crate) mod settings;
pub mod story;

/// Sessions of the demo that starts by itself.
pub const SESSIONS: u64 = 400;
/// Key of the tenant's configuration under which the story's name stands.
const STORY_KEY: &str = "demo.story";
/// Key of the tenant's configuration that is set when the story is told.
const TOLD_KEY: &str = "demo.told";
const DAY_US: u64 = 86_400_000_000;

/// Why the demo was not written, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The tenant has records of its own.
    #[error("the tenant has records of its own; made-up conversations go only into an empty one")]
    NotEmpty,
    /// More than a demo.
    #[error("at most {SEED_SESSIONS_MAX} sessions are made up")]
    TooMany,
    /// A command was refused.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The read models could not follow.
    #[error(transparent)]
    ReadModels(#[from] RunError),
}

/// Which story: the same name tells the same story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoryName {
    /// Seed of the dice.
    pub seed: u64,
    /// How many sessions.
    pub sessions: u64,
    /// End of the six weeks, µs since 1970 UTC.
    pub until: Micros,
}

impl StoryName {
    /// The demo's story up to the start of the day of `now`.
    pub fn of_today(now: Micros, sessions: u64) -> Self {
        Self {
            seed: 1,
            sessions,
            until: Micros(now.0 - now.0 % DAY_US),
        }
    }
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Seeded {
    /// Sessions of the story.
    pub sessions: u64,
    /// Events that were appended now.
    pub appended: u64,
    /// Commands that an earlier start had carried out, or that had nothing to change.
    pub duplicates: u64,
    /// Whether the whole story was there already, so that nothing was left to do.
    pub told_before: bool,
}

impl Seeded {
    fn count(&mut self, receipt: &CommandReceipt) {
        if receipt.duplicate || receipt.unchanged {
            self.duplicates += 1;
        } else {
            self.appended += receipt.events.len() as u64;
        }
    }

    fn add(&mut self, other: Self) {
        self.sessions += other.sessions;
        self.appended += other.appended;
        self.duplicates += other.duplicates;
    }
}

/// Where a tenant stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tenant {
    Empty,
    Begun(StoryName),
    Told(StoryName),
}

/// Tells the demo's story of `sessions` sessions up to today in a tenant whose ledger exists, with a progress bar, and
/// brings the read models up to date, so that the first query sees all of it. Does nothing where a story was told already.
///
/// # Errors
/// See [`DemoError`]. What was written stays; the next call goes on.
pub async fn seed(app: &App, tenant: TenantId, sessions: u64) -> Result<Seeded, DemoError> {
    let demo = Demo {
        commands: &app.commands,
        events: &*app.events,
    };
    let story = StoryName::of_today(app.clock.now(), sessions);
    let bar = progress(sessions, "making conversations");
    let seeded = demo.seed(tenant, story, &|| bar.inc(1)).await;
    bar.finish_and_clear();
    let seeded = seeded?;
    if !seeded.told_before {
        app.runner.catch_up(LedgerId::main_of(tenant)).await?;
    }
    Ok(seeded)
}

/// Fills tenants.
pub struct Demo<'a> {
    /// Carries out the commands.
    pub commands: &'a Commands,
    /// The records, to see what is there.
    pub events: &'a dyn EventStore,
}

impl Demo<'_> {
    /// Tells a story in an empty tenant, or goes on with the one that was begun there. Does nothing where one was told already.
    /// The tenant's ledger exists. `progress` is told of each session that was recorded.
    ///
    /// # Errors
    /// See [`DemoError`]. What was written stays; the next call goes on.
    pub async fn seed(
        &self,
        tenant: TenantId,
        story: StoryName,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Seeded, DemoError> {
        if story.sessions > SEED_SESSIONS_MAX {
            return Err(DemoError::TooMany);
        }
        let story = match self.look_at(tenant).await? {
            Tenant::Empty => story,
            Tenant::Begun(begun) => begun,
            Tenant::Told(story) => {
                return Ok(Seeded {
                    sessions: story.sessions,
                    told_before: true,
                    ..Seeded::default()
                });
            }
        };
        let name = serde_json::to_value(story).expect("a name of three numbers is JSON");
        let mut seeded = Seeded::default();
        let claim = settings::tenant(STORY_KEY, name);
        seeded.count(&self.execute(tenant, "demo/story", &claim).await?);
        self.publish(tenant, &mut seeded).await?;
        let prices = settings::prices_digest();
        let recorded = stream::iter(story::sessions(story.seed, story.until, story.sessions))
            .map(|session| async move {
                let seeded = self.record(tenant, &session, prices).await?;
                progress();
                Ok::<_, DemoError>(seeded)
            })
            .buffered(SESSIONS_AT_ONCE_MAX)
            .try_fold(Seeded::default(), |mut all, one| async move {
                all.add(one);
                Ok(all)
            })
            .await?;
        seeded.add(recorded);
        let told = settings::tenant(TOLD_KEY, true.into());
        seeded.count(&self.execute(tenant, "demo/told", &told).await?);
        Ok(seeded)
    }

    async fn publish(&self, tenant: TenantId, seeded: &mut Seeded) -> Result<(), DemoError> {
        for tool in settings::tools() {
            let key = format!("demo/tool/{}", tool.tool.name);
            seeded.count(&self.execute(tenant, &key, &tool).await?);
        }
        for (number, configuration) in settings::configuration().iter().enumerate() {
            let key = format!("demo/configuration/{number}");
            seeded.count(&self.execute(tenant, &key, configuration).await?);
        }
        Ok(())
    }

    async fn record(
        &self,
        tenant: TenantId,
        session: &DemoSession,
        prices: ruche_domain::measures::Digest,
    ) -> Result<Seeded, DemoError> {
        let key = |step: &str| format!("demo/{}/{step}", session.external_id);
        let mut seeded = Seeded {
            sessions: 1,
            ..Seeded::default()
        };
        seeded.count(
            &self
                .execute(tenant, &key("start"), &record::start(session))
                .await?,
        );
        for (number, turn) in session.turns.iter().enumerate() {
            let turn = record::turn(session, turn, prices);
            seeded.count(
                &self
                    .execute(tenant, &key(&format!("turn/{number}")), &turn)
                    .await?,
            );
        }
        if let Some(end) = record::end(session) {
            seeded.count(&self.execute(tenant, &key("end"), &end).await?);
        }
        if let Some(rating) = record::rating(session) {
            seeded.count(&self.execute(tenant, &key("rating"), &rating).await?);
        }
        Ok(seeded)
    }

    async fn execute<C: Command>(
        &self,
        tenant: TenantId,
        key: &str,
        command: &C,
    ) -> Result<CommandReceipt, DemoError> {
        let context = CommandContext::new(tenant, Actor::SYSTEM, Provenance::Simulated, key);
        Ok(self.commands.execute(&context, command).await?)
    }

    /// A tenant is empty while its ledger holds nothing but its opening and its API keys.
    async fn look_at(&self, tenant: TenantId) -> Result<Tenant, DemoError> {
        let ledger = LedgerId::main_of(tenant);
        if let Some(found) = self.story_of(ledger).await? {
            return Ok(found);
        }
        let mut from = Position::START;
        loop {
            let page = self.events.read_ledger(ledger, from, READ_RECORDS_MAX).await?;
            let Some(last) = page.last() else {
                return Ok(Tenant::Empty);
            };
            from = last.position.next();
            let own = |category| matches!(category, Category::Ledger | Category::Access);
            if page.iter().any(|record| !own(record.leaf.event.stream.category)) {
                return Err(DemoError::NotEmpty);
            }
        }
    }

    /// What the tenant's configuration says of a story. Only records that are marked as simulated count.
    async fn story_of(&self, ledger: LedgerId) -> Result<Option<Tenant>, DemoError> {
        let references = self.commands.secrets_of(ledger).references;
        let stream = config_stream(&references, ConfigScope::Tenant, None);
        let (mut found, mut from) = (None, StreamVersion::FIRST);
        loop {
            let page = self
                .events
                .read_stream(ledger, stream, from, READ_RECORDS_MAX)
                .await?;
            let Some(last) = page.last() else { return Ok(found) };
            from = last.leaf.stream_version.next();
            for record in page
                .iter()
                .filter(|r| r.leaf.event.provenance == Provenance::Simulated)
            {
                let event = &record.leaf.event;
                let Some(payload) = record.payload_bytes() else {
                    continue;
                };
                let Ok(AgentEvent::ConfigPublished(published)) =
                    AgentEvent::from_payload(&event.event_type, event.schema_version, payload)
                else {
                    continue;
                };
                let story = published.set.get(STORY_KEY).cloned();
                if let Some(story) = story.and_then(|name| serde_json::from_value(name).ok()) {
                    found = Some(Tenant::Begun(story));
                }
                if let (true, Some(Tenant::Begun(story))) = (published.set.contains_key(TOLD_KEY), found) {
                    found = Some(Tenant::Told(story));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
