use proptest::prelude::*;
use ruche_domain::numbers::LeafIndex;

use super::*;
use crate::hash::leaf_hash;
use crate::proof::{ProofRequestError, consistency_proof, inclusion_proof};
use crate::testdata;
use crate::tree::root_of;
use crate::tree::tests::{leaves, naive_root};

/// All tiles of a log, as a client would have them.
#[derive(Debug, Clone, Default)]
struct Shelf {
    tiles: BTreeMap<TileId, Vec<u8>>,
}

impl Shelf {
    /// By the definition: each hash of a level above 0 is the root over one full tile of the level below.
    fn of(leaves: &[Hash]) -> Self {
        let mut shelf = Self::default();
        let mut nodes = leaves.to_vec();
        for level in 0.. {
            for (index, tile) in (0..).zip(nodes.chunks(256)) {
                let width = u16::try_from(tile.len()).expect("at most 256");
                shelf
                    .tiles
                    .insert(hashes(level, index, width), encode_hashes(tile).expect("a tile"));
            }
            nodes = nodes.chunks_exact(256).map(naive_root).collect();
            if nodes.is_empty() {
                break;
            }
        }
        shelf
    }
}

impl TileSource for &Shelf {
    type Error = TileId;

    fn tile(&mut self, tile: &TileId) -> Result<Vec<u8>, TileId> {
        // The full tile stands in for a partial one that is gone.
        self.tiles
            .get(tile)
            .or_else(|| self.tiles.get(&tile.full()))
            .cloned()
            .ok_or(*tile)
    }
}

fn hashes(level: u8, index: u64, width: u16) -> TileId {
    TileId::new(TileKind::Hashes { level }, index, width).expect("a tile")
}

fn entries(index: u64, width: u16) -> TileId {
    TileId::new(TileKind::Entries, index, width).expect("a bundle")
}

