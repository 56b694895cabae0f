// Vercel's AI SDK and OpenAI's and Anthropic's SDKs for Node as clients: see test_node_clients.py.
//
// node node_clients.mjs <folder with node_modules> <URL of the gateway> <headers as JSON> <providers as JSON>
// prints a JSON list of [client, provider, what happened], in which all that is well says "ok".
import { createRequire } from 'node:module';

const [folder, gateway, headersText, providersText] = process.argv.slice(2);
const need = createRequire(`${folder}/package.json`);
const { generateText, streamText, tool, jsonSchema, stepCountIs } = need('ai');
const { createOpenAI } = need('@ai-sdk/openai');
const { createOpenAICompatible } = need('@ai-sdk/openai-compatible');
const { createAnthropic } = need('@ai-sdk/anthropic');
const { createGoogleGenerativeAI } = need('@ai-sdk/google');
const { createAmazonBedrock } = need('@ai-sdk/amazon-bedrock');
const { OpenAI } = need('openai');
const { Anthropic } = need('@anthropic-ai/sdk');

globalThis.AI_SDK_LOG_WARNINGS = false;
const headers = JSON.parse(headersText);
const apiKey = 'client-key';

const at = (format, provider) => `${gateway}/${format}${provider}`;
const MODELS = {
  'openai.chat': (p) => createOpenAI({ apiKey, headers, baseURL: at('', p) }).chat('m'),
  'openai-compatible': (p) =>
    createOpenAICompatible({ name: 'gateway', apiKey, headers, includeUsage: true, baseURL: at('', p) })('m'),
  anthropic: (p) => createAnthropic({ apiKey, headers, baseURL: `${at('anthropic-to-', p)}/v1` })('m'),
  google: (p) => createGoogleGenerativeAI({ apiKey, headers, baseURL: `${at('gemini-to-', p)}/v1beta` })('m'),
  bedrock: (p) =>
    createAmazonBedrock({
      region: 'us-east-1', accessKeyId: 'AKIAEXAMPLE', secretAccessKey: 'x', headers,
      baseURL: at('bedrock-to-', p),
    })('m'),
};

const place = jsonSchema({
  type: 'object', properties: { city: { type: 'string' } }, required: ['city'], additionalProperties: false,
});
const tools = {
  get_weather: tool({ description: 'Weather', inputSchema: place, execute: ({ city }) => `sunny in ${city}` }),
  get_time: tool({ description: 'Time', inputSchema: place, execute: () => 'noon' }),
};

async function toolLoop(model, streamed) {
  const asked = {
    model, tools, prompt: 'What are weather and time in Paris?', stopWhen: stepCountIs(3), maxRetries: 0,
    maxOutputTokens: 500,
  };
  let failed;
  const result = streamed ? streamText({ ...asked, onError: ({ error }) => { failed = error; } }) : await generateText(asked);
  const text = await result.text;
  if (failed) throw failed;
  const calls = (await result.steps)[0].toolCalls.map((call) => `${call.toolName} ${call.input.city}`);
  const usage = await result.totalUsage;
  if (calls.join() !== 'get_weather Paris,get_time Paris') return `calls: ${calls}`;
  if (!/^The tools said: .*sunny in Paris.*; .*noon/.test(text)) return `text: ${text}`;
  if (!(usage.inputTokens > 10 && usage.outputTokens > 5)) return `usage: ${JSON.stringify(usage)}`;
  return 'ok';
}

async function openaiStream(provider) {
  const sdk = new OpenAI({ apiKey, baseURL: at('', provider), maxRetries: 0, defaultHeaders: headers });
  const stream = sdk.chat.completions.stream({
    model: 'm', messages: [{ role: 'user', content: 'Hello Paris' }], stream_options: { include_usage: true },
  });
  const whole = await stream.finalChatCompletion();
  const usage = await stream.totalUsage();
  return whole.choices[0].message.content === 'You said: Hello Paris' && usage.completion_tokens === 4
    ? 'ok' : JSON.stringify([whole, usage]);
}

async function anthropicStream(provider) {
  const baseURL = at('anthropic-to-', provider);
  const sdk = new Anthropic({ apiKey, baseURL, maxRetries: 0, defaultHeaders: headers });
  const whole = await sdk.messages
    .stream({ model: 'm', max_tokens: 50, messages: [{ role: 'user', content: 'Hello Paris' }] })
    .finalMessage();
  return whole.content[0].text === 'You said: Hello Paris' && whole.usage.output_tokens === 4
    ? 'ok' : JSON.stringify(whole);
}

const happened = [];
async function tried(client, provider, run) {
  try {
    happened.push([client, provider, await run()]);
  } catch (error) {
    happened.push([client, provider, `${error.name}: ${error.message} ${error.responseBody ?? ''}`]);
  }
}

for (const provider of JSON.parse(providersText)) {
  for (const [name, model] of Object.entries(MODELS)) {
    if (provider === 'gemini' && name.startsWith('openai')) continue; // has a route of its own for streams
    await tried(`ai ${name}`, provider, () => toolLoop(model(provider), false));
    await tried(`ai ${name}, streamed`, provider, () => toolLoop(model(provider), true));
  }
  if (provider !== 'gemini') await tried('openai, streamed', provider, () => openaiStream(provider));
  await tried('anthropic, streamed', provider, () => anthropicStream(provider));
}
console.log(JSON.stringify(happened));
