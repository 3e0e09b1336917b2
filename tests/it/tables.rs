//! Tables as files: what `ruche table export` writes is what GraphQL answers, in both forms, with another tenant beside it
//! and with texts that were erased.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use reqwest::blocking::Client;
use ruche_domain::numbers::Micros;
use ruche_tests::databases::rows;
use ruche_tests::server::{Ended, Home, Server, caught_up, graphql};
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
/// Sessions of the tenant that is looked at.
const SESSIONS: &str = "8";
const SESSION: &str = "id externalId agent channel provenance status startedAt firstPosition counts { messages turns toolCalls }
    costs { currency amount }";
const MESSAGES: &str =
    "query ($id: ID!, $after: String) { session(id: $id) { messages(first: 100, after: $after) {
    nodes { position role text erased occurredAt } pageInfo { hasNextPage endCursor } } } }";

/// A row by the names of its columns; `None` is not known.
type Row = BTreeMap<String, Option<String>>;

struct World {
    folder: TempDir,
    home: Home,
    key: String,
}

impl World {
    /// Two tenants, of which one has a message whose payload is gone; read models made anew since.
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let seed = |tenant: &str, sessions: &str| {
            let arguments = ["seed", "--tenant", tenant, "--sessions", sessions];
            home.run(&arguments).expect("made-up conversations");
        };
        seed("acme", SESSIONS);
        seed("other", "3");
        let key = home.new_key("acme", &["reader"]).expect("a key");
        Self { folder, home, key }
    }

    fn export(&self, table: &str, format: &str, more: &[&str]) -> Ended {
        let file = self.file(table, format);
        let file = file.to_str().expect("a plain path");
        let arguments = [
            "table", "export", table, "--tenant", "acme", "--format", format, "--out", file,
        ];
        self.home.end_of(&[&arguments, more].concat()).expect("it runs")
    }

    fn exported(&self, table: &str, format: &str) -> Value {
        let ended = self.export(table, format, &["--force"]);
        assert_eq!(ended.code, Some(0), "{}", ended.said);
        ended.json
    }

    fn file(&self, table: &str, format: &str) -> std::path::PathBuf {
        self.folder.path().join(format!("{table}.{format}"))
    }

    fn csv(&self, table: &str) -> Vec<Row> {
        let told = self.exported(table, "csv");
        let rows = csv(&fs::read_to_string(self.file(table, "csv")).expect("UTF-8"));
        assert_eq!(told["rows"], rows.len(), "{told}");
        rows
    }

    /// Takes the payload of a record of the tenant away, as whoever erases does.
    fn erase(&self, position: &str) {
        let index = position.strip_prefix("1:").expect("the first epoch");
        let ledger = ruche_api::cli::main_ledger("acme");
        let hex: String = ledger
            .as_bytes()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let deleted = match &self.home.databases {
            Some(databases) => {
                let which = format!("index = {index} AND ledger = '{ledger}'");
                let sql = format!("DELETE FROM ruche.payload WHERE {which} RETURNING index");
                rows(&databases.ledgers, &sql).expect("the server answers").len()
            }
            None => {
                let store = rusqlite::Connection::open(self.home.data.join("ledger.db")).expect("the store");
                let sql = format!(
                    "DELETE FROM payload WHERE (id >> 2) & ((1 << 37) - 1) = {index} \
                     AND id >> 39 = (SELECT epoch_no FROM head WHERE ledger = x'{hex}')"
                );
                store.execute(&sql, []).expect("the table of payloads")
            }
        };
        assert_eq!(deleted, 1, "{position}");
    }
}

/// A reader of RFC 4180 that takes the guard of formulas away. A quoted empty cell is empty text.
fn csv(text: &str) -> Vec<Row> {
    let (mut lines, mut line, mut cell) = (Vec::new(), Vec::new(), String::new());
    let (mut quoted, mut inside) = (false, false);
    let mut letters = text.chars().peekable();
    let unguarded = |cell: &str| cell.strip_prefix('\'').unwrap_or(cell).to_owned();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if inside && letters.peek() == Some(&'"') => {
                letters.next();
                cell.push('"');
            }
            '"' => (quoted, inside) = (true, !inside),
            ',' | '\r' if !inside => {
                let value = (quoted || !cell.is_empty()).then(|| unguarded(&cell));
                line.push(value);
                cell.clear();
                quoted = false;
                if letter == '\r' {
                    assert_eq!(letters.next(), Some('\n'), "lines end with CR LF");
                    lines.push(std::mem::take(&mut line));
                }
            }
            other => cell.push(other),
        }
    }
    assert!(
        line.is_empty() && cell.is_empty() && !inside,
        "the last line ends, too"
    );
    let mut lines = lines.into_iter();
    let names: Vec<String> = lines.next().expect("names").into_iter().flatten().collect();
    let row = |line: Vec<Option<String>>| {
        assert_eq!(line.len(), names.len(), "{line:?}");
        names.iter().cloned().zip(line).collect()
    };
    lines.map(row).collect()
}

