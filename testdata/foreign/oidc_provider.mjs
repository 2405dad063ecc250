// npm `oidc-provider` as an authorization server for the client-credentials grant. See README.md beside this file.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { parseArgs } from 'node:util';

import { exitWithParent, foreign } from './foreign.mjs';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    clients: { type: 'string' },
    format: { type: 'string', default: 'jwt' },
    alg: { type: 'string', default: 'ES256' },
    'expires-in': { type: 'string', default: '3600' },
    resource: { type: 'string', default: 'https://api.example' },
  },
});
const clients = parseClients(options.clients);
const format = oneOf('--format', options.format, ['jwt', 'opaque']);
const alg = oneOf('--alg', options.alg, ['ES256', 'RS256', 'EdDSA']);
const expiresIn = positive('--expires-in', options['expires-in']);
const scope = [...new Set(clients.flatMap((client) => client.scope.split(' ')))].join(' ');

exitWithParent();
// The provider prints notices on stdout, which is kept for the one line that the parent waits for.
console.info = console.error;
const { default: Provider } = await foreign('oidc-provider');

let tokenRequests = 0;
let handle;
const server = createServer((request, response) => {
  if (request.method === 'GET' && request.url === '/_count') {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify({ token_requests: tokenRequests }));
    return;
  }
  if (request.url.split('?')[0] === '/token') tokenRequests += 1;
  handle(request, response);
});
server.listen(Number(options.port), '127.0.0.1', () => {
  const { port } = server.address();
  handle = new Provider(`http://127.0.0.1:${port}`, configuration()).callback();
  process.stdout.write(`listening ${port}\n`);
});

function configuration() {
  return {
    clients: clients.map((client) => ({
      ...client,
      grant_types: ['client_credentials'],
      redirect_uris: [],
      response_types: [],
      id_token_signed_response_alg: alg,
    })),
    scopes: scope.split(' '),
    ttl: { ClientCredentials: expiresIn },
    jwks: { keys: [signingKey()] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => options.resource,
        getResourceServerInfo: () => ({
          scope,
          audience: options.resource,
          accessTokenFormat: format,
          accessTokenTTL: expiresIn,
          jwt: { sign: { alg } },
        }),
      },
    },
  };
}

function signingKey() {
  const pair = {
    ES256: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }),
    RS256: () => generateKeyPairSync('rsa', { modulusLength: 2048 }),
    EdDSA: () => generateKeyPairSync('ed25519'),
  }[alg]();
  return { ...pair.privateKey.export({ format: 'jwk' }), alg, use: 'sig' };
}

function parseClients(json) {
  const parsed = json === undefined ? [] : JSON.parse(json);
  if (!Array.isArray(parsed) || parsed.length === 0) usage('--clients wants a JSON array of at least one client');
  return parsed.map((client) => ({
    client_id: client.client_id ?? usage('every client wants a client_id'),
    client_secret: client.client_secret ?? usage('every client wants a client_secret'),
    token_endpoint_auth_method: client.token_endpoint_auth_method ?? 'client_secret_basic',
    scope: client.scope ?? usage('every client wants a scope'),
  }));
}

function oneOf(name, value, allowed) {
  return allowed.includes(value) ? value : usage(`${name} is one of ${allowed.join(', ')}, not ${value}`);
}

function positive(name, value) {
  const number = Number(value);
  return Number.isInteger(number) && number > 0 ? number : usage(`${name} is a positive number of seconds`);
}

function usage(message) {
  console.error(message);
  process.exit(2);
}
