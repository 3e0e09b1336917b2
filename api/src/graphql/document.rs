//! Looks at a GraphQL document before it is parsed.
//!
//! The parser recurses once per bracket and keeps the last of two equal fields of an input object without a word. So
//! the document is read token by token first (GraphQL, October 2021, §2.1), without recursion: tokens, nesting and
//! aliases are counted, and a repeated name in an input object is refused. What is not a token is left to the
//! parser, which says what is wrong with it.

use std::collections::HashSet;

use async_graphql::{Pos, ServerError};

use super::errors::with_code;
use crate::error_codes as code;
use crate::limits::{DOCUMENT_ALIASES_MAX, DOCUMENT_BYTES_MAX, DOCUMENT_NESTING_MAX, DOCUMENT_TOKENS_MAX};

/// Why a document is not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentFault {
    pub code: &'static str,
    pub message: String,
    pub at: Pos,
}

impl DocumentFault {
    pub(super) fn into_error(self) -> ServerError {
        with_code(ServerError::new(self.message, Some(self.at)), self.code)
    }
}

/// What an open bracket encloses.
enum Frame<'d> {
    /// `(…)`: arguments or variable definitions. Braces inside are input objects.
    Arguments,
    /// `[…]`.
    List,
    /// `{…}` of fields.
    Selection,
    /// `{…}` of an input object, with the names it has so far.
    Object(HashSet<&'d str>),
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'d> {
    Name(&'d str),
    Punctuator(u8),
    /// A number, a string or something that is no token.
    Other,
}

/// Checks a document.
///
/// # Errors
/// The first bound that it passes, or the first repeated name.
pub(super) fn check(text: &str) -> Result<(), DocumentFault> {
    let mut walk = Walk {
        lexer: Lexer { text, at: 0 },
        frames: Vec::new(),
        arguments: 0,
        tokens: 0,
        aliases: 0,
    };
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(walk.too_much(0, "bytes", DOCUMENT_BYTES_MAX));
    }
    walk.run()
}

struct Walk<'d> {
    lexer: Lexer<'d>,
    frames: Vec<Frame<'d>>,
    /// How many of the frames are arguments.
    arguments: usize,
    tokens: usize,
    aliases: usize,
}

impl<'d> Walk<'d> {
    fn run(&mut self) -> Result<(), DocumentFault> {
        let mut name: Option<(&'d str, usize)> = None;
        while let Some((token, at)) = self.lexer.next() {
            self.tokens += 1;
            if self.tokens > DOCUMENT_TOKENS_MAX {
                return Err(self.too_much(at, "tokens", DOCUMENT_TOKENS_MAX));
            }
            match token {
                Token::Punctuator(b':') => {
                    if let Some((name, at)) = name {
                        self.named(name, at)?;
                    }
                }
                Token::Punctuator(mark) => self.bracket(mark, at)?,
                Token::Name(_) | Token::Other => {}
            }
            name = match token {
                Token::Name(text) => Some((text, at)),
                Token::Punctuator(_) | Token::Other => None,
            };
        }
        Ok(())
    }

    fn bracket(&mut self, mark: u8, at: usize) -> Result<(), DocumentFault> {
        match mark {
            b'(' => {
                self.arguments += 1;
                self.frames.push(Frame::Arguments);
            }
            b'[' => self.frames.push(Frame::List),
            b'{' if self.arguments > 0 => self.frames.push(Frame::Object(HashSet::new())),
            b'{' => self.frames.push(Frame::Selection),
            // Brackets that do not match are the parser's to report.
            b')' | b']' | b'}' => {
                if let Some(Frame::Arguments) = self.frames.pop() {
                    self.arguments -= 1;
                }
            }
            _ => {}
        }
        if self.frames.len() > DOCUMENT_NESTING_MAX {
            return Err(self.too_much(at, "nested brackets", DOCUMENT_NESTING_MAX));
        }
        Ok(())
    }

    /// A name with a colon behind it: a field of an input object, or an alias.
    fn named(&mut self, name: &'d str, at: usize) -> Result<(), DocumentFault> {
        match self.frames.last_mut() {
            Some(Frame::Object(names)) => {
                if !names.insert(name) {
                    return Err(DocumentFault {
                        code: code::GRAPHQL_VALIDATION_FAILED,
                        message: format!("the input object has the field {name:?} twice"),
                        at: self.lexer.position(at),
                    });
                }
            }
            Some(Frame::Selection) => {
                self.aliases += 1;
                if self.aliases > DOCUMENT_ALIASES_MAX {
                    return Err(self.too_much(at, "aliases", DOCUMENT_ALIASES_MAX));
                }
            }
            Some(Frame::Arguments | Frame::List) | None => {}
        }
        Ok(())
    }

    fn too_much(&self, at: usize, unit: &str, limit: usize) -> DocumentFault {
        DocumentFault {
            code: code::QUERY_LIMIT_EXCEEDED,
            message: format!("the document has more than {limit} {unit}"),
            at: self.lexer.position(at),
        }
    }
}

struct Lexer<'d> {
    text: &'d str,
    at: usize,
}

