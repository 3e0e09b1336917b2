//! All fields of the schema, with operations that try to reach what belongs to another tenant.

/// Which roles a field is open to, besides `admin`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    Everybody,
    Readers,
    ReadersAndAuditors,
    Writers,
    WritersAndReaders,
    /// Who reads what people decide on.
    Deciders,
    /// Who votes.
    Reviewers,
    Administrators,
    /// Administrators where there is one tenant. Here there are more.
    Nobody,
}

impl Open {
    pub fn to(self, role: &str) -> bool {
        match self {
            Self::Nobody => false,
            _ if role == "admin" => true,
            Self::Everybody => true,
            Self::Readers => role == "reader",
            Self::ReadersAndAuditors => role == "reader" || role == "auditor",
            Self::Writers => role == "writer",
            Self::WritersAndReaders => role == "writer" || role == "reader",
            Self::Deciders => role == "reader" || role == "reviewer",
            Self::Reviewers => role == "reviewer",
            Self::Administrators => false,
        }
    }
}

/// A field of the schema, whom it is open to, and an operation that names everything by which a caller could reach it.
pub const FIELDS: &[(&str, Open, &str)] = &[
    ("me", Open::Everybody, "{ me { tenant roles } }"),
    (
        "session",
        Open::Readers,
        "query ($session: ID!) { session(id: $session) { id externalId messages { nodes { text } } turns { nodes { id } }
            timeline { nodes { position text } } effects { nodes { tool } } scores { nodes { name } }
            scenarios { nodes { scenario } } goals { nodes { goal } } } }",
    ),
    (
        "sessions",
        Open::Readers,
        "query ($externalId: String, $cursor: String) { sessions(filter: { externalId: $externalId }) { nodes { id } }
            behind: sessions(after: $cursor) { nodes { externalId } } }",
    ),
    (
        "totals",
        Open::Readers,
        "query ($externalId: String) { totals(filter: { externalId: $externalId }) { sessions counts { events } } }",
    ),
    (
        "scenarios",
        Open::Readers,
        "query ($session: ID) { scenarios(filter: { sessionId: $session }) { nodes { scenario history { nodes { name } } } }
            all: scenarios { nodes { scenario } } }",
    ),
    (
        "search",
        Open::Readers,
        "query ($session: ID) { search(text: \"forget\", sessionId: $session) { nodes { position message { text } } }
            all: search(text: \"me\") { nodes { session { id } } } }",
    ),
    ("queue", Open::Readers, "{ queue { ready queued running { turnId } } }"),
    ("turn", Open::Readers, "query ($turn: ID!) { turn(id: $turn) { id session { id } } }"),
    (
        "turns",
        Open::Readers,
        "query ($session: ID, $laneId: ID) { turns(filter: { sessionId: $session }) { nodes { id } }
            of_lane: turns(filter: { laneId: $laneId }) { nodes { id } } }",
    ),
    (
        "effects",
        Open::Readers,
        "query ($session: ID, $turn: ID, $tool: String, $laneId: ID) {
            a: effects(filter: { sessionId: $session }) { nodes { tool } }
            b: effects(filter: { turnId: $turn }) { nodes { tool } }
            c: effects(filter: { tool: $tool }) { nodes { tool } }
            d: effects(filter: { laneId: $laneId }) { nodes { tool } } }",
    ),
    (
        "memory",
        Open::Readers,
        "query ($agent: ID!) { memory(about: $agent, validAt: \"2000-01-01T00:00:00Z\") { nodes { content } } }",
    ),
    (
        "facts",
        Open::Readers,
        "query ($session: ID, $turn: ID) { facts { nodes { content history { nodes { content } } usedBy { nodes { recordId } } } }
            b: facts(filter: { sessionId: $session }) { nodes { content } }
            c: facts(filter: { turnId: $turn }) { nodes { content } } d: facts(filter: { text: \"likes\" }) { nodes { content } } }",
    ),
    (
        "memoryUses",
        Open::Readers,
        "query ($turn: ID, $agent: ID) { memoryUses(filter: { recordId: $agent }) { nodes { store } }
            b: memoryUses(filter: { turnId: $turn }) { nodes { recordId } } }",
    ),
    ("invalidatedFacts", Open::Readers, "{ invalidatedFacts { facts } }"),
    (
        "nearestFacts",
        Open::Readers,
        "{ nearestFacts(model: \"m\", vector: \"AACAPw==\") { compared ofOtherLength nodes { similarity fact { content } } } }",
    ),
    ("tools", Open::Readers, "{ tools { name } }"),
    (
        "configurationHistory",
        Open::Readers,
        "{ configurationHistory { nodes { key value } } }",
    ),
    (
        "usage",
        Open::Readers,
        "query ($agent: String) { usage(groupBy: [AGENT], filter: { agent: $agent }) { agent counts { events } } }",
    ),
    (
        "outcomes",
        Open::Readers,
        "query ($agent: String) { outcomes(filter: { agent: $agent }) { turns } }",
    ),
    (
        "analytics",
        Open::Readers,
        "query ($agent: String) { analytics(metric: EVENTS, from: \"2020-01-01T00:00:00Z\", to: \"2100-01-01T00:00:00Z\")
            { rows { value } } b: analytics(metric: TURNS, groupBy: [AGENT], from: \"2020-01-01T00:00:00Z\",
            to: \"2100-01-01T00:00:00Z\", filter: { agent: $agent }) { rows { key { value } value } } }",
    ),
    (
        "savedQueries",
        Open::Readers,
        "{ savedQueries { nodes { name query position } } }",
    ),
    (
        "savedQuery",
        Open::Readers,
        "{ savedQuery(name: \"theirs\") { query figures(at: \"2030-01-01T00:00:00Z\") { rows { value } } } }",
    ),
    (
        "rebuild",
        Open::Nobody,
        "{ rebuild { state reason requestedAt error } }",
    ),
    (
        "projections",
        Open::Readers,
        "{ projections { name status position parked { position } discarded { position } } }",
    ),
    (
        "ledger",
        Open::ReadersAndAuditors,
        "query ($position: Position) { ledger { id origin epochs { origin }
            records(from: $position) { nodes { type } } } }",
    ),
    (
        "record",
        Open::ReadersAndAuditors,
        "query ($position: Position!) { record(position: $position) { type } }",
    ),
    (
        "inclusionProof",
        Open::ReadersAndAuditors,
        "query ($position: Position!) { inclusionProof(position: $position, treeSize: 1) { leafHash } }",
    ),
    (
        "consistencyProof",
        Open::ReadersAndAuditors,
        "query ($size: Long!) { consistencyProof(epoch: 1, fromSize: 1, toSize: $size) { hashes } }",
    ),
    (
        "stateAt",
        Open::ReadersAndAuditors,
        "query ($turn: ID!, $session: ID!, $call: ID!, $externalId: String, $position: Position) {
            a: stateAt(of: { turn: $turn }) { state } b: stateAt(of: { session: $session }) { state }
            c: stateAt(of: { approval: $call }) { state } d: stateAt(of: { tool: \"find_order\" }) { state }
            e: stateAt(of: { sessionNamed: $externalId }) { state } f: stateAt(of: { lane: $call }) { state }
            g: stateAt(of: { laneNamed: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" } }) { state }
            h: stateAt(of: { configuration: { scope: AGENT, scopeId: \"support\" } }) { state }
            i: stateAt(of: { turn: $turn }, position: $position) { state } }",
    ),
    (
        "verifyRange",
        Open::ReadersAndAuditors,
        "query ($position: Position) { verifyRange(from: $position) { holds records findings { name } } }",
    ),
    (
        "startSession",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { startSession(input: { idempotencyKey: $key, externalId: $key,
            previousSessionId: $session }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "endSession",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { endSession(input: { idempotencyKey: $key, session: { id: $session },
            reason: COMPLETED }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "submitMessage",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { submitMessage(input: { idempotencyKey: $key,
            session: { id: $session }, text: \"x\" }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "recordTurn",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { recordTurn(input: { idempotencyKey: $key, session: { id: $session },
            steps: [{ said: { text: \"x\" } }], end: { committed: { outcome: ANSWERED } } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "registerTool",
        Open::Administrators,
        "mutation ($key: String!) { registerTool(input: { idempotencyKey: $key, name: \"find_order\",
            sideEffect: IRREVERSIBLE }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "publishConfiguration",
        Open::Writers,
        "mutation ($key: String!) { publishConfiguration(input: { idempotencyKey: $key, scope: AGENT,
            scopeId: \"support\", set: { theirs: true } }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "saveQuery",
        Open::Writers,
        "mutation ($key: String!) { saveQuery(input: { idempotencyKey: $key, name: \"theirs\",
            query: { metric: TURNS, last: 86400 } }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "dropQuery",
        Open::Writers,
        "mutation ($key: String!) { dropQuery(input: { idempotencyKey: $key, name: \"nobody's\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "appendEvents",
        Open::Writers,
        "mutation ($key: String!, $session: ID!, $stream: String!) {
            a: appendEvents(input: { idempotencyKey: $key, target: { session: { id: $session } },
                events: [{ type: \"message.received\", data: { json: { role: \"user\", text: \"x\" } } }] })
                { __typename ... on Refusal { code message path } }
            b: appendEvents(input: { idempotencyKey: $key, target: { stream: $stream }, expectedVersion: 0,
                events: [{ type: \"message.received\", data: { json: { role: \"user\", text: \"x\" } } }] })
                { __typename ... on Refusal { code message path } } }",
    ),
    (
        "scoreSession",
        Open::Writers,
        "mutation ($key: String!, $session: ID!, $turn: ID!) { scoreSession(input: { idempotencyKey: $key,
            session: { id: $session }, scores: [{ name: \"x\", value: 1, turnId: $turn }] })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "recordScenario",
        Open::Writers,
        "mutation ($key: String!, $session: ID!) { recordScenario(input: { idempotencyKey: $key, session: { id: $session },
            scenario: \"x\", moves: [{ enter: {} }] }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "claimTurn",
        Open::Writers,
        "mutation ($key: String!) { claimTurn(input: { idempotencyKey: $key,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" } }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "heartbeatTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { heartbeatTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "commitTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { commitTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "failTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { failTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 },
            errorType: \"x\", retryable: true }) { __typename ... on Refusal { code message path } } }",
    ),
    (
        "cancelTurn",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { cancelTurn(input: { idempotencyKey: $key, turnId: $turn,
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "lanes",
        Open::Readers,
        "query ($lane: String) { lanes(filter: { agent: $lane }) { nodes { id depth holder { turnId } } } }",
    ),
    (
        "approvals",
        Open::Deciders,
        "{ approvals { nodes { id tool arguments } } }",
    ),
    (
        "interventions",
        Open::Deciders,
        "query ($session: ID) { a: interventions { nodes { kind callId advice lane { agent } } }
            b: interventions(filter: { sessionId: $session }) { nodes { turnId } } }",
    ),
    (
        "reviewerKeys",
        Open::Deciders,
        "{ reviewerKeys { nodes { keyId reviewer publicKey } } }",
    ),
    (
        "approval",
        Open::Deciders,
        "query ($call: ID!) { approval(id: $call) { id tool arguments view } }",
    ),
    (
        "policyVerdicts",
        Open::Readers,
        "{ policyVerdicts { day rule verdict decisions approvalsRequested } }",
    ),
    (
        "uncertaintyOutcomes",
        Open::Readers,
        "{ uncertaintyOutcomes { from to decisions rejected started compensated } }",
    ),
    (
        "proposeAction",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { proposeAction(input: { idempotencyKey: $key,
            turnId: $turn, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            lease: { id: \"x\", epoch: 1 }, tool: \"x\", arguments: \"{}\", businessKey: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "startEffect",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!, $call: ID!) { startEffect(input: { idempotencyKey: $key,
            turnId: $turn, callId: $call, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "reportEffect",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!, $call: ID!, $position: Position!) { reportEffect(input: { idempotencyKey: $key,
            turnId: $turn, callId: $call, permit: $position, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            lease: { id: \"x\", epoch: 1 },
            outcome: { completed: { result: \"x\" } } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "startCompensation",
        Open::Writers,
        "mutation ($key: String!, $call: ID!) { startCompensation(input: { idempotencyKey: $key,
            callId: $call, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "reportCompensation",
        Open::Writers,
        "mutation ($key: String!, $call: ID!, $position: Position!) { reportCompensation(input: { idempotencyKey: $key,
            callId: $call, permit: $position, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            outcome: { failed: { errorType: \"x\" } } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "startStep",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { startStep(input: { idempotencyKey: $key, turnId: $turn, stepId: \"x\",
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "completeStep",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { completeStep(input: { idempotencyKey: $key, turnId: $turn, stepId: \"x\",
            lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" }, lease: { id: \"x\", epoch: 1 } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "sendMessage",
        Open::Writers,
        "mutation ($key: String!, $turn: ID!) { sendMessage(input: { idempotencyKey: $key,
            turnId: $turn, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            lease: { id: \"x\", epoch: 1 }, message: { text: \"x\" } })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "resolveOutcome",
        Open::Administrators,
        "mutation ($key: String!, $call: ID!) { resolveOutcome(input: { idempotencyKey: $key,
            callId: $call, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            outcome: COMPLETED, by: \"x\", evidence: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "settleIntervention",
        Open::Administrators,
        "mutation ($key: String!, $turn: ID!) { settleIntervention(input: { idempotencyKey: $key,
            turnId: $turn, lane: { agent: \"support\", interlocutor: \"ann\", channel: \"web\" },
            by: \"x\", reason: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "rebuildReadModels",
        Open::Nobody,
        "mutation ($key: String!) { rebuildReadModels(input: { idempotencyKey: $key, reason: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "redriveEvent",
        Open::Administrators,
        "mutation ($key: String!, $position: Position!) { redriveEvent(input: { idempotencyKey: $key,
            projection: \"usage\", position: $position, reason: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "discardEvent",
        Open::Administrators,
        "mutation ($key: String!, $position: Position!) { discardEvent(input: { idempotencyKey: $key,
            projection: \"usage\", position: $position, reason: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "pauseProjection",
        Open::Administrators,
        "mutation ($key: String!) { pauseProjection(input: { idempotencyKey: $key,
            projection: \"usage\", reason: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "resumeProjection",
        Open::Administrators,
        "mutation ($key: String!) { resumeProjection(input: { idempotencyKey: $key,
            projection: \"usage\", reason: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "registerReviewerKey",
        Open::Administrators,
        "mutation ($key: String!) { registerReviewerKey(input: { idempotencyKey: $key,
            reviewer: \"\", publicKey: \"x\", proofOfPossession: \"x\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "revokeReviewerKey",
        Open::Administrators,
        "mutation ($key: String!) { revokeReviewerKey(input: { idempotencyKey: $key,
            keyId: \"0000000000000000000000000000000000000000000000000000000000000000\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "voteOnApproval",
        Open::Reviewers,
        "mutation ($key: String!, $call: ID!) { voteOnApproval(input: { idempotencyKey: $key,
            approvalId: $call, envelope: \"{}\" })
            { __typename ... on Refusal { code message path } } }",
    ),
    (
        "sessionEvents",
        Open::Readers,
        "subscription ($session: ID!) { sessionEvents(sessionId: $session) { type } }",
    ),
    (
        "approvalChanges",
        Open::Deciders,
        "subscription { approvalChanges { id } }",
    ),
    (
        "turnsReady",
        Open::WritersAndReaders,
        "subscription { turnsReady(agent: \"shop\") { turnId lane { interlocutor } } }",
    ),
];
