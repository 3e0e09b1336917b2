//! Pages of connections: how long they are, and cursors that stay good.
//!
//! A cursor is opaque text: base64url of a kind and the sort key of the item behind which the next page starts. It
//! names what it stands behind and no number of rows, so it stays good while rows come in, and after a restart.

use async_graphql::Error;
use async_graphql::connection::{Connection, CursorType, Edge};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::errors::fault;
use crate::error_codes as code;
use crate::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};

/// A cursor as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor(String);

impl Cursor {
    /// The cursor of an item of a kind with a sort key.
    pub(super) fn new(kind: &str, key: &str) -> Self {
        Self(URL_SAFE_NO_PAD.encode(format!("{kind}/{key}")))
    }
}

impl CursorType for Cursor {
    type Error = std::convert::Infallible;

    fn decode_cursor(text: &str) -> Result<Self, Self::Error> {
        Ok(Self(text.to_owned()))
    }

    fn encode_cursor(&self) -> String {
        self.0.clone()
    }
}

/// Which items a page has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    /// How many at most.
    pub first: usize,
    /// Sort key of the item behind which it starts.
    pub after: Option<String>,
}

impl Page {
    /// Reads `first` and `after` of a field whose cursors are of `kind`.
    pub(super) fn new(kind: &str, first: Option<i32>, after: Option<&str>) -> Result<Self, Error> {
        let first = match first {
            None => PAGE_ITEMS_DEFAULT,
            Some(first) => usize::try_from(first)
                .ok()
                .filter(|first| (1..=PAGE_ITEMS_MAX).contains(first))
                .ok_or_else(|| {
                    fault(
                        code::INVALID_ARGUMENT,
                        format!("`first` is from 1 to {PAGE_ITEMS_MAX}"),
                    )
                })?,
        };
        let after = after.map(|cursor| {
            let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
            let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            let key = text
                .as_deref()
                .and_then(|text| text.strip_prefix(kind)?.strip_prefix('/'));
            key.map(str::to_owned).ok_or_else(bad_cursor)
        });
        Ok(Self {
            first,
            after: after.transpose()?,
        })
    }

    /// How many items to ask for: one more than the page has says whether there is a next page.
    pub(super) fn limit(&self) -> usize {
        self.first + 1
    }

    /// The connection of the items that [`Page::limit`] gave.
    pub(super) fn connection<Node: async_graphql::OutputType>(
        &self,
        mut items: Vec<(Cursor, Node)>,
    ) -> Connection<Cursor, Node> {
        let more = items.len() > self.first;
        items.truncate(self.first);
        let mut connection = Connection::new(self.after.is_some(), more);
        connection
            .edges
            .extend(items.into_iter().map(|(cursor, node)| Edge::new(cursor, node)));
        connection
    }
}

/// The refusal of a cursor that the field did not give.
pub(super) fn bad_cursor() -> Error {
    fault(code::INVALID_CURSOR, "`after` is no cursor of this field")
}

/// What a field with pages costs: what is below it, once for each item.
pub(super) fn cost(first: Option<i32>, child: usize) -> usize {
    let items = first.map_or(PAGE_ITEMS_DEFAULT, |first| {
        usize::try_from(first).unwrap_or(0).min(PAGE_ITEMS_MAX)
    });
    1 + items * child
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_behind_its_item_and_only_in_its_own_field() {
        let cursor = Cursor::new("record", "1:42").encode_cursor();
        let page = Page::new("record", Some(5), Some(&cursor)).unwrap();
        assert_eq!((page.first, page.after.as_deref()), (5, Some("1:42")));
        for bad in ["", "!", "MTo0Mg"] {
            assert!(Page::new("record", None, Some(bad)).is_err(), "{bad}");
        }
        assert!(Page::new("session", None, Some(&cursor)).is_err());
    }

    #[test]
    fn pages_are_bounded() {
        assert_eq!(Page::new("x", None, None).unwrap().first, PAGE_ITEMS_DEFAULT);
        for bad in [0, -1, 101, i32::MAX] {
            assert!(Page::new("x", Some(bad), None).is_err(), "{bad}");
        }
        let page = Page::new("x", Some(2), None).unwrap();
        let items = (0..3).map(|n| (Cursor::new("x", "k"), n)).collect();
        let connection = page.connection::<i32>(items);
        assert_eq!((connection.edges.len(), connection.has_next_page), (2, true));
    }
}
