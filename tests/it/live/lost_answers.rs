//! The example clients where answers are lost: the server carried the request out, and the client hears nothing of it.

use std::collections::HashSet;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use super::World;
use super::examples::{finishes_its_turn, message, python, started_at};

/// In front of a server: the first answer to each kind of mutation comes back to nobody.
struct Losing {
    url: String,
    lost: Arc<Mutex<HashSet<String>>>,
}

impl Losing {
    fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let lost: Arc<Mutex<HashSet<String>>> = Arc::default();
        let (server, seen) = (server.to_owned(), lost.clone());
        // Ends with the process of the test; it holds nothing but its port.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, seen) = (server.clone(), seen.clone());
                thread::spawn(move || pass_on(client, &server, &seen));
            }
        });
        Self { url, lost }
    }

    fn lost(&self) -> HashSet<String> {
        self.lost.lock().expect("nobody panicked").clone()
    }
}

/// One request and its answer. A client that goes away meanwhile is not this test's business.
fn pass_on(client: TcpStream, server: &str, lost: &Mutex<HashSet<String>>) -> Option<()> {
    let mut reader = BufReader::new(client.try_clone().ok()?);
    let (mut length, mut authorization, mut line) = (0, String::new(), String::new());
    while reader.read_line(&mut line).ok()? > 2 {
        let (name, value) = line.split_once(": ").unwrap_or_default();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "authorization" => authorization = value.trim().to_owned(),
            _ => {}
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let request: serde_json::Value = serde_json::from_slice(&body).ok()?;
    let http = reqwest::blocking::Client::new();
    let answer = http.post(format!("{server}/graphql")).body(body);
    let answer = answer.header("content-type", "application/json");
    let answer = answer.header("authorization", authorization).send().ok()?;
    let (status, answer) = (answer.status().as_u16(), answer.bytes().ok()?);
    let query = request["query"].as_str()?;
    let mutation = query
        .strip_prefix("mutation ($input: ")
        .and_then(|rest| rest.split("Input!").next());
    if let Some(name) = mutation
        && lost.lock().expect("nobody panicked").insert(name.to_owned())
    {
        return None;
    }
    let head = format!("HTTP/1.1 {status} OK\r\ncontent-type: application/json\r\nconnection: close\r\n");
    let mut client = client;
    write!(client, "{head}content-length: {}\r\n\r\n", answer.len()).ok()?;
    client.write_all(&answer).ok()
}

/// Each request is carried out once, also the start of what cannot be undone: the tool runs, and runs once.
fn goes_through_a_turn_without_first_answers(client: &mut Command) {
    let world = World::new();
    message(&world);
    let losing = Losing::before(&world.server.url);
    let child = started_at(&losing.url, &world, client);
    finishes_its_turn(world, child);
    let lost = losing.lost();
    for kind in [
        "ClaimTurn",
        "StartStep",
        "ProposeAction",
        "StartEffect",
        "ReportEffect",
        "CommitTurn",
    ] {
        assert!(lost.contains(kind), "{kind} is not among {lost:?}");
    }
}

#[test]
fn the_client_in_python_runs_once_what_it_did_not_hear_it_may_run() {
    goes_through_a_turn_without_first_answers(&mut python("agent.py"));
}

#[test]
fn the_client_in_rust_runs_once_what_it_did_not_hear_it_may_run() {
    goes_through_a_turn_without_first_answers(&mut Command::new(env!("CARGO_BIN_EXE_example-agent")));
}
