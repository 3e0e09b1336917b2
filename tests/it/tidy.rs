//! House rules that a machine can check, over the files under version control. Each rule is a function from a file
//! to what it finds, with a test that it finds a violation.

mod prose;
mod sources;
mod words;
