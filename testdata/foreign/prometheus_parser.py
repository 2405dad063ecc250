"""The parser of prometheus_client, which reads the text format of Prometheus from stdin and writes what it is as JSON.

See README.md beside this file.
"""

import json
import sys

from prometheus_client.parser import text_string_to_metric_families


def main():
    families = text_string_to_metric_families(sys.stdin.read())
    print(
        json.dumps(
            [
                {
                    "name": family.name,
                    "type": family.type,
                    "help": family.documentation,
                    "samples": [[sample.name, sample.labels, sample.value] for sample in family.samples],
                }
                for family in families
            ]
        )
    )


if __name__ == "__main__":
    main()