impl<'d> Lexer<'d> {
    /// The next token and the byte where it starts.
    fn next(&mut self) -> Option<(Token<'d>, usize)> {
        self.skip_ignored();
        let rest = &self.text[self.at..];
        let first = rest.chars().next()?;
        let start = self.at;
        let token = match first {
            'A'..='Z' | 'a'..='z' | '_' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
                let name = &rest[..end.unwrap_or(rest.len())];
                self.at += name.len();
                Token::Name(name)
            }
            '"' => {
                self.at += string_length(rest);
                Token::Other
            }
            '-' | '0'..='9' => {
                let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '.')));
                self.at += end.unwrap_or(rest.len());
                Token::Other
            }
            '!' | '$' | '&' | '(' | ')' | ':' | '=' | '@' | '[' | ']' | '{' | '|' | '}' => {
                self.at += 1;
                Token::Punctuator(rest.as_bytes()[0])
            }
            other => {
                self.at += other.len_utf8();
                Token::Other
            }
        };
        Some((token, start))
    }

    /// White space, commas, byte order marks and comments (§2.1.2 to §2.1.7).
    fn skip_ignored(&mut self) {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', ',', '\u{feff}']);
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with('#') {
                return;
            }
            self.at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
        }
    }

    fn position(&self, at: usize) -> Pos {
        let before = &self.text[..at];
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        Pos { line, column }
    }
}

/// Bytes of the string value that `text` begins with, quotes included; all of it if it does not end.
fn string_length(text: &str) -> usize {
    let block = text.starts_with("\"\"\"");
    let quotes = if block { 3 } else { 1 };
    let bytes = text.as_bytes();
    let mut at = quotes;
    while at < bytes.len() {
        let rest = &text.as_bytes()[at..];
        match rest[0] {
            b'\\' if block && rest.starts_with(b"\\\"\"\"") => at += 4,
            b'\\' if !block => at += 2,
            b'"' if !block => return at + 1,
            b'"' if rest.starts_with(b"\"\"\"") => return at + 3,
            b'\n' | b'\r' if !block => return at,
            _ => at += 1,
        }
    }
    // An escape at the very end, or in front of a letter of several bytes: the parser refuses both.
    let mut end = at.min(text.len());
    while !text.is_char_boundary(end) {
        end += 1;
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> Option<&'static str> {
        check(text).err().map(|fault| fault.code)
    }

    #[test]
    fn ordinary_documents_pass() {
        for text in [
            "{ me { tenant } }",
            "query Q($a: [Int!]! = [1, 2], $b: T = {x: 1, y: {x: 2}}) { f(a: $a, b: $b) @include(if: true) { ...F } }",
            "# comment { { {\n{ a: b(text: \"} \\\" {\", block: \"\"\"{ \\\"\"\" \"\"\") }",
            "",
            "\"unterminated",
            "{ \"\\é\" }",
            "}}}}(((",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn too_much_of_anything_is_refused_before_parsing() {
        let many = |part: &str, count: usize| part.repeat(count);
        let limit = Some(code::QUERY_LIMIT_EXCEEDED);
        assert_eq!(fault(&many("{ a ", 100_000)), limit);
        assert_eq!(fault(&format!("{{ f(a: {}) }}", many("[", 100_000))), limit);
        assert_eq!(
            fault(&format!("{{ {} }}", many("x: me ", DOCUMENT_ALIASES_MAX + 1))),
            limit
        );
        assert_eq!(
            fault(&format!("{{ {} }}", many("x: me ", DOCUMENT_ALIASES_MAX))),
            None
        );
        assert_eq!(fault(&many("a ", DOCUMENT_TOKENS_MAX + 1)), limit);
        // Arguments and variables are no aliases.
        assert_eq!(fault(&format!("{{ f({}) }}", many("x: 1 ", 100))), None);
    }

    #[test]
    fn a_name_twice_in_an_input_object_is_refused_with_its_place() {
        let found = check("mutation {\n  f(input: {a: 1, b: {a: 2}, a: 3}) }").unwrap_err();
        assert_eq!(found.code, code::GRAPHQL_VALIDATION_FAILED);
        assert_eq!((found.at.line, found.at.column), (2, 30));
        assert_eq!(
            fault("query ($x: T = {a: 1, a: 2}) { f }"),
            Some(code::GRAPHQL_VALIDATION_FAILED)
        );
        assert_eq!(fault("{ f(list: [{a: 1}, {a: 1}]) a: b { a: c } }"), None);
    }
}
