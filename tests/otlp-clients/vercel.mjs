// An agent with the AI SDK, its telemetry and nothing of Ruche. Where telemetry goes is in the environment:
//
//     OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4000
//     OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer <key>"
//
// Prints what it knows of itself as one line of JSON. EXPORTS=2 sends every span twice, as after a lost answer.
import { OpenTelemetry } from '@ai-sdk/otel';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import { generateText, isStepCount, registerTelemetry, tool } from 'ai';
import { MockLanguageModelV4 } from 'ai/test';
import { z } from 'zod';

const exports = Number(process.env.EXPORTS ?? 1);
const name = process.env.OTEL_SERVICE_NAME ?? 'vercel-client';
const provider = new NodeTracerProvider({
  resource: defaultResource().merge(resourceFromAttributes({ 'service.name': name })),
  spanProcessors: Array.from({ length: exports }, () => new BatchSpanProcessor(new OTLPTraceExporter())),
});
provider.register();
registerTelemetry(new OpenTelemetry());

// A model that asks for the tool first and answers then.
let calls = 0;
const tokens = (input, output) => ({
  inputTokens: { total: input, noCache: input, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: output, text: output, reasoning: 0 },
});
const model = new MockLanguageModelV4({
  modelId: 'mock-1',
  doGenerate: async () => {
    calls += 1;
    const [content, finishReason, usage] =
      calls === 1
        ? [
            { type: 'tool-call', toolCallId: 'call-1', toolName: 'lookupOrder', input: '{"orderId":"W100"}' },
            { unified: 'tool-calls', raw: 'tool_calls' },
            tokens(10, 3),
          ]
        : [{ type: 'text', text: 'It was delivered.' }, { unified: 'stop', raw: 'stop' }, tokens(20, 4)];
    return { content: [content], finishReason, usage, warnings: [] };
  },
});

const result = await generateText({
  model,
  prompt: 'Where is my order W100?',
  stopWhen: isStepCount(3),
  telemetry: { functionId: 'order-agent' },
  tools: {
    lookupOrder: tool({
      description: 'Looks up an order.',
      inputSchema: z.object({ orderId: z.string() }),
      execute: async ({ orderId }) => ({ orderId, status: 'delivered' }),
    }),
  },
});
await provider.shutdown();
const { inputTokens, outputTokens } = result.totalUsage;
console.log(JSON.stringify({ answer: result.text, input: inputTokens, output: outputTokens }));
