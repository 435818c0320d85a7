"""Respond with the request, or as its path says."""

import base64
import json
import time


def handler(event, _context):
    path = event["rawPath"]
    if path == "/v1/fail":
        raise RuntimeError("secret")
    if path == "/v1/slow":
        time.sleep(1)
    if path == "/v1/bytes":
        body = base64.b64encode(base64.b64decode(event["body"])[::-1]).decode()
        return {"statusCode": 200, "headers": {"content-type": "image/png"}, "body": body, "isBase64Encoded": True}
    headers = {"content-type": "application/json", "X-Function": "web"}
    return {"statusCode": 201, "headers": headers, "cookies": ["a=1", "b=2"], "body": json.dumps(event)}
