//! Reads the command blocks of a Markdown document, and compares what it shows with what was printed.

use serde_json::Value;

/// Commands, and what the document shows that they print.
pub struct Block {
    /// Line of the document, from 1.
    pub line: usize,
    pub commands: Vec<String>,
    pub shown: Vec<Shown>,
}

/// What a document shows.
pub enum Shown {
    /// Lines of which each is printed, but for numbers and ids; `…` stands for any.
    Text(String),
    /// A value of the same shape.
    Json(String),
}

/// The blocks of a document, in order.
pub fn read(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = document.lines().enumerate();
    // Whether anything but a blank line stands between the last block and here: then what is shown is of something else.
    let mut is_behind_commands = false;
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            is_behind_commands &= line.is_empty();
            continue;
        };
        let body = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| !line.starts_with("```"));
        let body: Vec<&str> = body.collect();
        match (language, blocks.last_mut()) {
            ("console", _) => {
                blocks.push(Block {
                    line: number + 1,
                    commands: commands(&body),
                    shown: Vec::new(),
                });
                is_behind_commands = true;
            }
            ("json", Some(block)) if is_behind_commands => block.shown.push(Shown::Json(body.join("\n"))),
            ("text", Some(block)) if is_behind_commands => block.shown.push(Shown::Text(body.join("\n"))),
            _ => is_behind_commands = false,
        }
    }
    blocks
}

/// Lines after `$ `; a line that ends with a backslash goes on in the next one.
fn commands(body: &[&str]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for line in body {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push(command.to_owned()),
            (None, Some(last)) if last.ends_with('\\') => {
                last.push('\n');
                last.push_str(line);
            }
            (None, _) => panic!("neither a command nor the rest of one: {line}"),
        }
    }
    commands
}

impl Shown {
    /// Whether commands that printed `said` printed this.
    pub fn agrees(&self, said: &[String]) -> Result<(), String> {
        match self {
            Self::Text(shown) => {
                let printed: Vec<String> = said.iter().flat_map(|text| text.lines()).map(masked).collect();
                for line in shown
                    .lines()
                    .filter(|line| !line.trim().is_empty() && !line.contains('…'))
                {
                    if !printed.contains(&masked(line)) {
                        return Err(format!("{line:?} is not printed but\n{}", said.concat()));
                    }
                }
                Ok(())
            }
            Self::Json(shown) => {
                let shown: Value =
                    serde_json::from_str(shown).map_err(|error| format!("{error}: {shown}"))?;
                let printed = said
                    .iter()
                    .rev()
                    .find_map(|text| serde_json::from_str::<Value>(text).ok());
                let printed = printed.ok_or_else(|| format!("no JSON is printed but\n{}", said.concat()))?;
                if same_shape(&shown, &printed) {
                    Ok(())
                } else {
                    Err(format!("{shown} is shown, printed is {printed}"))
                }
            }
        }
    }
}

/// A line with every number and id as `#` and one space where there are several.
fn masked(line: &str) -> String {
    let is_id = |word: &str| word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let mask = |word: &str| {
        if is_id(word) {
            return "#".to_owned();
        }
        let mut masked = String::new();
        for letter in word.chars() {
            let is_number = letter.is_ascii_digit() || (matches!(letter, '.' | ',') && masked.ends_with('#'));
            match is_number {
                true if masked.ends_with('#') => {}
                true => masked.push('#'),
                false => masked.push(letter),
            }
        }
        masked
    };
    line.split_whitespace().map(mask).collect::<Vec<_>>().join(" ")
}

/// The same members and kinds of values; truth values are the same, and lists are as long as anybody likes.
fn same_shape(shown: &Value, printed: &Value) -> bool {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => {
            shown.len() == printed.len()
                && shown
                    .iter()
                    .all(|(name, value)| printed.get(name).is_some_and(|p| same_shape(value, p)))
        }
        (Value::Array(shown), Value::Array(printed)) => {
            shown.is_empty() == printed.is_empty()
                && shown
                    .first()
                    .is_none_or(|first| printed.iter().all(|item| same_shape(first, item)))
        }
        (Value::String(_), Value::String(_)) | (Value::Number(_), Value::Number(_)) => true,
        (shown, printed) => shown == printed,
    }
}
