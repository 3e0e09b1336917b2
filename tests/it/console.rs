//! The pages for people: who gets in and how, and that they show what GraphQL answers, as text.

use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::redirect::Policy;
use ruche_tests::server::{Home, Server, caught_up, graphql};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ruche-under-test");
const PAGE: &str = "/console/analytics";
const FORM: &str = "application/x-www-form-urlencoded";
/// A name that would be a script if it were no text.
const HOSTILE: &str = "<script>alert('1')</script>\"";
const QUERY: &str = "query ($m: AnalyticsMetric!, $by: [AnalyticsDimension!], $p: Position) { analytics(metric: $m, groupBy: $by,
    bucket: DAY, from: \"2026-01-01T00:00:00Z\", to: \"2026-02-01T00:00:00Z\", minPosition: $p) {
    rows { bucket key { value } value count known coverage } } }";

struct World {
    _folder: tempfile::TempDir,
    home: Home,
    server: Server,
    client: Client,
    key: String,
    writer: String,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let home = Home::new(PROGRAM, folder.path());
        let key = home.new_key("acme", &["admin"]).expect("a key");
        let writer = home.new_key("acme", &["writer"]).expect("a key");
        let server = home.serve().expect("the server starts");
        // As a browser, but step by step.
        let client = Client::builder()
            .redirect(Policy::none())
            .build()
            .expect("a client");
        Self {
            _folder: folder,
            home,
            server,
            client,
            key,
            writer,
        }
    }

    /// The same with what was done while no server ran.
    fn restarted(self, meanwhile: impl FnOnce(&Home)) -> Self {
        assert!(self.server.stop().expect("the server ends"), "it ended well");
        meanwhile(&self.home);
        let server = self.home.serve().expect("the server starts");
        Self { server, ..self }
    }

    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.server.url))
    }

    fn post(&self, path: &str, body: impl Into<String>) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.server.url));
        request.header("content-type", FORM).body(body.into())
    }

    /// Logs in by the form; gives the cookie as a browser sends it.
    fn cookie(&self, key: &str) -> String {
        let answer = sent(self.post("/console/login", format!("key={key}&next={PAGE}")));
        assert_eq!(
            (answer.status().as_u16(), header(&answer, "location").as_str()),
            (303, PAGE)
        );
        let set = header(&answer, "set-cookie");
        set.split(';').next().unwrap_or_default().to_owned()
    }

    /// A page with its status, for who has a key.
    fn page(&self, path: &str) -> (u16, String) {
        shown(self.get(path).bearer_auth(&self.key))
    }

    fn ask(&self, query: &str, variables: Value) -> Value {
        graphql(&self.client, &self.server.url, &self.key, query, variables)
            .expect("an answer without errors")
    }

    /// A turn of a hostile agent with two model calls of which one tells its cost, and a tool call that fails.
    fn record(&self) -> String {
        let start = json!({ "input": { "idempotencyKey": "s", "externalId": "s", "agent": HOSTILE, "channel": "web",
            "startedAt": "2026-01-05T10:00:00Z" } });
        let query = "mutation ($input: StartSessionInput!) { startSession(input: $input) { __typename ... on Refusal {
            code message } } }";
        assert_eq!(
            self.ask(query, start)["startSession"]["__typename"],
            "StartSessionPayload"
        );
        for (turn, day, cost) in [
            ("a", "05", json!({ "amount": "0.0030", "currency": "USD" })),
            ("b", "07", Value::Null),
        ] {
            let at = |second: &str| format!("2026-01-{day}T10:00:{second}Z");
            let steps = json!([
                { "received": { "text": "my money back", "at": at("01") } },
                { "said": { "text": null, "at": at("02"),
                    "toolCalls": [{ "name": "refund", "arguments": "{}", "providerCallId": "call_1" }],
                    "modelCall": { "model": HOSTILE, "cost": cost, "requestedAt": at("01"), "respondedAt": at("02") } } },
                { "settled": { "outcome": { "failed": { "name": "refund", "result": "no", "providerCallId": "call_1",
                    "endedAt": at("03") } } } },
            ]);
            let input = json!({ "idempotencyKey": turn, "session": { "externalId": "s" }, "agent": HOSTILE, "steps": steps,
                "openedAt": at("01"), "end": { "committed": { "outcome": "ANSWERED", "endedAt": at("04") } } });
            let query = "mutation ($input: RecordTurnInput!) { recordTurn(input: $input) { __typename ... on Refusal {
                code message path } } }";
            let answer = self.ask(query, json!({ "input": input }));
            assert_eq!(
                answer["recordTurn"]["__typename"], "RecordTurnPayload",
                "{answer}"
            );
        }
        caught_up(&self.client, &self.server.url, &self.key).expect("the read models follow")
    }
}

