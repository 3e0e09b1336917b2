//! What a channel is set to: when turns are cut, what a message does to a turn that runs, how long anything may wait.
//!
//! All numbers of the machine stand here, with units. They are pinned when a turn is sealed
//! (`config.effective_resolved`), so that a turn ends under the settings that it began with.

use ruche_domain::Ext;
use ruche_domain::events::{ApprovalMode, TurnStrategy};
use ruche_domain::measures::Digest;
use ruche_domain::numbers::Micros;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// Microseconds of a second.
const SECOND: u64 = 1_000_000;
/// Microseconds of a millisecond.
const MILLISECOND: u64 = 1_000;
/// Messages of a turn, and turns that wait, where a channel is not set otherwise.
const ROOM: u32 = 1_000;

/// What a denied approval does to the turn that waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDeny {
    /// The turn goes on and the agent is told.
    Continue,
    /// The turn fails.
    Fail,
}

/// The settings of a channel. Values that a pinned configuration leaves out have the defaults of [`Default`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelSettings {
    /// A turn takes messages until so long after the last one, µs. 0: it is sealed with its first message.
    pub debounce_us: u64,
    /// A turn takes messages no longer than this after it was opened, µs.
    pub window_us_max: u64,
    /// A turn is sealed with so many messages (the size of a burst).
    pub messages_max: u32,
    /// A turn owns at most so many messages, those of turns that it takes the place of among them; one more is refused.
    pub carried_max: u32,
    /// At most so many turns of a lane wait for the one that holds it; a message that would open one more is refused.
    pub queue_max: u32,
    /// What a message does to a turn that holds the lane. `queue` is GROUP_ROUND_ROBIN.
    pub strategy: TurnStrategy,
    /// Whether a message joins a turn that waits, in place of a turn of its own.
    pub coalesce_queued: bool,
    /// Whether the channel can take back what it delivered. If not, the first delivery is a commit point.
    pub retractable: bool,
    /// Whether a turn waits for its approvals.
    pub approval_mode: ApprovalMode,
    /// What a denial does to a turn that waited for it.
    pub on_deny: OnDeny,
    /// An approval that nobody decided or used is void after this, µs.
    pub approval_us: u64,
    /// Attempts at a turn, the first among them.
    pub attempts_max: u32,
    /// A lease lapses so long after it was taken or renewed, µs.
    pub lease_us: u64,
    /// Wait before the second attempt, µs; each further wait is twice as long.
    pub retry_delay_us: u64,
    /// Longest wait before an attempt, µs.
    pub retry_delay_us_max: u64,
    /// A turn that workers had for so long, over all attempts, fails, µs. What it waits for people or for a worker does not
    /// count.
    pub turn_us_max: u64,
    /// Effects under way are waited for so long when a turn is to end early, µs.
    pub drain_us: u64,
    /// Tries at undoing one effect.
    pub compensation_attempts_max: u32,
    /// An effect that is not undone so long after it was its turn to be is given up, µs.
    pub compensation_us: u64,
}

impl Default for ChannelSettings {
    /// A caller that knows what it does: nothing to merge, the answer may wait for an approval.
    fn default() -> Self {
        Self {
            debounce_us: 0,
            window_us_max: 0,
            messages_max: 20,
            carried_max: ROOM,
            queue_max: ROOM,
            strategy: TurnStrategy::Queue,
            coalesce_queued: false,
            retractable: false,
            approval_mode: ApprovalMode::Blocking,
            on_deny: OnDeny::Continue,
            approval_us: 24 * 3_600 * SECOND,
            attempts_max: 3,
            lease_us: 30 * SECOND,
            retry_delay_us: SECOND,
            retry_delay_us_max: 60 * SECOND,
            turn_us_max: 48 * 3_600 * SECOND,
            drain_us: 30 * SECOND,
            compensation_attempts_max: 5,
            compensation_us: 600 * SECOND,
        }
    }
}

