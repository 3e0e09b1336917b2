"""Runs three agents that know nothing of Ruche against a server, and asks Ruche what they did:

    python3 check.py <path of the ruche binary> <python with requirements.txt>

Every span is sent twice. The exit code is 0 only if sessions, turns, calls, messages and tokens are what the agents themselves say.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
RUN_SECONDS_MAX = 120
READ_SECONDS_MAX = 120
LAST = "{ ledger { lastPosition } }"
QUERY = """query ($last: Position) { sessions(first: 20, minPosition: $last) { nodes { externalId app agent provenance
  counts { turns turnsCommitted toolCalls toolResults llmCalls messages userMessages
    inputTokens { tokens } outputTokens { tokens } }
  messages(first: 10) { nodes { role text } }
  effects(first: 10) { nodes { tool arguments result status } } } } }"""
COUNTS = {"turns": 1, "turnsCommitted": 1, "toolCalls": 1, "toolResults": 1, "llmCalls": 2, "userMessages": 1}


def clients(python: str) -> dict[str, list[str]]:
    return {
        "pydantic-ai": [python, str(HERE / "pydantic_ai_client.py")],
        "ai-sdk": ["node", str(HERE / "vercel.mjs")],
        "openai-agents": [python, str(HERE / "openai_agents_client.py")],
    }


def ask(url: str, key: str, query: str, last: str | None = None) -> dict | None:
    """The answer; nothing while the read models are behind."""
    body = json.dumps({"query": query, "variables": {"last": last} if last else {}}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{url}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=READ_SECONDS_MAX) as answer:
        found = json.load(answer)
    if "READ_MODEL_BEHIND" in json.dumps(found.get("errors")):
        return None
    if "errors" in found:
        raise SystemExit(f"GraphQL: {found['errors']}")
    return found["data"]


def settled(url: str, key: str, app: str) -> dict:
    """The session of a client, once the read models hold all that is recorded: what came twice would be there twice."""
    last = ask(url, key, LAST)["ledger"]["lastPosition"]
    deadline = time.monotonic() + READ_SECONDS_MAX
    while (found := ask(url, key, QUERY, last)) is None:
        if time.monotonic() > deadline:
            raise SystemExit(f"{app}: the read models do not follow")
    sessions = [node for node in found["sessions"]["nodes"] if node["app"] == app]
    if len(sessions) != 1:
        raise SystemExit(f"{app}: not one session: {sessions}")
    return sessions[0]


def spans_by_outcome(url: str, key: str) -> dict[str, int]:
    request = urllib.request.Request(f"{url}/metrics", headers={"authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=READ_SECONDS_MAX) as answer:
        lines = answer.read().decode().splitlines()
    figure = re.compile(r'ruche_otlp_spans_total\{outcome="(\w+)"\} (\d+)')
    return {match[1]: int(match[2]) for line in lines if (match := figure.match(line))}


def doubles(by_outcome: dict[str, int]) -> list[str]:
    """Every span came twice, so half of them were new."""
    twice = by_outcome.get("duplicate", 0)
    new = sum(by_outcome.values()) - twice
    return [] if new == twice > 0 else [f"{new} spans were new and {twice} came again"]


def faults(told: dict, session: dict) -> list[str]:
    """What Ruche says otherwise than the agent."""
    counts = session["counts"]
    found = [
        f"{name}: {counts[name]}, not {expected}" for name, expected in COUNTS.items() if counts[name] != str(expected)
    ]
    for name, direction in (("inputTokens", "input"), ("outputTokens", "output")):
        if counts[name]["tokens"] != str(told[direction]):
            found.append(f"{name}: {counts[name]['tokens']}, not {told[direction]}")
    messages = [(message["role"], message["text"]) for message in session["messages"]["nodes"]]
    if ("USER", "Where is my order W100?") not in messages or ("ASSISTANT", told["answer"]) not in messages:
        found.append(f"messages: {messages}")
    (effect,) = session["effects"]["nodes"] or [{}]
    if effect.get("status") != "COMPLETED" or "delivered" not in (effect.get("result") or ""):
        found.append(f"effect: {effect}")
    if json.loads(effect.get("arguments") or "null") is None:
        found.append("the effect has no arguments")
    if session["provenance"].lower() != "observed" or session["agent"] != "order-agent":
        found.append(f"session: {session['provenance']} {session['agent']}")
    return found


def run(client: list[str], app: str, url: str, key: str) -> dict:
    environment = os.environ | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer {key}",
        "OTEL_SERVICE_NAME": app,
        "EXPORTS": "2",
    }
    done = subprocess.run(
        client, env=environment, stdout=subprocess.PIPE, text=True, timeout=RUN_SECONDS_MAX, check=True
    )
    return json.loads(done.stdout.strip().splitlines()[-1])


def new_key(program: str, folders: list[str], *roles: str) -> str:
    of_roles = [word for role in roles for word in ("--role", role)]
    made = subprocess.run(
        [program, "keys", "new", "--tenant", "clients", *of_roles, *folders], capture_output=True, check=True
    )
    return json.loads(made.stdout)["key"]


def main(program: str, python: str) -> int:
    bad = 0
    with tempfile.TemporaryDirectory(prefix="ruche-otlp-") as folder:
        folders = ["--json", "--data-dir", f"{folder}/data", "--keys-dir", f"{folder}/keys"]
        key = new_key(program, folders, "writer", "reader")
        admin = new_key(program, folders, "admin")
        server = subprocess.Popen(
            [program, "serve", "--listen", "127.0.0.1:0", *folders],
            stdout=subprocess.PIPE,
            env=os.environ | {"RUCHE_LOG": "warn"},
        )
        try:
            url = f"http://{json.loads(server.stdout.readline())['listening']}"
            for app, client in clients(python).items():
                told = run(client, app, url, key)
                found = faults(told, settled(url, key, app)) + doubles(spans_by_outcome(url, admin))
                print(f"{app}: {'; '.join(found) or 'ok'}, {told['input']} and {told['output']} tokens")
                bad += bool(found)
        finally:
            server.terminate()
            server.wait()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
