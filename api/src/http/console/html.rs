//! What all pages are made of: escaped text, the frame of a page, and the headers that keep scripts out.

use std::fmt;
use std::sync::LazyLock;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("style.css");

/// Nothing is loaded and nothing runs: the one style sheet stands in the page and is named by its hash.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("base64 is visible ASCII")
});

/// Text of anybody's, between tags or in an attribute in quotes.
pub(super) struct Text<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.as_ref().chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Not allowed in HTML, whatever it is written as.
                letter if letter.is_control() && !letter.is_whitespace() => f.write_str("\u{fffd}")?,
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

/// A page, as it is answered.
pub(super) struct Page {
    pub status: StatusCode,
    html: String,
}

/// A page with this title. `body` is HTML.
pub(super) fn page(title: &str, body: &str) -> Page {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{} – Ruche</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n",
        Text(title)
    );
    Page {
        status: StatusCode::OK,
        html,
    }
}

impl Page {
    /// The same with another status.
    pub(super) fn with(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    /// Takes the place of the body of an answer, whose status and other headers stay.
    pub(super) fn instead_of(self, answer: &mut Response) {
        *answer.body_mut() = Body::from(self.html);
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_SECURITY_POLICY, POLICY.clone());
        // With `no-referrer` a browser would say of its own forms that they come from nowhere ([`super::entry`]).
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    }
}

impl IntoResponse for Page {
    fn into_response(self) -> Response {
        let mut answer = self.status.into_response();
        self.instead_of(&mut answer);
        answer
    }
}

/// A hexagon of a hive, drawn in the colour of the text around it.
pub(super) const MARK: &str = "<svg class=\"mark\" viewBox=\"0 0 24 24\" aria-hidden=\"true\">\
     <path d=\"M12 1.5 21 6.75v10.5L12 22.5 3 17.25V6.75Z\"/><path class=\"in\" d=\"M12 7l4.3 2.5v5L12 17l-4.3-2.5v-5Z\"/></svg>";

#[test]
fn no_text_ends_the_text_that_it_stands_in() {
    let hostile = "<script>alert('1')</script>\" onload=\"x\" &amp; \0\u{7f}";
    let shown = Text(hostile).to_string();
    assert!(!shown.contains(['<', '>', '"', '\'', '\0', '\u{7f}']), "{shown}");
    assert!(
        shown.starts_with("&lt;script&gt;") && shown.contains("&amp;amp;"),
        "{shown}"
    );
}

#[test]
fn the_policy_allows_the_style_of_the_page_and_nothing_else() {
    let policy = POLICY.to_str().unwrap();
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains("script-src"),
        "{policy}"
    );
    assert!(
        !STYLE.contains("</") && !STYLE.contains("url("),
        "it ends nowhere and loads nothing"
    );
}
