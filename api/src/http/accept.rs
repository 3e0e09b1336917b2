//! Which media type answers a GraphQL request (RFC 9110 §12.5.1; GraphQL over HTTP, "Media Types").

use http::HeaderMap;
use http::header::ACCEPT;

/// Media type of a GraphQL answer. It decides what status codes mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerType {
    /// `application/json`: any well-formed request is answered 200, errors of the document among them, because
    /// clients of this type take other codes for a fault of a proxy.
    Json,
    /// `application/graphql-response+json`: the status code says whether the operation ran.
    GraphqlResponse,
}

impl AnswerType {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::GraphqlResponse => "application/graphql-response+json",
        }
    }
}

/// One media range of an Accept header with its weight in thousandths.
struct Range<'h> {
    kind: &'h str,
    subtype: &'h str,
    weight: u16,
}

/// How well a media type is matched: weight first, then how exactly it was named.
type Rank = (u16, u8);

/// The media type that the client prefers; `None` if it accepts neither. A client that says nothing gets
/// `application/json`.
pub fn negotiate(headers: &HeaderMap) -> Option<AnswerType> {
    let ranges = ranges(headers);
    if ranges.is_empty() && headers.get(ACCEPT).is_none() {
        return Some(AnswerType::Json);
    }
    let json = rank(&ranges, "application", "json");
    let graphql = rank(&ranges, "application", "graphql-response+json");
    match (json, graphql) {
        ((0, _), (0, _)) => None,
        // Both named and equally liked: the type that says more. Both by a wildcard: the one that all clients read.
        (json, graphql) if graphql > json || (graphql == json && graphql.1 == 3) => {
            Some(AnswerType::GraphqlResponse)
        }
        _ => Some(AnswerType::Json),
    }
}

/// Whether a browser asks for a page.
pub fn wants_html(headers: &HeaderMap) -> bool {
    let ranges = ranges(headers);
    let (weight, exactness) = rank(&ranges, "text", "html");
    weight > 0 && exactness == 3
}

fn ranges(headers: &HeaderMap) -> Vec<Range<'_>> {
    let values = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .filter_map(range)
        .collect()
}

fn range(text: &str) -> Option<Range<'_>> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subtype) = parts.next()?.split_once('/')?;
    let weight = parts
        .filter_map(|parameter| parameter.split_once('='))
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
        .map_or(Some(1_000), |(_, value)| weight(value.trim()))?;
    Some(Range {
        kind,
        subtype,
        weight,
    })
}

/// A weight (RFC 9110 §12.4.2) in thousandths; `None` for what is none.
fn weight(text: &str) -> Option<u16> {
    let value: f32 = text.parse().ok()?;
    // From 0 to 1, so it fits; more than three digits are rounded.
    (0.0..=1.0)
        .contains(&value)
        .then_some((value * 1_000.0).round() as u16)
}

/// The most exact range decides, as RFC 9110 asks.
fn rank(ranges: &[Range<'_>], kind: &str, subtype: &str) -> Rank {
    let matches = ranges.iter().filter_map(|range| {
        let exactness = match (range.kind, range.subtype) {
            ("*", "*") => 1,
            (k, "*") if k.eq_ignore_ascii_case(kind) => 2,
            (k, s) if k.eq_ignore_ascii_case(kind) && s.eq_ignore_ascii_case(subtype) => 3,
            _ => return None,
        };
        Some((exactness, range.weight))
    });
    matches
        .max()
        .map_or((0, 0), |(exactness, weight)| (weight, exactness))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: Option<AnswerType>) {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, accept.parse().unwrap());
        assert_eq!(negotiate(&headers), expected, "{accept}");
    }

    #[test]
    fn the_answer_has_the_type_that_the_client_prefers() {
        use AnswerType::{GraphqlResponse, Json};
        check("application/json", Some(Json));
        check("application/graphql-response+json", Some(GraphqlResponse));
        check(
            "application/graphql-response+json, application/json;q=0.9",
            Some(GraphqlResponse),
        );
        check(
            "application/graphql-response+json;q=0.1, application/json;q=0.9",
            Some(Json),
        );
        check(
            "application/json, application/graphql-response+json",
            Some(GraphqlResponse),
        );
        check("application/json; charset=utf-8", Some(Json));
        check("*/*", Some(Json));
        check("application/*", Some(Json));
        check("text/html, */*;q=0.1", Some(Json));
        check("*/*, application/json;q=0", Some(GraphqlResponse));
        check("text/html", None);
        check("application/json;q=0", None);
        check("", None);
        assert_eq!(negotiate(&HeaderMap::new()), Some(Json));
    }
}
