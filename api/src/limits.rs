//! Bounds of the network edge, with their units. Bounds of records, appends and queues stand in
//! [`ruche_domain::limits`]; those of the edge relate to them, and the relations are proven at compile time.

use std::num::NonZeroUsize;
use std::time::Duration;

use ruche_domain::limits as domain;

/// Bytes of a request's body. An append of the greatest size fits, with every byte escaped in JSON text once.
pub const BODY_BYTES_MAX: usize = 2 * domain::APPEND_BYTES_MAX + 1_048_576;
/// Longest wait for the whole body of a request.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of a body that is too large that are read and thrown away, so that the client gets to read the refusal.
pub const LINGER_BYTES_MAX: usize = 2 * BODY_BYTES_MAX;
/// Longest time of that.
pub const LINGER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Requests that are served at the same time; one more is answered `OVERLOADED`.
pub const REQUESTS_IN_FLIGHT_MAX: usize = 4_096;
/// Bytes of request bodies in memory at the same time; more is answered `OVERLOADED`.
pub const BODY_BYTES_IN_FLIGHT_MAX: usize = 32 * BODY_BYTES_MAX;

/// Bytes of a GraphQL document.
pub const DOCUMENT_BYTES_MAX: usize = BODY_BYTES_MAX;
/// Lexical tokens of a GraphQL document.
pub const DOCUMENT_TOKENS_MAX: usize = 10_000;
/// Nesting of brackets in a GraphQL document. Looked at before the parser, which recurses.
pub const DOCUMENT_NESTING_MAX: usize = 64;
/// GraphQL documents that are kept parsed, the last used ones.
pub const DOCUMENTS_KEPT_MAX: usize = 128;
/// Bytes of a GraphQL document that is kept. Parsed, it takes many times as much memory.
pub const DOCUMENT_KEPT_BYTES_MAX: usize = 4_096;
/// Aliases in a GraphQL document.
pub const DOCUMENT_ALIASES_MAX: usize = 30;
/// Fields, spreads, directives and values of a GraphQL document with every fragment written out, those of the
/// fragments' own definitions counted, too. A document whose fragments are used once and spread no others always
/// passes.
pub const DOCUMENT_EXPANSION_MAX: usize = 2 * DOCUMENT_TOKENS_MAX;
/// Depth of selected fields. Introspection as GraphiQL does it needs 13.
pub const QUERY_DEPTH_MAX: usize = 16;
/// Cost of an operation: one per field, times the page size below a connection.
pub const QUERY_COST_MAX: usize = 20_000;
/// Bytes of rows of read models, and of records that facts and the like name, that one operation reads, over all its fields. It
/// goes over by one page at most.
pub const OPERATION_READ_BYTES_MAX: u64 = 128 * 1_048_576;
/// Bytes of texts and values in one answer to an operation.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1_048_576;
/// Directives on one field.
pub const FIELD_DIRECTIVES_MAX: usize = 5;
/// Items of one page of a connection.
pub const PAGE_ITEMS_MAX: usize = 100;
/// Items of a page whose `first` is not given.
pub const PAGE_ITEMS_DEFAULT: usize = 20;
/// Turns that run longest and are told with the queue.
pub const RUNNING_TURNS_TOLD: usize = 10;
/// Requests for approval that are settled, as many as `ruche approvals list --settled` lists when it is not told how many.
pub const SETTLED_LISTED_DEFAULT: NonZeroUsize = NonZeroUsize::new(100).unwrap();

/// Records that one replay over the API reads. It goes over this and the next two by one page of reading at most.
pub const REPLAY_RECORDS_MAX: u64 = 50_000;
/// Bytes of such records, as they are in memory.
pub const REPLAY_BYTES_MAX: u64 = 256 * 1_048_576;
/// Longest time of such a replay.
pub const REPLAY_WAIT_MAX: Duration = Duration::from_secs(10);
/// Replays of one node at the same time, each of another ledger: of one ledger there is one. Together they read at most a
/// gigabyte and keep as many threads busy.
pub const REPLAYS_MAX: usize = 4;
/// Longest wait for another replay of the ledger, or of the node, to end; longer is answered `OVERLOADED`.
pub const REPLAY_QUEUE_WAIT_MAX: Duration = Duration::from_secs(2);
/// When who was answered so is told to ask again, milliseconds.
pub const REPLAY_RETRY_AFTER_MS: u64 = 1_000;

