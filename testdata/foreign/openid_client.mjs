// npm `openid-client`: discovery, then the client-credentials grant, as its own examples have it.
// The arguments and the answer are in README.md beside this file.
import { parseArgs } from 'node:util';

import { foreign } from './foreign.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    scope: { type: 'string' },
    'auth-method': { type: 'string', default: 'client_secret_basic' },
  },
});
const [issuer, clientId, apiUrl] = positionals;
const secret = process.env.CLIENT_SECRET;
if (!issuer || !clientId || !secret) {
  console.error('usage: CLIENT_SECRET=... node openid_client.mjs ISSUER CLIENT_ID [API_URL]');
  process.exit(2);
}
const client = await foreign('openid-client');
const authentication = {
  client_secret_basic: client.ClientSecretBasic,
  client_secret_post: client.ClientSecretPost,
}[options['auth-method']];

try {
  const config = await client.discovery(new URL(issuer), clientId, undefined, authentication(secret), {
    execute: [client.allowInsecureRequests],
  });
  const parameters = options.scope === undefined ? {} : { scope: options.scope };
  const token = await client.clientCredentialsGrant(config, parameters);
  const answer = { token };
  if (apiUrl !== undefined) {
    const reply = await client.fetchProtectedResource(config, token.access_token, new URL(apiUrl), 'GET');
    answer.api = { status: reply.status, body: await reply.text() };
  }
  console.log(JSON.stringify(answer));
} catch (error) {
  const code = error.error ?? error.code ?? error.name;
  console.log(JSON.stringify({ error: code, error_description: error.error_description ?? error.message }));
  process.exit(1);
}
