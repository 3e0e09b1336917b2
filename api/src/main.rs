//! The `ruche` binary. Everything is in the library, so that tests reach it.

use std::process::ExitCode;

/// Records are many small pieces of memory that one thread makes and another frees, which the allocator of the C library
/// is slow at (docs/benchmarks.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ruche_api::cli::run()
}
