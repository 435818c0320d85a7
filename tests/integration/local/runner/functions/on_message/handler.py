"""Write messages to a journal; a message ``fail`` fails."""

import os
from pathlib import Path


def handler(event, _context):
    failures = []
    for record in event["Records"]:
        if record["body"] == "fail" and record["attributes"]["ApproximateReceiveCount"] == "1":
            failures.append({"itemIdentifier": record["messageId"]})
            continue
        with Path(os.environ["JOURNAL"]).open("a") as journal:
            journal.write(record["body"] + "\n")
    return {"batchItemFailures": failures}
