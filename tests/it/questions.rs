//! The questions that people ask of what agents did: each query of `docs/questions.md`, word for word, against what is known.
//! Answers are worked out here from the few things that the story tells.

mod asked;
mod story;
mod figures;
mod turns;
mod decisions;
mod policies;
mod sessions;
mod memory;
mod changes;
mod intake;
