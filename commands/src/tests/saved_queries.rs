use ruche_domain::Object;
use ruche_domain::event::AgentEvent;
use ruche_domain::events::{ConfigQueryDropped, ConfigQuerySaved};
use ruche_domain::limits::{SAVED_QUERIES_MAX, SAVED_QUERY_BYTES_MAX, SAVED_QUERY_NAME_CHARS_MAX};
use serde_json::json;

use crate::saved_query::saved_queries_stream;
use crate::testing::{Given, given, references};
use crate::{DropQuery, SaveQuery};

fn question(metric: &str) -> Object {
    Object::from([
        ("metric".to_owned(), json!(metric)),
        ("last".to_owned(), json!(86_400)),
    ])
}

fn save(name: &str, metric: &str) -> SaveQuery {
    SaveQuery {
        name: name.to_owned(),
        query: question(metric),
    }
}

fn drop_it(name: &str) -> DropQuery {
    DropQuery {
        name: name.to_owned(),
    }
}

fn saved(name: &str, metric: &str) -> ConfigQuerySaved {
    ConfigQuerySaved::new(name.to_owned(), question(metric))
}

fn with(past: impl IntoIterator<Item = AgentEvent>) -> Given {
    let stream = saved_queries_stream(&references());
    past.into_iter()
        .fold(given(), |given, event| given.event(stream, event))
}

#[test]
fn a_question_is_saved_and_another_one_takes_its_place() {
    assert_eq!(
        given().when(&save("costs", "COST")).facts(),
        [saved("costs", "COST").into()]
    );
    assert_eq!(
        with([saved("costs", "COST").into()])
            .when(&save("costs", "TURNS"))
            .facts(),
        [saved("costs", "TURNS").into()]
    );
    with([saved("costs", "COST").into()])
        .when(&save("costs", "COST"))
        .already_so();
    let replaced = [saved("costs", "COST").into(), saved("costs", "TURNS").into()];
    assert_eq!(
        with(replaced).when(&save("costs", "COST")).facts(),
        [saved("costs", "COST").into()],
        "what stood before the one that stands is not what stands"
    );
}

#[test]
fn what_stands_can_be_dropped_once() {
    let stands = || AgentEvent::from(saved("costs", "COST"));
    let dropped = || AgentEvent::from(ConfigQueryDropped::new("costs".to_owned()));
    given().when(&drop_it("costs")).refused("NOT_FOUND");
    with([stands()]).when(&drop_it("Costs")).refused("NOT_FOUND");
    assert_eq!(with([stands()]).when(&drop_it("costs")).facts(), [dropped()]);
    with([stands(), dropped()])
        .when(&drop_it("costs"))
        .refused("NOT_FOUND");
    assert_eq!(
        with([stands(), dropped()]).when(&save("costs", "COST")).facts(),
        [stands()],
        "what was dropped is saved anew"
    );
}

#[test]
fn so_many_stand_and_no_more() {
    let full = || (0..SAVED_QUERIES_MAX).map(|n| saved(&format!("q-{n}"), "COST").into());
    with(full())
        .when(&save("one more", "COST"))
        .refused("LIMIT_EXCEEDED");
    assert_eq!(
        with(full()).when(&save("q-0", "TURNS")).facts(),
        [saved("q-0", "TURNS").into()],
        "what takes the place of another one makes them no more"
    );
    let dropped = ConfigQueryDropped::new("q-7".to_owned()).into();
    assert_eq!(
        with(full().chain([dropped]))
            .when(&save("one more", "COST"))
            .facts(),
        [saved("one more", "COST").into()]
    );
}

#[test]
fn names_and_sizes_are_checked() {
    let most = "é".repeat(SAVED_QUERY_NAME_CHARS_MAX);
    assert_eq!(
        given().when(&save(&most, "COST")).facts(),
        [saved(&most, "COST").into()]
    );
    for bad in ["", "a\nb", &format!("{most}é")] {
        given().when(&save(bad, "COST")).refused("INVALID_INPUT");
        given().when(&drop_it(bad)).refused("INVALID_INPUT");
    }
    let long = save("long", &"x".repeat(SAVED_QUERY_BYTES_MAX));
    given().when(&long).refused("LIMIT_EXCEEDED");
}
