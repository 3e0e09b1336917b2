#!/usr/bin/env python3
"""A tool loop as many agents have one. `model` only plays a model, so that this runs without a network."""

import json
import sys


def model(messages):
    """Stands in for a chat completion with tools: looks the order up, refunds it, answers."""
    order = messages[0]["content"].split()[-1]
    results = [message["content"] for message in messages if message["role"] == "tool"]
    if len(results) == 2:
        return {"role": "assistant", "content": ". ".join(results) + "."}
    function = {"name": ["look_up_order", "refund"][len(results)], "arguments": json.dumps({"order": order})}
    return {"role": "assistant", "content": None, "tool_calls": [{"id": "call_0", "function": function}]}


def look_up_order(order):
    return f"order {order}: one bicycle bell, delivered"


def refund(order):
    print(f"refunding {order}", file=sys.stderr)
    return f"order {order} is refunded"


TOOLS = {"look_up_order": look_up_order, "refund": refund}


def answer(question):
    messages = [{"role": "user", "content": question}]
    while True:
        message = model(messages)
        messages.append(message)
        if not message.get("tool_calls"):
            return message["content"]
        for call in message["tool_calls"]:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            result = TOOLS[name](**json.loads(arguments))
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})


print(answer(sys.argv[1]))
