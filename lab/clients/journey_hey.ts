// A user and a registered client, by a client from @hey-api/openapi-ts. Its default address is the server of the document.
import assert from "node:assert/strict";
import { login, refresh, resetPassword, sendPasswordReset, signup, token, whoami } from "./hey/index.js";

const [stage, , email, ...rest] = process.argv.slice(2) as [string, string, string, ...string[]];
const OLD = "correct horse battery";
const NEW = "a quite different sentence";

async function begin(id: string, secret: string): Promise<void> {
  const user = await signup({ body: { email, password: OLD } });
  assert.equal(user.response?.status, 201);
  const taken = await signup({ body: { email, password: OLD } });
  assert.equal(taken.error?.code, "email_taken");
  const first = await login({ body: { email, password: OLD }, throwOnError: true });
  const second = await refresh({ body: { refresh_token: first.data.refresh_token }, throwOnError: true });
  const found = await whoami({ auth: () => second.data.access_token });
  assert.deepEqual(found.data, user.data);
  const granted = await token({
    auth: (scheme) => (scheme.scheme === "basic" ? `${id}:${secret}` : undefined),
    body: { grant_type: "client_credentials", scope: "orders:read" },
  });
  assert.equal(granted.data?.scope, "orders:read");
  const asked = await sendPasswordReset({ body: { email } });
  assert.equal(asked.response?.status, 202);
}

async function end(link: string): Promise<void> {
  const done = await resetPassword({ body: { token: link, new_password: NEW } });
  assert.equal(done.response?.status, 204);
  const again = await login({ body: { email, password: NEW }, throwOnError: true });
  assert.equal(typeof again.data.access_token, "string");
}

await (stage === "begin" ? begin(rest[0]!, rest[1]!) : end(rest[0]!));
