// npm `oidc-provider` as an authorization server for the client-credentials grant. See README.md beside this file.
import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { parseArgs } from 'node:util';

import { exitWithParent, foreign } from './foreign.mjs';

const { values: options } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    clients: { type: 'string' },
    format: { type: 'string', default: 'jwt' },
    alg: { type: 'string', default: 'ES256' },
    'expires-in': { type: 'string', default: '3600' },
    resource: { type: 'string', multiple: true, default: ['https://api.example'] },
    'tls-cert': { type: 'string' },
    'tls-key': { type: 'string' },
    'client-ca': { type: 'string' },
  },
});
const clients = parseClients(options.clients);
const format = oneOf('--format', options.format, ['jwt', 'opaque']);
const alg = oneOf('--alg', options.alg, ['ES256', 'RS256', 'EdDSA']);
const expiresIn = positive('--expires-in', options['expires-in']);
const scope = [...new Set(clients.flatMap((client) => client.scope.split(' ')))].join(' ');
const tls = parseTls();

exitWithParent();
// The provider prints notices on stdout, which is kept for the one line that the parent waits for.
console.info = console.error;
const { default: Provider, errors } = await foreign('oidc-provider');

let tokenRequests = 0;
const seen = [];
let handle;

// Longer than the benchmark leaves a connection alone while others are measured.
const kept = { keepAliveTimeout: 120_000 };
const main = await listening(tls ? createTlsServer({ ...tls, ...kept }, answer) : createServer(kept, answer), options.port);
const ports = [main];
let aliases;
if (tls) {
  // What a test asks of the server itself goes in the clear; and certificates are asked for at a port of their own, as
  // servers do that browsers talk to as well (RFC 8705 section 5).
  const wanting = { ...tls, requestCert: true, rejectUnauthorized: false };
  ports.push(await listening(createServer(answer), 0), await listening(createTlsServer(wanting, answer), 0));
  aliases = { token_endpoint: `https://localhost:${ports[2]}/token` };
}
const provider = new Provider(tls ? `https://localhost:${main}` : `http://127.0.0.1:${main}`, configuration());
provider.on('grant.success', (context) => keep(context));
provider.on('grant.error', (context, error) => keep(context, error));
handle = provider.callback();
process.stdout.write(`listening ${ports.join(' ')}\n`);

function answer(request, response) {
  const own = { '/_count': { token_requests: tokenRequests }, '/_seen': seen }[request.url];
  if (request.method === 'GET' && own) {
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(own));
    return;
  }
  if (request.url.split('?')[0] === '/token') tokenRequests += 1;
  handle(request, response);
}

function listening(server, port) {
  return new Promise((resolve) => {
    server.listen(Number(port), '127.0.0.1', () => resolve(server.address().port));
  });
}

/** What a token request proved itself with, and why it was refused where it was. */
function keep(context, error) {
  const { client_id: clientId, client_assertion: assertion } = context.oidc.params ?? {};
  const part = (number) => JSON.parse(Buffer.from(assertion.split('.')[number], 'base64url'));
  seen.push({
    client_id: context.oidc.client?.clientId ?? clientId,
    header: assertion && part(0),
    claims: assertion && part(1),
    certificate: certificateOf(context)?.fingerprint256.replaceAll(':', '').toLowerCase(),
    error: error?.error,
    detail: error?.error_detail ?? error?.error_description,
  });
}

function certificateOf(context) {
  return context.socket.getPeerX509Certificate?.();
}

/** The subject as RFC 4514 writes it, which is from the end. */
function subjectOf(certificate) {
  return certificate.subject.split('\n').reverse().join(',');
}

function namesOf(certificate, kind) {
  const names = certificate.subjectAltName?.split(', ') ?? [];
  return names.filter((name) => name.startsWith(`${kind}:`)).map((name) => name.slice(kind.length + 1));
}

function matches(context, property, expected) {
  const certificate = certificateOf(context);
  const kind = {
    tls_client_auth_san_dns: 'DNS',
    tls_client_auth_san_uri: 'URI',
    tls_client_auth_san_ip: 'IP Address',
    tls_client_auth_san_email: 'email',
  }[property];
  return kind ? namesOf(certificate, kind).includes(expected) : subjectOf(certificate) === expected;
}

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
    clientAuthMethods: [
      'client_secret_basic',
      'client_secret_post',
      'client_secret_jwt',
      'private_key_jwt',
      ...(tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : []),
    ],
    discovery: aliases ? { mtls_endpoint_aliases: aliases } : {},
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => options.resource[0],
        getResourceServerInfo: (context, resource) => {
          if (!options.resource.includes(resource)) throw new errors.InvalidTarget();
          return {
            scope,
            audience: resource,
            accessTokenFormat: format,
            accessTokenTTL: expiresIn,
            jwt: { sign: { alg } },
          };
        },
      },
      mTLS: {
        enabled: tls !== undefined,
        tlsClientAuth: true,
        selfSignedTlsClientAuth: true,
        getCertificate: certificateOf,
        certificateAuthorized: (context) => context.socket.authorized,
        certificateSubjectMatches: matches,
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
    token_endpoint_auth_method: 'client_secret_basic',
    ...client,
    client_id: client.client_id ?? usage('every client wants a client_id'),
    scope: client.scope ?? usage('every client wants a scope'),
  }));
}

function parseTls() {
  const { 'tls-cert': cert, 'tls-key': key, 'client-ca': ca } = options;
  if (cert === undefined && key === undefined && ca === undefined) return undefined;
  if (cert === undefined || key === undefined) usage('--tls-cert and --tls-key go together');
  return { cert: readFileSync(cert), key: readFileSync(key), ca: ca === undefined ? [] : readFileSync(ca) };
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
