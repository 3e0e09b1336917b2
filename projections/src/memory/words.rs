//! The words that facts are found by. They are cut here, so that every engine finds the same, and a query is words as well:
//! no character of it means anything else.

use std::collections::HashSet;

use serde_json::Value;

/// Distinct words of one fact at most; what stands behind them is not found.
pub const WORDS_PER_FACT_MAX: usize = 1_000;
/// Distinct words of one query at most.
pub const WORDS_PER_QUERY_MAX: usize = 16;
/// Bytes of a word at most; a longer one is found by its beginning.
pub const WORD_BYTES_MAX: usize = 64;

/// The distinct words of a text in lower case, in the order in which they first stand there: runs of letters and digits.
pub fn of_text(text: &str, at_most: usize) -> Vec<String> {
    let mut words = Words::new(at_most);
    words.add(text);
    words.list
}

/// The distinct words of a fact: those of its attribute, and of all texts and numbers of its content.
pub fn of_fact(content: &Value, attribute: Option<&String>) -> Vec<String> {
    let mut words = Words::new(WORDS_PER_FACT_MAX);
    words.add(attribute.map_or("", String::as_str));
    words.add_value(content);
    words.list
}

struct Words {
    list: Vec<String>,
    seen: HashSet<String>,
    at_most: usize,
}

impl Words {
    fn new(at_most: usize) -> Self {
        Self {
            list: Vec::new(),
            seen: HashSet::new(),
            at_most,
        }
    }

    fn add(&mut self, text: &str) {
        let found = text.split(|character: char| !character.is_alphanumeric());
        for word in found.filter(|word| !word.is_empty()) {
            if self.list.len() >= self.at_most {
                return;
            }
            let mut word = word.to_lowercase();
            word.truncate(word.floor_char_boundary(WORD_BYTES_MAX));
            if self.seen.insert(word.clone()) {
                self.list.push(word);
            }
        }
    }

    fn add_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.add(text),
            Value::Number(number) => self.add(&number.to_string()),
            Value::Array(items) => items.iter().for_each(|item| self.add_value(item)),
            Value::Object(members) => members.values().for_each(|member| self.add_value(member)),
            Value::Null | Value::Bool(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn words_are_runs_of_letters_and_digits_in_lower_case() {
        let words = |text| of_text(text, WORDS_PER_FACT_MAX);
        assert_eq!(
            words("Joren's café, café & Ἀθῆναι-2 (C++)"),
            ["joren", "s", "café", "ἀθῆναι", "2", "c"]
        );
        assert_eq!(
            words("\"a\" OR NOT b* NEAR(c)"),
            ["a", "or", "not", "b", "near", "c"]
        );
        assert_eq!(words("…"), Vec::<String>::new());
        assert_eq!(of_text("a b c d", 2), ["a", "b"]);
        assert_eq!(words(&"é".repeat(100)), ["é".repeat(WORD_BYTES_MAX / 2)]);
    }

    #[test]
    fn the_words_of_a_fact_are_those_of_all_that_it_says() {
        let fact = json!({ "city": "Paris", "since": [2019, null, true, { "as": "a pastry chef" }] });
        let mut words = of_fact(&fact, Some(&"lives_in".to_owned()));
        words.sort();
        assert_eq!(words, ["2019", "a", "chef", "in", "lives", "paris", "pastry"]);
    }
}
