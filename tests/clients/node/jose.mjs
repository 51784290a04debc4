// jose verifies a token with nothing but the address of the keys.
import assert from "node:assert/strict";
import { createRemoteJWKSet, jwtVerify } from "jose";
import { AUDIENCE, ISSUER, logIn } from "./service.mjs";

const keys = createRemoteJWKSet(new URL("/.well-known/jwks.json", ISSUER));
const { access_token } = await logIn();
const { payload } = await jwtVerify(access_token, keys, { issuer: ISSUER, audience: AUDIENCE, typ: "at+jwt" });
assert.equal(payload.client_id, "twinauth");
await assert.rejects(jwtVerify(`${access_token.slice(0, -4)}AAAA`, keys), { code: "ERR_JWS_SIGNATURE_VERIFICATION_FAILED" });
