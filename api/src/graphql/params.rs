//! The parameters of a GraphQL request (GraphQL over HTTP, "Request Parameters").

use ruche_domain::strict_json::{self, Profile};
use serde_json::{Map, Value};

use crate::error_codes as code;
use crate::limits::BODY_BYTES_MAX;

/// What a request asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Params {
    /// The document.
    pub query: String,
    /// Which of its operations.
    pub operation_name: Option<String>,
    /// Values of its variables.
    pub variables: Map<String, Value>,
}

/// Why parameters cannot be read. The request is answered 400.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamsFault {
    /// Its code.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl ParamsFault {
    fn new(message: impl Into<String>) -> Self {
        Self {
            code: code::BAD_REQUEST,
            message: message.into(),
        }
    }
}

impl Params {
    /// Reads a JSON body. Two members of one name, numbers that would be rounded, NUL and whatever else two readers
    /// could understand differently are refused here, for variables become payloads.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ParamsFault> {
        if bytes.is_empty() {
            return Err(ParamsFault::new(
                "the body is empty; a JSON object with \"query\" is expected",
            ));
        }
        let value = strict_json::read(bytes, BODY_BYTES_MAX, Profile::Exact)
            .map_err(|fault| ParamsFault::new(format!("the body cannot be read: {fault}")))?;
        Self::from_value(value)
    }

    /// Takes the parameters out of a JSON value.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_value(value: Value) -> Result<Self, ParamsFault> {
        let mut members = match value {
            Value::Object(members) => members,
            Value::Array(_) => {
                return Err(ParamsFault {
                    code: code::BATCH_NOT_SUPPORTED,
                    message: "one operation per request; a list of operations is not taken".to_owned(),
                });
            }
            other => return Err(wrong("the body", "an object", &other)),
        };
        let query = match members.remove("query") {
            Some(Value::String(query)) => query,
            Some(other) => return Err(wrong("\"query\"", "a string", &other)),
            None => return Err(ParamsFault::new("\"query\" is missing")),
        };
        let operation_name = match members.remove("operationName") {
            None | Some(Value::Null) => None,
            Some(Value::String(name)) => Some(name),
            Some(other) => return Err(wrong("\"operationName\"", "a string", &other)),
        };
        let variables = object(members.remove("variables"), "\"variables\"")?;
        // Extensions are taken and none is known: the specification wants a map or null.
        object(members.remove("extensions"), "\"extensions\"")?;
        Ok(Self {
            query,
            operation_name,
            variables,
        })
    }

    /// Reads the query string of a GET request.
    ///
    /// # Errors
    /// What is wrong.
    pub fn from_query_string(pairs: Vec<(String, String)>) -> Result<Self, ParamsFault> {
        let mut members = Map::new();
        for (name, value) in pairs {
            let value = match name.as_str() {
                "query" | "operationName" => Value::String(value),
                "variables" | "extensions" => {
                    strict_json::read(value.as_bytes(), BODY_BYTES_MAX, Profile::Exact)
                        .map_err(|fault| ParamsFault::new(format!("\"{name}\" cannot be read: {fault}")))?
                }
                _ => continue,
            };
            if members.insert(name.clone(), value).is_some() {
                return Err(ParamsFault::new(format!(
                    "\"{name}\" stands twice in the address"
                )));
            }
        }
        Self::from_value(Value::Object(members))
    }
}

fn object(value: Option<Value>, name: &str) -> Result<Map<String, Value>, ParamsFault> {
    match value {
        None | Some(Value::Null) => Ok(Map::new()),
        Some(Value::Object(members)) => Ok(members),
        Some(other) => Err(wrong(name, "an object", &other)),
    }
}

fn wrong(what: &str, expected: &str, found: &Value) -> ParamsFault {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    ParamsFault::new(format!("{what} has to be {expected}, not {found}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> (&'static str, String) {
        let fault = Params::from_json(body.as_bytes()).expect_err(body);
        (fault.code, fault.message)
    }

    #[test]
    fn parameters_are_read_with_null_as_absent() {
        let body =
            r#"{"query":"{ me }","variables":null,"operationName":null,"extensions":{"a":1},"more":1}"#;
        let params = Params::from_json(body.as_bytes()).unwrap();
        assert_eq!(params.query, "{ me }");
        assert_eq!((params.operation_name, params.variables.len()), (None, 0));
    }

    #[test]
    fn what_is_not_a_request_is_refused() {
        assert_eq!(fault("[{\"query\":\"{ me }\"}]").0, code::BATCH_NOT_SUPPORTED);
        for body in [
            "",
            "{",
            "1",
            "{}",
            r#"{"query":1}"#,
            r#"{"query":"{me}","variables":[]}"#,
        ] {
            assert_eq!(fault(body).0, code::BAD_REQUEST, "{body}");
        }
        let (_, message) = fault(r#"{"query":"{me}","variables":{"a":1,"a":2}}"#);
        assert!(message.contains("/variables/a"), "{message}");
        let (_, message) = fault(r#"{"query":"{me}","variables":{"a":123456789012345678901}}"#);
        assert!(message.contains("send it as a string"), "{message}");
    }

    #[test]
    fn a_query_string_has_each_parameter_once() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let params = Params::from_query_string(vec![pair("query", "{me}"), pair("variables", r#"{"a":1}"#)]);
        assert_eq!(params.unwrap().variables["a"], 1);
        assert!(Params::from_query_string(vec![pair("query", "{me}"), pair("query", "{me}")]).is_err());
        assert!(Params::from_query_string(vec![pair("query", "{me}"), pair("variables", "x")]).is_err());
    }
}
