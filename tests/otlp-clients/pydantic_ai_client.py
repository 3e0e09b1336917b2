"""An agent with pydantic-ai, its telemetry and nothing of Ruche. Where telemetry goes is in the environment:

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4000
    OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer <key>"

Prints what it knows of itself as one line of JSON. EXPORTS=2 sends every span twice, as after a lost answer.
"""

import json
import os

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from pydantic_ai import Agent
from pydantic_ai.models.test import TestModel

provider = TracerProvider()
for _ in range(int(os.environ.get("EXPORTS", "1"))):
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
Agent.instrument_all()

# The test model calls every tool once and answers then.
agent = Agent(TestModel(), name="order-agent", instructions="You help with orders.")


@agent.tool_plain
def lookup_order(order_id: str) -> str:
    """Looks up an order."""
    return f"{order_id} was delivered"


result = agent.run_sync("Where is my order W100?", conversation_id="pydantic-chat")
provider.shutdown()
usage = result.usage
print(json.dumps({"answer": result.output, "input": usage.input_tokens, "output": usage.output_tokens}))
