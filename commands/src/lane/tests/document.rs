//! `docs/turns.md`: what is generated there is what the machine says. `RUCHE_UPDATE_GOLDEN=1` writes it anew.

use std::fmt::Write;
use std::path::PathBuf;

use crate::lane::*;

/// Text between two marks of the document.
fn between(text: &str, name: &str) -> (usize, usize) {
    let begin = format!("<!-- generated: {name} -->\n");
    let start = text.find(&begin).unwrap_or_else(|| panic!("no mark for {name}")) + begin.len();
    let end = text[start..].find("<!-- end -->").expect("a mark has an end");
    (start, start + end)
}

fn state(state: TurnState) -> String {
    state.name().to_uppercase()
}

/// One arrow for each pair of states, with the numbers of its rows.
fn diagram() -> String {
    let mut arrows: Vec<(String, String, Vec<String>)> = Vec::new();
    let mut arrow = |from: String, to: String, row: u8| {
        let row = row.to_string();
        match arrows
            .iter_mut()
            .find(|(known_from, known_to, _)| (known_from, known_to) == (&from, &to))
        {
            Some((_, _, rows)) if rows.contains(&row) => {}
            Some((_, _, rows)) => rows.push(row),
            None => arrows.push((from, to, vec![row])),
        }
    };
    for row in TRANSITIONS.iter().filter(|row| !row.to.is_empty()) {
        let from = row.from.iter().map(|from| state(*from));
        let from: Vec<String> = if row.from.is_empty() {
            vec!["[*]".to_owned()]
        } else {
            from.collect()
        };
        for from in &from {
            row.to
                .iter()
                .for_each(|to| arrow(from.clone(), state(*to), row.row));
        }
    }
    let mut text = "```mermaid\nstateDiagram-v2\n".to_owned();
    for (from, to, rows) in arrows {
        writeln!(text, "    {from} --> {to}: {}", rows.join(", ")).expect("text");
    }
    for end in TurnState::ALL.into_iter().filter(|end| end.is_terminal()) {
        writeln!(text, "    {} --> [*]", state(end)).expect("text");
    }
    text + "```\n"
}

fn table() -> String {
    let names = |states: &[TurnState], none: &str| {
        let names: Vec<String> = states.iter().map(|name| state(*name)).collect();
        if names.is_empty() {
            none.to_owned()
        } else {
            names.join(", ")
        }
    };
    let mut text = "| # | from | what happens | guard | to | events of the append |\n".to_owned();
    text += "| --- | --- | --- | --- | --- | --- |\n";
    for row in TRANSITIONS {
        let (from, to) = (names(row.from, "–"), names(row.to, "same"));
        let guard = if row.guard.is_empty() { "–" } else { row.guard };
        writeln!(
            text,
            "| {} | {from} | {} | {guard} | {to} | {} |",
            row.row, row.trigger, row.events
        )
        .expect("text");
    }
    text
}

fn commands() -> String {
    let mut text = "| state | commands |\n| --- | --- |\n".to_owned();
    for known in TurnState::ALL {
        let commands: Vec<String> = legal(known).iter().map(|name| format!("`{name}`")).collect();
        let commands = if commands.is_empty() {
            "none".to_owned()
        } else {
            commands.join(", ")
        };
        writeln!(text, "| {} | {commands} |", state(known)).expect("text");
    }
    text
}

/// Settings by channel, one column for each set of defaults.
fn settings() -> String {
    let channels = ["web", "whatsapp", "sms", "voice", "api"];
    let columns: Vec<_> = channels
        .iter()
        .map(|name| ChannelSettings::of_channel(name).to_values())
        .collect();
    let mut text = format!("| key | {} |\n", channels.join(" | "));
    writeln!(text, "| --- |{}", " --- |".repeat(channels.len())).expect("text");
    for key in columns[0].keys() {
        let values: Vec<String> = columns
            .iter()
            .map(|values| values[key].to_string().replace('"', ""))
            .collect();
        writeln!(text, "| `{key}` | {} |", values.join(" | ")).expect("text");
    }
    text
}

#[test]
#[allow(clippy::disallowed_methods, reason = "golden file")]
fn golden_turns_document() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/turns.md");
    let stored = std::fs::read_to_string(&path).expect("docs/turns.md is there");
    let mut text = stored.clone();
    let parts = [
        ("diagram", diagram()),
        ("table", table()),
        ("commands", commands()),
        ("settings", settings()),
    ];
    for (name, part) in parts {
        let (start, end) = between(&text, name);
        text.replace_range(start..end, &part);
    }
    if std::env::var_os("RUCHE_UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, &text).expect("docs/turns.md is writable");
    } else {
        assert!(
            stored == text,
            "docs/turns.md differs from the machine. Look at the difference, then run `cargo xtask golden`"
        );
    }
}

#[test]
fn voice_and_email_have_one_column() {
    assert_eq!(
        ChannelSettings::of_channel("voice"),
        ChannelSettings::of_channel("email")
    );
    assert_eq!(
        ChannelSettings::of_channel("api"),
        ChannelSettings::of_channel("anything else")
    );
}
