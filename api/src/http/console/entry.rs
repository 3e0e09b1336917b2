//! Who looks at a page: the login form, the cookie that it gives, and the way out.
//!
//! A browser cannot send `Authorization` of itself. The form takes a key and answers with a [pass](crate::auth::Passes) in a
//! cookie that no script reads, that no other site's page sends, and that the pages below `/console` alone are sent. No
//! route of the API looks at it. Nothing is changed by GET, and a form that comes from another site is refused.

use axum::RequestExt as _;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::header::{AUTHORIZATION, COOKIE, HOST, LOCATION, ORIGIN, SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::super::body::require_media_type;
use super::super::{Caller, Edge, Refusal};
use super::html::{self, MARK, Text};
use super::{ANALYTICS, page};
use crate::auth::{Credential, Principal, Role};
use crate::limits::{FORM_BYTES_MAX, PASS_LIFE};

const NAME: &str = "ruche_console";
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Roles that the pages are for.
const ROLES: &[Role] = &[Role::Reader];

/// Who looks, or the answer that they get.
pub(super) async fn viewer(edge: &Edge, mut request: Request) -> Result<Principal, Box<Response>> {
    let path = request.uri().path_and_query();
    let next = path.map_or(ANALYTICS, |path| path.as_str()).to_owned();
    let found = if request.headers().contains_key(AUTHORIZATION) {
        let caller: Result<Caller, _> = request.extract_parts_with_state(edge).await;
        caller.map(|caller| Some(caller.principal))
    } else {
        holder(edge, request.headers()).await
    };
    let principal = match found {
        Ok(Some(principal)) => principal,
        Ok(None) => return Err(Box::new(form(StatusCode::UNAUTHORIZED, &next, None))),
        Err(refusal) if refusal.status == StatusCode::UNAUTHORIZED => {
            return Err(Box::new(form(StatusCode::UNAUTHORIZED, &next, Some(UNKNOWN))));
        }
        Err(refusal) => return Err(Box::new(page::refused(&refusal))),
    };
    tracing::Span::current().record("tenant", tracing::field::display(principal.tenant));
    match principal.roles.allow(ROLES) {
        true => Ok(principal),
        false => Err(Box::new(page::refused(&no_reader()))),
    }
}

/// The holder of the key whose pass the request brings.
async fn holder(edge: &Edge, headers: &HeaderMap) -> Result<Option<Principal>, Refusal> {
    let Some(pass) = pass_in(headers) else {
        return Ok(None);
    };
    let services = &edge.services;
    let Some(key_id) = services.passes.read(pass, services.clock.now()) else {
        return Ok(None);
    };
    let holder = services.access.holder(key_id).await;
    holder.map_err(|error| Refusal::of_store(&error))
}

fn pass_in(headers: &HeaderMap) -> Option<&str> {
    let values = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut cookies = values.flat_map(|value| value.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(NAME)?.strip_prefix('='))
}

/// The login form.
pub async fn login() -> Response {
    form(StatusCode::OK, ANALYTICS, None)
}

/// Takes a key and gives a pass for it.
pub async fn log_in(State(edge): State<Edge>, request: Request) -> Response {
    match given_pass(&edge, request).await {
        Ok(answer) => answer,
        Err(refusal) => page::refused(&refusal),
    }
}

async fn given_pass(edge: &Edge, request: Request) -> Result<Response, Refusal> {
    from_here(request.headers())?;
    require_media_type(request.headers(), &["application/x-www-form-urlencoded"])?;
    let (parts, body) = request.into_parts();
    let read = edge.budget.read(&parts.headers, body, FORM_BYTES_MAX).await?;
    let sent = std::str::from_utf8(&read.bytes)
        .ok()
        .and_then(super::super::graphql::pairs_of);
    let sent = sent.ok_or_else(|| Refusal::bad_request("the form is not form-encoded UTF-8"))?;
    let field = |name: &str| {
        sent.iter()
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.trim())
    };
    let next = field("next").filter(|next| is_ours(next)).unwrap_or(ANALYTICS);
    let unknown = || form(StatusCode::UNAUTHORIZED, next, Some(UNKNOWN));
    let Some(credential) = field("key").and_then(Credential::parse) else {
        return Ok(unknown());
    };
    let services = &edge.services;
    let found = services.access.authenticate(&credential).await;
    let Some(principal) = found.map_err(|error| Refusal::of_store(&error))? else {
        return Ok(unknown());
    };
    if !principal.roles.allow(ROLES) {
        return Err(no_reader());
    }
    let pass = services.passes.issue(principal.key_id, services.clock.now());
    Ok(leave(
        next,
        &cookie(&pass, PASS_LIFE.as_secs(), is_over_tls(&parts.headers)),
    ))
}

/// Has the browser forget its pass.
pub async fn log_out(request: Request) -> Response {
    match from_here(request.headers()) {
        Ok(()) => leave("/console/login", &cookie("", 0, is_over_tls(request.headers()))),
        Err(refusal) => page::refused(&refusal),
    }
}

