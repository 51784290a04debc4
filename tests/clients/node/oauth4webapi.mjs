// oauth4webapi checks each answer against its RFC, and access tokens against RFC 9068.
import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";
import { AUDIENCE, CLIENT_ID, CLIENT_SECRET, EMAIL, PASSWORD, issuer, logIn } from "./service.mjs";

const insecure = { [oauth.allowInsecureRequests]: true };
const found = await oauth.discoveryRequest(issuer, { ...insecure, algorithm: "oauth2" });
const server = await oauth.processDiscoveryResponse(issuer, found);
const client = { client_id: CLIENT_ID };

for (const authentication of [oauth.ClientSecretBasic(CLIENT_SECRET), oauth.ClientSecretPost(CLIENT_SECRET)]) {
  const parameters = new URLSearchParams({ scope: "orders:read" });
  const granted = await oauth.clientCredentialsGrantRequest(server, client, authentication, parameters, insecure);
  const tokens = await oauth.processClientCredentialsResponse(server, client, granted);
  const asked = await oauth.introspectionRequest(server, client, authentication, tokens.access_token, insecure);
  assert.equal((await oauth.processIntrospectionResponse(server, client, asked)).client_id, CLIENT_ID);
  const revoked = await oauth.revocationRequest(server, client, authentication, tokens.access_token, insecure);
  await oauth.processRevocationResponse(revoked);
}

const first = { client_id: "twinauth" };
const form = new URLSearchParams({ username: EMAIL, password: PASSWORD });
const granted = await oauth.genericTokenEndpointRequest(server, first, oauth.None(), "password", form, insecure);
const tokens = await oauth.processGenericTokenEndpointResponse(server, first, granted);
const renewed = await oauth.refreshTokenGrantRequest(server, first, oauth.None(), tokens.refresh_token, insecure);
assert.ok((await oauth.processRefreshTokenResponse(server, first, renewed)).refresh_token);

const { access_token } = await logIn();
const request = new Request("https://orders.example.com/", { headers: { authorization: `Bearer ${access_token}` } });
const claims = await oauth.validateJwtAccessToken(server, request, AUDIENCE, insecure);
assert.equal(claims.client_id, "twinauth");
assert.deepEqual(claims.amr, ["pwd"]);
