//! Every numeric bound of Ruche, with its unit, and proof at compile time of how bounds relate.

/// Bytes of one leaf (design §3: at most 1 KiB; tlog-tiles allows 65,535).
pub const LEAF_BYTES_MAX: usize = 1_024;
/// Bytes of one stored payload fragment.
pub const PAYLOAD_BYTES_MAX: usize = 1_048_576;
/// Payload fragments of one record. Bound by the SQLite key layout (2 bits).
pub const FRAGMENTS_PER_RECORD_MAX: usize = 4;
/// Events of one append.
pub const EVENTS_PER_APPEND_MAX: usize = 1_000;
/// Stored payload bytes of one append.
pub const APPEND_BYTES_MAX: usize = 8 * 1_048_576;
/// Expectations of one append: streams whose version it names.
pub const EXPECTATIONS_PER_APPEND_MAX: usize = 64;
/// Idempotency keys of one append.
pub const KEYS_PER_APPEND_MAX: usize = 3;
/// Bytes of a client's idempotency key.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;
/// Bytes of a client's own id of a session, turn, agent and so on.
pub const EXTERNAL_ID_BYTES_MAX: usize = 255;
/// Bytes of an origin.
pub const ORIGIN_BYTES_MAX: usize = 128;
/// Bytes of an event type name.
pub const EVENT_TYPE_BYTES_MAX: usize = 64;
/// Bytes of a media type.
pub const MEDIA_TYPE_BYTES_MAX: usize = 64;
/// Nesting of a JSON payload.
pub const JSON_DEPTH_MAX: usize = 64;
/// Digits of a number in a JSON payload.
pub const JSON_NUMBER_BYTES_MAX: usize = 64;

