// npm `oauth4webapi` as a resource server: checks a JWT access token (RFC 9068) with the keys that it finds through the
// metadata of the issuer. The arguments and the answer are in README.md beside this file.
import { foreign } from './foreign.mjs';

const [issuer, audience] = process.argv.slice(2);
const token = process.env.ACCESS_TOKEN;
if (!issuer || !audience || !token) {
  console.error('usage: ACCESS_TOKEN=... node oauth4webapi_verifier.mjs ISSUER AUDIENCE');
  process.exit(2);
}
const oauth = await foreign('oauth4webapi');
const insecure = { [oauth.allowInsecureRequests]: true };

try {
  const url = new URL(issuer);
  const found = await oauth.discoveryRequest(url, { algorithm: 'oauth2', ...insecure });
  const server = await oauth.processDiscoveryResponse(url, found);
  const request = new Request('http://localhost/', { headers: { authorization: `Bearer ${token}` } });
  const claims = await oauth.validateJwtAccessToken(server, request, audience, insecure);
  console.log(JSON.stringify({ claims }));
} catch (error) {
  console.log(JSON.stringify({ error: error.code ?? error.name, error_description: error.message }));
  process.exit(1);
}
