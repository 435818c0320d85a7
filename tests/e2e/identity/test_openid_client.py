"""openid-client, a certified relying party in JavaScript, completes every flow."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from deeplens.access.scopes import READ
from deeplens.identity.client_keys.model import ClientKeys
from joserfc.jwk import ECKey

from local.setup.tools import REPOSITORY, make_once, tool_folder
from tests.e2e.identity.conftest import CALLBACK, GOODBYE, PASSWORD, SECRET, App, World

SOURCE = Path(__file__).parents[1] / "openid_client"
COMMANDS = Path(sys.executable).parent
"""Where the development environment has ``node`` and ``npm``."""


@pytest.fixture(scope="session")
def script() -> Path:
    """The driver beside its locked packages, fetched once."""
    lock = (SOURCE / "package-lock.json").read_text()
    folder = tool_folder(REPOSITORY / ".tools", "openid-client", lock)

    def fetch(target: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCE / name, target)
        path = os.pathsep.join([str(COMMANDS), os.environ.get("PATH", "")])
        command = [COMMANDS / "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run(command, cwd=target, env={**os.environ, "PATH": path}, check=True, timeout=120)

    make_once(folder, fetch)
    return Path(shutil.copy(SOURCE / "relying_party.mjs", folder))


def run(script: Path, world: World, app: App, email: str, key: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the driver found; addresses that it wants to have opened are opened by one browser."""
    browser = world.browser()
    settings = {
        "issuer": world.issuer,
        "id": app.client.id,
        "secret": app.secret,
        "key": key,
        "callback": CALLBACK,
        "goodbye": GOODBYE,
        "scope": f"openid profile offline_access {READ}",
        "machine": READ,
    }
    with subprocess.Popen(
        [COMMANDS / "node", script, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        for line in process.stdout:
            message = json.loads(line)
            if "result" in message:
                return dict(message["result"])
            process.stdin.write(f"{browser.answer(message['open'], email, PASSWORD)}\n")
            process.stdin.flush()
    raise AssertionError(f"the driver ended with {process.returncode}; its last words are above")


@pytest.mark.parametrize(
    ("secret", "with_key"), [(SECRET, False), (None, False), (None, True)], ids=["confidential", "public", "key"]
)
def test_openid_client_is_content_with_every_flow(
    script: Path, world: World, secret: str | None, with_key: bool
) -> None:
    app, email = world.app(secret), world.user("viewer")
    key = ECKey.generate_key("P-256", {"kid": "first"}) if with_key else None
    if key is not None:
        # A confidential client whose secret nobody knows.
        app = world.app(SECRET)
        world.parts.clients.replace_secret(app.client.tenant_id, app.client.id, bytes(32))
        jwks = {"keys": [key.as_dict(private=False)]}
        world.parts.client_keys.save(ClientKeys(app.client.id, jwks, None))
        app = replace(app, secret=None)
    found = run(script, world, app, email, None if key is None else dict(key.as_dict(private=True)))
    assert found["claims"]["aud"] == app.client.id
    assert found["userinfo"]["preferred_username"] == email
    assert found["refreshed"]
    assert found["again"] == found["claims"]["sub"] == found["userinfo"]["sub"]
    assert found["refused"] == "invalid_grant"
    assert found["goodbye"] == f"{GOODBYE}?state=see+you"
    if secret or with_key:
        assert (found["alive"]["active"], found["dead"]["active"]) == (True, False)
        assert world.search(found["machine"]["access_token"]).status_code == 200
