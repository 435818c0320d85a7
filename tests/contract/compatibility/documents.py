"""Return the OpenAPI documents and event schemas of the current code, without descriptions."""

from typing import Any, cast

from deeplens.bootstrap.admin_api import create_admin_app
from deeplens.bootstrap.search_api import create_app
from deeplens.events.bucket import BucketNotification
from deeplens.events.failures import Retry
from deeplens.events.topics import TOPICS
from deeplens.identity.app import create_identity_app
from deeplens.settings import Settings
from deeplens.whatsapp.app import create_whatsapp_app

APPS: dict[str, Any] = {
    "search": create_app,
    "admin": create_admin_app,
    "identity": create_identity_app,
    "whatsapp": create_whatsapp_app,
}
# Named by where they travel, not by class: a class may be renamed.
EVENTS: dict[str, Any] = {topic.name: topic.contract for topic in TOPICS} | {
    "retry queue": Retry,
    "bucket notification": BucketNotification,
}
PROSE = frozenset({"description", "summary", "title", "example", "examples", "externalDocs"})
NAMED_BY_US = frozenset(
    {"properties", "patternProperties", "dependentSchemas", "$defs", "schemas", "parameters", "responses", "paths"}
    | {"securitySchemes", "headers", "content", "mapping", "callbacks", "links", "flows", "scopes", "encoding"}
)
"""Keys whose own keys are names, so that a property called ``title`` is kept."""
VALUES = frozenset({"default", "const", "enum", "required"})


class _Parts:
    """All that an application asks for before its first request."""

    settings = Settings(identity_url="http://identity")


def openapi(name: str) -> dict[str, Any]:
    """The document of one API."""
    return cast("dict[str, Any]", without_prose(APPS[name](_Parts()).openapi()))


def events() -> dict[str, Any]:
    """The JSON schema of every event, nested ones written out in their place."""
    return {name: _schema(contract) for name, contract in EVENTS.items()}


def without_prose(node: Any, *, names: bool = False) -> Any:
    """``node`` without descriptions, titles and examples; ``names`` where its keys are names instead of keywords."""
    if isinstance(node, list):
        return [without_prose(child) for child in node]
    if not isinstance(node, dict):
        return node
    return {
        key: child if key in VALUES and not names else without_prose(child, names=key in NAMED_BY_US and not names)
        for key, child in node.items()
        if names or key not in PROSE
    }


def _schema(contract: Any) -> Any:
    schema = without_prose(contract.model_json_schema(by_alias=True))
    return _inlined(schema, schema.pop("$defs", {}))


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_inlined(child, definitions) for child in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        siblings = {key: child for key, child in node.items() if key != "$ref"}
        return _inlined(definitions[node["$ref"].removeprefix("#/$defs/")], definitions) | siblings
    return {key: _inlined(child, definitions) for key, child in node.items()}
