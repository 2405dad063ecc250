"""PyPI `Authlib` over `httpx`, asynchronous: the same arguments and answer as authlib_client.py."""

import argparse
import asyncio
import json
import os
import sys

from authlib.integrations.base_client import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client


async def run(options):
    async with AsyncOAuth2Client(
        options.client_id,
        os.environ["CLIENT_SECRET"],
        scope=options.scope,
        token_endpoint_auth_method=options.auth_method,
        timeout=30,
    ) as client:
        try:
            answer = {"token": await client.fetch_token(options.token_url, grant_type="client_credentials")}
            if options.api_url:
                reply = await client.get(options.api_url)
                answer["api"] = {"status": reply.status_code, "body": reply.text}
        except OAuthError as error:
            print(json.dumps({"error": error.error, "error_description": error.description}))
            return 1
        print(json.dumps(answer))
        return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("token_url")
    parser.add_argument("client_id")
    parser.add_argument("api_url", nargs="?")
    parser.add_argument("--scope")
    parser.add_argument("--auth-method", default="client_secret_basic")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
