use super::*;

#[test]
fn empty_root_is_sha256_of_nothing() {
    assert_eq!(Hash::EMPTY_ROOT, Hash::sha256(b""));
}

#[test]
fn leaf_and_node_hashes_carry_their_prefix() {
    assert_eq!(leaf_hash(b"abc"), Hash::sha256(b"\0abc"));
    let (left, right) = (Hash([1; 32]), Hash([2; 32]));
    let input = [&[0x01_u8][..], &[1; 32], &[2; 32]].concat();
    assert_eq!(node_hash(&left, &right), Hash::sha256(&input));
}

#[test]
fn text_form_is_lower_hex_and_nothing_else() {
    let text = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    assert_eq!(leaf_hash(b"").to_string(), text);
    assert_eq!(text.parse(), Ok(leaf_hash(b"")));
    for bad in [
        "",
        &text[1..],
        &text.to_uppercase(),
        &format!("{text}00"),
        &format!(" {}", &text[1..]),
    ] {
        assert_eq!(bad.parse::<Hash>(), Err(HashTextInvalid), "{bad:?}");
    }
}
