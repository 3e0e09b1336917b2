//! What is answered to each request that has something wrong in it. A command that is wrongly refused or wrongly carried
//! out, or refused for another cause than before, is a line that changes in `testdata/answers.txt`.

use std::path::Path;

use super::good::Goods;
use super::known::MUTATIONS;
use super::spoilt::{Spoilt, spoilt};
use super::story::{Came, Seen};

const FILE: &str = "it/testdata/answers.txt";
const HEAD: &str = "\
# What is answered to a request that was good but for one place of its input: the place, the code, and the values that
# stood there. `done` was carried out, `unchanged` was so already. `-` is a member that was left out.
# Rewritten by `cargo xtask golden -p ruche-tests`; what changes here changes for clients.
";
const SEED: u64 = 11;

/// One answer to several values of a place, in the order in which they were sent.
struct Line {
    place: String,
    answer: String,
    values: Vec<String>,
}

#[test]
fn golden_answers_to_what_is_wrong() {
    let mut seen = Seen::default();
    let mut goods = Goods::new(SEED, &mut seen);
    let mut told = HEAD.to_owned();
    for mutation in MUTATIONS {
        told += &format!("\n{mutation}\n");
        for Line {
            place,
            answer,
            values,
        } in answers(&mut goods, mutation)
        {
            told += &format!("  {place}  {answer}  {}\n", values.join("  "));
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("RUCHE_UPDATE_GOLDEN").is_some_and(|update| update == "1") {
        std::fs::write(&path, &told).expect("the golden file can be written");
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    let changed = golden.lines().zip(told.lines()).find(|(was, is)| was != is);
    assert!(
        told == golden,
        "answers are others than in tests/{FILE}: {changed:?}; rewrite it with `cargo xtask golden -p ruche-tests` and \
         look at what changed"
    );
}

/// Each mutation that is good otherwise, with each awkward value in each place; at the end it is carried out as it was.
fn answers(goods: &mut Goods<'_>, mutation: &'static str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut all = spoilt(&goods.ready(mutation));
    for next in 0.. {
        let Some(Spoilt { place, value, input }) = all.get(next) else {
            break;
        };
        let came = goods.story.request(mutation, input.clone(), 0);
        let value = if value.is_empty() { "-" } else { value };
        take(&mut lines, place, answer(&came), value);
        if matches!(came, Came::Done(_)) {
            // It was good after all, and things are not as they were.
            all = spoilt(&goods.ready(mutation));
        }
    }
    let good = goods.ready(mutation);
    let came = goods.story.request(mutation, good, 0);
    // The lease was taken a moment ago.
    let expected = if mutation == "heartbeatTurn" {
        "unchanged"
    } else {
        "done"
    };
    assert_eq!(answer(&came), expected, "{mutation}: {came:?}");
    lines
}

fn answer(came: &Came) -> String {
    match came {
        Came::Refused(code) => code.clone(),
        Came::Done(answer) if answer["unchanged"] == true => "unchanged".to_owned(),
        Came::Done(answer) => match answer["outcome"].as_str() {
            None | Some("APPROVED") => "done".to_owned(),
            Some(outcome) => format!("done:{outcome}"),
        },
    }
}

fn take(lines: &mut Vec<Line>, place: &str, answer: String, value: &str) {
    let known = lines
        .iter_mut()
        .find(|line| line.place == place && line.answer == answer);
    match known {
        Some(line) => line.values.push(value.to_owned()),
        None => lines.push(Line {
            place: place.to_owned(),
            answer,
            values: vec![value.to_owned()],
        }),
    }
}
