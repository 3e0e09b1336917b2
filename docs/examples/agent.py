#!/usr/bin/env python3
"""An agent whose tool calls Ruche decides on. Copy it; it needs nothing but Python.

Run, it takes one turn of the agent `shop`, looks an order up, refunds it once a person has signed, and answers. Imported, it
is the client of a tool loop (docs/first-hour.md). What each step means stands in docs/tool-calls.md.
The API key, with the roles writer and reader, is read from the environment, KEY.
"""

import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid

REPEAT_S = 60  # a request whose answer was lost is sent again for so long, under its key
LOOK_S = 1  # between two looks whether a person has decided
HEARTBEAT_S = 10  # a lease lapses after 30 s without one
PERMITTED = "unchanged state result permit { position effectKey arguments }"


class Refused(Exception):
    """Ruche says no, and nothing was written. `docs/errors/` has a page for each code."""

    def __init__(self, answer):
        super().__init__(f"{answer['code']}: {answer['message']}")
        self.code, self.path = answer["code"], answer["path"] or []


class ToolError(Exception):
    """Raise it from a tool that failed and changed nothing. Any other exception means that nobody knows."""


class Ruche:
    def __init__(self, url, key):
        self.url, self.key = url, key

    def ask(self, query, variables):
        """The data of an answer. A lost answer is asked for again: with its idempotency key a request happens once."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/graphql", body, headers)
        deadline = time.monotonic() + REPEAT_S
        while True:
            try:
                with urllib.request.urlopen(request, timeout=REPEAT_S) as reply:
                    answer = json.load(reply)
                break
            except urllib.error.HTTPError as error:
                if error.code != 503 or time.monotonic() > deadline:
                    raise
            except OSError:
                if time.monotonic() > deadline:
                    raise
            time.sleep(LOOK_S)
        if answer.get("errors"):
            raise RuntimeError(answer["errors"])
        return answer["data"]

    def send(self, name, fields, **given):
        """A mutation under a key of its own. Raises `Refused`."""
        kind = name[0].upper() + name[1:]
        query = f"""mutation ($input: {kind}Input!) {{ {name}(input: $input) {{ __typename
            ... on {kind}Payload {{ {fields} }} ... on Refusal {{ code path message }} }} }}"""
        given["idempotencyKey"] = str(uuid.uuid4())
        deadline = time.monotonic() + REPEAT_S
        while True:
            answer = self.ask(query, {"input": given})[name]
            if "code" not in answer:
                return answer
            if answer["__typename"] != "TryAgain" or time.monotonic() > deadline:
                raise Refused(answer)
            time.sleep(LOOK_S)

    def claim(self, agent):
        """Waits for a turn of the agent and takes it."""
        fields = "turnId position lease { id epoch } lane { agent interlocutor channel thread }"
        while True:
            try:
                return Turn(self, self.send("claimTurn", fields, agent=agent, waitMs=20_000))
            except Refused as refused:
                if refused.code != "ILLEGAL_TRANSITION":
                    raise  # anything but "no turn is ready"


class Turn:
    """A turn that this process holds. Use it in a `with`: it is kept alive inside, and failed if an exception leaves it."""

    def __init__(self, ruche, claim):
        self.ruche, self.position = ruche, claim["position"]
        self.held = {name: claim[name] for name in ("lane", "turnId", "lease")}
        self.over = threading.Event()
        self.beating = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self):
        self.beating.start()
        return self

    def __exit__(self, kind, error, _):
        self.over.set()
        self.beating.join()
        if kind is not None:
            try:
                self.send("failTurn", "turnId", errorType=kind.__name__, error=str(error), retryable=True)
            except Refused:
                pass  # the turn is over or somebody else's; what went wrong goes on to the caller

    def _beat(self):
        while not self.over.wait(HEARTBEAT_S):
            try:
                self.send("heartbeatTurn", "turnId")
            except Refused:
                return  # the turn is somebody else's, and the next step of this one is refused with the reason
            except (OSError, RuntimeError):
                continue  # no server for now; if that lasts, the lease lapses

    def send(self, name, fields, **given):
        return self.ruche.send(name, fields, **self.held, **given)

    def question(self):
        """What was said, all messages of the turn."""
        query = """query ($id: ID!, $at: Position, $after: String) { turn(id: $id, minPosition: $at) {
            messages(first: 100, after: $after) { nodes { role text } pageInfo { hasNextPage endCursor } } } }"""
        texts, page = [], {"hasNextPage": True, "endCursor": None}
        while page["hasNextPage"]:
            given = {"id": self.held["turnId"], "at": self.position, "after": page["endCursor"]}
            messages = self.ruche.ask(query, given)["turn"]["messages"]
            texts += [node["text"] or "" for node in messages["nodes"] if node["role"] == "USER"]
            page = messages["pageInfo"]
        return "\n".join(texts)

    def step(self, step_id, run):
        """Does a part of the turn once over all attempts, and gives its text: `run` is called, unless an earlier attempt
        has completed the step. `step_id` is your name of it, one in its turn."""
        begun = self.send("startStep", "state result", stepId=step_id)
        if begun["state"] == "COMPLETED":
            return begun["result"]
        result = run()
        self.send("completeStep", "stepId", stepId=step_id, result=result)
        return result

    def call(self, tool, arguments, run, business_key=None):
        """Calls a tool, if and when it may run. `arguments` is the JSON text of the model, `run` gets what may run
        read: what was proposed and signed, which under one `business_key` may be an earlier attempt's. The key is your name
        of the effect: for one interlocutor, what has one key happens once. A tool that changes nothing needs none; one that
        does gives `effect_key` of this turn to whoever can tell a repeat by it. Gives the text for the model."""
        for last in (False, True):
            try:
                call = self._propose(tool, arguments, business_key)
            except Refused as refused:
                if refused.code != "INVALID_INPUT" or refused.path[:1] != ["arguments"]:
                    raise
                return f"Error: {refused}"  # the arguments do not fit the tool's schema, and the model may do better
            if call["state"] == "COMPLETED":
                return told(call, call["result"])  # by an earlier attempt: it is not done again
            approval = self._decision(call["approval"]["id"]) if call["gate"] == "APPROVAL" else None
            if approval and approval["state"] in ("REJECTED", "EXPIRED"):
                reason = approval["decisionReason"] or "no reason is given"
                why = f"A person said no: {reason}" if approval["state"] == "REJECTED" else "Nobody said yes in time"
                return f"This may not happen. {why}."
            try:
                start = self.send("startEffect", PERMITTED, callId=call["callId"])
                break
            except Refused as refused:
                if last or refused.code != "ILLEGAL_TRANSITION" or refused.path[:1] == ["lease"]:
                    raise
                # What was proposed and signed does not hold any more, such as the tool's schema or the reviewer's key. This
                # call never starts: it is proposed anew, once, and people are asked again.
        if start["unchanged"]:  # it was started before: nothing is to be run. A start that `send` had to repeat is not that
            return told(call, start["result"] or f"This is {start['state']} already.")
        permit = start["permit"]
        known = {"callId": call["callId"], "permit": permit["position"]}
        self.effect_key = permit["effectKey"]
        try:
            result = str(run(**json.loads(permit["arguments"])))
        except ToolError as error:
            failed = {"errorType": "tool_error", "error": str(error), "result": f"Error: {error}"}
            self.send("reportEffect", "state", **known, outcome={"failed": failed})
            return f"Error: {error}"
        except Exception as error:
            self.send("reportEffect", "state", **known, outcome={"unknown": {"cause": repr(error)}})
            raise
        self.send("reportEffect", "state", **known, outcome={"completed": {"result": result}})
        return told(call, result)

    def _propose(self, tool, arguments, business_key):
        fields = "callId gate state result argumentsDiffer arguments approval { id }"
        return self.send("proposeAction", fields, tool=tool, arguments=arguments, businessKey=business_key)

    def _decision(self, approval):
        """What becomes of a request, once people have decided or it is over."""
        query = "query ($id: ID!) { approval(id: $id) { state decisionReason } }"
        while True:
            known = self.ruche.ask(query, {"id": approval})["approval"]
            if known["state"] != "REQUESTED":
                return known
            time.sleep(LOOK_S)

    def commit(self, answer):
        """The turn is over and this is its answer."""
        self.send("commitTurn", "turnId", outcome="ANSWERED", response={"text": answer})
        return answer


def told(call, text):
    """The text for the model. What stands under a business key may be of other arguments than it asks for now."""
    if not call["argumentsDiffer"]:
        return text
    return f"{text} (That is of {call['arguments']}, asked for before under the same key. Nothing else was done.)"


def look_up_order(order):
    return f"order {order}: one bicycle bell, 12.50 EUR, delivered"


def refund(order):
    print(f"refunding {order}", file=sys.stderr)
    return f"order {order} is refunded"


def main():
    ruche = Ruche(sys.argv[1], os.environ["KEY"])
    with ruche.claim("shop") as turn:
        order = turn.question().split()[-1]
        arguments = json.dumps({"order": order})
        found = turn.step("look", lambda: turn.call("look_up_order", arguments, look_up_order))
        done = turn.call("refund", arguments, refund, f"refund/{order}")
        print(turn.commit(f"{found}. {done}."))


if __name__ == "__main__":
    main()