fn sent(request: RequestBuilder) -> Response {
    request.send().expect("an answer")
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer
        .headers()
        .get(name)
        .map(|value| value.to_str().expect("text"));
    value.unwrap_or_default().to_owned()
}

/// Status and HTML of an answer that is a page.
fn shown(request: RequestBuilder) -> (u16, String) {
    let answer = sent(request);
    assert_eq!(header(&answer, "content-type"), "text/html; charset=utf-8");
    assert_eq!(header(&answer, "cache-control"), "no-store");
    let policy = header(&answer, "content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; style-src 'sha256-"),
        "{policy}"
    );
    assert!(
        !policy.contains("unsafe") && !policy.contains("script"),
        "{policy}"
    );
    let status = answer.status().as_u16();
    let html = answer.text().expect("a body");
    assert!(!html.contains("<script"), "no page has a script");
    (status, html)
}

/// The exact values in the rows of the table of a chart: the first cell, and all numbers, with nothing for what is unknown.
fn table(html: &str, chart: &str) -> Vec<(String, Vec<Option<String>>)> {
    let figure = html.split(&format!("id=\"{chart}\">")).nth(1).expect("the chart");
    let body = figure
        .split("<tbody>")
        .nth(1)
        .and_then(|rest| rest.split("</tbody>").next());
    let rows = body
        .expect("a table")
        .lines()
        .filter(|line| line.starts_with("<tr>"));
    let read = |row: &str| {
        let first = row
            .split("<th scope=\"row\">")
            .nth(1)
            .and_then(|rest| rest.split('<').next());
        let cells = row.split("<td class=\"number\">").skip(1);
        let number = |cell: &str| {
            let value = cell.strip_prefix("<data value=\"")?.split('"').next()?;
            Some(value.to_owned())
        };
        (first.expect("a name").to_owned(), cells.map(number).collect())
    };
    rows.map(read).collect()
}

