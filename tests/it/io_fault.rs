//! Every write and every flush of a short run fails in turn under the real engine. Each append is answered with a
//! receipt, "unknown" or a clean error, and repeating with its key finds out: it is in the ledger once.

use std::path::Path;

use ruche_tests::io_fault::{Call, Fault, Seen, run};
use ruche_tests::shim;

const PROGRAM: &str = env!("CARGO_BIN_EXE_faulty-load");
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// A short run has far fewer calls; a greater number says that the shim counts something else.
const CALLS_MAX: u32 = 2_000;

/// Lets the first, second, third … call fail, until a run ends before it comes to the fault.
async fn each_in_turn(fault: impl Fn(u32) -> Fault) -> Seen {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let shim = shim::compile("io-faults/shim.c", folder.path()).expect("the shim compiles");
    let mut seen = Seen::default();
    for at in 1..=CALLS_MAX {
        let hit = run(Path::new(PROGRAM), &shim, fault(at), &mut seen)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        if !hit {
            eprintln!("{seen:?}");
            return seen;
        }
    }
    panic!("call {CALLS_MAX} of a short run still failed: {seen:?}");
}

#[tokio::test]
async fn a_torn_write_and_a_process_that_dies_of_it() {
    let seen = each_in_turn(|at| Fault {
        call: Call::Write,
        at,
        count: 1,
        errno: EIO,
        dies: true,
    })
    .await;
    assert!(seen.unknown > 0 && seen.runs > 50, "{seen:?}");
}

#[tokio::test]
async fn a_full_disk_and_an_engine_that_goes_on_when_there_is_room_again() {
    let seen = each_in_turn(|at| Fault {
        call: Call::Write,
        at,
        count: 3,
        errno: ENOSPC,
        dies: false,
    })
    .await;
    assert!(seen.unknown > 0 && seen.runs > 50, "{seen:?}");
}

#[tokio::test]
async fn a_flush_that_fails_and_a_process_that_dies_of_it() {
    let seen = each_in_turn(|at| Fault {
        call: Call::Sync,
        at,
        count: 1,
        errno: EIO,
        dies: true,
    })
    .await;
    // The commit was written whole before its flush failed: the process calls it unknown, a restart finds it.
    assert!(seen.unknown > 0 && seen.kept > 0, "{seen:?}");
}

#[tokio::test]
async fn a_flush_that_fails_and_an_engine_that_goes_on() {
    for errno in [EIO, ENOSPC] {
        let seen = each_in_turn(|at| Fault {
            call: Call::Sync,
            at,
            count: 2,
            errno,
            dies: false,
        })
        .await;
        assert!(seen.unknown > 0, "{seen:?}");
    }
}
