"""Figures by day, agent, model and tool, without a line of Ruche.

Usage: figures.py tau2 RESULTS         from a file of tau2-bench and the runtime log RESULTS lies beside
       figures.py records < RECORDS    from records of a ledger, one JSON object a line
->  one JSON object on standard output: "models" and "tools", a list of rows each

Money is added up as decimals. Durations are told as exact percentiles of what was told, in whole microseconds.
"""

import json
import os
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

QUARTER = timedelta(minutes=15)
PER_MILLE = [500, 950, 990]


class Figures:
    def __init__(self):
        self.models = {}
        self.tools = {}

    def model(self, day, agent, model):
        new = {"calls": 0, "errors": 0, "costs": {}, "byPrices": {}, "durations": []}
        new.update({name: 0 for name in ("input", "output", "cached", "reasoning")})
        new.update({name + "Known": 0 for name in ("input", "output", "cached", "reasoning")})
        return self.models.setdefault((day, agent, model), new)

    def model_call(self, day, agent, model, tokens, cost, duration_us, failed=False):
        row = self.model(day, agent, model)
        row["calls"] += 1
        row["errors"] += failed
        for name, told in tokens.items():
            if told is not None:
                row[name] += told
                row[name + "Known"] += 1
        if cost is not None:
            amount, currency = cost
            row["costs"][currency] = row["costs"].get(currency, Decimal(0)) + amount
        if duration_us is not None:
            row["durations"].append(duration_us)

    def tool(self, day, agent, tool):
        new = {"calls": 0, "results": 0, "errors": 0, "durations": []}
        return self.tools.setdefault((day, agent, tool), new)

    def answer(self, day, agent, tool, failed, duration_us):
        row = self.tool(day, agent, tool)
        row["errors" if failed else "results"] += 1
        if duration_us is not None:
            row["durations"].append(duration_us)

    def print(self):
        def shown(rows, names):
            for key, row in sorted(rows.items()):
                row["percentiles"] = percentiles(row.pop("durations"))
                for name in ("costs", "byPrices"):
                    if name in row:
                        row[name] = {c: format(a.normalize(), "f") for c, a in row[name].items()}
                yield {**dict(zip(names, key)), **row}

        models = list(shown(self.models, ["day", "agent", "model"]))
        tools = list(shown(self.tools, ["day", "agent", "tool"]))
        print(json.dumps({"models": models, "tools": tools}))


