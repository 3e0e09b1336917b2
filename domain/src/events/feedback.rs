//! `feedback.*`: what people thought of it.

use crate::ids::{MessageId, TurnId};
use crate::measures::Finite;
use crate::payload::{Ext, payloads};
use crate::words::words;

words! {
    /// Who gave feedback.
    pub enum FeedbackSource {
        /// The interlocutor.
        Interlocutor = "interlocutor",
        /// Somebody of the operator.
        Operator = "operator",
        /// Somebody hired to judge.
        Annotator = "annotator",
    }
}

payloads! {
    /// Somebody said what they thought.
    pub struct FeedbackGiven {
        /// What is judged, such as `thumbs` or `csat`.
        pub name: String,
        /// The judgement as a number.
        pub value: Option<Finite>,
        /// The judgement as a word.
        pub label: Option<String>,
        /// The judgement in words.
        pub comment: Option<String>,
        /// Who gave it.
        pub source: Option<FeedbackSource>,
        /// The turn that was judged.
        pub turn_id: Option<TurnId>,
        /// The message that was judged.
        pub message_id: Option<MessageId>,
        /// What should have been said instead.
        pub correction: Option<String>,
        /// Free fields of the source, kept as given.
        pub ext: Ext,
    }
}
