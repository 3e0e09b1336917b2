//! Faults, and where each is planted: in a session that has no other one.

mod calls;
mod signed;
mod stored;
mod turns;

use std::collections::{BTreeMap, HashMap};

use ruche_domain::envelope::ACFEvent;
use ruche_domain::ids::SessionId;
use ruche_ledger::verify::FindingKind;
use serde_json::json;
use uuid::Uuid;

use super::work::{Mark, Planted, Work};

pub use calls::CALLS;
pub use signed::{SIGNED, UNSIGNED};
pub use stored::STORED;
pub use turns::TURNS;

/// A fault of records.
pub struct Fault {
    pub name: &'static str,
    pub takes: Takes,
    pub plant: fn(&mut Work, &Taken),
    /// All that is found: what, and at the event of which type. It is one that was put in, or else one that was taken.
    pub found: &'static [(FindingKind, &'static str)],
}

type Types = &'static [&'static str];

/// What a fault is planted in. Of these types there is one event each, and of those there is none.
#[derive(Clone, Copy)]
pub enum Takes {
    /// The records of a turn.
    Turn(Types, Types),
    /// The records of a call, wherever they stand.
    Call(Types, Types),
    /// Those of a call that was approved under a key that decided nothing else.
    CallOfKey,
    /// Nothing that is there.
    Nothing,
}

/// A call that was signed for, and done.
const SIGNED_CALL: Types = &[
    "tool.proposed",
    "approval.requested",
    "approval.voted",
    "approval.resolved",
    "approval.consumed",
    "tool.started",
    "tool.completed",
];
const SIGNED_FOR: Takes = Takes::Call(SIGNED_CALL, &[]);

/// The last event of each type, among those that were taken; that of a vote's key, too.
pub struct Taken(BTreeMap<String, Mark>);

impl Taken {
    /// Where an event stands.
    pub fn at(&self, work: &Work, event_type: &str) -> usize {
        work.place(self.0[event_type])
    }
}

/// What has to be found, and at which record; and in which session it was planted.
pub struct Expected {
    pub session: Option<SessionId>,
    pub found: Vec<(FindingKind, Mark)>,
}

impl Expected {
    /// What has to be found where, in the order of the ledger.
    pub fn places(&self, work: &Work) -> Vec<(FindingKind, u64)> {
        let found = self.found.iter();
        let mut places: Vec<_> = found
            .map(|(kind, mark)| (*kind, work.place(*mark) as u64))
            .collect();
        places.sort_by_key(|(_, place)| *place);
        places
    }
}

impl Fault {
    pub fn planted(&self, work: &mut Work) -> Expected {
        let (session, taken) = self.takes.choose(work).unwrap_or_else(|| {
            panic!("nothing in the ledger has what it takes: {}", self.name);
        });
        work.taken.extend(session);
        let inserted = work.inserted.len();
        (self.plant)(work, &taken);
        let mark = |event_type: &str| {
            let is_it = |mark: &&Mark| work.records[work.place(**mark)].is(event_type);
            let mut new = work.inserted[inserted..].iter();
            *new.find(is_it).unwrap_or_else(|| &taken.0[event_type])
        };
        let found = self.found.iter();
        Expected {
            session,
            found: found
                .map(|(kind, event_type)| (*kind, mark(event_type)))
                .collect(),
        }
    }
}

impl Takes {
    /// The first that fits, of the sessions that are free.
    fn choose(self, work: &Work) -> Option<(Option<SessionId>, Taken)> {
        let found = match self {
            Self::Turn(has, lacks) => first(work, |event| Some(event.turn?.0), |all| fits(all, has, lacks)),
            Self::Call(has, lacks) => first(work, call, |all| fits(all, has, lacks)),
            Self::CallOfKey => {
                let votes = votes(work);
                let is_only =
                    |all: &[&Planted]| all.iter().filter_map(|one| key(one)).all(|key| votes[&key] == 1);
                first(work, call, |all| fits(all, SIGNED_CALL, &[]) && is_only(all))
            }
            Self::Nothing => return Some((None, Taken(BTreeMap::new()))),
        }?;
        let key = found.iter().find_map(|record| key(record));
        let is_its =
            |record: &&Planted| record.is("infra.key.registered") && record.said()["key_id"] == json!(key);
        let registered = work.records.iter().find(is_its);
        let marks = found.iter().copied().chain(registered);
        let marks = marks.map(|record| (record.leaf.event.event_type.clone(), record.mark));
        Some((found[0].leaf.event.session, Taken(marks.collect())))
    }
}

fn call(event: &ACFEvent) -> Option<Uuid> {
    event.call.map(|call| call.0)
}

/// The records of the first that fits, of what they are about, in the order of the ledger.
fn first(
    work: &Work,
    about: impl Fn(&ACFEvent) -> Option<Uuid>,
    fits: impl Fn(&[&Planted]) -> bool,
) -> Option<Vec<&Planted>> {
    let (mut order, mut groups) = (Vec::new(), HashMap::<Uuid, Vec<&Planted>>::new());
    for record in &work.records {
        let event = &record.leaf.event;
        let is_free = event
            .session
            .is_some_and(|session| !work.taken.contains(&session));
        let Some(about) = about(event).filter(|_| is_free) else {
            continue;
        };
        let group = groups.entry(about).or_default();
        if group.is_empty() {
            order.push(about);
        }
        group.push(record);
    }
    let found = order.iter().find(|about| fits(&groups[about]))?;
    groups.remove(found)
}

fn fits(all: &[&Planted], has: Types, lacks: Types) -> bool {
    let count = |event_type: &str| all.iter().filter(|record| record.is(event_type)).count();
    has.iter().all(|event_type| count(event_type) == 1)
        && lacks.iter().all(|event_type| count(event_type) == 0)
}

/// The id of the key that a vote was signed with.
fn key(record: &Planted) -> Option<String> {
    let said = record.is("approval.voted").then(|| record.said())?;
    said["key_id"].as_str().map(str::to_owned)
}

/// How often each key decided something.
fn votes(work: &Work) -> HashMap<String, usize> {
    let mut votes = HashMap::new();
    for key in work.records.iter().filter_map(key) {
        *votes.entry(key).or_default() += 1;
    }
    votes
}
