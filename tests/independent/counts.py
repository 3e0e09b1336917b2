"""Counts what is in the conversation files, without a line of Ruche: sessions, messages, tool calls, errors, write calls.

Usage: counts.py FORMAT FILE MAPPING  ->  one JSON object on standard output

The mapping (docs/import/*.json) only says which tools change something; everything else is read from the source.
"""

import json
import sys


def sessions(form, path):
    """Yields lists of messages (dicts as they stand in the file), one list a session."""
    with open(path, encoding="utf-8") as file:
        if form == "tau-bench":
            for run in json.load(file):
                yield run["traj"]
        elif form == "agentdojo":
            for line in file:
                run = json.loads(line)
                if "messages" in run:
                    yield run["messages"]
        elif form == "tau2":
            for simulation in json.load(file)["simulations"]:
                yield simulation["messages"]
        else:
            sys.exit(f"unknown format {form}")


def calls(message):
    for call in message.get("tool_calls") or []:
        function = call.get("function")
        yield function["name"] if isinstance(function, dict) else function or call["name"]


def failed(form, message):
    if message["role"] != "tool":
        return False
    if form == "tau-bench":
        return (message.get("content") or "").startswith("Error")
    return bool(message.get("error"))


def updates(path):
    """What is in a file of updates of memory: lines, statements of all kinds, statements that an old answer stood on."""
    total = {"rows": 0, "facts": 0, "takenBack": 0}
    with open(path, encoding="utf-8") as file:
        for line in file:
            extra = json.loads(line)["agent_args"]["extra"]
            total["rows"] += 1
            total["facts"] += len(extra["facts"]) + 1
            total["takenBack"] += len(extra["supporting_fact_indices"])
    return total


def main():
    form, path, mapping = sys.argv[1:4]
    if form == "letta":
        print(json.dumps(updates(path)))
        return
    with open(mapping, encoding="utf-8") as file:
        tools = json.load(file)["tools"]
    named = {tool["name"]: tool["side_effect"] for tool in tools if "name" in tool}
    prefixed = [(tool["prefix"], tool["side_effect"]) for tool in tools if "prefix" in tool]

    def writes(name):
        by_prefix = (policy for prefix, policy in prefixed if name.startswith(prefix))
        return named.get(name, next(by_prefix, "irreversible")) != "pure"

    total = {"sessions": 0, "messages": 0, "toolCalls": 0, "writeCalls": 0, "errors": 0}
    by_role = {}
    for messages in sessions(form, path):
        total["sessions"] += 1
        for message in messages:
            total["messages"] += 1
            by_role[message["role"]] = by_role.get(message["role"], 0) + 1
            total["errors"] += failed(form, message)
            for name in calls(message):
                total["toolCalls"] += 1
                total["writeCalls"] += writes(name)
    print(json.dumps({**total, "roles": by_role}))


main()