/// Bytes of bundles of archives that are read at the same time, in files and again in memory, in one process. A bundle that
/// takes more is read alone.
pub const ARCHIVE_READ_BYTES_MAX: usize = 64 * 1_048_576;
/// Longest wait for room for one; longer is answered `OVERLOADED`.
pub const ARCHIVE_READ_WAIT_MAX: Duration = Duration::from_secs(5);
/// When who was answered so is told to ask again, milliseconds.
pub const ARCHIVE_READ_RETRY_AFTER_MS: u64 = 1_000;
/// Bytes of bundles of archives that are kept in memory, the last read ones.
pub const ARCHIVE_BUNDLES_KEPT_BYTES_MAX: usize = 64 * 1_048_576;

/// Bytes of one message from a WebSocket client.
pub const SOCKET_MESSAGE_BYTES_MAX: usize = 1_048_576;
/// WebSocket connections of a process.
pub const SOCKETS_MAX: usize = 16_384;
/// WebSocket connections of one tenant.
pub const SOCKETS_PER_TENANT_MAX: usize = 12_288;
/// Running operations of one connection.
pub const OPERATIONS_PER_SOCKET_MAX: usize = 128;
/// Messages waiting to be written to one connection; who produces more waits.
pub const SOCKET_QUEUE_MESSAGES_MAX: usize = 32;
/// Longest wait for `connection_init`.
pub const SOCKET_INIT_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a quiet connection is pinged and its credential looked at again.
pub const SOCKET_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Longest silence of a client that answers pings; longer is a dead connection.
pub const SOCKET_SILENCE_MAX: Duration = Duration::from_secs(75);
/// Longest wait for a client to take one message.
pub const SOCKET_WRITE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Open HTTP connections of a process; one more is closed unanswered. WebSocket connections are counted apart.
pub const CONNECTIONS_MAX: usize = 8_192;
/// Longest wait for the head of a request: of the first from the connection on, of the next from the answer before.
pub const HEAD_WAIT_MAX: Duration = Duration::from_secs(30);
/// How often a quiet HTTP/2 connection is pinged.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(30);
/// Longest wait for the answer to that.
pub const HTTP2_PING_WAIT_MAX: Duration = Duration::from_secs(20);
/// Requests of one HTTP/2 connection at the same time.
pub const HTTP2_STREAMS_MAX: u32 = 256;
/// Bytes of the head of an HTTP/2 request.
pub const HTTP2_HEAD_BYTES_MAX: u32 = 65_536;
/// Longest wait for connections to end when the process closes. A request that is being read gets its time.
pub const CONNECTIONS_CLOSE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Longest wait for WebSocket connections to take their goodbye when the process closes.
pub const SOCKETS_CLOSE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted, as for want of file descriptors.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Longest time without any progress while bytes wait to be written to a client; longer is a client that does not read.
pub const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);

/// Longest wait for whoever takes a tree head: for its answer, or for its folder.
pub const PUBLISH_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for publications when the process closes.
pub const PUBLISH_CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait, at the end of the process, for calls to the system that hang, such as one to somebody else's folder.
pub const RUNTIME_CLOSE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Pause after a tree head was not published; doubled each time.
pub const PUBLISH_RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest such pause.
pub const PUBLISH_RETRY_MAX: Duration = Duration::from_secs(30);
/// Ledgers whose tree heads are taken to one place at the same time.
pub const PUBLISHING_AT_ONCE_MAX: usize = 16;

