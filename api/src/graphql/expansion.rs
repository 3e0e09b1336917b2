//! How large a document is with every fragment written out.
//!
//! Validation, depth and cost walk into a fragment once for each place that spreads it. Fragments that spread each
//! other twice double that work with every one of them, so a kilobyte of text would take centuries. The sizes are
//! worked out first, each fragment once, its spreads before itself: linear in the text, and without recursion from
//! fragment to fragment. What spreads itself has no size and is refused, too.

use std::collections::HashMap;
use std::convert::Infallible;

use async_graphql::parser::types::{Directive, ExecutableDocument, Selection, SelectionSet};
use async_graphql::{Name, Pos, Positioned, Value};

use super::document::DocumentFault;
use crate::error_codes as code;
use crate::limits::DOCUMENT_EXPANSION_MAX;

/// An operation or a fragment.
struct Definition {
    at: Pos,
    /// Fields, spreads, directives and values that stand in it; of a fragment that was worked out, with those of
    /// everything that it spreads.
    size: usize,
    /// The fragments that it spreads, once for each place.
    spreads: Vec<usize>,
}

/// Checks a parsed document.
///
/// # Errors
/// `QUERY_LIMIT_EXCEEDED`: more than [`DOCUMENT_EXPANSION_MAX`] parts, or a fragment that spreads itself.
pub(super) fn check(document: &ExecutableDocument) -> Result<(), DocumentFault> {
    let numbers: HashMap<&str, usize> = document.fragments.keys().map(Name::as_str).zip(0..).collect();
    let fragments = document.fragments.values().map(|fragment| {
        let node = &fragment.node;
        define(fragment.pos, &node.directives, &node.selection_set, &numbers)
    });
    let mut fragments: Vec<Definition> = fragments.collect();
    if let Some(at) = expand(&mut fragments) {
        return Err(refused("a fragment spreads itself".to_owned(), at));
    }
    let operations = document.operations.iter().map(|(_, operation)| {
        let node = &operation.node;
        define(operation.pos, &node.directives, &node.selection_set, &numbers)
    });
    // Rules walk into the definitions of fragments, too, whether anything spreads them or not.
    let mut total: usize = 0;
    for operation in operations {
        let spread = operation.spreads.iter().map(|fragment| fragments[*fragment].size);
        total = spread.fold(total.saturating_add(operation.size), usize::saturating_add);
        within(total, operation.at)?;
    }
    for fragment in &fragments {
        total = total.saturating_add(fragment.size);
        within(total, fragment.at)?;
    }
    Ok(())
}

fn within(total: usize, at: Pos) -> Result<(), DocumentFault> {
    if total <= DOCUMENT_EXPANSION_MAX {
        return Ok(());
    }
    let message = format!(
        "the document has more than {DOCUMENT_EXPANSION_MAX} fields, spreads and values with its fragments written out"
    );
    Err(refused(message, at))
}

fn refused(message: String, at: Pos) -> DocumentFault {
    DocumentFault {
        code: code::QUERY_LIMIT_EXCEEDED,
        message,
        at,
    }
}

/// Adds to each fragment the sizes of what it spreads: first those that spread nothing, then those that wait for
/// nothing any more. Gives the place of a fragment that waits for itself.
fn expand(fragments: &mut [Definition]) -> Option<Pos> {
    let mut waiting: Vec<usize> = fragments.iter().map(|fragment| fragment.spreads.len()).collect();
    let mut spread_in: Vec<Vec<usize>> = vec![Vec::new(); fragments.len()];
    for (number, fragment) in fragments.iter().enumerate() {
        for spread in &fragment.spreads {
            spread_in[*spread].push(number);
        }
    }
    let mut done: Vec<usize> = (0..fragments.len())
        .filter(|number| waiting[*number] == 0)
        .collect();
    while let Some(number) = done.pop() {
        for user in std::mem::take(&mut spread_in[number]) {
            fragments[user].size = fragments[user].size.saturating_add(fragments[number].size);
            waiting[user] -= 1;
            if waiting[user] == 0 {
                done.push(user);
            }
        }
    }
    let stuck = waiting.iter().position(|left| *left > 0)?;
    Some(fragments[stuck].at)
}

