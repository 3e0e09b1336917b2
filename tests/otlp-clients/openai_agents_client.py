"""An agent with openai-agents and OpenInference, its telemetry and nothing of Ruche. Where telemetry goes is in the environment:

    OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4000
    OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer <key>"

Prints what it knows of itself as one line of JSON. EXPORTS=2 sends every span twice, as after a lost answer.
"""

import json
import os

from agents import Agent, Model, ModelResponse, Runner, Usage, function_tool
from agents.tracing import generation_span
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from openinference.instrumentation import using_session
from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
for _ in range(int(os.environ.get("EXPORTS", "1"))):
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
OpenAIAgentsInstrumentor().instrument(tracer_provider=provider)

QUESTION = "Where is my order W100?"
CALL = {"id": "call-1", "type": "function", "function": {"name": "lookup_order", "arguments": '{"order_id": "W100"}'}}


class Scripted(Model):
    """Asks for the tool first and answers then. Traces its calls as the models of the SDK do."""

    def __init__(self) -> None:
        self.calls = 0

    async def get_response(self, *_arguments, **_named) -> ModelResponse:
        self.calls += 1
        tokens = {"input_tokens": 10 * self.calls, "output_tokens": 2 + self.calls}
        with generation_span(model="scripted-1", input=[{"role": "user", "content": QUESTION}]) as span:
            span.span_data.usage = tokens
            if self.calls == 1:
                span.span_data.output = [{"role": "assistant", "content": None, "tool_calls": [CALL]}]
                output = [
                    ResponseFunctionToolCall(
                        type="function_call",
                        call_id=CALL["id"],
                        name=CALL["function"]["name"],
                        arguments=CALL["function"]["arguments"],
                    )
                ]
            else:
                text = "It was delivered."
                span.span_data.output = [{"role": "assistant", "content": text}]
                part = ResponseOutputText(type="output_text", text=text, annotations=[])
                message = {"id": "m", "type": "message", "role": "assistant", "status": "completed"}
                output = [ResponseOutputMessage(content=[part], **message)]
        total = sum(tokens.values())
        return ModelResponse(output, Usage(requests=1, total_tokens=total, **tokens), response_id=None)

    def stream_response(self, *_arguments, **_named):
        raise NotImplementedError


@function_tool
def lookup_order(order_id: str) -> str:
    """Looks up an order."""
    return f"{order_id} was delivered"


agent = Agent(name="order-agent", model=Scripted(), tools=[lookup_order])
with using_session("openai-chat"):
    result = Runner.run_sync(agent, QUESTION)
provider.shutdown()
usage = result.context_wrapper.usage
print(json.dumps({"answer": result.final_output, "input": usage.input_tokens, "output": usage.output_tokens}))
