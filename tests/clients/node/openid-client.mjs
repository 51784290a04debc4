// openid-client finds the service by its metadata and authenticates in the form, unless it is told otherwise.
import assert from "node:assert/strict";
import * as client from "openid-client";
import { AUDIENCE, CLIENT_ID, CLIENT_SECRET, EMAIL, ISSUER, PASSWORD, issuer } from "./service.mjs";

const insecure = { execute: [client.allowInsecureRequests] };

for (const algorithm of ["oauth2", "oidc"]) {
  for (const authentication of [undefined, client.ClientSecretPost(CLIENT_SECRET), client.ClientSecretBasic(CLIENT_SECRET)]) {
    const options = { ...insecure, algorithm };
    const config = await client.discovery(issuer, CLIENT_ID, CLIENT_SECRET, authentication, options);
    assert.equal(config.serverMetadata().issuer, ISSUER);
    const tokens = await client.clientCredentialsGrant(config, { scope: "orders:read", resource: AUDIENCE });
    assert.equal(tokens.scope, "orders:read");
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, true);
    await client.tokenRevocation(config, tokens.access_token);
    assert.equal((await client.tokenIntrospection(config, tokens.access_token)).active, false);
  }
}

const first = await client.discovery(issuer, "twinauth", undefined, client.None(), insecure);
const granted = await client.genericGrantRequest(first, "password", { username: EMAIL, password: PASSWORD });
const renewed = await client.refreshTokenGrant(first, granted.refresh_token);
const whoami = await client.fetchProtectedResource(first, renewed.access_token, new URL("/v1/whoami", issuer), "GET");
assert.equal((await whoami.json()).email, EMAIL);
