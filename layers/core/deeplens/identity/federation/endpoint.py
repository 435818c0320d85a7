"""``ProviderEndpoint`` on the checked connections of ``egress``."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from pydantic_core import from_json
from urllib3.exceptions import HTTPError

from deeplens.egress.http import EgressPool
from deeplens.egress.rules import EgressRules
from deeplens.errors import EndpointRefused
from deeplens.identity.federation.model import ProviderFault

MAX_ANSWER_BYTES = 256 * 1024
HEADERS = {"user-agent": "DeepLens-Federation/1", "accept": "application/json"}
FORM = {"content-type": "application/x-www-form-urlencoded"}


class EgressProviderEndpoint:
    """Reads at most ``MAX_ANSWER_BYTES`` of an answer, and follows no redirect."""

    def __init__(self, rules: EgressRules) -> None:
        self._pool = EgressPool(rules)

    def get(self, url: str) -> Any:
        return self._json("GET", url, headers=HEADERS)

    def post(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> Any:
        return self._json("POST", url, body=urlencode(form), headers={**HEADERS, **FORM, **headers})

    def _json(self, method: str, url: str, **request: Any) -> Any:
        try:
            with self._pool.urlopen(method, url, **request) as answer:
                body, status = answer.read(MAX_ANSWER_BYTES + 1, decode_content=False), answer.status
        except EndpointRefused as error:
            raise ProviderFault(f"The provider cannot be used: {error}.") from error
        except (HTTPError, OSError) as error:
            raise ProviderFault(f"{url} does not answer ({type(error).__name__}).") from error
        if status != 200 or len(body) > MAX_ANSWER_BYTES:
            raise ProviderFault(f"{url} answers with status {status} and {len(body)} bytes.")
        try:
            return from_json(body)
        except ValueError as error:
            raise ProviderFault(f"{url} does not answer with JSON.") from error
