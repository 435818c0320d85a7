"""Serve a second API beside ``web``, under a longer path."""


def handler(event, _context):
    return {"function": "files", "path": event["pathParameters"]}
