// Uses the official client against the URL in argv; the key comes by standard input.
import { readFileSync } from "node:fs";
import assert from "node:assert/strict";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: process.argv[2],
  apiKey: readFileSync(0, "utf8"),
  maxRetries: 0,
});
const messages = [{ role: "user", content: "What are skerries?" }];
const text = "Skerries are small rocks.";

const whole = await client.chat.completions.create({ model: "chat", messages });
assert.equal(whole.choices[0].message.content, text);
assert.equal(whole.usage.total_tokens, 12);

let said = "";
let usage = null;
const stream = await client.chat.completions.create({
  model: "chat",
  messages,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const part of stream) {
  said += part.choices[0]?.delta?.content ?? "";
  usage = part.usage ?? usage;
}
assert.equal(said, text);
assert.equal(usage.completion_tokens, 5);

const tools = [{ type: "function", function: { name: "get_weather", parameters: {} } }];
const called = await client.chat.completions.create({ model: "chat", messages, tools });
const call = called.choices[0].message.tool_calls[0];
assert.deepEqual(JSON.parse(call.function.arguments), { location: "Visby" });

const schema = { type: "object", properties: { rocks: { type: "number" } } };
const shaped = await client.chat.completions.create({
  model: "chat",
  messages,
  response_format: { type: "json_schema", json_schema: { name: "rocks", schema } },
});
assert.deepEqual(JSON.parse(shaped.choices[0].message.content), { rocks: 3 });

const completion = await client.completions.create({ model: "chat", prompt: "Skerries" });
assert.equal(completion.choices[0].text, text);

const vectors = await client.embeddings.create({ model: "one/good", input: ["a", "bb"] });
assert.deepEqual(vectors.data.map((item) => item.embedding[3]), [1, 2]);

const names = [];
for await (const model of client.models.list()) names.push(model.id);
assert.ok(names.includes("chat"));

const response = await client.responses.create({ model: "chat", input: "Hello" });
assert.equal(response.output_text, text);
let told = "";
const events = await client.responses.create({ model: "chat", input: "Hello", stream: true });
for await (const event of events) {
  if (event.type === "response.output_text.delta") told += event.delta;
}
assert.equal(told, text);

await assert.rejects(
  client.chat.completions.create({ model: "nothing", messages }),
  (error) => error.status === 404 && error.code === "model_not_found",
);
console.log("done");
