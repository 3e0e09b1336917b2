//! Streams: the events of one thing, named `<category>-<32 lower-case hex digits>`.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use crate::error::DomainError;

macro_rules! categories {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The closed list of stream categories. The name is stored; the order here is not.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Category { $($(#[$doc])* $variant,)* }

        impl Category {
            /// All categories, in documentation order.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name before the first dash of a stream.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

categories! {
    /// Facts about the ledger itself: epochs, keys, restores.
    Ledger = "ledger",
    /// One session: started, ended, evaluated, feedback.
    Session = "session",
    /// Governed turns and tool calls of one conversation lane.
    Lane = "lane",
    /// Observed and imported turns of one session.
    Observed = "observed",
    /// One registered tool.
    Tool = "tool",
    /// Configuration of one scope.
    Config = "config",
    /// Memory about one entity.
    Memory = "memory",
    /// One goal.
    Goal = "goal",
    /// One plan.
    Plan = "plan",
    /// One schedule.
    Schedule = "schedule",
    /// One scenario.
    Scenario = "scenario",
    /// One artifact.
    Artifact = "artifact",
    /// One approval request.
    Approval = "approval",
    /// Policy bundles and decisions of one scope.
    Policy = "policy",
    /// One signing key of a reviewer.
    Key = "key",
    /// Credentials of one tenant.
    Access = "access",
    /// One data subject: erasure and legal hold.
    Subject = "subject",
    /// Operations of one projection: parked, redriven, rebuilt.
    Projection = "projection",
    /// State checkpoints of an external framework.
    State = "state",
    /// One effect on the world: who took the business key of a tool.
    Effect = "effect",
}

impl FromStr for Category {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::ALL
            .iter()
            .copied()
            .find(|c| c.name() == text)
            .ok_or_else(|| DomainError::NotAStream {
                text: text.to_owned(),
            })
    }
}

/// Bytes that hold every name of a stream.
pub const STREAM_BYTES_MAX: usize = 64;

const _: () = {
    let mut n = 0;
    while n < Category::ALL.len() {
        assert!(Category::ALL[n].name().len() + 1 + uuid::fmt::Simple::LENGTH <= STREAM_BYTES_MAX);
        n += 1;
    }
};

/// Name of a stream. 16 bytes and a category; printed `<category>-<32 hex>`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Kind of thing.
    pub category: Category,
    /// Which one.
    pub id: Uuid,
}

impl StreamId {
    /// A stream of a category.
    pub fn new(category: Category, id: Uuid) -> Self {
        Self { category, id }
    }

    /// Writes the name into a buffer and returns it. Every record is written with its stream, so this allocates nothing.
    pub fn write(self, buffer: &mut [u8; STREAM_BYTES_MAX]) -> &str {
        let name = self.category.name().as_bytes();
        let dash = name.len();
        buffer[..dash].copy_from_slice(name);
        buffer[dash] = b'-';
        let end = dash + 1 + uuid::fmt::Simple::LENGTH;
        self.id.as_simple().encode_lower(&mut buffer[dash + 1..end]);
        str::from_utf8(&buffer[..end]).expect("letters and digits are UTF-8")
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.write(&mut [0; STREAM_BYTES_MAX]))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StreamId {
    type Err = DomainError;

    /// Strict: what prints differently is refused, so a stream has exactly one spelling.
    fn from_str(text: &str) -> Result<Self, DomainError> {
        let bad = || DomainError::NotAStream {
            text: text.to_owned(),
        };
        let (category, id) = text.split_once('-').ok_or_else(bad)?;
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if id.len() != 32 || !id.bytes().all(lower_hex) {
            return Err(bad());
        }
        Ok(Self {
            category: category.parse().map_err(|_| bad())?,
            id: Uuid::try_parse(id).map_err(|_| bad())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_one_spelling() {
        let text = "session-0192f0c4a7b37c1e9d2f5a6b7c8d9e0f";
        let stream: StreamId = text.parse().unwrap();
        assert_eq!(stream.category, Category::Session);
        assert_eq!(stream.to_string(), text);
        for bad in [
            "session-0192F0C4A7B37C1E9D2F5A6B7C8D9E0F",
            "session-0192f0c4-a7b3-7c1e-9d2f-5a6b7c8d9e0f",
            "nothing-0192f0c4a7b37c1e9d2f5a6b7c8d9e0f",
            "session",
            "session-",
        ] {
            assert!(bad.parse::<StreamId>().is_err(), "{bad} was accepted");
        }
    }
}
