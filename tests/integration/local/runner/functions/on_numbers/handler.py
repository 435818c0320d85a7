"""Write every record to the file ``JOURNAL``; fail if a record says so, and wait for the file ``GATE``."""

import base64
import json
import os
import time
from pathlib import Path


def note(line):
    with Path(os.environ["JOURNAL"]).open("a") as journal:
        journal.write(json.dumps(line) + "\n")


def value_of(record):
    return json.loads(base64.b64decode(record["value"])) if record["value"] else {}


def handler(event, _context):
    records = [record for group in event["records"].values() for record in group]
    gate = os.environ.get("GATE")
    failures = []
    for record in records:
        value = value_of(record)
        if value.get("do") == "crash":
            os._exit(1)
        if value.get("do") == "raise":
            raise ValueError("poison")
        while value.get("do") == "wait" and not (gate and Path(gate).exists()):
            time.sleep(0.02)
        where = {"partition": f"{record['topic']}-{record['partition']}", "offset": record["offset"]}
        if value.get("do") == "report" and not (gate and Path(gate).exists()):
            failures.append({"itemIdentifier": where})
    failed = {(f["itemIdentifier"]["partition"], f["itemIdentifier"]["offset"]) for f in failures}
    for record in records:
        value = value_of(record)
        if (f"{record['topic']}-{record['partition']}", record["offset"]) not in failed:
            note(
                {
                    "partition": record["partition"],
                    "offset": record["offset"],
                    "n": value.get("n"),
                    "batch": len(records),
                }
            )
    return {"batchItemFailures": failures}
