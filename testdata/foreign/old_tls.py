"""Python's `ssl`, that is OpenSSL, as a server that speaks one version of TLS alone, and as a client that takes any.

See README.md beside this file. Both ends lower OpenSSL's security level: nothing else speaks TLS 1.1 today.
"""

import argparse
import json
import os
import socket
import ssl
import sys
import threading
import warnings

# The versions are deprecated, which is why they are here.
warnings.simplefilter("ignore", DeprecationWarning)

VERSIONS = {
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
}
EVERY_CIPHER = "ALL:@SECLEVEL=0"
ANSWER_SECONDS = 10


def serve(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = VERSIONS[options.version]
    context.set_ciphers(EVERY_CIPHER)
    context.load_cert_chain(options.cert, options.key)
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"listening {listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        print(json.dumps(heard(context, connection)), flush=True)


def heard(context, connection):
    """What became of one connection: the version that was agreed on and what was said, or why there was none."""
    connection.settimeout(ANSWER_SECONDS)
    try:
        with context.wrap_socket(connection, server_side=True) as stream:
            said = stream.recv(65536)
            stream.sendall(b"heard")
            return {"version": stream.version(), "said": said.decode("latin-1")}
    except OSError as error:
        return {"error": getattr(error, "reason", None) or str(error)}
    finally:
        connection.close()


def ask(options):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.set_ciphers(EVERY_CIPHER)
    with socket.create_connection(("127.0.0.1", options.port), ANSWER_SECONDS) as connection:
        with context.wrap_socket(connection, server_hostname="localhost") as stream:
            stream.sendall(b"anyone there?")
            print(json.dumps({"version": stream.version(), "said": stream.recv(65536).decode("latin-1")}))


def exit_with_parent():
    """Ends the process when the parent closes its end of stdin, so that a killed test leaves no orphan."""

    def wait():
        sys.stdin.buffer.read()
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    server = commands.add_parser("serve")
    server.add_argument("--version", choices=VERSIONS, required=True)
    server.add_argument("--cert", required=True)
    server.add_argument("--key", required=True)
    server.set_defaults(run=serve)
    client = commands.add_parser("ask")
    client.add_argument("port", type=int)
    client.set_defaults(run=ask)
    options = parser.parse_args()
    if options.run is serve:
        exit_with_parent()
    options.run(options)


if __name__ == "__main__":
    main()