/// The rows of a Parquet file, in the words of a CSV file, and what it says of itself.
fn parquet(path: &Path) -> (Vec<Row>, BTreeMap<String, String>) {
    let reader = SerializedFileReader::new(fs::File::open(path).expect("the file")).expect("a Parquet file");
    let said = reader
        .metadata()
        .file_metadata()
        .key_value_metadata()
        .cloned()
        .unwrap_or_default();
    let said = said
        .into_iter()
        .map(|pair| (pair.key, pair.value.unwrap_or_default()))
        .collect();
    let value = |field: &Field| match field {
        Field::Null => None,
        Field::Str(text) => Some(text.clone()),
        Field::Long(number) => Some(number.to_string()),
        Field::Bool(flag) => Some(flag.to_string()),
        Field::Double(number) => Some(number.to_string()),
        Field::TimestampMicros(at) => Some(time(*at)),
        Field::Decimal(decimal) => {
            let bytes: [u8; 16] = decimal.data().try_into().expect("16 bytes");
            assert_eq!((decimal.precision(), decimal.scale()), (38, 27));
            Some(decimal_text(i128::from_be_bytes(bytes)))
        }
        other => panic!("{other:?}"),
    };
    let rows = reader.get_row_iter(None).expect("rows");
    let rows = rows.map(|row| {
        let row = row.expect("a row");
        row.get_column_iter()
            .map(|(name, field)| (name.clone(), value(field)))
            .collect()
    });
    (rows.collect(), said)
}

/// Without needless zeros.
fn decimal_text(scaled: i128) -> String {
    let one = 10_i128.pow(27);
    let fraction = format!("{:027}", scaled.unsigned_abs() % one.unsigned_abs());
    let fraction = fraction.trim_end_matches('0');
    let sign = if scaled < 0 { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{point}{fraction}", (scaled / one).unsigned_abs())
}

/// A time in the words of a CSV file.
fn time(at: i64) -> String {
    let seconds = Micros(at.cast_unsigned()).to_rfc3339();
    format!("{}.{:06}Z", seconds.trim_end_matches('Z'), at % 1_000_000)
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

struct Asking<'w> {
    server: Server,
    client: Client,
    world: &'w World,
}

impl Asking<'_> {
    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.world.key, query, variables).expect("an answer")
    }

    fn sessions(&self) -> Vec<Value> {
        let query =
            format!("{{ sessions(first: 20) {{ nodes {{ {SESSION} }} pageInfo {{ hasNextPage }} }} }}");
        let page = self.ask(&query, json!({}))["sessions"].take();
        assert_eq!(page["pageInfo"]["hasNextPage"], false);
        page["nodes"].as_array().expect("nodes").clone()
    }

    fn messages(&self, session: &Value) -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), Value::Null);
        loop {
            let page =
                self.ask(MESSAGES, json!({ "id": session["id"], "after": after }))["session"]["messages"]
                    .take();
            found.extend(page["nodes"].as_array().expect("nodes").iter().cloned());
            if page["pageInfo"]["hasNextPage"] == false {
                return found;
            }
            after = page["pageInfo"]["endCursor"].clone();
        }
    }
}

fn asking(world: &World) -> Asking<'_> {
    let server = world.home.serve().expect("the server starts");
    let client = Client::new();
    caught_up(&client, &server.url, &world.key).expect("the read models");
    Asking {
        server,
        client,
        world,
    }
}