/// Refuses a form that another site's page sent, as browsers tell. Programs that are no browser tell neither.
fn from_here(headers: &HeaderMap) -> Result<(), Refusal> {
    let text = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_here = match (text(&FETCH_SITE), text(&ORIGIN)) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            host.is_some() && host == text(&HOST)
        }
        (None, None) => true,
    };
    is_here
        .then_some(())
        .ok_or_else(|| Refusal::forbidden("the form was sent from a page of another site"))
}

/// Whether the browser came by TLS, which ends in front of Ruche: the proxy says so, or the browser itself.
fn is_over_tls(headers: &HeaderMap) -> bool {
    let says = |name: &HeaderName, start: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.starts_with(start))
    };
    says(&FORWARDED_PROTO, "https") || says(&ORIGIN, "https://")
}

/// Whether a path is one of the pages.
fn is_ours(path: &str) -> bool {
    path.starts_with("/console/") && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn cookie(pass: &str, seconds: u64, secure: bool) -> String {
    let secure = if secure { "; Secure" } else { "" };
    format!("{NAME}={pass}; Path=/console; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

fn leave(to: &str, cookie: &str) -> Response {
    let mut answer = StatusCode::SEE_OTHER.into_response();
    let header = |text: &str| HeaderValue::from_str(text).expect("it was looked at");
    answer.headers_mut().insert(LOCATION, header(to));
    answer.headers_mut().insert(SET_COOKIE, header(cookie));
    answer
}

fn no_reader() -> Refusal {
    Refusal::forbidden("this needs a key with the role reader")
}

/// As in [`Refusal::unauthenticated`], an unknown, a lapsed and a revoked key look the same.
const UNKNOWN: &str = "This key is not known here. It may have been revoked, or be over.";

fn form(status: StatusCode, next: &str, fault: Option<&str>) -> Response {
    let fault = fault.map_or_else(String::new, |fault| {
        format!("<p class=\"fault\" role=\"alert\">{}</p>\n", Text(fault))
    });
    let body = format!(
        "<main class=\"login\">\n<h1>{MARK} Ruche</h1>\n{fault}\
         <form method=\"post\" action=\"/console/login\">\n<input type=\"hidden\" name=\"next\" value=\"{}\">\n\
         <input type=\"text\" name=\"username\" value=\"api-key\" autocomplete=\"username\" hidden>\n\
         <label>API key<input type=\"password\" name=\"key\" required autofocus autocomplete=\"current-password\" \
         placeholder=\"ruche_…\"></label>\n<button>Log in</button>\n</form>\n\
         <p class=\"note\">A key with the role <code>reader</code>, such as <code>ruche keys new --tenant … --role reader</code> \
         makes. This browser keeps a pass for {} hours in its place, which ends when the key is revoked.</p>\n</main>\n",
        Text(next),
        PASS_LIFE.as_secs() / 3_600
    );
    let mut answer = html::page("Log in", &body).with(status).into_response();
    if status == StatusCode::UNAUTHORIZED {
        // A scheme for which browsers have no dialogue of their own: it would hide the form.
        let scheme = HeaderValue::from_static("Bearer realm=\"ruche\"");
        answer.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(of: &[(HeaderName, &str)]) -> HeaderMap {
        let pair = |(name, value): &(HeaderName, &str)| (name.clone(), value.parse().unwrap());
        of.iter().map(pair).collect()
    }

    #[test]
    fn a_form_from_another_site_is_told_apart() {
        for (given, here) in [
            (vec![], true),
            (vec![(FETCH_SITE, "same-origin")], true),
            (vec![(FETCH_SITE, "cross-site")], false),
            (vec![(FETCH_SITE, "same-site")], false),
            (
                vec![(FETCH_SITE, "none"), (ORIGIN, "http://a:1"), (HOST, "a:1")],
                false,
            ),
            (vec![(ORIGIN, "http://a:1"), (HOST, "a:1")], true),
            (vec![(ORIGIN, "http://b:1"), (HOST, "a:1")], false),
            (vec![(ORIGIN, "null"), (HOST, "a:1")], false),
        ] {
            assert_eq!(from_here(&headers(&given)).is_ok(), here, "{given:?}");
        }
    }

    #[test]
    fn the_pass_is_found_among_other_cookies() {
        assert_eq!(
            pass_in(&headers(&[(COOKIE, "a=b; ruche_console=p1.x; c=d")])),
            Some("p1.x")
        );
        assert_eq!(
            pass_in(&headers(&[(COOKIE, "xruche_console=1; ruche_console2=2")])),
            None
        );
        assert!(cookie("p", 60, true).ends_with("HttpOnly; SameSite=Strict; Secure"));
        assert!(
            is_over_tls(&headers(&[(ORIGIN, "https://a")]))
                && !is_over_tls(&headers(&[(ORIGIN, "http://a")]))
        );
    }

    #[test]
    fn the_way_back_leads_to_pages_of_ours_only() {
        assert!(is_ours("/console/analytics?from=2026-01-01"));
        for bad in [
            "",
            "//evil.example",
            "https://evil.example",
            "/console\\",
            "/console/\\evil",
            "/console/a\r\nb",
            "/graphql",
        ] {
            assert!(!is_ours(bad), "{bad}");
        }
    }
}