/// Shortest time between two looks for timers of a ledger that are due.
pub const TIMER_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Longest time between two looks while nothing is appended and nothing is due.
pub const TIMER_IDLE_WAIT_MAX: Duration = Duration::from_secs(60);
/// Lanes in which timers fire after one look.
pub const TIMER_LANES_PER_LOOK_MAX: usize = 256;
/// Lanes whose timers did not fire and that are passed over until they are tried again. Beyond so many of one ledger they take
/// the place of others.
pub const TIMER_LANES_RESTING_MAX: usize = 4_096;
/// Lanes in which timers fire at the same time.
pub const TIMER_LANES_AT_ONCE_MAX: usize = 16;
/// Longest pause before a lane is tried again whose timer did not fire; doubled from the shortest time of a look.
pub const TIMER_RETRY_MAX: Duration = Duration::from_secs(5);
/// Ready turns that one claim by agent tries, one after the other; others were faster with all of those before.
pub const CLAIM_TURNS_TRIED_MAX: usize = 16;
/// Lanes of a ledger that claims pass over because nobody can decide on them. More are tried by each claim.
pub const CLAIM_LANES_PASSED_OVER_MAX: usize = 1_024;
/// Time until such a lane is tried again.
pub const CLAIM_PASSED_OVER_FOR: Duration = Duration::from_secs(60);
/// Lanes of an agent that a node hands out to one claim each at a time, those among them that were claimed and that the read
/// model shows as ready. Of more each claim finds out by itself.
pub const CLAIM_LANES_HANDED_OUT_MAX: usize = 1_024;
/// Longest time for which a lane that was claimed is passed over because the read model does not know yet.
pub const CLAIM_SEEN_WITHIN: Duration = Duration::from_secs(2);
/// Longest wait of a claim for a turn that is ready.
pub const CLAIM_WAIT_MAX: Duration = Duration::from_secs(30);
/// Longest time for which a claim that waits for the turns of an agent relies on being told of one.
pub const CLAIM_LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Ready turns of an agent that a subscription knows of at the same time; later ones are told when those are claimed.
pub const READY_TURNS_TOLD_MAX: usize = 1_000;
/// Shortest time between two looks for turns that got ready, of the one watcher that a ledger has on a node.
pub const READY_LOOK_INTERVAL: Duration = Duration::from_millis(5);
/// Pause of that watcher after it could not look, and the first one after it broke.
pub const READY_RETRY: Duration = Duration::from_secs(1);
/// Lanes of a ledger whose agents it keeps in memory.
pub const READY_LANES_KNOWN_MAX: usize = 65_536;
/// Turns of a ledger that may be claimed later only and of which workers are told then; of more they are told at once.
pub const READY_LATER_MAX: usize = 65_536;
/// Longest pause before a ledger whose watcher broke gets another one; doubled from the shortest.
pub const READY_WATCH_RETRY_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two tries of a claim that waits.
pub const CLAIM_RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Longest wait of `/metrics` for the stores; then it says of them what it said before.
pub const METRICS_WAIT_MAX: Duration = Duration::from_secs(2);
/// How often samples are folded into histograms; they are held in memory until then.
pub const METRICS_UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Shortest time between two looks for keys that were made elsewhere.
pub const ACCESS_REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Keys of one deployment that are held in memory.
pub const API_KEYS_MAX: usize = 1_000_000;
/// Bytes of the name that people call a tenant on the command line.
pub const TENANT_NAME_BYTES_MAX: usize = 128;
/// Bytes of the label of an API key.
pub const KEY_LABEL_BYTES_MAX: usize = 128;

/// How long a pass holds that a browser is given for a key: a working day.
pub const PASS_LIFE: Duration = Duration::from_secs(8 * 3_600);
/// Bytes of a form that a browser sends.
pub const FORM_BYTES_MAX: usize = 4_096;
/// Times that a chart shows at most; more are too narrow to be looked at.
pub const CHART_BUCKETS_MAX: i64 = 400;
/// Rows of the table below a chart. A page has four to five of them.
pub const CHART_ROWS_MAX: usize = 2_000;
/// Values of a dimension that a chart tells apart by colour; the others are shown as one.
pub const CHART_SERIES_MAX: usize = 8;
/// Values of a dimension that a page offers for choice; of more the name is typed.
pub const CHOICES_MAX: usize = 100;

/// Sessions that the demo makes up at most.
pub const SEED_SESSIONS_MAX: u64 = 100_000;
/// Sessions that seeding and importing record at the same time. Enough for every group commit to be full, few enough
/// to leave the writer's queue to others.
pub const SESSIONS_AT_ONCE_MAX: usize = 64;
/// Bytes of one file to import. Read as a whole.
pub const IMPORT_FILE_BYTES_MAX: u64 = 1_073_741_824;