#[test]
fn a_person_logs_in_by_a_form_looks_and_logs_out() {
    let world = World::new();
    let answer = sent(world.get("/console"));
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "location").as_str()),
        (303, PAGE)
    );
    let (status, html) = shown(world.get("/console/analytics?from=2026-01-01"));
    assert_eq!(status, 401);
    assert!(
        html.contains("value=\"/console/analytics?from=2026-01-01\""),
        "the way back: {html}"
    );
    let unknown = sent(world.get(PAGE));
    assert_eq!(
        header(&unknown, "www-authenticate"),
        "Bearer realm=\"ruche\"",
        "no dialogue of the browser"
    );

    let wrong = world.key.replace(|c: char| c.is_ascii_digit(), "0");
    for key in ["", "nonsense", &wrong] {
        let (status, html) = shown(world.post("/console/login", format!("key={key}")));
        assert_eq!(status, 401, "{key}");
        assert!(html.contains("not known here"), "{html}");
    }
    let with = format!("key={}&next=https%3A%2F%2Fevil.example%2F", world.key);
    let answer = sent(world.post("/console/login", with));
    assert_eq!(header(&answer, "location"), PAGE, "it leads to no other site");
    let cookie = header(&answer, "set-cookie");
    assert!(
        cookie.ends_with("; Path=/console; Max-Age=28800; HttpOnly; SameSite=Strict"),
        "{cookie}"
    );
    assert!(
        !cookie.contains(&world.key[40..]),
        "the secret of the key is not in it"
    );
    let over_tls = world.post("/console/login", format!("key={}", world.key));
    let over_tls = sent(over_tls.header("x-forwarded-proto", "https"));
    assert!(header(&over_tls, "set-cookie").ends_with("; Secure"));

    let cookie = world.cookie(&world.key);
    let (status, html) = shown(world.get(PAGE).header("cookie", &cookie));
    assert_eq!(status, 200);
    assert!(
        html.contains("<h1>Analytics</h1>") && html.contains("Log out"),
        "{html}"
    );
    let api = sent(world.get("/graphql?query={me{tenant}}").header("cookie", &cookie));
    assert_eq!(api.status().as_u16(), 401, "the cookie opens no other route");
    let altered = format!("{}0", &cookie[..cookie.len() - 1]);
    if altered != cookie {
        assert_eq!(shown(world.get(PAGE).header("cookie", altered)).0, 401);
    }

    let answer = sent(world.post("/console/logout", "").header("cookie", &cookie));
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "location").as_str()),
        (303, "/console/login")
    );
    assert!(header(&answer, "set-cookie").starts_with("ruche_console=; Path=/console; Max-Age=0"));
    assert_eq!(shown(world.get("/console/login")).0, 200);
}

#[test]
fn forms_of_other_sites_and_bodies_that_are_none_are_refused() {
    let world = World::new();
    let body = format!("key={}", world.key);
    for path in ["/console/login", "/console/logout"] {
        for (name, value) in [
            ("sec-fetch-site", "cross-site"),
            ("origin", "https://evil.example"),
            ("origin", "null"),
        ] {
            let answer = sent(world.post(path, body.clone()).header(name, value));
            assert_eq!(answer.status().as_u16(), 403, "{path} {name}");
            assert_eq!(header(&answer, "set-cookie"), "", "{path} {name}");
        }
        assert_eq!(
            sent(world.post(path, body.clone()).header("origin", &world.server.url))
                .status()
                .as_u16(),
            303
        );
    }
    let json = world.client.post(format!("{}/console/login", world.server.url));
    let json = json.header("content-type", "application/json").body(body.clone());
    assert_eq!(shown(json).0, 415);
    let long = format!("{body}&next={}", "a".repeat(5_000));
    assert_eq!(shown(world.post("/console/login", long)).0, 413);
    assert_eq!(
        sent(world.get("/console/logout")).status().as_u16(),
        405,
        "nothing is changed by looking"
    );
}

#[test]
fn a_pass_holds_over_a_restart_and_ends_with_its_key() {
    let world = World::new();
    let cookie = world.cookie(&world.key);
    let world = world.restarted(|_| {});
    assert_eq!(shown(world.get(PAGE).header("cookie", &cookie)).0, 200);
    let key_id = world.key.split('_').nth(1).expect("an id").to_owned();
    let world = world.restarted(|home| {
        home.run(&["keys", "revoke", "--tenant", "acme", &key_id])
            .expect("the key is revoked");
    });
    assert_eq!(
        shown(world.get(PAGE).header("cookie", &cookie)).0,
        401,
        "the key was revoked"
    );
}

#[test]
fn a_key_that_may_not_read_gets_no_pass() {
    let world = World::new();
    let writer = &world.writer;
    let answer = sent(world.post("/console/login", format!("key={writer}")));
    assert_eq!(
        (answer.status().as_u16(), header(&answer, "set-cookie").as_str()),
        (403, "")
    );
    let (status, html) = shown(world.get(PAGE).bearer_auth(writer));
    assert_eq!(status, 403);
    assert!(html.contains("this needs a key with the role reader"), "{html}");
}