/// Appends waiting for one writer; one more is refused with `OVERLOADED`.
pub const WRITER_QUEUE_APPENDS_MAX: usize = 8_192;
/// Stored bytes waiting for one writer; more is refused with `OVERLOADED`.
pub const WRITER_QUEUE_BYTES_MAX: usize = 256 * 1_048_576;
/// Times that a writer that broke is started anew within [`WRITER_RESTARTS_WINDOW_MS`]. If it breaks once more the process
/// ends: something is wrong that an empty cache does not mend.
pub const WRITER_RESTARTS_MAX: usize = 5;
/// The time in which they are counted, ms.
pub const WRITER_RESTARTS_WINDOW_MS: u64 = 60_000;
/// Events of one group commit; one append larger than what is left waits for the next.
pub const BATCH_EVENTS_MAX: usize = 1_000;
/// Stored bytes of one group commit.
pub const BATCH_BYTES_MAX: usize = APPEND_BYTES_MAX;
/// Retry hint of `OVERLOADED`, milliseconds.
pub const OVERLOADED_RETRY_AFTER_MS: u64 = 250;
/// Milliseconds after which what a state does not allow yet is worth another try, where nobody knows when it will.
pub const STATE_RETRY_AFTER_MS: u64 = 1_000;
/// Records of one read from the ledger.
pub const READ_RECORDS_MAX: usize = 1_000;
/// Stored bytes after which one read from the ledger ends early; one record is always given.
pub const READ_BYTES_MAX: usize = 16 * 1_048_576;
/// Records of one archive; a multiple of 256.
pub const ARCHIVE_RECORDS_MAX: u64 = 1 << 20;
/// Records whose payloads leave the store in one transaction; a multiple of 256.
pub const DETACH_RECORDS_MAX: u64 = 2_048;
/// Reads waiting for one engine; one more is refused with `OVERLOADED`.
pub const READER_QUEUE_MAX: usize = 16_384;
/// Records that a subscription holds in memory.
pub const SUBSCRIPTION_PAGE_RECORDS_MAX: usize = 64;
/// Tries of a command on a version conflict. From the second on it takes turns with the others of its node, so what it
/// still loses it loses to other nodes, by chance.
pub const COMMAND_ATTEMPTS_MAX: u32 = 64;
/// Times that an append is sent whose outcome is not known.
pub const COMMAND_SENDS_MAX: u32 = 8;
/// Commands of a node that wait for their turn at one stream; one more is refused with `OVERLOADED`.
pub const COMMANDS_WAITING_MAX: usize = 1_024;
/// How far clocks of nodes are taken to be apart, µs. So much is made up for in a lane: its time goes forward all the same. A
/// clock that is further ahead than that is wrong, and a lane does not wait until the others have caught up with it.
pub const CLOCKS_APART_US_MAX: u64 = 60 * 1_000_000;
/// Calls of one turn. What becomes of all of them at once, when a lease lapses or a turn is cancelled, fits one append.
pub const CALLS_PER_TURN_MAX: usize = 256;
/// Messages that a turn has sent and could still take back. They are taken back in one append, with what becomes of its
/// calls.
pub const MESSAGES_TO_RETRACT_MAX: usize = 256;
/// Steps of one turn.
pub const STEPS_PER_TURN_MAX: usize = 256;
/// Records of one turn in its lane. From there on nothing is taken that only makes it longer; it ends as ever. So many are
/// two days of heartbeats, under a lease of half a minute.
pub const TURN_EVENTS_MAX: usize = 32_768;
/// Payload bytes of one turn in its lane, in the same way.
pub const TURN_BYTES_MAX: usize = 64 * 1_048_576;
/// Records of a lane from which on it takes no message: each command on it folds all of them.
pub const LANE_EVENTS_MAX: usize = 131_072;
/// Payload bytes of a lane, in the same way.
pub const LANE_BYTES_MAX: usize = 128 * 1_048_576;
/// Requests for approval of one lane that are open, and turns that wait in it because one was decided. Each is a stream that
/// every command on the lane reads.
pub const OPEN_APPROVALS_PER_LANE_MAX: usize = 256;
/// A heartbeat within this part of a lease finds it fresh, and is answered without a record: a quarter.
pub const LEASE_FRESH_DIVISOR: u64 = 4;
/// Shortest time that a tool may be given, µs. With less a call would be in doubt before anybody can report it.
pub const TOOL_TIMEOUT_US_MIN: u64 = 1_000;
/// Longest time that a tool may be given, µs.
pub const TOOL_TIMEOUT_US_MAX: u64 = 30 * 24 * 3_600 * 1_000_000;
/// Longest time that a channel gathers messages for a turn, µs.
pub const CHANNEL_GATHER_US_MAX: u64 = 600 * 1_000_000;
/// Most messages that a channel may have in a turn.
pub const CHANNEL_MESSAGES_MAX: u64 = 100;
/// Most messages that a channel may let a turn own, those of turns that it takes the place of among them.
pub const CHANNEL_CARRIED_MAX: u64 = 10_000;
/// Most turns of a lane that a channel may let wait.
pub const CHANNEL_QUEUE_MAX: u64 = 10_000;
/// Most attempts that a channel may have at a turn, or at undoing an effect.
pub const CHANNEL_ATTEMPTS_MAX: u64 = 100;
/// Shortest lease, approval or turn of a channel, µs.
pub const CHANNEL_WAIT_US_MIN: u64 = 100_000;
/// Longest lease of a channel, µs.
pub const CHANNEL_LEASE_US_MAX: u64 = 3_600 * 1_000_000;
/// Longest wait of a channel for another attempt, for effects under way and for undoing, µs.
pub const CHANNEL_RETRY_US_MAX: u64 = 24 * 3_600 * 1_000_000;
/// Longest approval and turn of a channel, µs.
pub const CHANNEL_TURN_US_MAX: u64 = 90 * 24 * 3_600 * 1_000_000;
/// Streams that commands keep in memory, of all ledgers of a node.
pub const RECENT_STREAMS_MAX: usize = 4_096;
/// Bytes of them, about.
pub const RECENT_STREAMS_BYTES_MAX: usize = 128 * 1_048_576;
/// Bytes of one of them, about; a longer one is read each time.
pub const RECENT_STREAM_BYTES_MAX: usize = 32 * 1_048_576;
/// Events of the shortest one.
pub const RECENT_STREAM_EVENTS_MIN: usize = 32;
/// Longest time for which one is kept, microseconds: ten minutes.
pub const RECENT_STREAM_US_MAX: u64 = 600 * 1_000_000;
/// Longest wait of the sealer on an active ledger, milliseconds: a tree head covers an append within a second.
pub const SEAL_INTERVAL_MS: u64 = 500;
/// A node tends a ledger for so long after it said so, milliseconds. What a dead node tended goes on elsewhere then.
pub const LEASE_MS: u64 = 10_000;
/// A node renews what it tends so often, milliseconds.
pub const LEASE_RENEWAL_MS: u64 = 2_500;
/// Attempts of a projection on one event before it is parked.
pub const PROJECTION_ATTEMPTS_MAX: u32 = 5;
/// Events that a projection applies in one transaction.
pub const PROJECTION_BATCH_EVENTS_MAX: usize = 1_000;
/// Statements after which a transaction of a projection takes no further event. One event is always applied as a whole.
pub const PROJECTION_BATCH_STATEMENTS_MAX: usize = 20_000;
/// Longest time of one statement of a query of read models, milliseconds. The waits before it do not count.
pub const READ_STATEMENT_MS_MAX: u64 = 30_000;
/// Items of one list of an event of memory: sources, results, documents, records. A client's event with more is refused; of
/// one that was imported, or stored before, the read model of memory looks at so many different ones.
pub const MEMORY_LIST_ITEMS_MAX: usize = 1_000;
/// Numbers of a vector that stands for a fact.
pub const VECTOR_NUMBERS_MAX: usize = 4_096;
/// Bytes of its text: base64 of four bytes for each number.
pub const VECTOR_TEXT_BYTES_MAX: usize = (4 * VECTOR_NUMBERS_MAX).div_ceil(3) * 4;
/// Vectors that one search for the nearest facts looks at; of more it is refused.
pub const NEAREST_CANDIDATES_MAX: usize = 100_000;
/// Bytes of the vectors that it reads and compares; of more it is refused.
pub const NEAREST_VECTOR_BYTES_MAX: usize = 96 * 1_048_576;
/// Bytes of the vectors of one page that it reads, about.
pub const NEAREST_PAGE_BYTES: usize = 4 * 1_048_576;
/// Ledgers of which a node brings the read models forward at the same time. More than stores have connections for steps, and
/// few enough that none of them is refused.
pub const LEDGERS_PROJECTED_AT_ONCE_MAX: usize = 16;
/// Longest wait for `minPosition`, milliseconds.
pub const MIN_POSITION_WAIT_MS_MAX: u64 = 5_000;
/// A business key is held so long after its effect was done, microseconds: a day. That of an irreversible effect is
/// held for ever.
pub const BUSINESS_KEY_HELD_US: u64 = 24 * 3_600 * 1_000_000;
/// Recorded refusals of a start for one call and one cause. More are refused and leave no record, so that a worker that
/// asks again and again does not make the lane longer.
pub const START_REFUSALS_PER_CAUSE_MAX: usize = 1;
/// Recorded votes on one request that do not count, over all causes and credentials: so many that a registered key signed,
/// and so many others, of which one for each cause and credential.
pub const VOTE_REFUSALS_PER_REQUEST_MAX: usize = 64;
/// Recorded attempts to start other calls on one approval; of one call one.
pub const USE_REFUSALS_PER_REQUEST_MAX: usize = 64;
/// Different tools of one recorded turn; each costs a read.
pub const TOOLS_PER_TURN_MAX: usize = 256;
/// Keys of one configuration.
pub const CONFIG_KEYS_MAX: usize = 1_000;
/// Questions of analytics that one ledger has saved.
pub const SAVED_QUERIES_MAX: usize = 256;
/// Characters of the name of one.
pub const SAVED_QUERY_NAME_CHARS_MAX: usize = 128;
/// Bytes of one, as JSON text.
pub const SAVED_QUERY_BYTES_MAX: usize = 16_384;
/// Longest time that one asks about as the last so many seconds: ten years, s.
pub const SAVED_QUERY_LAST_S_MAX: u64 = 3_653 * 24 * 3_600;
/// Values of a JSON payload up to which everything that is wrong with it is looked for; of a larger one the first fault is
/// told.
pub const VALUES_JUDGED_WHOLE_MAX: usize = 10_000;
/// Faults of one payload that a client is told at once.
pub const VIOLATIONS_TOLD_MAX: usize = 16;
/// Characters of the description of one such fault.
pub const VIOLATION_CHARS_MAX: usize = 300;
/// Records of a page, where a stream is read newest first.
pub const NEWEST_PAGE_RECORDS: u64 = 32;
/// Bytes of one record of an imported file.
pub const IMPORT_RECORD_BYTES_MAX: usize = 64 * 1_048_576;
/// Bytes of a file that classifies tools.
pub const MAPPING_BYTES_MAX: usize = 1_048_576;
/// Bytes of a signed document in a DSSE envelope.
pub const DSSE_PAYLOAD_BYTES_MAX: usize = 8_192;
/// Bytes of a DSSE envelope as JSON text.
pub const DSSE_ENVELOPE_BYTES_MAX: usize = 16_384;
/// Bytes of the reason that a reviewer gives with a vote.
pub const VOTE_REASON_BYTES_MAX: usize = 1_000;

