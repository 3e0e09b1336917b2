//! A leaf read in place: what the checker needs of it, borrowed from the stored bytes.
//!
//! Accepts exactly the bytes that [`Leaf::decode`](crate::leaf::Leaf::decode) accepts (a property test compares the
//! two) and takes a fifth of the time: no strings are copied, and nothing is encoded again, because
//! [`Reader`] already refuses every spelling but the canonical one.

use ruche_domain::envelope::{ActorKind, Classification, Provenance};
use ruche_domain::limits::{
    EVENT_TYPE_BYTES_MAX, FRAGMENTS_PER_RECORD_MAX, KEYS_PER_APPEND_MAX, LEAF_BYTES_MAX,
    MEDIA_TYPE_BYTES_MAX, ORIGIN_BYTES_MAX,
};
use ruche_domain::stream::{Category, StreamId};
use uuid::Uuid;

use crate::cbor::Reader;
use crate::leaf::{FORMAT_VERSION, KeyLayer};
use crate::payload::Algorithm;

/// A stream: number of its category in [`Category::ALL`], and its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct StreamKey([u8; 17]);

impl StreamKey {
    fn parse(text: &str) -> Option<Self> {
        let (category, id) = text.as_bytes().split_at_checked(text.len().checked_sub(33)?)?;
        let number = Category::ALL
            .iter()
            .position(|known| known.name().as_bytes() == category)?;
        let (dash, digits) = id.split_first()?;
        let mut key = [0; 17];
        key[0] = u8::try_from(number).ok()?;
        for (byte, pair) in key[1..].iter_mut().zip(digits.as_chunks::<2>().0) {
            *byte = hex_digit(pair[0])? << 4 | hex_digit(pair[1])?;
        }
        (*dash == b'-').then_some(Self(key))
    }

    /// Its category.
    pub(super) fn category(self) -> Category {
        Category::ALL[usize::from(self.0[0])]
    }

    /// Its id.
    pub(super) fn bytes(self) -> [u8; 16] {
        let [_, id @ ..] = self.0;
        id
    }

    /// The stream as it is written.
    pub(super) fn id(self) -> StreamId {
        let [category, id @ ..] = self.0;
        StreamId::new(Category::ALL[usize::from(category)], Uuid::from_bytes(id))
    }
}

/// Lower-case only: a stream has one spelling.
const fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// What a leaf commits to for one fragment, as far as it is checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct FragmentView {
    pub(super) algorithm: Algorithm,
    pub(super) stored_length: u64,
    pub(super) commitment: [u8; 32],
}

/// The fragments of a leaf, in place of a vector.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FragmentViews {
    pub(super) count: usize,
    views: [Option<FragmentView>; FRAGMENTS_PER_RECORD_MAX],
}

impl FragmentViews {
    pub(super) fn get(&self, number: usize) -> Option<FragmentView> {
        self.views.get(number).copied().flatten()
    }
}

/// What the checker needs of a leaf.
#[derive(Clone, Copy, Debug)]
pub(super) struct LeafView<'a> {
    pub(super) origin: &'a str,
    pub(super) index: u64,
    pub(super) previous: Option<&'a [u8; 32]>,
    pub(super) append_first: u64,
    pub(super) append_count: u32,
    pub(super) event_id: &'a [u8; 16],
    pub(super) stream: StreamKey,
    pub(super) stream_version: u64,
    pub(super) event_type: &'a str,
    pub(super) recorded_at: u64,
    pub(super) occurred_at: u64,
    /// The actor's id, if it has one.
    pub(super) actor: Option<&'a [u8; 16]>,
    pub(super) session: Option<&'a [u8; 16]>,
    pub(super) turn: Option<&'a [u8; 16]>,
    pub(super) call: Option<&'a [u8; 16]>,
    pub(super) fragments: FragmentViews,
}

