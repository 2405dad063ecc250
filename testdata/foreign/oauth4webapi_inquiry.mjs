// npm `oauth4webapi` and `openid-client` as clients that ask about a token, revoke it and ask again: as JSON, as a JWT of the
// server (RFC 9701) whose signature is checked, and by the other library.
// The arguments and the answer are in README.md beside this file.
import { foreign } from './foreign.mjs';

const [issuer, clientId] = process.argv.slice(2);
const secret = process.env.CLIENT_SECRET;
const token = process.env.ACCESS_TOKEN;
if (!issuer || !clientId || !secret || !token) {
  console.error('usage: CLIENT_SECRET=... ACCESS_TOKEN=... node oauth4webapi_inquiry.mjs ISSUER CLIENT_ID');
  process.exit(2);
}
const oauth = await foreign('oauth4webapi');
const openid = await foreign('openid-client');
const insecure = { [oauth.allowInsecureRequests]: true };

try {
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure });
  const server = await oauth.processDiscoveryResponse(url, found);
  const client = { client_id: clientId };
  const proof = oauth.ClientSecretBasic(secret);
  const config = await openid.discovery(url, clientId, {}, openid.ClientSecretPost(secret), {
    execute: [openid.allowInsecureRequests],
  });

  const introspect = async (options) => {
    const reply = await oauth.introspectionRequest(server, client, proof, token, { ...options, ...insecure });
    const answer = await oauth.processIntrospectionResponse(server, client, reply);
    const type = reply.headers.get('content-type');
    if (options.requestJwtResponse) await oauth.validateApplicationLevelSignature(server, reply, insecure);
    return { type, answer };
  };
  const ask = async () => ({
    json: await introspect({}),
    jwt: await introspect({ requestJwtResponse: true }),
    openid: await openid.tokenIntrospection(config, token),
  });

  const before = await ask();
  await openid.tokenRevocation(config, token, { token_type_hint: 'refresh_token' });
  const again = await oauth.revocationRequest(server, client, proof, token, insecure);
  await oauth.processRevocationResponse(again);
  console.log(JSON.stringify({ before, after: await ask() }));
} catch (error) {
  const code = error.error ?? error.code ?? error.name;
  console.log(JSON.stringify({ error: code, error_description: error.error_description ?? error.message }));
  process.exit(1);
}
