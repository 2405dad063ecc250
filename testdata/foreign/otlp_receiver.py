"""A collector of OpenTelemetry that reads metrics with the classes of PyPI `opentelemetry-proto`. See README.md beside this file."""

import argparse
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE

SEEN = []
LOCK = threading.Lock()


def attributes(pairs):
    return {pair.key: pair.value.string_value for pair in pairs}


def point(form, told):
    common = {
        "attributes": attributes(told.attributes),
        "start": told.start_time_unix_nano,
        "time": told.time_unix_nano,
    }
    if form == "histogram":
        counts, bounds = list(told.bucket_counts), list(told.explicit_bounds)
        assert len(counts) == len(bounds) + 1 and sum(counts) == told.count and bounds == sorted(bounds)
        return common | {"count": told.count, "sum": told.sum, "counts": counts, "bounds": bounds}
    assert told.WhichOneof("value") == "as_int"
    return common | {"value": told.as_int}


def metric(told):
    form = told.WhichOneof("data")
    data = getattr(told, form)
    return {
        "name": told.name,
        "unit": told.unit,
        "form": form,
        "cumulative": getattr(data, "aggregation_temporality", None) == AGGREGATION_TEMPORALITY_CUMULATIVE,
        "monotonic": getattr(data, "is_monotonic", False),
        "points": [point(form, told) for told in data.data_points],
    }


def read(content_type, body):
    assert content_type == "application/json", content_type
    # Fields that are not known are refused.
    request = json_format.Parse(body, ExportMetricsServiceRequest())
    (resource,) = request.resource_metrics
    (scope,) = resource.scope_metrics
    return {
        "resource": attributes(resource.resource.attributes),
        "metrics": [metric(told) for told in scope.metrics],
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with LOCK:
            seen = json.dumps(SEEN)
        self.answer(200 if self.path == "/_seen" else 404, seen)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/metrics":
            self.answer(404, "{}")
            return
        try:
            seen = read(self.headers["Content-Type"], body)
        except Exception as error:
            seen = {"error": repr(error)}
        with LOCK:
            SEEN.append(seen)
        answer = json_format.MessageToJson(ExportMetricsServiceResponse())
        self.answer(400 if "error" in seen else 200, answer)

    def answer(self, status, text):
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
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
    server = ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    print("listening", server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