impl<'a> LeafView<'a> {
    /// The leaf in `bytes`; `None` if they are none.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() > LEAF_BYTES_MAX {
            return None;
        }
        let mut f = Fields(Reader::new(bytes));
        f.array(28)?;
        (f.uint()? == FORMAT_VERSION).then_some(())?;
        let origin = f.text(ORIGIN_BYTES_MAX)?;
        let index = f.uint()?;
        let previous = f.optional::<32>()?;
        (previous.is_none() == (index == 0)).then_some(())?;
        f.array(2)?;
        let (append_first, append_count) = (f.uint()?, f.uint32()?);
        let append_end = append_first.checked_add(append_count.into())?;
        (append_first <= index && index < append_end).then_some(())?;
        let event_id = f.fixed()?;
        let stream = StreamKey::parse(f.text(64)?)?;
        let stream_version = f.uint()?;
        let event_type = f.text(EVENT_TYPE_BYTES_MAX)?;
        f.uint32()?;
        let (recorded_at, occurred_at) = (f.uint()?, f.uint()?);
        let actor = f.actor()??;
        f.actor()?;
        Provenance::from_code(f.uint()?)?;
        Classification::from_code(f.uint()?)?;
        let (session, turn, call) = (f.optional()?, f.optional()?, f.optional()?);
        for _ in 0..3 {
            f.optional::<16>()?;
        }
        f.trace()?;
        f.optional::<32>()?;
        f.optional::<32>()?;
        let keys = f.keys()?;
        (keys == 0 || append_first == index).then_some(())?;
        let fragments = f.fragments()?;
        f.array(0)?;
        f.0.end().ok()?;
        Some(Self {
            origin,
            index,
            previous,
            append_first,
            append_count,
            event_id,
            stream,
            stream_version,
            event_type,
            recorded_at,
            occurred_at,
            actor,
            session,
            turn,
            call,
            fragments,
        })
    }
}

struct Fields<'a>(Reader<'a>);

impl<'a> Fields<'a> {
    fn uint(&mut self) -> Option<u64> {
        self.0.uint().ok()
    }

    fn uint32(&mut self) -> Option<u32> {
        u32::try_from(self.uint()?).ok()
    }

    fn array(&mut self, items: u64) -> Option<()> {
        (self.0.array().ok()? == items).then_some(())
    }

    fn list(&mut self, items_max: usize) -> Option<usize> {
        let items = usize::try_from(self.0.array().ok()?).ok()?;
        (items <= items_max).then_some(items)
    }

    fn text(&mut self, bytes_max: usize) -> Option<&'a str> {
        let text = self.0.text().ok()?;
        (!text.is_empty() && text.len() <= bytes_max).then_some(text)
    }

    fn fixed<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        self.0.bytes().ok()?.try_into().ok()
    }

    fn optional<const N: usize>(&mut self) -> Option<Option<&'a [u8; N]>> {
        if self.0.absent().ok()? {
            Some(None)
        } else {
            self.fixed().map(Some)
        }
    }

    /// The actor, if there is one, with its id, if it has one.
    #[allow(
        clippy::option_option,
        reason = "there may be nobody, and somebody without an id"
    )]
    fn actor(&mut self) -> Option<Option<Option<&'a [u8; 16]>>> {
        if self.0.absent().ok()? {
            return Some(None);
        }
        self.array(2)?;
        ActorKind::from_code(self.uint()?)?;
        self.optional::<16>().map(Some)
    }

    fn trace(&mut self) -> Option<()> {
        if self.0.absent().ok()? {
            return Some(());
        }
        self.array(2)?;
        let (trace, span): (&[u8; 16], &[u8; 8]) = (self.fixed()?, self.fixed()?);
        (*trace != [0; 16] && *span != [0; 8]).then_some(())
    }

    fn keys(&mut self) -> Option<usize> {
        let keys = self.list(KEYS_PER_APPEND_MAX)?;
        for _ in 0..keys {
            self.array(3)?;
            KeyLayer::from_code(self.uint()?)?;
            self.fixed::<32>()?;
            self.fixed::<32>()?;
        }
        Some(keys)
    }

    fn fragments(&mut self) -> Option<FragmentViews> {
        let count = self.list(FRAGMENTS_PER_RECORD_MAX)?;
        let mut views = FragmentViews {
            count,
            ..FragmentViews::default()
        };
        for view in &mut views.views[..count] {
            self.array(7)?;
            let algorithm = Algorithm::from_code(self.uint()?)?;
            self.text(MEDIA_TYPE_BYTES_MAX)?;
            let (stored_length, commitment) = (self.uint()?, *self.fixed()?);
            let encrypted = algorithm == Algorithm::Encrypted;
            let key = [
                self.optional::<16>()?.is_some(),
                self.optional::<32>()?.is_some(),
                self.optional::<32>()?.is_some(),
            ];
            (key == [encrypted; 3]).then_some(())?;
            *view = Some(FragmentView {
                algorithm,
                stored_length,
                commitment,
            });
        }
        Some(views)
    }
}
