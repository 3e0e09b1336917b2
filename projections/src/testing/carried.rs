//! Messages of a turn whose place another one takes.

#![expect(missing_docs, reason = "the name of a test says what it shows")]

use ruche_domain::event::AgentEvent;
use ruche_domain::events::{
    MessageReceived, MessageSent, Role, TurnCommitted, TurnOpened, TurnSupersedeRequested, TurnSuperseded,
    TurnTrigger,
};
use ruche_domain::ids::{MessageId, TurnId};
use ruche_domain::stream::{Category, StreamId};
use ruche_ledger::store::PreparedEvent;

use super::Story;
use super::owners::turns_of;
use super::world::Fresh;

/// What happens in a lane.
struct InLane {
    story: Story,
    events: Vec<PreparedEvent>,
}

impl InLane {
    fn tell(&mut self, turn: TurnId, event: impl Into<AgentEvent>) {
        let event = self.story.event(event);
        let mut header = event.event;
        header.stream = StreamId::new(Category::Lane, uuid::Uuid::from_u128(9));
        header.turn = Some(turn);
        self.events.push(PreparedEvent {
            event: header,
            ..event
        });
    }

    /// A turn opens, as it does in one append.
    fn opens(&mut self, turn: TurnId) {
        self.tell(turn, MessageReceived::new(Role::User));
        self.tell(turn, TurnOpened::new(TurnTrigger::User));
    }

    fn takes_place(&mut self, successor: TurnId, before: TurnId, messages: u8) {
        let carried = (0..messages).map(|n| MessageId::from_bytes([n; 16])).collect();
        self.tell(before, TurnSupersedeRequested::new(successor, carried));
    }
}

pub async fn messages_are_counted_in_the_turn_that_has_them(fresh: Fresh) {
    let mut story = Story::new(1);
    let session = story.session_id(1);
    let [first, second, third] = [0, 1, 2].map(|ordinal| story.turn_id(session, ordinal));
    story.enter(session);
    let mut lane = InLane {
        story,
        events: Vec::new(),
    };
    lane.opens(first);
    lane.tell(first, MessageReceived::new(Role::User));
    // A message of another kind came in, and an answer went out before the turn was over.
    lane.tell(first, MessageReceived::new(Role::System));
    lane.tell(first, MessageSent::new(Role::Assistant));
    lane.opens(second);
    lane.takes_place(second, first, 3);
    lane.tell(first, TurnSuperseded::new(second));
    lane.opens(third);
    lane.takes_place(third, second, 4);
    lane.tell(second, TurnSuperseded::new(third));
    lane.tell(third, MessageReceived::new(Role::User));
    lane.tell(third, TurnCommitted::default());

    let turns = turns_of(fresh, &lane.events).await;
    let counts = [first, second, third].map(|id| {
        let turn = turns.iter().find(|turn| turn.id == id).expect("it was opened");
        (turn.tally.messages, turn.tally.user_messages)
    });
    // The answer stays with the turn that gave it.
    assert_eq!(counts, [(1, 0), (0, 0), (6, 5)]);
}
