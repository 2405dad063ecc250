"""PyPI `Authlib` (Flask integration) as an authorization server and a protected API. See README.md beside this file."""

import argparse
import itertools
import json
import os
import sys
import threading
import time

from authlib.integrations.flask_oauth2 import AuthorizationServer, ResourceProtector
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants, scope_to_list
from authlib.oauth2.rfc6749.errors import InvalidClientError
from authlib.oauth2.rfc6750 import BearerTokenValidator
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from flask import Flask, jsonify
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet, OctKey
from werkzeug.serving import WSGIRequestHandler, make_server


class Client(ClientMixin):
    def __init__(self, registration):
        self.client_id = registration["client_id"]
        self.client_secret = registration.get("client_secret")
        self.jwks = registration.get("jwks")
        self.auth_method = registration.get("token_endpoint_auth_method", "client_secret_basic")
        self.scope = registration["scope"]

    def get_client_id(self):
        return self.client_id

    def get_allowed_scope(self, scope):
        if not scope:
            return self.scope
        allowed = set(scope_to_list(self.scope))
        return scope if allowed.issuperset(scope_to_list(scope)) else None

    def check_client_secret(self, client_secret):
        return self.client_secret == client_secret

    def check_endpoint_auth_method(self, method, endpoint):
        if method == ClientAssertion.CLIENT_AUTH_METHOD:
            return self.auth_method in ("private_key_jwt", "client_secret_jwt")
        return endpoint != "token" or method == self.auth_method

    def check_grant_type(self, grant_type):
        return grant_type == "client_credentials"


class Token(TokenMixin):
    def __init__(self, client, answer):
        self.client = client
        self.scope = answer.get("scope", "")
        self.expires_at = time.time() + answer["expires_in"]
        self.revoked = False

    def check_client(self, client):
        return self.client is client

    def get_scope(self):
        return self.scope

    def is_expired(self):
        return time.time() >= self.expires_at

    def is_revoked(self):
        return self.revoked


class ClientCredentialsGrant(grants.ClientCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic", "client_secret_post", "client_assertion_jwt"]


class ClientAssertion(JWTBearerClientAssertion):
    CLIENT_AUTH_METHOD = "client_assertion_jwt"
    ALGORITHMS = {
        "private_key_jwt": ["ES256", "RS256", "PS256", "EdDSA"],
        "client_secret_jwt": ["HS256"],
    }

    def __init__(self, audiences):
        super().__init__()
        self.audiences = audiences
        self.used = set()
        self.lock = threading.Lock()

    def get_audiences(self):
        return self.audiences

    def validate_jti(self, claims, jti):
        with self.lock:
            is_new = (claims["sub"], jti) not in self.used
            self.used.add((claims["sub"], jti))
        return is_new

    def resolve_client_public_key(self, client):
        if client.auth_method == "private_key_jwt":
            return client, KeySet.import_key_set(client.jwks)
        return client, OctKey.import_key(client.client_secret)

    def process_assertion_claims(self, assertion, resolve_key):
        """As the method of Authlib, which takes no algorithm beyond ES256, RS256 and HS256."""
        client, key = resolve_key
        try:
            token = jwt.decode(assertion, key, algorithms=self.ALGORITHMS.get(client.auth_method, []))
        except (JoseError, ValueError) as error:
            raise InvalidClientError(description=str(error)) from error
        self.verify_claims(token.claims)
        return token.claims


def build_app(registrations, expires_in, audiences):
    clients = {registration["client_id"]: Client(registration) for registration in registrations}
    tokens = {}
    token_requests = itertools.count()
    counted = {"token_requests": 0}
    app = Flask("authlib_server")
    app.config["OAUTH2_TOKEN_EXPIRES_IN"] = {"client_credentials": expires_in}

    def save_token(answer, request):
        tokens[answer["access_token"]] = Token(request.client, answer)

    server = AuthorizationServer(app, query_client=clients.get, save_token=save_token)
    server.register_grant(ClientCredentialsGrant)
    assertions = ClientAssertion(audiences)
    server.register_client_auth_method(ClientAssertion.CLIENT_AUTH_METHOD, assertions)

    class Validator(BearerTokenValidator):
        def authenticate_token(self, token_string):
            return tokens.get(token_string)

    require_oauth = ResourceProtector()
    require_oauth.register_token_validator(Validator())

    @app.post("/oauth/token")
    def token():
        counted["token_requests"] = next(token_requests) + 1
        return server.create_token_response()

    @app.get("/api")
    @require_oauth()
    def api():
        return jsonify(ok=True)

    @app.get("/_count")
    def count():
        return jsonify(counted)

    @app.post("/_revoke")
    def revoke():
        revoked = list(tokens.values())
        for each in revoked:
            each.revoked = True
        return jsonify(revoked=len(revoked))

    return app


class QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_request(self, code="-", size="-"):
        pass


def exit_with_parent():
    """Ends the process when the parent closes its end of stdin, so that a killed test leaves no orphan."""

    def wait():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--clients", type=json.loads, required=True)
    parser.add_argument("--expires-in", type=int, default=3600)
    options = parser.parse_args()
    # Authlib refuses plain http, which is all that a test on loopback needs.
    os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
    exit_with_parent()
    # Filled when the port is known, which is before the first request.
    audiences = []
    app = build_app(options.clients, options.expires_in, audiences)
    server = make_server("127.0.0.1", options.port, app, threaded=True, request_handler=QuietHandler)
    issuer = f"http://127.0.0.1:{server.server_port}"
    audiences += [issuer, f"{issuer}/oauth/token"]
    print(f"listening {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