/// Events of one request to `/v1/events`, over all its appends.
pub const INGEST_EVENTS_MAX: usize = 10 * domain::EVENTS_PER_APPEND_MAX;
/// Appends of one request to `/v1/events`.
pub const INGEST_APPENDS_MAX: usize = 1_000;
/// Appends of one request to `/v1/events` that are carried out at the same time.
pub const INGEST_APPENDS_AT_ONCE_MAX: usize = 64;
/// Bytes of a body of telemetry, as sent and again without its compression.
pub const OTLP_BODY_BYTES_MAX: usize = BODY_BYTES_MAX;
/// Messages of a body of telemetry, those within others among them: spans, attributes, values. They take much more room in
/// memory than in a body.
pub const OTLP_MESSAGES_MAX: usize = 500_000;
/// Spans or log records of one request.
pub const OTLP_SPANS_MAX: usize = 10_000;
/// Requests with telemetry of one tenant that are taken at the same time.
pub const OTLP_REQUESTS_PER_TENANT_MAX: usize = 4;
/// Sessions of one request that are recorded at the same time.
pub const OTLP_SESSIONS_AT_ONCE_MAX: usize = 64;
/// Sessions of a node that wait for what follows from their telemetry to be derived; one more has to wait for more telemetry.
pub const OTLP_SESSIONS_SETTLING_MAX: usize = 16_384;
/// Those of one tenant.
pub const OTLP_SESSIONS_SETTLING_PER_TENANT_MAX: usize = OTLP_SESSIONS_SETTLING_MAX / 4;
/// Sessions of a node that are read at the same time, to derive what follows from their telemetry.
pub const OTLP_DERIVATIONS_AT_ONCE_MAX: usize = 2;
/// Sessions of a node that are remembered to be started.
pub const OTLP_SESSIONS_KNOWN_MAX: usize = 65_536;

/// Lag of a projection beyond which `/ready` counts the ledger as behind, records.
pub const READY_LAG_RECORDS_MAX: u64 = 100_000;
/// Records that a projection which is new catches up with beside the others of its ledger; beyond it read models are made anew
/// at the start. Those who follow together wait for it that long.
pub const NEW_PROJECTION_RECORDS_MAX: u64 = 100_000;
/// Ledgers whose read models `/ready` looks at; the others are served by the same loops.
pub const READY_LEDGERS_MAX: usize = 32;
/// Halted ledgers that `/ready` names to who may know of all tenants; more are counted.
pub const READY_NAMES_MAX: usize = 100;
/// Longest wait of `/ready` for the store.
pub const READY_WAIT_MAX: Duration = Duration::from_secs(2);
/// When no append had an answer for this long while some wait for one, `/ready` tries the store.
pub const READY_SILENCE_MAX: Duration = Duration::from_secs(5);
/// Longest wait of `/ready` for a try to write, from the begin of the try on.
pub const READY_TRY_WAIT_MAX: Duration = Duration::from_millis(1_500);
/// Time for which what a try to write said is told to all who ask.
pub const READY_TRY_SHARED: Duration = Duration::from_secs(1);
/// Time after which a try that hangs gets another one beside it, once: its server may have failed while another one took
/// its place.
pub const READY_TRY_AGAIN: Duration = Duration::from_secs(30);
const _: () = assert!(
    READY_TRY_WAIT_MAX.as_millis() < READY_WAIT_MAX.as_millis(),
    "a try that hangs is told as what it is"
);

