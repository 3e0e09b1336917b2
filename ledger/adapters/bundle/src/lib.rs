//! Export of a ledger to a directory, and the offline verifier ruche-verify.
