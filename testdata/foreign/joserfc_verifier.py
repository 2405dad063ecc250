"""PyPI `joserfc`: checks a JWT access token against a JWK Set, as its documentation has it.

joserfc_verifier.py JWKS_URL ISSUER AUDIENCE
The token comes from the environment variable ACCESS_TOKEN; header and claims are printed as one line of JSON.
"""

import json
import os
import sys

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet


def main():
    jwks_url, issuer, audience = sys.argv[1:]
    keys = KeySet.import_key_set(requests.get(jwks_url, timeout=30).json())
    expected = jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": audience},
        exp={"essential": True},
        iat={"essential": True},
    )
    try:
        token = jwt.decode(os.environ["ACCESS_TOKEN"], keys, algorithms=["ES256", "RS256", "EdDSA"])
        expected.validate(token.claims)
    except (JoseError, ValueError) as error:
        name = getattr(error, "error", type(error).__name__)
        print(json.dumps({"error": name, "error_description": str(error)}))
        return 1
    print(json.dumps({"header": token.header, "claims": token.claims}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