/// Every row of a file is that of an answer, and the file has no other.
#[test]
fn files_hold_what_graphql_answers() {
    let world = World::new();
    let before = world.csv("message_texts");
    let gone = before
        .iter()
        .find(|row| row["text"].as_ref().is_some_and(|text| text.len() > 9));
    let gone = gone.expect("somebody says something")["position"]
        .clone()
        .expect("a position");
    world.erase(&gone);
    let rebuilt = world.home.end_of(&["rebuild"]).expect("it runs");
    assert_eq!(rebuilt.code, Some(2), "they differ from before: {}", rebuilt.said);

    let (sessions, costs) = (world.csv("sessions"), world.csv("session_costs"));
    let messages = world.csv("message_texts");
    let asking = asking(&world);
    let (mut answered, mut said, mut cost) = (Vec::new(), Vec::new(), Vec::new());
    for session in asking.sessions() {
        let words = |name: &str| text(&session[name]).map(|word| word.to_lowercase());
        let row: [Option<String>; 10] = [
            text(&session["id"]),
            text(&session["externalId"]),
            text(&session["agent"]),
            text(&session["channel"]),
            words("status"),
            text(&session["startedAt"]),
            text(&session["firstPosition"]),
            text(&session["counts"]["messages"]),
            text(&session["counts"]["turns"]),
            text(&session["counts"]["toolCalls"]),
        ];
        answered.push(row);
        for one in session["costs"].as_array().expect("costs") {
            cost.push([text(&session["id"]), text(&one["currency"]), text(&one["amount"])]);
        }
        for message in asking.messages(&session) {
            said.push([
                text(&session["id"]),
                text(&message["position"]),
                text(&message["role"]).map(|role| role.to_lowercase()),
                text(&message["text"]),
                text(&message["erased"]),
                text(&message["occurredAt"]),
            ]);
        }
    }
    assert!(asking.server.stop().expect("it stops"));
    let of = |row: &Row, names: &[&str]| -> Vec<Option<String>> {
        names.iter().map(|name| row[*name].clone()).collect()
    };
    let columns = [
        "session_id",
        "external_id",
        "agent",
        "channel",
        "status",
        "started_at",
        "first_position",
        "messages",
        "turns",
        "tool_calls",
    ];
    same(
        sessions.iter().map(|row| of(row, &columns)),
        answered.iter().map(|row| row.to_vec()),
    );
    same(
        costs
            .iter()
            .map(|row| of(row, &["session_id", "currency", "cost"])),
        cost.iter().map(|row| row.to_vec()),
    );
    let columns = ["session_id", "position", "role", "text", "erased", "occurred_at"];
    same(
        messages.iter().map(|row| of(row, &columns)),
        said.iter().map(|row| row.to_vec()),
    );
    let erased: Vec<&Row> = messages
        .iter()
        .filter(|row| row["erased"].as_deref() == Some("true"))
        .collect();
    assert_eq!(erased.len(), 1);
    assert_eq!((&erased[0]["position"], &erased[0]["text"]), (&Some(gone), &None));
    let ledger = Some(ruche_api::cli::main_ledger("acme").to_string());
    assert!(
        sessions
            .iter()
            .chain(&messages)
            .all(|row| row["ledger_id"] == ledger)
    );
}

fn same(file: impl Iterator<Item = Vec<Option<String>>>, answers: impl Iterator<Item = Vec<Option<String>>>) {
    let (mut file, mut answers): (Vec<_>, Vec<_>) = (file.collect(), answers.collect());
    assert!(!file.is_empty());
    file.sort_unstable();
    answers.sort_unstable();
    assert_eq!(file, answers);
}

/// Every table in both forms: the same rows in the same order, and the file says of what it is.
#[test]
fn both_forms_of_a_table_hold_the_same() {
    let world = World::new();
    let tables = world.home.run(&["table", "list"]).expect("the tables");
    let mut with_rows = 0;
    for table in tables.as_array().expect("tables") {
        let name = table["table"].as_str().expect("a name");
        let rows = world.csv(name);
        let told = world.exported(name, "parquet");
        let (found, said) = parquet(&world.file(name, "parquet"));
        assert_eq!(found, rows, "{name}");
        assert_eq!(said["ruche.table"], name);
        assert_eq!(
            Some(said["ruche.position"].as_str()),
            told["position"].as_str(),
            "{told}"
        );
        assert_eq!(Some(said["ruche.ledger"].as_str()), told["ledger"].as_str());
        with_rows += u32::from(!rows.is_empty());
    }
    assert!(with_rows >= 10, "{with_rows} tables have rows");
    // By time: what is before and what is behind are all there is.
    let all = world.csv("sessions");
    let mut starts: Vec<String> = all.iter().filter_map(|row| row["started_at"].clone()).collect();
    starts.sort();
    let middle = &starts[starts.len() / 2];
    let parts = ["--from", "--to"].map(|side| {
        let ended = world.export("sessions", "csv", &["--force", side, middle]);
        ended.json["rows"].as_u64().expect("a number")
    });
    assert_eq!(parts[0] + parts[1], all.len() as u64, "{parts:?}");
    assert!(parts.iter().all(|part| *part > 0), "{parts:?}");
}

/// What is refused, and that it leaves nothing.
#[test]
fn a_file_that_is_there_stays_and_what_is_not_there_is_told() {
    let world = World::new();
    fs::write(world.file("sessions", "csv"), "mine").expect("a file");
    let refused = |ended: Ended, why: &str| {
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.said.contains(why), "{}", ended.said);
    };
    refused(world.export("sessions", "csv", &[]), "--force");
    assert_eq!(
        fs::read_to_string(world.file("sessions", "csv")).expect("it is there"),
        "mine"
    );
    refused(
        world.export("session_costs", "csv", &["--from", "2026-01-01"]),
        "--from",
    );
    let file = world.file("turns", "csv");
    let nobody = [
        "table", "export", "turns", "--tenant", "nobody", "--format", "csv", "--out",
    ];
    let ended = world
        .home
        .end_of(&[&nobody[..], &[file.to_str().expect("plain")]].concat());
    refused(ended.expect("it runs"), "no tenant nobody");
    let files: Vec<String> = fs::read_dir(world.folder.path())
        .expect("the folder")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name.contains(".csv"))
        .collect();
    assert_eq!(files, ["sessions.csv"], "nothing half is left");
    if world.home.databases.is_none() {
        let ended = world.home.end_of(&["bi", "list"]).expect("it runs");
        refused(ended, "database.url");
    }
}