impl ChannelSettings {
    /// The defaults of a channel. People who chat write in bursts, and "any news?" must not cancel the approval that
    /// they wait for, so chats do not block on approvals.
    pub fn of_channel(channel: &str) -> Self {
        let chat = |debounce_ms: u64, window_ms_max: u64| Self {
            debounce_us: debounce_ms * MILLISECOND,
            window_us_max: window_ms_max * MILLISECOND,
            approval_mode: ApprovalMode::Detached,
            ..Self::default()
        };
        match channel {
            "web" => Self {
                strategy: TurnStrategy::CancelInProgress,
                retractable: true,
                ..chat(600, 3_000)
            },
            "whatsapp" => chat(2_500, 10_000),
            "sms" => chat(4_000, 15_000),
            "voice" | "email" => chat(0, 0),
            _ => Self::default(),
        }
    }

    /// The word under which a turn records what the lane does with messages that come while it runs.
    pub fn recorded_strategy(&self) -> TurnStrategy {
        match self.strategy {
            TurnStrategy::Queue if self.coalesce_queued => TurnStrategy::CoalesceQueued,
            strategy => strategy,
        }
    }

    /// As values of a pinned configuration. What there was not before is left out at its default, so that what was pinned, and
    /// signed, before has its digest still.
    pub fn pinned(&self) -> Ext {
        let mut values = self.to_values();
        let room = serde_json::Value::from(ROOM);
        values.retain(|key, value| !matches!(key.as_str(), "carried_max" | "queue_max") || *value != room);
        values
    }

    /// All of them, by key.
    pub fn to_values(&self) -> Ext {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(values)) => values.into_iter().collect(),
            _ => unreachable!("a struct of numbers, words and booleans is a JSON object"),
        }
    }

    /// SHA-256 of these values, as pinned configurations name it.
    pub fn digest(&self) -> Digest {
        // Keys are sorted and numbers whole, so equal settings give equal bytes.
        let bytes = serde_json::to_vec(&self.pinned()).expect("a map of text keys");
        Digest(Sha256::digest(&bytes).into())
    }

    /// From the values of a pinned configuration. Only this crate writes them; what it cannot read is a fault of a
    /// newer version, and then the defaults apply.
    pub fn from_values(values: &Ext) -> Self {
        let object: serde_json::Map<_, _> = values.clone().into_iter().collect();
        serde_json::from_value(serde_json::Value::Object(object)).unwrap_or_default()
    }

    /// When gathering ends: the debounce after the last message, but never after the window.
    pub(crate) fn deadline(&self, opened_at: Micros, now: Micros) -> Micros {
        let debounced = now.0.saturating_add(self.debounce_us);
        Micros(debounced.min(self.window_end(opened_at).0))
    }

    /// The end of the window of a turn.
    pub(crate) fn window_end(&self, opened_at: Micros) -> Micros {
        Micros(opened_at.0.saturating_add(self.window_us_max))
    }

    /// How long one try at undoing is waited for before another starts: as long as its tool may take, or else so long that
    /// all tries have their time.
    pub(crate) fn undoing_us(&self, timeout_us: Option<u64>) -> u64 {
        let share = self.compensation_us / u64::from(self.compensation_attempts_max.max(1));
        timeout_us.unwrap_or(share).min(self.compensation_us)
    }

    /// When the attempt after this one may begin.
    pub(crate) fn retry_at(&self, attempt: u32, now: Micros) -> Micros {
        let doublings = attempt.saturating_sub(1).min(62);
        let delay = self.retry_delay_us.saturating_mul(1 << doublings);
        Micros(now.0.saturating_add(delay.min(self.retry_delay_us_max)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_what_they_leave_out_is_the_default() {
        let web = ChannelSettings::of_channel("web");
        assert_eq!(ChannelSettings::from_values(&web.to_values()), web);
        let mut values = web.to_values();
        values.remove("lease_us");
        let read = ChannelSettings::from_values(&values);
        assert_eq!(
            (read.lease_us, read.debounce_us),
            (ChannelSettings::default().lease_us, 600_000)
        );
    }

    #[test]
    fn waits_double_up_to_their_bound() {
        let settings = ChannelSettings::default();
        let waits: Vec<u64> = (1..=8)
            .map(|attempt| settings.retry_at(attempt, Micros(0)).0 / SECOND)
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(
            settings.retry_at(u32::MAX, Micros(0)).0,
            settings.retry_delay_us_max
        );
    }
}
