//! `ruche bench read`: questions to read models of many events, with answers that are checked.
//!
//! # What it promises
//!
//! 1. The data set is a [`story`] that its parameters alone decide: asked for again it is the same one, so what is there
//!    already is used, and what a run that died left half is finished.
//! 2. Every answer is held against figures that were counted while the story was told ([`expected`]). One that differs is an
//!    error: a fast answer that is wrong is none.
//! 3. Questions go the way of everybody's: through the document checks, the schema and the resolvers of the server, in this
//!    process or over HTTP.
//!
//! # The life of a run
//!
//! 1. [`data`] tells the story: its sessions and facts become commands, 64 at the same time. Of a server it only counts.
//! 2. The read models follow, all together or, to see what each costs, one behind the other.
//! 3. [`questions`] are asked, one kind behind the other, by callers that [`super::drive`] runs.
//! 4. The [`report`].

use std::sync::Arc;

use ruche_domain::ids::{LedgerId, TenantId};

use super::BenchError;
use super::drive::{Caller, Driven, Load, bar, drive};
use super::pace::Stop;
use crate::app::App;
use asker::{Asker, Place};
use data::DataSet;
use expected::Expected;
use questions::{Asking, Kind, Questions};
use report::{QuestionFigures, ReadReport};

pub(crate) mod asker;
pub(crate) mod data;
pub(crate) mod expected;
pub(crate) mod questions;
pub mod report;
pub(crate) mod story;

pub use asker::ServerPlace;
pub use story::StoryName;

/// What is asked, by how many, and how fast.
pub struct ReadBench {
    /// Which data set.
    pub story: StoryName,
    /// Tenant that has it.
    pub tenant: TenantId,
    /// Its name, for people.
    pub tenant_name: String,
    /// Callers at the same time.
    pub callers: usize,
    /// Of an open loop, questions in a second.
    pub rate: Option<u64>,
    /// Warm-up and measured time, of each kind of question.
    pub load: Load,
    /// Whether each projection follows by itself, so that its cost is seen.
    pub by_projection: bool,
}

impl ReadBench {
    /// Makes the data set on an application that is open, unless it is there, and asks it.
    ///
    /// # Errors
    /// When the store holds something else, the engine fails, or nothing could be measured.
    pub async fn run_on(&self, app: &App, stop: &Stop) -> Result<ReadReport, BenchError> {
        let ledger = LedgerId::main_of(self.tenant);
        let set = DataSet {
            app,
            tenant: self.tenant,
            story: self.story,
        };
        let (expected, made) = set.make(stop).await?;
        let followed = data::follow(app, ledger, self.by_projection, stop).await?;
        let (place, closing) = Place::of_app(app, self.tenant);
        let asked = self.ask(place, expected, stop).await;
        drop(closing);
        let mut report = asked?;
        report.made = made;
        report.followed = followed;
        Ok(report)
    }

    /// Asks a server that has the data set.
    ///
    /// # Errors
    /// When the server does not answer, or nothing could be measured.
    pub async fn run_at(&self, server: ServerPlace, stop: &Stop) -> Result<ReadReport, BenchError> {
        let expected = Expected::counted(self.story, stop);
        self.ask(Place::Server(server.0), expected, stop).await
    }

    async fn ask(&self, place: Place, expected: Expected, stop: &Stop) -> Result<ReadReport, BenchError> {
        if stop.is_set() {
            return Err(BenchError("stopped before anything was asked".to_owned()));
        }
        let mut report = ReadReport::new(self, &expected);
        let questions = Arc::new(Questions::new(expected, &mut place.asker()).await?);
        for kind in Kind::ALL {
            if stop.is_set() {
                break;
            }
            let driven = self.drive(&place, &questions, kind, stop).await?;
            report.questions.push(QuestionFigures::new(kind, &driven)?);
        }
        report.finish(stop);
        Ok(report)
    }

    async fn drive(
        &self,
        place: &Place,
        questions: &Arc<Questions>,
        kind: Kind,
        stop: &Stop,
    ) -> Result<Driven, BenchError> {
        let callers = (0..self.callers).map(|number| {
            let asker: Asker = place.asker();
            Box::new(Asking::new(asker, questions.clone(), kind, number as u64)) as Box<dyn Caller>
        });
        drive(callers.collect(), self.load, stop, bar(kind.name(), &self.load)).await
    }
}
