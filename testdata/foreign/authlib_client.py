"""PyPI `Authlib` over `requests`: fetches a token and, when given one, calls an API, as its documentation has it.

authlib_client.py TOKEN_URL CLIENT_ID [API_URL] [--scope "a b"] [--auth-method client_secret_post]
The secret comes from the environment variable CLIENT_SECRET; the answer is printed as one line of JSON.
"""

import argparse
import json
import os
import sys

from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("token_url")
    parser.add_argument("client_id")
    parser.add_argument("api_url", nargs="?")
    parser.add_argument("--scope")
    parser.add_argument("--auth-method", default="client_secret_basic")
    options = parser.parse_args()

    session = OAuth2Session(
        options.client_id,
        os.environ["CLIENT_SECRET"],
        scope=options.scope,
        token_endpoint_auth_method=options.auth_method,
    )
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
