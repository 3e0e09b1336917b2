//! The database of a node goes away under load, or freezes, and comes back: every append is answered within a bound and
//! with a code, memory is bounded, `/ready` says so, nothing is restarted and nothing acknowledged is lost.

use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use ruche_tests::server::{Server, caught_up};
use xtask::postgres::Setup;

use super::count;
use super::deployment::{Deployment, TENANT};
use super::flood::Flood;
use crate::crew::{Crew, Told, nothing_lost, until};

/// How long the database is away; `cargo xtask soak` sets more.
const AWAY_VARIABLE: &str = "RUCHE_SOAK_OUTAGE_SECONDS";
const AWAY_SECONDS: u64 = 4;
const CALLERS: u64 = 16;
/// Receipts or errors of each caller before a state counts as reached.
const ENOUGH: u64 = 3;
/// What docs/operations/postgres.md promises to whoever waits for an answer while the database is away.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Memory of a node with a load of small appends, bytes.
const RESIDENT_BYTES_MAX: u64 = 256 * 1_048_576;
/// Memory of a node whose queue is full, and as much again: what is queued is in memory once or twice.
const RESIDENT_BYTES_FLOODED_MAX: u64 = 512 * 1_048_576;

#[test]
fn a_database_that_is_killed_and_comes_back_is_found_again() {
    let Some(mut deployment) = Deployment::new(Setup::default()) else {
        return;
    };
    let node = deployment.home.serve().expect("a node");
    let mut crew = Crew::start(&node, &deployment.key, CALLERS);
    crew.each_acknowledged(ENOUGH);
    let gone = Instant::now();
    deployment.server.kill().expect("the server can be killed");
    until("the node is not ready", || is_away(&node, &["failing", "slow"]));
    while gone.elapsed() < away() {
        crew.each_refused(1);
        assert!(is_away(&node, &["failing", "slow"]), "{:?}", node.ready());
        assert!(is_alive(&node));
    }
    deployment.server.serve().expect("it recovers");
    until("the node is ready", || is_ready(&node));
    crew.each_acknowledged(ENOUGH);
    let told = recovered(&deployment, node, crew, RESIDENT_BYTES_MAX);
    assert!(told.codes.contains_key("UNAVAILABLE"), "{told:?}");
}

/// Connections stay, and nobody answers: what is sent waits, and what comes after is queued until the queue is full.
#[test]
fn a_database_that_freezes_and_goes_on_is_waited_for_in_bounded_memory() {
    let Some(deployment) = Deployment::new(Setup::default()) else {
        return;
    };
    let mut flood = Flood::new(&deployment.home);
    let node = deployment.home.serve().expect("a node");
    let mut crew = Crew::start(&node, &deployment.key, CALLERS);
    crew.each_acknowledged(ENOUGH);
    let frozen = Instant::now();
    deployment.server.freeze().expect("it freezes");
    until("the node is not ready", || is_away(&node, &["slow", "failing"]));
    // Clients that give up and come again: what they left behind waits, up to the bound of the queue.
    flood.until_refused(&node);
    while frozen.elapsed() < away() {
        assert!(is_away(&node, &["slow", "failing"]), "{:?}", node.ready());
        assert!(is_alive(&node));
    }
    deployment.server.thaw().expect("it goes on");
    let longest = flood.end();
    assert!(longest < ANSWER_MAX, "{longest:?}");
    until("the node is ready", || is_ready(&node));
    crew.each_acknowledged(ENOUGH);
    recovered(&deployment, node, crew, RESIDENT_BYTES_FLOODED_MAX);
    flood.nothing_doubled(&deployment.home);
}

fn away() -> Duration {
    Duration::from_secs(count(AWAY_VARIABLE, AWAY_SECONDS))
}

/// Whether the node says that it cannot serve, and for one of these reasons.
fn is_away(node: &Server, reasons: &[&str]) -> bool {
    let (status, body) = node.ready().expect("an answer");
    let why = body["store"].as_str().expect("a word");
    status == 503 && reasons.contains(&why)
}

fn is_ready(node: &Server) -> bool {
    node.ready().expect("an answer").0 == 200
}

/// Whether whoever watches the process would leave it alone.
fn is_alive(node: &Server) -> bool {
    let answer = reqwest::blocking::get(format!("{}/health", node.url)).expect("an answer");
    answer.status() == 200
}

/// The load ends, and what it was told is true. The node is the one that was there all the time.
fn recovered(deployment: &Deployment, node: Server, crew: Crew, resident_bytes_max: u64) -> Told {
    let (callers, told) = crew.finish();
    let resident = node.resident_bytes_max().expect("its memory");
    eprintln!("{told:?}, {} MiB at most", resident / 1_048_576);
    assert!(told.longest < ANSWER_MAX, "{told:?}");
    assert!(resident < resident_bytes_max, "{resident} bytes");
    caught_up(&Client::new(), &node.url, &deployment.key).expect("the read models catch up");
    assert!(node.stop().expect("it stops"), "it ended well");
    nothing_lost(&deployment.home, TENANT, &callers);
    told
}
