//! The commands of README and documents, run as they stand there: each ends well, and says what the document says.
//!
//! A ```console block holds commands, each after `$ `; a ```json or ```text block behind it shows what they print. Numbers
//! and ids may differ. `cargo run` is the binary under test, other `cargo` lines are left to whoever runs these tests.

mod blocks;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ruche_tests::data;

use blocks::{Block, Shown};

const RUCHE: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const VERIFIER: &str = env!("CARGO_BIN_EXE_ruche-verify-under-test");
/// What documents call the address of the server.
const ADDRESS: &str = "127.0.0.1:4000";

/// A reader at a terminal, in a folder of their own.
struct Reader {
    folder: PathBuf,
    path: String,
    demo: Option<Demo>,
    /// Address and key of the last demo, for lines that ask it.
    address: String,
    key: String,
}

/// The demo in the background. Killed if a command fails.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        // Gone already unless a command failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Reader {
    /// A reader with a fresh clone, the programs built.
    fn new(folder: PathBuf) -> Self {
        let bin = folder.join("bin");
        fs::create_dir_all(&bin).expect("a folder");
        symlink(RUCHE, bin.join("ruche")).expect("a link");
        symlink(VERIFIER, bin.join("ruche-verify")).expect("a link");
        let docs = fs::canonicalize(data::of_repository("docs")).expect("the documents");
        symlink(docs, folder.join("docs")).expect("a link");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Self {
            folder,
            path,
            demo: None,
            address: ADDRESS.to_owned(),
            key: String::new(),
        }
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("PATH", &self.path)
            .env("KEY", &self.key)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("RUCHE_LISTEN", "127.0.0.1:0")
            .env("RUCHE_LOG", "warn")
            .stdin(Stdio::null());
        command
    }

    /// Runs a line of a document and gives what it printed.
    fn run(&mut self, line: &str) -> String {
        if line.starts_with("cargo run") {
            self.start();
            return String::new();
        }
        // Built and on the path already; the tests are what is running.
        if line.starts_with("cargo ") || line.starts_with("export PATH=") {
            return String::new();
        }
        if line.starts_with("ruche ") {
            self.stop();
        }
        let line = line.replace(ADDRESS, &self.address);
        let output = self.command("bash").args(["-c", &line]).output().expect("bash");
        let (said, told) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "$ {line}\n{}: {said}{told}",
            output.status
        );
        said.into_owned()
    }

    /// The program without arguments; reads on until it has told its address and a key.
    fn start(&mut self) {
        self.stop();
        let mut child = self
            .command("ruche")
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        self.demo = Some(Demo(child));
        self.key = String::new();
        let mut address = None;
        for line in output.lines() {
            let line = line.expect("a line");
            if let Some((_, rest)) = line.split_once("http://") {
                address = address.or_else(|| rest.split('/').next().map(str::to_owned));
            }
            if let Some((_, key)) = line.split_once("KEY=") {
                self.key = key.trim().to_owned();
            }
            if line.contains("Ctrl-C") {
                break;
            }
        }
        self.address = address.expect("the demo tells its address");
        assert!(!self.key.is_empty(), "the demo tells a key");
    }

    /// Ctrl-C, which the documents say in words.
    fn stop(&mut self) {
        let Some(mut demo) = self.demo.take() else { return };
        let told = Command::new("kill")
            .args(["-INT", &demo.0.id().to_string()])
            .status()
            .expect("kill");
        assert!(told.success());
        assert!(demo.0.wait().expect("an end").success(), "the demo ends well");
    }
}

/// Runs all blocks of a document in order.
fn follow(reader: &mut Reader, document: &Path) {
    let text = fs::read_to_string(document).expect("a document");
    for Block {
        line,
        commands,
        shown,
    } in blocks::read(&text)
    {
        let said: Vec<String> = commands.iter().map(|command| reader.run(command)).collect();
        for shown in shown {
            if let Err(difference) = shown.agrees(&said) {
                panic!("{}:{line}: {difference}", document.display());
            }
        }
    }
    reader.stop();
}

/// Markdown files below a folder.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(folder).expect("a folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn the_commands_of_the_readme_run_and_say_what_it_says() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let readme = data::of_repository("README.md");
    let text = fs::read_to_string(&readme).expect("a README");
    let commands: Vec<String> = blocks::read(&text)
        .into_iter()
        .flat_map(|block| block.commands)
        .collect();
    for wanted in [
        "cargo run --release",
        "cargo xtask test",
        "curl ",
        "ruche export",
        "ruche-verify",
        "ruche import",
    ] {
        assert!(
            commands.iter().any(|command| command.starts_with(wanted)),
            "no `{wanted}` in README.md"
        );
    }
    follow(&mut Reader::new(folder.path().to_owned()), &readme);
}

#[test]
fn the_commands_of_the_documents_run_on_the_demo() {
    let mut found = Vec::new();
    documents(&data::of_repository("docs"), &mut found);
    found.retain(|path| !blocks::read(&fs::read_to_string(path).expect("a document")).is_empty());
    assert!(!found.is_empty(), "no document has commands");
    for document in found {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut reader = Reader::new(folder.path().to_owned());
        reader.start();
        reader.stop();
        follow(&mut reader, &document);
    }
}

#[test]
fn what_a_document_shows_is_compared() {
    let shown = |text: &str| Shown::Text(text.to_owned());
    let said = [
        "wrote 12 records\n".to_owned(),
        "VERIFIED  9 records in 0.2 s\n".to_owned(),
    ];
    assert_eq!(shown("VERIFIED 17,362 records in 0.1 s\n…").agrees(&said), Ok(()));
    assert!(shown("TAMPERED 17362 records in 0.1 s").agrees(&said).is_err());
    let said = [r#"{"data":{"rows":[{"a":"1"},{"a":"2"}],"b":false}}"#.to_owned()];
    let shown = |text: &str| Shown::Json(text.to_owned());
    assert_eq!(
        shown(r#"{"data":{"rows":[{"a":"7"}],"b":false}}"#).agrees(&said),
        Ok(())
    );
    assert!(
        shown(r#"{"data":{"rows":[{"c":"7"}],"b":false}}"#)
            .agrees(&said)
            .is_err()
    );
    assert!(
        shown(r#"{"data":{"rows":[{"a":"7"}],"b":true}}"#)
            .agrees(&said)
            .is_err()
    );
}