fn define(
    at: Pos,
    directives: &[Positioned<Directive>],
    selections: &Positioned<SelectionSet>,
    numbers: &HashMap<&str, usize>,
) -> Definition {
    let mut definition = Definition {
        at,
        size: of_directives(directives),
        spreads: Vec::new(),
    };
    let mut left = vec![&selections.node];
    while let Some(set) = left.pop() {
        for selection in &set.items {
            definition.size += 1 + of_directives(selection.node.directives());
            match &selection.node {
                Selection::Field(field) => {
                    for (_, value) in &field.node.arguments {
                        definition.size += of_value(value.node.clone().into_const_with(null));
                    }
                    left.push(&field.node.selection_set.node);
                }
                Selection::InlineFragment(inline) => left.push(&inline.node.selection_set.node),
                // A fragment that is not there is validation's to report.
                Selection::FragmentSpread(spread) => definition
                    .spreads
                    .extend(numbers.get(spread.node.fragment_name.node.as_str())),
            }
        }
    }
    definition
}

fn of_directives(directives: &[Positioned<Directive>]) -> usize {
    let arguments = directives.iter().flat_map(|directive| &directive.node.arguments);
    let values = arguments.map(|(_, value)| of_value(value.node.clone().into_const_with(null)));
    directives.len() + values.sum::<usize>()
}

/// What stands for a variable: as much as one value.
fn null(_name: Name) -> Result<Value, Infallible> {
    Ok(Value::Null)
}

fn of_value(value: Result<Value, Infallible>) -> usize {
    let Ok(value) = value;
    let mut left = vec![&value];
    let mut size = 0;
    while let Some(value) = left.pop() {
        size += 1;
        match value {
            Value::List(items) => left.extend(items),
            Value::Object(members) => left.extend(members.values()),
            _ => {}
        }
    }
    size
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;

    use super::*;

    fn fault(text: &str) -> Option<&'static str> {
        let document = parse_query(text).expect("it is GraphQL");
        check(&document).err().map(|fault| fault.code)
    }

    /// `n` fragments, each of which spreads the next one twice.
    fn doubling(n: usize) -> String {
        let levels = (0..n).map(|level| {
            let next = level + 1;
            format!("fragment F{level} on Query {{ ...F{next} ...F{next} }} ")
        });
        format!(
            "{{ ...F0 }} {}fragment F{n} on Query {{ me {{ tenant }} }}",
            levels.collect::<String>()
        )
    }

    #[test]
    fn fragments_that_multiply_are_refused() {
        let limit = Some(code::QUERY_LIMIT_EXCEEDED);
        assert_eq!(fault(&doubling(8)), None);
        for n in [13, 29, 63, 64, 200, 500] {
            assert_eq!(fault(&doubling(n)), limit, "{n}");
        }
        let wide = "...F ".repeat(1_000);
        let values = "1 ".repeat(1_000);
        assert_eq!(
            fault(&format!(
                "{{ {wide} }} fragment F on Query {{ f(list: [{values}]) }}"
            )),
            limit
        );
        // Nothing spreads them, and rules walk into them all the same.
        assert_eq!(fault(&doubling(29).replacen("{ ...F0 }", "{ me }", 1)), limit);
    }

    #[test]
    fn fragments_that_spread_themselves_are_refused() {
        let limit = Some(code::QUERY_LIMIT_EXCEEDED);
        assert_eq!(fault("{ ...A } fragment A on Query { ...A }"), limit);
        assert_eq!(
            fault("{ me } fragment A on Query { x { ...B } } fragment B on Query { ... { ...A } }"),
            limit
        );
    }

    #[test]
    fn ordinary_fragments_pass() {
        for text in [
            "{ me { ...A ...B } sessions { ...B ...No } } fragment A on X { ...B } fragment B on X { x(a: {b: [1]}) @a(if: 1) }",
            "query A { ...F } query B { ...F } fragment F on Query { me { tenant } }",
        ] {
            assert_eq!(fault(text), None, "{text}");
        }
        // The longest document that is parsed, all of it in a fragment that is used once.
        let fields = "me ".repeat(9_000);
        assert_eq!(
            fault(&format!("{{ ...F }} fragment F on Query {{ {fields} }}")),
            None
        );
    }
}
