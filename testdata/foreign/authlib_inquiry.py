"""PyPI `Authlib` over `requests`: asks about a token, revokes it and asks again, as its documentation has it.

authlib_inquiry.py ISSUER CLIENT_ID
Secret and token come from the environment variables CLIENT_SECRET and ACCESS_TOKEN; the answer is printed as one line of JSON.
"""

import json
import os
import sys

from authlib.integrations.requests_client import OAuth2Session


def main():
    issuer, client_id = sys.argv[1:]
    session = OAuth2Session(
        client_id,
        os.environ["CLIENT_SECRET"],
        token_endpoint_auth_method="client_secret_basic",
        revocation_endpoint_auth_method="client_secret_post",
    )
    token = os.environ["ACCESS_TOKEN"]

    def introspect():
        reply = session.introspect_token(f"{issuer}/oauth/introspect", token=token, token_type_hint="access_token")
        return {"status": reply.status_code, "answer": reply.json()}

    before = introspect()
    revoked = session.revoke_token(f"{issuer}/oauth/revoke", token=token, token_type_hint="access_token")
    print(json.dumps({"before": before, "revoked": revoked.status_code, "after": introspect()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
