"""PyPI `moto` as AWS Secrets Manager. See README.md beside this file."""

import argparse
import os
import sys
import threading

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


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
    options = parser.parse_args()
    exit_with_parent()
    app = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", options.port, app, threaded=True, request_handler=QuietHandler)
    print("listening", server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
