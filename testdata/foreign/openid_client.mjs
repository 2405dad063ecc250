// npm `openid-client`: discovery, then the client-credentials grant, as its own examples have it.
// The arguments and the answer are in README.md beside this file.
import { createPrivateKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { request } from 'node:https';
import { parseArgs } from 'node:util';

import { foreign } from './foreign.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    scope: { type: 'string' },
    resource: { type: 'string', multiple: true },
    'auth-method': { type: 'string', default: 'client_secret_basic' },
    alg: { type: 'string', default: 'ES256' },
    kid: { type: 'string' },
    key: { type: 'string' },
    cert: { type: 'string' },
    times: { type: 'string', default: '1' },
  },
});
const [issuer, clientId, apiUrl] = positionals;
const secret = process.env.CLIENT_SECRET;
const isByCertificate = options['auth-method'].endsWith('tls_client_auth');
if (!issuer || !clientId || !(secret || options.key)) {
  console.error('usage: CLIENT_SECRET=... node openid_client.mjs ISSUER CLIENT_ID [API_URL], or with --key FILE');
  process.exit(2);
}
const client = await foreign('openid-client');
const authentication = {
  client_secret_basic: () => client.ClientSecretBasic(secret),
  client_secret_post: () => client.ClientSecretPost(secret),
  client_secret_jwt: () => client.ClientSecretJwt(secret),
  private_key_jwt: async () => client.PrivateKeyJwt({ key: await privateKey(), kid: options.kid }),
  tls_client_auth: () => client.TlsClientAuth(),
  self_signed_tls_client_auth: () => client.TlsClientAuth(),
}[options['auth-method']];

try {
  const metadata = { use_mtls_endpoint_aliases: isByCertificate };
  const config = await client.discovery(new URL(issuer), clientId, metadata, await authentication(), {
    execute: [client.allowInsecureRequests],
  });
  if (isByCertificate) config[client.customFetch] = withCertificate;
  const parameters = new URLSearchParams(options.scope === undefined ? {} : { scope: options.scope });
  options.resource?.forEach((resource) => parameters.append('resource', resource));
  let token;
  for (let time = 0; time < Number(options.times); time += 1) {
    token = await client.clientCredentialsGrant(config, parameters);
  }
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

/** The key of WebCrypto in a file with PEM. */
function privateKey() {
  const algorithm = {
    ES256: { name: 'ECDSA', namedCurve: 'P-256' },
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
    PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
    EdDSA: { name: 'Ed25519' },
  }[options.alg];
  const der = createPrivateKey(readFileSync(options.key)).export({ type: 'pkcs8', format: 'der' });
  return crypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']);
}

/** The `fetch` of Node.js has no way to show a certificate. */
function withCertificate(url, { method, headers, body }) {
  const [key, cert] = [options.key, options.cert].map((file) => readFileSync(file));
  return new Promise((resolve, reject) => {
    const sending = request(url, { method, headers: Object.fromEntries(new Headers(headers)), key, cert }, (reply) => {
      const chunks = [];
      reply.on('data', (chunk) => chunks.push(chunk));
      reply.on('error', reject);
      reply.on('end', () => {
        resolve(new Response(Buffer.concat(chunks), { status: reply.statusCode, headers: reply.headers }));
      });
    });
    sending.on('error', reject);
    sending.end(body?.toString());
  });
}