#[test]
fn tables_hold_what_graphql_answers_and_names_are_text() {
    let world = World::new();
    let position = world.record();
    let (status, html) = world.page("/console/analytics?from=2026-01-01&to=2026-01-31");
    assert_eq!(status, 200);
    assert!(
        html.contains("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&quot;"),
        "{html}"
    );
    let answer = |metric: &str, by: &[&str]| {
        let asked = json!({ "m": metric, "by": by, "p": position });
        let rows = world.ask(QUERY, asked)["analytics"]["rows"].take();
        rows.as_array().expect("rows").clone()
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let cost: Vec<_> = answer("COST", &["MODEL"])
        .iter()
        .map(|row| {
            let day = row["bucket"].as_str().expect("a time")[..10].to_owned();
            let coverage = row["coverage"].as_f64().map(|share| share.to_string());
            (
                day,
                vec![
                    text(&row["value"]),
                    text(&row["known"]),
                    text(&row["count"]),
                    coverage,
                ],
            )
        })
        .collect();
    assert_eq!(cost.len(), 2, "two days: {cost:?}");
    assert_eq!(table(&html, "cost"), cost);
    assert_eq!(cost[1].1[0], None, "nobody told the cost of the second day");
    for (chart, metric, by, cells) in [
        ("outcomes", "TURNS", &["OUTCOME"][..], 1),
        ("tool-errors", "TOOL_ERROR_RATE", &[][..], 1),
    ] {
        let told: Vec<_> = table(&html, chart)
            .into_iter()
            .map(|(day, values)| (day, values[..cells].to_vec()))
            .collect();
        let expected: Vec<_> = answer(metric, by)
            .iter()
            .map(|row| {
                (
                    row["bucket"].as_str().expect("a time")[..10].to_owned(),
                    vec![text(&row["value"])],
                )
            })
            .collect();
        assert!(!expected.is_empty(), "{metric}");
        assert_eq!(told, expected, "{metric}");
    }
    // Filters are those of the address; what has nothing leads to where something is.
    let (_, html) = world.page("/console/analytics?from=2026-01-01&to=2026-01-31&agent=nobody");
    assert!(
        html.contains("Nothing happened in this time") && html.contains("value=\"nobody\" selected"),
        "{html}"
    );
    let (_, html) = world.page(PAGE);
    assert!(
        html.contains("There is something between 2026-01-05 and 2026-01-11."),
        "{html}"
    );
    let other = shown(world.get(PAGE));
    assert_eq!(other.0, 401, "without a key there are no figures");
}

#[test]
fn what_cannot_be_shown_is_a_page_in_words() {
    let world = World::new();
    for (query, words) in [
        (
            "from=yesterday",
            "`from` is no date from 1970 on, such as 2026-01-31",
        ),
        ("from=2026-02-01&to=2026-01-01", "`to` is before `from`"),
        (
            "from=2026-01-01&to=2026-03-31&bucket=hour",
            "a chart shows 400 at most: choose longer steps, or less time",
        ),
        ("bucket=%3Cb%3E", "`bucket` is hour, day or week"),
    ] {
        let (status, html) = world.page(&format!("{PAGE}?{query}"));
        assert_eq!(status, 400, "{query}");
        assert!(html.contains(words), "{query}: {html}");
        assert!(
            html.contains("href=\"/console/analytics\"") && html.contains("href=\"/docs/errors/"),
            "{html}"
        );
    }
    let input = json!({ "input": { "idempotencyKey": "p", "projection": "analytics", "reason": "a look" } });
    let query = "mutation ($input: PauseProjectionInput!) { pauseProjection(input: $input) { __typename } }";
    world.ask(query, input);
    let (status, html) = world.page(PAGE);
    assert_eq!(status, 200);
    assert!(html.contains("The figures are paused."), "{html}");
}
