// Drives openid-client through every flow. Given settings as JSON in the first argument, it writes one JSON object a line:
// {"open": address} asks for the address that the browser is sent back to, {"result": …} ends.
import { createInterface } from "node:readline";
import * as client from "openid-client";

const given = JSON.parse(process.argv[2]);
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (message) => console.log(JSON.stringify(message));

async function browse(address) {
  say({ open: address.href });
  return new URL((await lines.next()).value);
}

async function privateKey(jwk) {
  const key = await crypto.subtle.importKey("jwk", jwk, { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
  return client.PrivateKeyJwt({ key, kid: jwk.kid });
}

const confidential = given.secret || given.key;
const withSecret = given.secret ? client.ClientSecretBasic(given.secret) : client.None();
const authentication = given.key ? await privateKey(given.key) : withSecret;
const config = await client.discovery(new URL(given.issuer), given.id, undefined, authentication, {
  execute: [client.allowInsecureRequests, client.enableNonRepudiationChecks],
});

const pkceCodeVerifier = client.randomPKCECodeVerifier();
const [expectedState, expectedNonce] = [client.randomState(), client.randomNonce()];
const answer = await browse(
  client.buildAuthorizationUrl(config, {
    redirect_uri: given.callback,
    scope: given.scope,
    code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
    code_challenge_method: "S256",
    state: expectedState,
    nonce: expectedNonce,
    max_age: "600",
  }),
);
const checks = { pkceCodeVerifier, expectedState, expectedNonce, maxAge: 600, idTokenExpected: true };
const first = await client.authorizationCodeGrant(config, answer, checks);
const claims = first.claims();
const userinfo = await client.fetchUserInfo(config, first.access_token, claims.sub);
const second = await client.refreshTokenGrant(config, first.refresh_token);

const result = { claims, userinfo, refreshed: second.refresh_token !== first.refresh_token, again: second.claims().sub };
if (confidential) {
  result.alive = await client.tokenIntrospection(config, second.access_token);
  result.machine = await client.clientCredentialsGrant(config, { scope: given.machine });
}
await client.tokenRevocation(config, second.refresh_token);
if (confidential) {
  result.dead = await client.tokenIntrospection(config, second.refresh_token);
}
result.refused = await client.refreshTokenGrant(config, second.refresh_token).catch((error) => error.error);
const goodbye = await browse(
  client.buildEndSessionUrl(config, {
    post_logout_redirect_uri: given.goodbye,
    id_token_hint: second.id_token,
    state: "see you",
  }),
);
say({ result: { ...result, goodbye: goodbye.href } });
process.exit(0);
