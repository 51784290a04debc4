// A resource server of Express, after RFC 9068.
import assert from "node:assert/strict";
import express from "express";
import { auth, requiredScopes } from "express-oauth2-jwt-bearer";
import { AUDIENCE, ISSUER, logIn } from "./service.mjs";

const app = express();
app.use(auth({ issuerBaseURL: ISSUER, audience: AUDIENCE, strict: true }));
app.get("/read", requiredScopes("orders:read"), (request, answer) => answer.json(request.auth.payload.sub));
app.get("/write", requiredScopes("orders:write"), (request, answer) => answer.json(request.auth.payload.sub));
app.use((error, request, answer, next) => answer.status(error.status ?? 500).end(String(error)));

const server = app.listen(0, "127.0.0.1", async () => {
  try {
    const base = `http://127.0.0.1:${server.address().port}`;
    const { access_token } = await logIn();
    const ask = async (path, token) => {
      const answer = await fetch(base + path, { headers: token ? { authorization: `Bearer ${token}` } : {} });
      return [answer.status, await answer.text()];
    };
    const [status, told] = await ask("/read", access_token);
    assert.equal(status, 200, told);
    assert.equal((await ask("/write", access_token))[0], 403);
    assert.equal((await ask("/read"))[0], 401);
  } finally {
    server.close();
  }
});