/// Callers, or connections, of one bench.
pub const BENCH_CALLERS_MAX: usize = 16_384;
/// Lanes of a bench.
pub const BENCH_LANES_MAX: usize = 1_000_000;
/// Longest wait of a claim of a bench for a turn of its agent, ms.
pub const BENCH_CLAIM_WAIT_MS: u64 = 5_000;
/// Agents of a bench whose lanes are opened at the same time.
pub const BENCH_OPENING_AT_ONCE_MAX: usize = 32;
/// Ledgers of one bench.
pub const BENCH_LEDGERS_MAX: usize = 1_024;
/// Streams of one bench.
pub const BENCH_STREAMS_MAX: usize = 1_000_000;
/// Seconds of a bench, and of its warm-up.
pub const BENCH_SECONDS_MAX: u64 = 3_600;
/// Events in a second that an open loop asks for.
pub const BENCH_RATE_EVENTS_MAX: u64 = 10_000_000;
/// Bytes of the smallest payload that a bench can make.
pub const BENCH_PAYLOAD_BYTES_MIN: usize = 64;
/// Events of a stream before the caller goes on with a new one.
pub const BENCH_STREAM_EVENTS: u64 = 200;
/// Failed appends after which a bench ends: it measures nothing any more.
pub const BENCH_ERRORS_MAX: u64 = 100;
/// Times that one append is sent, where the answer is to try again.
pub const BENCH_SENDS_MAX: u32 = 100;
/// Longest pause before that, whatever the hint says.
pub const BENCH_HINT_WAIT_MAX: Duration = Duration::from_secs(1);
/// Longest wait for a server: for the connection, and for an answer. Longer is an unknown outcome.
pub const BENCH_ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// Bytes of an answer.
pub const BENCH_ANSWER_BYTES_MAX: usize = 16 * 1_048_576;
/// Longest latency that is told apart from longer ones.
pub const BENCH_LATENCY_MAX: Duration = Duration::from_secs(24 * 3_600);
/// Time behind the end of an open loop in which appends that were due before it may still begin.
pub const BENCH_BACKLOG_WAIT: Duration = Duration::from_millis(100);
/// How often an open loop looks for a stop while nothing is due.
pub const BENCH_STOP_LOOK: Duration = Duration::from_millis(50);
/// How often the bar of a bench moves.
pub const BENCH_PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Time of the appends whose rows and commits the bare inserts are made like.
pub const BENCH_SHAPE_TIME: Duration = Duration::from_millis(500);
/// Longest time of bare inserts, before and after, for each of the ways that an engine tries.
pub const BENCH_LIMIT_TIME_MAX: Duration = Duration::from_secs(2);
/// Time in which flushes of the disk are counted.
pub const BENCH_FLUSH_TIME: Duration = Duration::from_secs(1);
/// Time from one look at the read models to the next, under the load of a bench.
pub const BENCH_READ_LAG_INTERVAL: Duration = Duration::from_millis(50);
/// Events of the data set of a bench of reads.
pub const BENCH_READ_EVENTS_MAX: u64 = 100_000_000;
/// Fewest of them: with less there is nobody of whom anything is known.
pub const BENCH_READ_EVENTS_MIN: u64 = 200;
/// Sessions, and people, of the data set that are asked for; up to twice as many sessions.
pub const BENCH_READ_SAMPLE_MAX: usize = 1_000;
/// Questions in a second that an open loop asks for.
pub const BENCH_QUESTIONS_RATE_MAX: u64 = 1_000_000;
/// Nodes that a bench opens in its own process on one database.
pub const BENCH_ENGINES_MAX: usize = 8;

const _: () = assert!(
    BODY_BYTES_MAX > domain::APPEND_BYTES_MAX,
    "the largest append fits a request"
);
const _: () = assert!(
    SESSIONS_AT_ONCE_MAX < domain::WRITER_QUEUE_APPENDS_MAX,
    "an import leaves room in the queue"
);
const _: () = assert!(
    (domain::NEAREST_VECTOR_BYTES_MAX + domain::NEAREST_PAGE_BYTES) as u64 + 16 * 1_048_576
        <= OPERATION_READ_BYTES_MAX,
    "a search by vector leaves room for the facts that it finds"
);
const _: () = assert!(DOCUMENT_BYTES_MAX <= BODY_BYTES_MAX);
const _: () = assert!(PAGE_ITEMS_DEFAULT <= PAGE_ITEMS_MAX);
const _: () = assert!(
    PAGE_ITEMS_MAX <= domain::READ_RECORDS_MAX,
    "a page is one read of the store"
);
const _: () = assert!(
    SOCKETS_PER_TENANT_MAX < SOCKETS_MAX,
    "one tenant cannot take all connections"
);
const _: () = assert!(
    2 * OTLP_REQUESTS_PER_TENANT_MAX * OTLP_BODY_BYTES_MAX < BODY_BYTES_IN_FLIGHT_MAX,
    "one tenant's telemetry, as sent and without its compression, leaves room for others"
);
const _: () = assert!(SOCKET_PING_INTERVAL.as_secs() * 2 < SOCKET_SILENCE_MAX.as_secs());
const _: () = assert!(
    CONNECTIONS_MAX >= REQUESTS_IN_FLIGHT_MAX,
    "requests are bounded before connections are"
);
const _: () = assert!(
    BODY_WAIT_MAX.as_secs() < CONNECTIONS_CLOSE_WAIT_MAX.as_secs(),
    "a body that is on its way arrives before the process ends"
);
/// Ledgers that are gone through at the same time, by a start or an end and by who counts: enough to fill the connections
/// that read, few enough that none waits for one for long.
pub const LEDGERS_AT_ONCE_MAX: usize = 16;
/// First pause of a start that waits for the database; doubled up to the longest.
pub const DATABASE_RETRY_FIRST: Duration = Duration::from_millis(100);
/// Longest pause of a start that waits for the database.
pub const DATABASE_RETRY_LONGEST: Duration = Duration::from_secs(5);
const _: () = assert!(
    BENCH_SECONDS_MAX * 2 <= BENCH_LATENCY_MAX.as_secs(),
    "no latency of a bench is cut"
);
