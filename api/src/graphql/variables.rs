//! Looks for variables without a value (GraphQL, October 2021, §6.1.2, "CoerceVariableValues").
//!
//! The engine misses a value where a field asks for it, when other fields have run. Here it is missed before anything
//! runs.

use async_graphql::parser::types::OperationDefinition;
use async_graphql::{Value, Variables};

use super::document::DocumentFault;
use crate::error_codes as code;

/// Checks that every variable that may not be null and has no default has a value.
///
/// # Errors
/// `GRAPHQL_VALIDATION_FAILED` with the place of the first one that has none.
pub(super) fn check(operation: &OperationDefinition, given: &Variables) -> Result<(), DocumentFault> {
    for definition in &operation.variable_definitions {
        let variable = &definition.node;
        let value = given.get(&variable.name.node);
        let needed = !variable.var_type.node.nullable;
        let fault = match value {
            None if needed && variable.default_value.is_none() => "has no value",
            Some(Value::Null) if needed => "is null",
            _ => continue,
        };
        return Err(DocumentFault {
            code: code::GRAPHQL_VALIDATION_FAILED,
            message: format!(
                "the variable ${} of type {} {fault}",
                variable.name.node, variable.var_type.node
            ),
            at: definition.pos,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use async_graphql::parser::parse_query;
    use async_graphql::parser::types::DocumentOperations;
    use serde_json::{Value as Json, json};

    use super::*;

    fn faulty(definitions: &str, given: Json) -> bool {
        let document = parse_query(format!("query Q({definitions}) {{ me }}")).expect("it is GraphQL");
        let DocumentOperations::Multiple(operations) = &document.operations else {
            panic!("one operation with a name");
        };
        let operation = operations.values().next().expect("one operation");
        check(&operation.node, &Variables::from_json(given)).is_err()
    }

    #[test]
    fn only_a_variable_that_needs_a_value_is_missed() {
        assert!(faulty("$a: Int!", json!({})));
        assert!(faulty("$a: Int!", json!({ "a": null })));
        assert!(faulty("$a: Int!, $b: [Int]!", json!({ "a": 1 })));
        assert!(!faulty("$a: Int!", json!({ "a": 0 })));
        assert!(!faulty("$a: Int! = 1", json!({})));
        assert!(faulty("$a: Int! = 1", json!({ "a": null })));
        assert!(!faulty("$a: Int, $b: [Int!]", json!({ "b": null })));
    }
}
