// What the test says of the service.
import assert from "node:assert/strict";

export const { ISSUER, AUDIENCE, CLIENT_ID, CLIENT_SECRET, EMAIL, PASSWORD } = process.env;
export const issuer = new URL(ISSUER);

// A token of a user, by the front door.
export async function logIn() {
  const answer = await fetch(`${ISSUER}/v1/login`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ email: EMAIL, password: PASSWORD }),
  });
  assert.equal(answer.status, 200);
  return answer.json();
}
