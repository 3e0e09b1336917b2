//! A subscription has one root field (GraphQL, October 2021, §5.2.3.1). The library does not look.

use std::collections::HashSet;

use async_graphql::parser::types::{
    ExecutableDocument, OperationDefinition, OperationType, Selection, SelectionSet,
};
use async_graphql::{Name, Positioned};

use super::document::DocumentFault;
use crate::error_codes as code;

/// Checks the operation that is meant.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED`: a subscription that selects more than one root field, also by way of fragments.
pub(super) fn check(
    operation: &OperationDefinition,
    document: &ExecutableDocument,
) -> Result<(), DocumentFault> {
    if operation.ty != OperationType::Subscription {
        return Ok(());
    }
    let mut first: Option<&Name> = None;
    let mut entered: HashSet<&Name> = HashSet::new();
    let mut left: Vec<&Positioned<SelectionSet>> = vec![&operation.selection_set];
    while let Some(set) = left.pop() {
        for selection in &set.node.items {
            match &selection.node {
                // Two fields of one answer name are one field; that they do not differ is looked at by validation.
                Selection::Field(field) => {
                    let name = &field.node.response_key().node;
                    if *first.get_or_insert(name) != name {
                        return Err(DocumentFault {
                            code: code::GRAPHQL_VALIDATION_FAILED,
                            message: "a subscription has a single root field; make one subscription of each"
                                .to_owned(),
                            at: field.pos,
                        });
                    }
                }
                Selection::InlineFragment(fragment) => left.push(&fragment.node.selection_set),
                Selection::FragmentSpread(spread) => {
                    let name = &spread.node.fragment_name.node;
                    let fragment = document.fragments.get(name).filter(|_| entered.insert(name));
                    left.extend(fragment.map(|fragment| &fragment.node.selection_set));
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::parser::types::DocumentOperations;

    use super::*;

    fn passes(text: &str) -> bool {
        let document = parse_query(text).unwrap();
        let DocumentOperations::Single(operation) = &document.operations else {
            panic!("{text} is one operation");
        };
        check(&operation.node, &document).is_ok()
    }

    #[test]
    fn a_subscription_has_one_root_field() {
        for one in [
            "subscription { a }",
            "subscription { a a { b c } }",
            "subscription { ...f ...f } fragment f on S { x: a }",
            "{ a b }",
        ] {
            assert!(passes(one), "{one}");
        }
        for two in [
            "subscription { a b }",
            "subscription { x: a y: a }",
            "subscription { a ... { b } }",
            "subscription { a ...f } fragment f on S { b }",
        ] {
            assert!(!passes(two), "{two}");
        }
    }
}
