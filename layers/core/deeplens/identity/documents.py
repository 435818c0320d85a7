"""Forms and answers of Authlib for the OpenAPI document, which FastAPI cannot derive."""

from typing import Any

TEXT = {"type": "string"}
OAUTH_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {"error": TEXT, "error_description": TEXT, "error_uri": TEXT},
}
DESCRIPTIONS = {
    200: "Done",
    400: "The request is not good: ``error`` says what about it (RFC 6749)",
    401: "The client or the token is not good",
    403: "The token lacks a scope",
}


def _form(required: list[str], *optional: str) -> dict[str, Any]:
    names = [*required, *optional, "client_id", "client_secret"]
    schema = {"type": "object", "required": required, "properties": dict.fromkeys(names, TEXT)}
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}}


FORMS = {
    "token": _form(["grant_type"], "scope", "code", "code_verifier", "redirect_uri", "refresh_token"),
    "revocation": _form(["token"], "token_type_hint"),
    "introspect": _form(["token"], "token_type_hint"),
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses for a route's documentation, beside the problems of every route."""
    return {
        status: {
            "description": DESCRIPTIONS[status],
            "content": {"application/json": {"schema": {"type": "object"} if status < 400 else OAUTH_ERROR}},
        }
        for status in statuses
    }
