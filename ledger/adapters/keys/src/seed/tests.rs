use std::os::unix::fs::PermissionsExt;

use super::*;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_seed_is_made_once_and_found_again() {
    let root = folder();
    let dir = root.path().join("keys");
    let first = MasterSeedFile::load_or_create(&dir).unwrap();
    let again = MasterSeedFile::load_or_create(&dir).unwrap();
    assert!(first.is_new() && !again.is_new());
    assert_eq!(first.seed().expose(), again.seed().expose());
    let text = std::fs::read_to_string(first.path()).unwrap();
    assert_eq!(text, format!("{}\n", hex::encode(first.seed().expose())));
    assert_eq!(
        std::fs::metadata(first.path()).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        std::fs::metadata(&dir).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert_eq!(
        std::fs::read_dir(&dir).unwrap().count(),
        1,
        "nothing is left beside it"
    );
    assert!(!format!("{first:?}").contains(text.trim()));
}

#[test]
fn one_seed_wins_when_many_start_at_once() {
    let root = folder();
    let seeds: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| MasterSeedFile::load_or_create(root.path()).unwrap()))
            .collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    assert!(
        seeds
            .iter()
            .all(|s| s.seed().expose() == seeds[0].seed().expose())
    );
    assert_eq!(seeds.iter().filter(|s| s.is_new()).count(), 1);
}

#[test]
fn a_seed_that_others_can_read_is_refused() {
    let root = folder();
    let path = MasterSeedFile::load_or_create(root.path())
        .unwrap()
        .path()
        .to_owned();
    for mode in [0o640, 0o604, 0o660] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = MasterSeedFile::load_or_create(root.path());
        assert!(
            matches!(refused, Err(SeedFileError::Exposed { mode: found, .. }) if found == mode),
            "{refused:?}"
        );
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o400)).unwrap();
    MasterSeedFile::load_or_create(root.path()).unwrap();
}

#[test]
fn what_is_not_a_seed_is_refused_and_kept() {
    let root = folder();
    let path = root.path().join(SEED_FILE);
    let good = "17".repeat(32);
    let malformed = [
        String::new(),
        good.clone(),
        format!("{good}\r\n"),
        format!("{good}00\n"),
        format!("{}\n", &good[2..]),
        format!("{}AB\n", &good[2..]),
        format!("{}zz\n", &good[2..]),
        format!("{}\n", "00".repeat(32)),
        format!("{good}\n{good}\n"),
    ];
    for text in malformed {
        files::remove_if_there(&path).unwrap();
        files::write_new(&path, text.as_bytes()).unwrap();
        assert!(
            MasterSeedFile::load_or_create(root.path()).is_err(),
            "{text:?} was taken"
        );
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}

#[test]
fn errors_say_nothing_of_the_content() {
    let root = folder();
    let path = root.path().join(SEED_FILE);
    files::write_new(&path, b"secret but malformed\n").unwrap();
    let error = MasterSeedFile::load_or_create(root.path()).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("secret but"), "{error:?}");
}
