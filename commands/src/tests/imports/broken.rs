//! Files that are broken, cut short, changed or too large for one append.

use super::*;

/// One broken record in the middle: the others come in and the place is told.
#[tokio::test]
async fn a_poisoned_copy_gives_everything_but_the_poison() {
    /// File, format, what is done to it, the good bytes, the bad ones, and the place that is told.
    type Case = (
        &'static str,
        Format,
        &'static str,
        &'static [u8],
        &'static [u8],
        &'static str,
    );
    let cases: [Case; 6] = [
        (
            TAU_BENCH,
            Format::TauBench,
            "type",
            b"\"task_id\": 7,",
            b"\"task_id\": \"seven\",",
            "/7/task_id",
        ),
        (
            TAU_BENCH,
            Format::TauBench,
            "syntax",
            b"\"task_id\": 7,",
            b"\"task_id\": ,",
            "/7/task_id",
        ),
        (
            TAU_BENCH,
            Format::TauBench,
            "twice",
            b"\"task_id\": 7,",
            b"\"task_id\": 7, \"task_id\": 7,",
            "/7/task_id",
        ),
        (
            AGENTDOJO,
            Format::AgentDojo,
            "syntax",
            b"{\"index\": 57,",
            b"{\"index\": 57",
            "line 58",
        ),
        (
            AGENTDOJO,
            Format::AgentDojo,
            "quote",
            b"{\"index\": 57,",
            b"{\"index: 57,",
            "line 58",
        ),
        (
            TAU2,
            Format::Tau2,
            "type",
            b"\"task_id\": \"update_task_1\",",
            b"\"task_id\": [],",
            "/simulations/3/task_id",
        ),
    ];
    for (name, format, what, good, bad, place) in cases {
        let Some(file) = data(name) else { return };
        let all = import::read(format, &file).count();
        let at = file.windows(good.len()).rposition(|window| window == good);
        let at = if format == Format::Tau2 {
            at
        } else {
            file.windows(good.len()).position(|w| w == good)
        };
        let at = at.unwrap_or_else(|| panic!("{name} has no {}", String::from_utf8_lossy(good)));
        let poisoned = [&file[..at], bad, &file[at + good.len()..]].concat();
        let (fine, faults): (Vec<_>, Vec<_>) = import::read(format, &poisoned).partition(Result::is_ok);
        let expected_loss = all - fine.len();
        assert_eq!((expected_loss, faults.len()), (1, 1), "{name} {what}: {faults:?}");
        let fault = faults.into_iter().next().unwrap().unwrap_err();
        assert!(fault.path.starts_with(place), "{name} {what}: {fault}");
    }
}

#[test]
fn a_file_that_ends_early_gives_what_is_whole() {
    for (name, format) in [
        (TAU_BENCH, Format::TauBench),
        (AGENTDOJO, Format::AgentDojo),
        (TAU2, Format::Tau2),
    ] {
        let Some(file) = data(name) else { return };
        let all = import::read(format, &file).count();
        let cut = &file[..file.len() / 2];
        let (fine, faults): (Vec<_>, Vec<_>) = import::read(format, cut).partition(Result::is_ok);
        if format == Format::Tau2 {
            // Tasks stand in front of simulations.
            assert!(faults.len() <= 1 && fine.len() < all, "{name}");
        } else {
            assert!(!fine.is_empty() && fine.len() < all, "{name}");
            assert_eq!(faults.len(), 1, "{name}");
        }
    }
    for format in Format::ALL {
        for nonsense in [&b"nonsense"[..], b"\xff\xfe", b"{}", b"42"] {
            let read: Vec<_> = import::read(format, nonsense).collect();
            assert!(
                read.iter().all(Result::is_err) || format == Format::AgentDojo,
                "{format:?}"
            );
        }
    }
}

#[tokio::test]
async fn other_content_under_the_same_name_is_a_mismatch_and_changes_nothing() {
    let run = |text: &str| {
        format!(
            r#"[{{"task_id":1,"trial":0,"reward":1.0,"info":{{}},"traj":[{{"role":"user","content":"{text}"}}]}}]"#
        )
    };
    let ledger = ledger().await;
    let options = ImportOptions {
        source: "s".to_owned(),
        ..ImportOptions::default()
    };
    let (first, second) = (run("a"), run("b"));
    let planned = |file: &str| {
        plan(
            import::read(Format::TauBench, file.as_bytes())
                .next()
                .unwrap()
                .unwrap(),
            &options,
        )
    };
    import_session(&ledger.commands, &ledger.context, &planned(&first))
        .await
        .unwrap();
    let size = ledger.size().await;
    let error = import_session(&ledger.commands, &ledger.context, &planned(&second))
        .await
        .unwrap_err();
    assert_eq!(
        (error.code(), ledger.size().await),
        ("IDEMPOTENCY_MISMATCH", size)
    );
}

#[tokio::test]
async fn a_session_that_is_too_large_for_one_append_comes_in_turn_by_turn_and_resumes() {
    let turns = 450;
    let traj: Vec<String> = (0..turns)
        .map(|n| format!(r#"{{"role":"user","content":"u{n}"}},{{"role":"assistant","content":"a{n}"}}"#))
        .collect();
    let file = format!(
        r#"[{{"task_id":1,"trial":0,"reward":0.5,"info":{{}},"traj":[{}]}}]"#,
        traj.join(",")
    );
    let options = ImportOptions {
        source: "large".to_owned(),
        ..ImportOptions::default()
    };
    let session = import::read(Format::TauBench, file.as_bytes())
        .next()
        .unwrap()
        .unwrap();
    let whole = plan(session, &options);
    assert_eq!(whole.session.turns.len(), turns);

    // Interrupted: the turns behind the hundredth were never sent.
    let ledger = ledger().await;
    let mut interrupted = whole.clone();
    interrupted.session.turns.truncate(100);
    interrupted.session.end = None;
    interrupted.session.scores.clear();
    let mut counts = ImportedCounts::default();
    in_parts(&ledger.commands, &ledger.context, &interrupted, &mut counts)
        .await
        .unwrap();
    assert_eq!(counts.appended, 1 + 100 * 4);
    let before = ledger.size().await;
    let counts = import_session(&ledger.commands, &ledger.context, &whole)
        .await
        .unwrap();
    assert_eq!(counts.appended, ledger.size().await - before);
    assert_eq!(
        counts.duplicate,
        1 + 100 * 4,
        "the start and a hundred turns were there"
    );
    let messages = exported(&ledger, &whole).await;
    assert_eq!(messages.len(), turns * 2);
    assert!(messages.iter().enumerate().all(|(n, m)| {
        let letter = if n % 2 == 0 { 'u' } else { 'a' };
        m.text.as_deref() == Some(&format!("{letter}{}", n / 2))
    }));
    let again = import_session(&ledger.commands, &ledger.context, &whole)
        .await
        .unwrap();
    assert_eq!(again.appended, 0);
}
