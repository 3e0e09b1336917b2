//! Cuts a file into records without reading what is in them, so that one broken record does not hide the others.

/// Cuts the elements of a JSON array, or the members of an object, that `bytes` begins with. Looks only at strings and
/// brackets. A record that is broken inside comes out as a piece of its own as long as its brackets match.
pub(super) fn pieces(bytes: &[u8]) -> Pieces<'_> {
    let start = bytes
        .iter()
        .position(|byte| !byte.is_ascii_whitespace())
        .unwrap_or(bytes.len());
    let opens = matches!(bytes.get(start), Some(b'[' | b'{'));
    Pieces {
        bytes,
        at: start + usize::from(opens),
        state: if opens { State::Going } else { State::NotOpened },
    }
}

/// Pieces of an array or object, in order.
pub(super) struct Pieces<'a> {
    bytes: &'a [u8],
    at: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    NotOpened,
    Going,
    Done,
}

/// What a file is cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// The text of a record or member, without white space around it.
    Whole(&'a [u8]),
    /// The file ends in the middle of one: what there is of it.
    CutOff(&'a [u8]),
    /// The file does not begin with a bracket.
    NotOpened,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        match self.state {
            State::Done => None,
            State::NotOpened => {
                self.state = State::Done;
                Some(Piece::NotOpened)
            }
            State::Going => self.cut(),
        }
    }
}

impl<'a> Pieces<'a> {
    fn cut(&mut self) -> Option<Piece<'a>> {
        let start = self.at;
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        while let Some(&byte) = self.bytes.get(self.at) {
            self.at += 1;
            if in_string {
                // A raw line break cannot stand in a string: a quote is missing. Take the line's end for it, so that
                // the damage stays in this record.
                in_string = (escaped || byte != b'"') && byte != b'\n';
                escaped = !escaped && byte == b'\\';
                continue;
            }
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' if depth > 0 => depth -= 1,
                b']' | b'}' => {
                    self.state = State::Done;
                    let last = self.bytes[start..self.at - 1].trim_ascii();
                    return (!last.is_empty()).then_some(Piece::Whole(last));
                }
                b',' if depth == 0 => {
                    return Some(Piece::Whole(self.bytes[start..self.at - 1].trim_ascii()));
                }
                _ => {}
            }
        }
        self.state = State::Done;
        Some(Piece::CutOff(self.bytes[start..].trim_ascii()))
    }
}

/// Name and value of an object's member, as it was cut. The name is as it stands between its quotes.
pub(super) fn member(piece: &[u8]) -> Option<(&[u8], &[u8])> {
    let name = piece.strip_prefix(b"\"")?;
    let end = name.iter().position(|byte| *byte == b'"')?;
    let value = name[end + 1..].trim_ascii_start().strip_prefix(b":")?;
    Some((&name[..end], value.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<String> {
        let text = |piece| match piece {
            Piece::Whole(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Piece::CutOff(bytes) => format!("cut off: {}", String::from_utf8_lossy(bytes)),
            Piece::NotOpened => "not opened".to_owned(),
        };
        pieces(file.as_bytes()).map(text).collect()
    }

    #[test]
    fn arrays_are_cut_at_their_own_commas() {
        assert_eq!(
            texts(r#" [ 1, [2,3] , {"a,]": "\"],"} ] "#),
            ["1", "[2,3]", r#"{"a,]": "\"],"}"#]
        );
        assert_eq!(texts("[]"), Vec::<String>::new());
    }

    #[test]
    fn a_broken_record_does_not_hide_its_neighbours() {
        assert_eq!(texts(r#"[{"a":}, 2]"#), [r#"{"a":}"#, "2"]);
        assert_eq!(texts("[{\"a\": \"x\n}, 2]"), ["{\"a\": \"x\n}", "2"]);
        assert_eq!(texts("[1, {\"a\""), ["1", "cut off: {\"a\""]);
        assert_eq!(texts("nothing"), ["not opened"]);
    }

    #[test]
    fn members_have_a_name_and_a_value() {
        assert_eq!(member(br#""a" : [1]"#), Some((&b"a"[..], &b"[1]"[..])));
        assert_eq!(member(b"1"), None);
    }
}