def percentiles(durations):
    """How many there are, and those of rank ceil(share * n)."""
    durations.sort()
    count = len(durations)
    ranks = [max(1, -(-count * share // 1000)) for share in PER_MILLE]
    return {"known": count, "values": [durations[rank - 1] for rank in ranks] if durations else []}


def tau2(results, figures):
    with open(results, encoding="utf-8") as file:
        batch = json.load(file, parse_float=Decimal)
    agent = batch["info"]["agent_info"]["llm"]
    seen = seen_calls(os.path.join(os.path.dirname(results), "runtime_events.jsonl"))
    for simulation in batch["simulations"]:
        messages = simulation["messages"]
        ahead = clock_ahead(messages)
        left = list(seen.get(simulation["id"], []))
        tools = {}
        for message in messages:
            day = (datetime.fromisoformat(message["timestamp"]) - ahead).date().isoformat()
            for call in message["tool_calls"] or [] if message["role"] != "tool" else []:
                tools[call["id"]] = call["name"]
                figures.tool(day, agent, call["name"])["calls"] += 1
            if message["role"] == "tool":
                number = next((n for n, (id, _) in enumerate(left) if id == message["id"]), None)
                took = None if number is None else left.pop(number)[1]
                figures.answer(day, agent, tools[message["id"]], bool(message["error"]), took)
            raw = message.get("raw_data")
            if message["role"] == "assistant" and raw:
                read, written = raw["usage"]["prompt_tokens_details"], raw["usage"]["completion_tokens_details"]
                tokens = {
                    "input": message["usage"]["prompt_tokens"],
                    "output": message["usage"]["completion_tokens"],
                    "cached": read["cached_tokens"],
                    "reasoning": written["reasoning_tokens"],
                }
                seconds = message["generation_time_seconds"]
                took = None if seconds is None else round(seconds * 1_000_000)
                figures.model_call(day, agent, raw["model"], tokens, (message["cost"], "USD"), took)


def clock_ahead(messages):
    """How far the clock of the machine was ahead of UTC: whole quarters of an hour, by the provider's clock."""
    for message in messages:
        created = (message.get("raw_data") or {}).get("created")
        if created is not None:
            utc = datetime.fromtimestamp(int(created), timezone.utc).replace(tzinfo=None)
            return ((datetime.fromisoformat(message["timestamp"]) - utc + QUARTER / 2) // QUARTER) * QUARTER
    return timedelta(0)


def seen_calls(path):
    """By simulation: the ids of calls and how long the innermost dispatch of each took, in order."""
    sessions, session, call = {}, None, None
    with open(path, encoding="utf-8") as file:
        for event in map(json.loads, file):
            kind, trace = event["event_type"], event["payload"].get("runtime_trace", {})
            at = datetime.fromisoformat(event["timestamp"])
            if kind == "orchestrator_run_start":
                session = sessions.setdefault(trace["simulation_id"], [])
                call = None
            elif kind == "orchestrator_run_end":
                session = None
            elif session is None:
                continue
            elif kind == "tool_call_requested":
                call = {"id": trace["tool_call"]["id"], "tool": event["tool_name"]}
            elif call and event["tool_name"] == call["tool"] and kind == "toolkit_dispatch_start":
                call["from"] = at
            elif call and event["tool_name"] == call["tool"] and kind == "toolkit_dispatch_end":
                session.append((call["id"], (at - call["from"]) // timedelta(microseconds=1)))
                call = None
    return sessions


def records(lines, figures):
    agents, tools, prices = {}, {}, {}
    for line in lines:
        record = json.loads(line, parse_float=Decimal)
        kind, told = record["type"], record["data"]
        session, call = record["session"], record["call"]
        if kind == "config.published" and told["scope"] == "tenant":
            prices = told.get("set", {}).get("prices.llm", prices)
        if session is None:
            continue
        if kind == "session.started":
            agents[session] = told.get("agent_id") or ""
        day, agent = record["occurredAt"][:10], agents.get(session, "")
        if kind in ("llm.responded", "llm.failed", "llm.embedded"):
            usage = told.get("usage") or {}
            names = {"input": "input", "output": "output", "cached": "cache_read", "reasoning": "reasoning"}
            tokens = {ours: usage.get(theirs) for ours, theirs in names.items()}
            cost = told.get("cost")
            cost = cost and (Decimal(cost["amount"]), cost["currency"])
            model = told.get("response_model") or told.get("model") or ""
            figures.model_call(day, agent, model, tokens, cost, told.get("duration_us"), kind == "llm.failed")
            price = prices.get(model)
            if price and None not in (tokens["input"], tokens["output"]) and tokens["cached"] is None:
                parts = [tokens[name] * Decimal(price[name]) for name in ("input", "output")]
                costs = figures.model(day, agent, model)["byPrices"]
                costs[price["currency"]] = costs.get(price["currency"], Decimal(0)) + sum(parts) / 1_000_000
        elif kind == "tool.proposed":
            tools[session, call] = told["name"]
            figures.tool(day, agent, told["name"])["calls"] += 1
        elif kind in ("tool.completed", "tool.failed"):
            tool = tools[session, call]
            figures.answer(day, agent, tool, kind == "tool.failed", told.get("duration_us"))


def main():
    figures = Figures()
    if sys.argv[1] == "tau2":
        tau2(sys.argv[2], figures)
    else:
        records(sys.stdin, figures)
    figures.print()


main()
