// A user and a registered client, by openapi-fetch with the types of openapi-typescript.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./schema.js";

const [stage, baseUrl, email, ...rest] = process.argv.slice(2) as [string, string, string, ...string[]];
const client = createClient<paths>({ baseUrl });
const OLD = "correct horse battery";
const NEW = "a quite different sentence";

async function begin(id: string, secret: string): Promise<void> {
  const user = await client.POST("/v1/signup", { body: { email, password: OLD } });
  assert.equal(user.response.status, 201);
  const taken = await client.POST("/v1/signup", { body: { email, password: OLD } });
  assert.equal(taken.error?.code, "email_taken");
  const first = await client.POST("/v1/login", { body: { email, password: OLD } });
  assert(first.data);
  const second = await client.POST("/v1/refresh", { body: { refresh_token: first.data.refresh_token } });
  assert(second.data);
  const headers = { Authorization: `${second.data.token_type} ${second.data.access_token}` };
  const found = await client.GET("/v1/whoami", { headers });
  assert.deepEqual(found.data, user.data);
  const granted = await client.POST("/v1/token", {
    body: { grant_type: "client_credentials", scope: "orders:read" },
    headers: { Authorization: `Basic ${btoa(`${id}:${secret}`)}`, "Content-Type": "application/x-www-form-urlencoded" },
  });
  assert.equal(granted.data?.scope, "orders:read");
  const asked = await client.POST("/v1/send-password-reset", { body: { email } });
  assert.equal(asked.response.status, 202);
}

async function end(token: string): Promise<void> {
  const done = await client.POST("/v1/reset-password", { body: { token, new_password: NEW } });
  assert.equal(done.response.status, 204);
  const again = await client.POST("/v1/login", { body: { email, password: NEW } });
  assert.equal(typeof again.data?.access_token, "string");
}

await (stage === "begin" ? begin(rest[0]!, rest[1]!) : end(rest[0]!));