const _: () = assert!(
    LEAF_BYTES_MAX <= 65_535,
    "tlog-tiles entries have a 16-bit length"
);
const _: () = assert!(PAYLOAD_BYTES_MAX <= APPEND_BYTES_MAX);
const _: () = assert!(
    DSSE_PAYLOAD_BYTES_MAX * 4 / 3 + 512 <= DSSE_ENVELOPE_BYTES_MAX,
    "base64, type, key hint and signature"
);
const _: () = assert!(
    2 * DSSE_ENVELOPE_BYTES_MAX <= PAYLOAD_BYTES_MAX,
    "an envelope, escaped, in an event"
);
const _: () = assert!(
    VECTOR_TEXT_BYTES_MAX + 1_024 < PAYLOAD_BYTES_MAX,
    "a vector, with names, in an event"
);
const _: () = assert!(
    NEAREST_PAGE_BYTES >= 4 * VECTOR_NUMBERS_MAX && NEAREST_PAGE_BYTES < NEAREST_VECTOR_BYTES_MAX,
    "a page has a vector, and a search has pages"
);
const _: () = assert!(
    EVENTS_PER_APPEND_MAX <= BATCH_EVENTS_MAX,
    "an append fits a batch"
);
const _: () = assert!(APPEND_BYTES_MAX <= BATCH_BYTES_MAX, "an append fits a batch");
const _: () = assert!(BATCH_BYTES_MAX <= WRITER_QUEUE_BYTES_MAX);
const _: () = assert!(
    40 * CHANNEL_CARRIED_MAX as usize <= PAYLOAD_BYTES_MAX / 2,
    "the ids of a turn's messages, as text, in an event"
);
const _: () = assert!(
    2 * CALLS_PER_TURN_MAX + MESSAGES_TO_RETRACT_MAX + 100 <= EVENTS_PER_APPEND_MAX,
    "a turn that is superseded: its calls, their approvals and its words"
);
const _: () = assert!(
    2 * 24 * 3_600 * LEASE_FRESH_DIVISOR as usize / 30 + 20 * CALLS_PER_TURN_MAX < TURN_EVENTS_MAX,
    "two days of heartbeats under a lease of 30 s, and what becomes of all calls"
);
const _: () = assert!(TURN_EVENTS_MAX < LANE_EVENTS_MAX);
const _: () = assert!(TURN_BYTES_MAX < LANE_BYTES_MAX);
const _: () = assert!(RECENT_STREAM_BYTES_MAX < RECENT_STREAMS_BYTES_MAX);
const _: () = assert!(FRAGMENTS_PER_RECORD_MAX <= 4, "two bits of the payload key");
const _: () = assert!(3 * LEASE_RENEWAL_MS <= LEASE_MS, "two renewals may fail");
const _: () = assert!(SEAL_INTERVAL_MS < 1_000, "design §3: sealed within a second");
