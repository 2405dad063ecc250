"""PyPI `Authlib` over `requests`: fetches a token and, when given one, calls an API, as its documentation has it.

authlib_client.py TOKEN_URL CLIENT_ID [API_URL] [--scope "a b"] [--auth-method client_secret_post]
                  [--key FILE [--alg ES256] [--kid KID]] [--audience ISSUER] [--life SECONDS]
                  [--auth-method none --cert FILE --key FILE]
The secret comes from the environment variable CLIENT_SECRET; the answer is printed as one line of JSON.
"""

import argparse
import json
import os
import sys
import time

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import ClientSecretJWT, PrivateKeyJWT
from joserfc.jwk import ECKey, OKPKey, RSAKey

KEYS = {"ES256": ECKey, "RS256": RSAKey, "PS256": RSAKey, "EdDSA": OKPKey}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("token_url")
    parser.add_argument("client_id")
    parser.add_argument("api_url", nargs="?")
    parser.add_argument("--scope")
    parser.add_argument("--auth-method", default="client_secret_basic")
    parser.add_argument("--key")
    parser.add_argument("--cert")
    parser.add_argument("--alg", default="ES256")
    parser.add_argument("--kid")
    parser.add_argument("--audience")
    parser.add_argument("--life", type=int)
    options = parser.parse_args()

    secret = os.environ.get("CLIENT_SECRET")
    if options.key and not options.cert:
        with open(options.key) as file:
            secret = KEYS[options.alg].import_key(file.read())
    session = OAuth2Session(
        options.client_id,
        secret,
        scope=options.scope,
        token_endpoint_auth_method=options.auth_method,
    )
    if options.cert:
        session.cert = (options.cert, options.key)
    claims = {"exp": int(time.time()) + options.life} if options.life else None
    headers = {"kid": options.kid} if options.kid else None
    if options.auth_method == "client_secret_jwt":
        session.register_client_auth_method(ClientSecretJWT(options.audience, claims, headers))
    if options.auth_method == "private_key_jwt":
        session.register_client_auth_method(PrivateKeyJWT(options.audience, claims, headers, options.alg))
    try:
        answer = {"token": session.fetch_token(options.token_url, grant_type="client_credentials", timeout=30)}
        if options.api_url:
            reply = session.get(options.api_url, timeout=30)
            answer["api"] = {"status": reply.status_code, "body": reply.text}
    except OAuthError as error:
        print(json.dumps({"error": error.error, "error_description": error.description}))
        return 1
    print(json.dumps(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
