"""Make ``requests`` use checked connections."""

from typing import Any

import requests
from requests.adapters import HTTPAdapter

from deeplens.egress.http import checked_pools
from deeplens.egress.rules import EgressRules, Resolve, check_spelling, resolved


class CheckedAdapter(HTTPAdapter):
    """Sends over checked connections, without proxies."""

    def __init__(self, rules: EgressRules, resolve: Resolve) -> None:
        self._rules, self._resolve = rules, resolve
        super().__init__(pool_maxsize=32)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        self.poolmanager.pool_classes_by_scheme = checked_pools(self._rules, self._resolve)

    def send(self, request: Any, *arguments: Any, **options: Any) -> Any:
        check_spelling(request.url, self._rules)
        return super().send(request, *arguments, **options | {"proxies": {}})


def guarded_session(rules: EgressRules, resolve: Resolve = resolved) -> requests.Session:
    """Return a session for tenants' endpoints; it ignores proxies and passwords of the environment."""
    session = requests.Session()
    session.trust_env, session.max_redirects = False, 0
    for scheme in ("http://", "https://"):
        session.mount(scheme, CheckedAdapter(rules, resolve))
    return session