#[test]
fn paths_are_those_of_the_specification() {
    let cases = [
        (hashes(0, 0, 256), "tile/0/000"),
        (hashes(0, 0, 40), "tile/0/000.p/40"),
        (hashes(63, 999, 1), "tile/63/999.p/1"),
        (hashes(1, 1000, 255), "tile/1/x001/000.p/255"),
        (hashes(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (entries(1_234_067, 8), "tile/entries/x001/x234/067.p/8"),
        (entries(1_000_000, 256), "tile/entries/x001/x000/000"),
        (
            entries(u64::MAX, 256),
            "tile/entries/x018/x446/x744/x073/x709/x551/615",
        ),
    ];
    for (tile, path) in cases {
        assert_eq!(tile.to_string(), path);
        assert_eq!(path.parse(), Ok(tile));
    }
}

#[test]
fn other_spellings_of_a_path_are_refused() {
    let hostile = [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tile/0/000/",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/0/001/x002",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/256/000",
        "tile/0/+01",
        "tile/0/-01",
        "tile/0/ 01",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/000.P/1",
        "tile/Entries/000",
        "tile/data/000",
        "tile/8/0/000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
        "tile/0/０００",
        "tile/0/00٣",
        "tile//000",
        "tile/0//000",
        "tile/0/../000",
        "TILE/0/000",
        "tile/0/000\n",
    ];
    for path in hostile {
        assert_eq!(path.parse::<TileId>(), Err(TilePathInvalid), "{path:?}");
    }
    assert_eq!(TileId::new(TileKind::Entries, 0, 0), Err(TilePathInvalid));
    assert_eq!(
        TileId::new(TileKind::Hashes { level: 64 }, 0, 1),
        Err(TilePathInvalid)
    );
}

#[test]
fn a_log_of_70_000_has_the_tiles_of_the_specification() {
    let tiles: Vec<_> = hash_tiles(TreeSize(0), TreeSize(70_000)).collect();
    let full = |level| {
        tiles
            .iter()
            .filter(|tile| tile.kind == TileKind::Hashes { level } && tile.is_full())
            .count()
    };
    assert_eq!((full(0), full(1), full(2)), (273, 1, 0));
    let partial: Vec<_> = tiles.iter().filter(|tile| !tile.is_full()).copied().collect();
    assert_eq!(partial, [hashes(0, 273, 112), hashes(1, 1, 17), hashes(2, 0, 1)]);
    assert_eq!(entry_tiles(TreeSize(0), TreeSize(70_000)).count(), 274);
    let of_256: Vec<_> = hash_tiles(TreeSize(0), TreeSize(256)).collect();
    assert_eq!(of_256, [hashes(0, 0, 256), hashes(1, 0, 1)]);
    assert_eq!(hash_tiles(TreeSize(0), TreeSize(0)).count(), 0);
    assert_eq!(hash_tiles(TreeSize(70_000), TreeSize(70_000)).count(), 0);
    for (tile, size) in partial.iter().zip([70_000, 69_888, 65_536]) {
        assert!(
            tile.is_within(TreeSize(size)) && !tile.is_within(TreeSize(size - 1)),
            "{tile}"
        );
    }
    assert!(!entries(u64::MAX, 256).is_within(TreeSize(u64::MAX)));
    assert!(!hashes(63, 0, 1).is_within(TreeSize(u64::MAX)));
}

#[test]
fn growing_a_log_adds_what_changed() {
    let added: Vec<_> = hash_tiles(TreeSize(250), TreeSize(600)).collect();
    assert_eq!(
        added,
        [
            hashes(0, 0, 256),
            hashes(0, 1, 256),
            hashes(0, 2, 88),
            hashes(1, 0, 2)
        ]
    );
    let added: Vec<_> = entry_tiles(TreeSize(256), TreeSize(257)).collect();
    assert_eq!(added, [entries(1, 1)]);
}

#[test]
fn bundles_hold_entries_behind_their_length() {
    let bundle = encode_entries(&[&b"ab"[..], b"", b"c"]).expect("a bundle");
    assert_eq!(bundle, b"\0\x02ab\0\0\0\x01c");
    assert_eq!(decode_entries(&bundle, 3), Ok(vec![&b"ab"[..], b"", b"c"]));
    assert_eq!(decode_entries(&bundle, 2), Err(TileError::EntriesTrailing(3)));
    assert_eq!(decode_entries(&bundle, 4), Err(TileError::EntryCut(3)));
    for cut in 0..bundle.len() {
        assert!(decode_entries(&bundle[..cut], 3).is_err(), "cut at {cut}");
    }
    let largest = vec![7; ENTRY_BYTES_MAX];
    let bundle = encode_entries(&[&largest]).expect("a bundle");
    assert_eq!(decode_entries(&bundle, 1), Ok(vec![&largest[..]]));
    assert_eq!(
        encode_entries(&[vec![0; ENTRY_BYTES_MAX + 1]]),
        Err(TileError::EntryTooLong(65_536))
    );
    assert_eq!(encode_entries::<&[u8]>(&[]), Err(TileError::Width(0)));
    assert_eq!(encode_entries(&[b""; 257]), Err(TileError::Width(257)));
    assert_eq!(encode_hashes(&[]), Err(TileError::Width(0)));
    assert_eq!(
        decode_hashes(&[0; 65], 2),
        Err(TileError::HashesLength { width: 2, found: 65 })
    );
    assert_eq!(
        decode_hashes(&[0; 64], 3),
        Err(TileError::HashesLength { width: 3, found: 64 })
    );
}

#[test]
fn the_tiles_listed_for_a_size_are_those_it_has() {
    for size in [0, 1, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 66_000] {
        let listed: Vec<_> = hash_tiles(TreeSize(0), TreeSize(size as u64)).collect();
        let had: Vec<_> = Shelf::of(&leaves(size)).tiles.into_keys().collect();
        assert_eq!(listed, had, "size {size}");
    }
}

#[test]
fn bad_tiles_are_named() {
    let leaves = leaves(700);
    let good = Shelf::of(&leaves);
    let size = TreeSize(700);
    let tile = hashes(0, 2, 188);
    for bytes in [
        vec![],
        vec![0; 32 * 187],
        vec![0; 32 * 188 + 1],
        vec![0; 32 * 257],
    ] {
        let mut shelf = good.clone();
        let source = TileError::HashesLength {
            width: 188,
            found: bytes.len(),
        };
        shelf.tiles.insert(tile, bytes);
        let damaged = ProofRequestError::Node(TileReadError::Damaged { tile, source });
        assert_eq!(
            inclusion_proof(&mut TileReader::new(&shelf, size), LeafIndex(0), size),
            Err(damaged)
        );
    }
    let mut shelf = good.clone();
    shelf.tiles.remove(&tile);
    let missing = ProofRequestError::Node(TileReadError::Source { tile, source: tile });
    assert_eq!(
        inclusion_proof(&mut TileReader::new(&shelf, size), LeafIndex(0), size),
        Err(missing)
    );
    let mut reader = TileReader::new(&good, size);
    for (level, index) in [
        (0, 700),
        (8, 2),
        (9, 1),
        (63, 1),
        (64, 0),
        (255, 0),
        (0, u64::MAX),
        (1, u64::MAX),
    ] {
        assert_eq!(
            reader.node(level, index),
            Err(TileReadError::Outside { level, index, size })
        );
    }
}

#[test]
fn the_sample_log_reads_as_published() {
    let Some(folder) = testdata::path("vectors/tlog-sample") else {
        return;
    };
    let tile: TileId = "tile/0/000.p/40".parse().expect("a path");
    let hashes =
        decode_hashes(&testdata::read(&folder.join(tile.to_string())), tile.width()).expect("a tile");
    let bundle: TileId = "tile/entries/000.p/40".parse().expect("a path");
    let bytes = testdata::read(&folder.join(bundle.to_string()));
    let entries = decode_entries(&bytes, bundle.width()).expect("a bundle");
    assert_eq!(
        entries.iter().map(|entry| leaf_hash(entry)).collect::<Vec<_>>(),
        hashes
    );
    assert_eq!(encode_entries(&entries), Ok(bytes.clone()));
    let root = "39d8fb2d5ea9f0db4be579462d70966ab9dc1e0644f359c2693eb84d079ce51c";
    assert_eq!(root_of(&hashes).to_string(), root);
    assert_eq!(
        Shelf::of(&hashes).tiles[&tile],
        testdata::read(&folder.join(tile.to_string()))
    );
}

/// The same log as another implementation sees it.
mod against_tlog_tiles {
    use tlog_tiles::{HashReader, Tile, prove_record, prove_tree, stored_hashes_for_record_hash, tree_hash};

    use super::*;

    #[derive(Default)]
    struct Stored(Vec<tlog_tiles::Hash>);

    impl HashReader for Stored {
        fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
            Ok(indexes
                .iter()
                .map(|index| self.0[usize::try_from(*index).expect("small")])
                .collect())
        }
    }

    fn stored(leaves: &[Hash]) -> Stored {
        let mut stored = Stored::default();
        for (index, leaf) in (0..).zip(leaves) {
            let new =
                stored_hashes_for_record_hash(index, tlog_tiles::Hash(leaf.0), &stored).expect("hashes");
            stored.0.extend(new);
        }
        stored
    }

    fn ours(hashes: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
        hashes.into_iter().map(|hash| Hash(hash.0)).collect()
    }

    #[test]
    fn roots_proofs_and_tiles_are_the_same() {
        let all = leaves(1_100);
        let theirs = stored(&all);
        for size in [
            1,
            2,
            3,
            7,
            8,
            255,
            256,
            257,
            300,
            511,
            513,
            1_023,
            1_025,
            1_100_usize,
        ] {
            let leaves = &all[..size];
            let new = size as u64;
            let root = tree_hash(new, &theirs).expect("a root");
            assert_eq!(Hash(root.0), root_of(leaves));
            let shelf = Shelf::of(leaves);
            let mut reader = TileReader::new(&shelf, TreeSize(new));
            for index in [0, size / 3, size / 2, size - 1] {
                let old = index as u64 + 1;
                let inclusion =
                    inclusion_proof(&mut reader, LeafIndex(old - 1), TreeSize(new)).expect("a proof");
                assert_eq!(
                    inclusion,
                    ours(prove_record(new, old - 1, &theirs).expect("a proof"))
                );
                let proof = inclusion.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
                let leaf = tlog_tiles::Hash(leaves[index].0);
                tlog_tiles::check_record(&proof, new, root, old - 1, leaf).expect("their check of our proof");

                let consistency =
                    consistency_proof(&mut reader, TreeSize(old), TreeSize(new)).expect("a proof");
                assert_eq!(consistency, ours(prove_tree(new, old, &theirs).expect("a proof")));
                let proof = consistency.iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
                let old_root = tree_hash(old, &theirs).expect("a root");
                tlog_tiles::check_tree(&proof, new, root, old, old_root).expect("their check of our proof");
            }
            for tile in Tile::new_tiles(8, 0, new) {
                let bytes = tile.read_data(&theirs).expect("a tile");
                // Their paths are those of Go's sumdb, with the tile height in front of the level.
                let path = tile.path().replacen("tile/8/", "tile/", 1);
                assert_eq!(
                    shelf.tiles.get(&path.parse().expect("a path")),
                    Some(&bytes),
                    "{path}"
                );
            }
            assert_eq!(shelf.tiles.len(), Tile::new_tiles(8, 0, new).len());
        }
    }

    proptest! {
        #[test]
        fn paths_and_growth_are_the_same(
            level in 0_u8..64, index: u64, width in 1_u16..=256, old in 0_u64..200_000, grown in 0_u64..200_000,
        ) {
            let ours = hashes(level, index, width);
            let theirs = Tile::new(8, level, index, width.into(), false);
            prop_assert_eq!(ours.to_string(), theirs.path().replacen("tile/8/", "tile/", 1));
            let theirs: Vec<_> = Tile::new_tiles(8, old, old + grown)
                .iter()
                .map(|tile| tile.path().replacen("tile/8/", "tile/", 1))
                .collect();
            let ours: Vec<_> =
                hash_tiles(TreeSize(old), TreeSize(old + grown)).map(|tile| tile.to_string()).collect();
            prop_assert_eq!(ours, theirs);
        }
    }
}

proptest! {
    #[test]
    fn every_path_parses_back(level in 0_u8..64, index: u64, width in 1_u16..=256) {
        for tile in [hashes(level, index, width), entries(index, width)] {
            prop_assert_eq!(tile.to_string().parse(), Ok(tile));
        }
    }

    #[test]
    fn proofs_from_tiles_are_those_from_leaves(size in 1_usize..2_000, index in 0_usize..2_000, old in 0_usize..2_000) {
        let leaves = leaves(size);
        let shelf = Shelf::of(&leaves);
        let size = TreeSize(size as u64);
        let (index, old) = (LeafIndex(index as u64 % size.0), TreeSize(old as u64 % (size.0 + 1)));
        let mut tiles = TileReader::new(&shelf, size);
        let mut slice = &leaves[..];
        prop_assert_eq!(
            inclusion_proof(&mut tiles, index, size).expect("a proof"),
            inclusion_proof(&mut slice, index, size).expect("a proof")
        );
        prop_assert_eq!(
            consistency_proof(&mut tiles, old, size).expect("a proof"),
            consistency_proof(&mut slice, old, size).expect("a proof")
        );
    }

    #[test]
    fn bundles_come_back(list in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..=256)) {
        let bundle = encode_entries(&list).expect("a bundle");
        let width = u16::try_from(list.len()).expect("at most 256");
        let back: Vec<_> = decode_entries(&bundle, width).expect("a bundle").into_iter().map(<[u8]>::to_vec).collect();
        prop_assert_eq!(back, list);
    }

    #[test]
    fn strange_bundles_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600), width: u16) {
        if let Ok(entries) = decode_entries(&bytes, width) {
            prop_assert_eq!(entries.len(), usize::from(width));
        }
    }
}
