//! A read model that is held by somebody, or slow, under load: appends go on and the node stays ready, memory is bounded,
//! the lag is told, and the read models catch up by themselves with nothing skipped.

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_domain::numbers::Position;
use ruche_tests::databases::Session;
use ruche_tests::server::{Server, caught_up};
use xtask::postgres::Setup;

use super::count;
use super::deployment::{Deployment, TENANT};
use crate::crew::{Crew, nothing_lost, until};

/// How long the trouble lasts; `cargo xtask soak` sets more.
const TROUBLE_VARIABLE: &str = "RUCHE_SOAK_OUTAGE_SECONDS";
const TROUBLE_SECONDS: u64 = 2;
const CALLERS: u64 = 8;
/// Receipts of each caller before a state counts as reached.
const ENOUGH: u64 = 3;
/// Events that a projection is behind before it counts as behind: each caller's `ENOUGH` appends and more.
const LAG_MIN: f64 = 40.0;
/// Memory of a node whose read models do not follow, bytes: a projection has two batches in memory, however far behind.
const RESIDENT_BYTES_MAX: u64 = 256 * 1_048_576;
/// An append does not wait for a read model: one that did would have no answer before the trouble is over, and the test none
/// that the trouble goes on. So this is no more than a machine that is busy with other tests needs.
const ANSWER_MAX: Duration = Duration::from_secs(30);

const LAG: &str = r#"ruche_projection_lag_events{projection="sessions"}"#;
const FAILURES: &str = "ruche_projection_failures_total";

#[test]
fn a_locked_read_model_holds_no_append_up_and_catches_up() {
    let Some(under) = UnderLoad::new() else { return };
    let (mut under, other) = (under.0, under.1);
    other
        .run("BEGIN; LOCK TABLE ruche_read_1.session IN ACCESS EXCLUSIVE MODE")
        .expect("the table is locked");
    under.trouble();
    // Long enough that the node gives up waiting and tries again.
    until("a run of projections has failed", || under.figure(FAILURES) > 0.0);
    under.appends_go_on();
    other.run("COMMIT").expect("the table is free");
    under.recovered(&other);
}

#[test]
fn a_slow_read_model_holds_no_append_up_and_catches_up() {
    let Some(under) = UnderLoad::new() else { return };
    let (mut under, other) = (under.0, under.1);
    other.run(SLOW).expect("the table is slow");
    under.trouble();
    under.appends_go_on();
    other
        .run("UPDATE public.slowness SET seconds = 0")
        .expect("it is fast again");
    under.recovered(&other);
}

/// Every statement that writes sessions takes a while longer, as on a disk in trouble.
const SLOW: &str = "
CREATE TABLE public.slowness (seconds double precision);
INSERT INTO public.slowness VALUES (1.0);
CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
    'BEGIN PERFORM pg_sleep((SELECT seconds FROM public.slowness)); RETURN NULL; END';
CREATE TRIGGER slow BEFORE INSERT OR UPDATE ON ruche_read_1.session FOR EACH STATEMENT EXECUTE FUNCTION public.slow()";

/// A node with callers at work.
struct UnderLoad {
    deployment: Deployment,
    node: Server,
    crew: Crew,
}

impl UnderLoad {
    /// With a session of somebody else in its database.
    fn new() -> Option<(Self, Session)> {
        let deployment = Deployment::new(Setup::default())?;
        let node = deployment.home.serve().expect("a node");
        let mut crew = Crew::start(&node, &deployment.key, CALLERS);
        crew.each_acknowledged(ENOUGH);
        let other = Session::open(deployment.ledgers()).expect("a session");
        let this = Self {
            deployment,
            node,
            crew,
        };
        Some((this, other))
    }

    fn figure(&self, series: &str) -> f64 {
        let figure = self.node.figure(&self.deployment.key, series);
        figure.expect("the figures are told")
    }

    /// The lag is told for as long as the trouble lasts, and nobody else notices it.
    fn trouble(&mut self) {
        let since = Instant::now();
        let lasts = Duration::from_secs(count(TROUBLE_VARIABLE, TROUBLE_SECONDS));
        until("the projection is told to be behind", || {
            self.figure(LAG) >= LAG_MIN
        });
        while since.elapsed() < lasts {
            self.appends_go_on();
            assert!(self.figure(LAG) > 0.0, "it cannot have caught up");
        }
    }

    fn appends_go_on(&mut self) {
        self.crew.each_acknowledged(ENOUGH);
        let (status, body) = self.node.ready().expect("an answer");
        assert_eq!(
            status, 200,
            "one table is no reason to take the node away: {body}"
        );
    }

    /// The trouble is over, and nobody did anything about it.
    fn recovered(self, other: &Session) {
        let (callers, told) = self.crew.finish();
        let key = &self.deployment.key;
        caught_up(&Client::new(), &self.node.url, key).expect("the read models catch up");
        until("no lag is told", || {
            self.node.figure(key, LAG).expect("a figure") == 0.0
        });
        let resident = self.node.resident_bytes_max().expect("its memory");
        eprintln!("{told:?}, {} MiB at most", resident / 1_048_576);
        assert!(told.codes.is_empty() && told.longest < ANSWER_MAX, "{told:?}");
        assert!(resident < RESIDENT_BYTES_MAX, "{resident} bytes");
        assert!(self.node.stop().expect("it stops"), "it ended well");
        nothing_skipped(other);
        nothing_lost(&self.deployment.home, TENANT, &callers);
    }
}

/// Each projection is at the end of the ledger and has applied as many events as there are records.
fn nothing_skipped(other: &Session) {
    let head = other.rows("SELECT size FROM ruche.head").expect("a head");
    let size: i64 = head[0].get(0);
    let rows = other
        .rows("SELECT projection, applied, position FROM ruche_read_1.checkpoint")
        .expect("checkpoints");
    assert!(rows.len() > 5, "only {} projections", rows.len());
    for row in rows {
        let (projection, applied, position): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        let last = Position::new(1, size.cast_unsigned() - 1);
        let expected = (size, ruche_projections::event::pack(last).expect("a position"));
        assert_eq!((applied, position), expected, "{projection}");
    }
}
