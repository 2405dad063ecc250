"""Schemathesis: asks a server for what its OpenAPI description says, and for what it does not, and judges the answers.

The last line on stdout is JSON: how many answers of which status each operation had.
"""

import argparse
import json
import os
import sys
import threading
from collections import Counter, defaultdict

import schemathesis
from schemathesis.cli import schemathesis as command_line

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "positive_data_acceptance",
    "missing_required_header",
    "unsupported_method",
    "allow_header_conformance",
    "use_after_free",
    "ensure_resource_availability",
    "ignored_auth",
]


def is_right(case) -> bool:
    """Whether the request is as the description has it, and not wrong by intent."""
    return case.meta is None or case.meta.generation.mode.is_positive


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("description", help="the OpenAPI document, a file")
    parser.add_argument("url", help="the server")
    parser.add_argument("--spare", metavar="CLIENT_ID", help="a client that nothing is done to")
    parser.add_argument("--secret", metavar="CLIENT_ID/NAME", help="a secret that is there")
    parser.add_argument("--examples", default="30", help="cases for each operation and phase")
    parser.add_argument("--seed", default="6")
    parser.add_argument("--phases", default="examples,coverage,fuzzing,stateful")
    parser.add_argument("--without", action="append", default=[], metavar="CHECK")
    parser.add_argument("--report", metavar="FILE", help="a report of every case, as ndjson")
    arguments = parser.parse_args()
    statuses = defaultdict(Counter)
    lock = threading.Lock()

    @schemathesis.hook
    def before_call(context, case, kwargs):
        # An administrator that takes its own rights away would make the rest of the run one refusal after the other.
        if arguments.spare and (case.path_parameters or {}).get("client_id") == arguments.spare:
            case.path_parameters["client_id"] = "somebody"
        # By chance alone no secret is ever hit: each operation on one is sent to this one until it was done once.
        succeeded = any(status < 300 for status in statuses[case.operation.label])
        if arguments.secret and "name" in (case.path_parameters or {}) and not succeeded and is_right(case):
            case.path_parameters["client_id"], case.path_parameters["name"] = arguments.secret.split("/")

    @schemathesis.hook
    def after_call(context, case, response):
        with lock:
            statuses[case.operation.label][response.status_code] += 1

    wanted = [
        "run", arguments.description, "--url", arguments.url, "--seed", arguments.seed,
        "--phases", arguments.phases, "--max-examples", arguments.examples, "--no-shrink", "--continue-on-failure",
        "--checks", ",".join(check for check in CHECKS if check not in arguments.without),
    ]
    # The secret is not on the command line of this process, which everybody can read.
    if os.environ.get("AUTHORIZATION"):
        wanted += ["--header", "Authorization: " + os.environ["AUTHORIZATION"]]
    if arguments.report:
        wanted += ["--report-ndjson-path", arguments.report]
    try:
        code = command_line.main(wanted, standalone_mode=False)
    except SystemExit as end:
        code = end.code
    print(json.dumps({"statuses": statuses}, sort_keys=True), flush=True)
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
