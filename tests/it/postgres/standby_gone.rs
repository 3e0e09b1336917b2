//! The only standby is gone and the primary is not: commits wait. Whoever asks a node again and again how it is must not
//! use up the connections of the server, and needs no key to ask.

use std::thread;

use ruche_tests::databases::{self, rows};
use ruche_tests::server::Server;
use xtask::postgres::Setup;

use super::deployment::Deployment;
use crate::crew::until;
use crate::restore::started;

/// Probes, all at once, of several balancers that ask often.
const PROBES: usize = 20;
/// Commits of their own that wait for the standby: of a try to write, and of whoever wants to know what is durable.
const FENCES: &str = "SELECT pid::text FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                      AND query LIKE '%pg_logical_emit_message%'";

#[test]
fn probes_leave_no_sessions_behind_while_the_standby_is_gone() {
    let Some(deployment) = Deployment::new(Setup::default()) else {
        return;
    };
    let (url, key) = (deployment.ledgers().to_owned(), &deployment.key);
    let node = deployment.home.serve().expect("a node");
    assert_eq!(
        started(&node.url, key, "before")["__typename"],
        "StartSessionPayload"
    );
    // An append that is refused makes the node try for itself whether it can write.
    databases::run(&url, "REVOKE INSERT ON ruche.record FROM ruche_append").expect("a right is taken");
    assert_eq!(started(&node.url, key, "refused")["code"], "UNAVAILABLE");
    demand(&url, "absent");

    until("a try to write waits for the standby", || {
        assert_ne!(probe(&node), 200);
        !rows(&url, FENCES).expect("an answer").is_empty()
    });
    let before = rows(&url, FENCES).expect("an answer").len();
    for _again in 0..2 {
        thread::scope(|scope| {
            let probes: Vec<_> = (0..PROBES).map(|_| scope.spawn(|| probe(&node))).collect();
            for probe in probes {
                assert_eq!(probe.join().expect("an answer"), 503);
            }
        });
    }
    let after = rows(&url, FENCES).expect("an answer").len();
    assert!(
        after <= before + 2,
        "{before} sessions waited, and now {after} do"
    );

    demand(&url, "");
    databases::run(&url, "GRANT INSERT ON ruche.record TO ruche_append").expect("a right is given");
    until("the node is ready", || probe(&node) == 200);
    until("appends go on", || {
        started(&node.url, key, "after")["__typename"] == "StartSessionPayload"
    });
    assert!(node.stop().expect("it stops"), "it ended well");
}

/// Says which standby commits wait for. No commit of its own.
fn demand(url: &str, standby: &str) {
    let set = format!("ALTER SYSTEM SET synchronous_standby_names = '{standby}'");
    databases::run(url, &set).expect("a setting");
    databases::run(url, "SELECT pg_reload_conf()").expect("it is read");
}

fn probe(node: &Server) -> u16 {
    node.ready().expect("an answer").0
}
