"""``deeplens keys``: create, list and revoke API keys, and revoke signing keys."""

from typing import Annotated, Any

import typer
from deeplens.access.scopes import ADMIN, READ, WRITE

from local.cli.admin import admin_api, below, in_path
from local.cli.commands import Commands
from local.cli.container import current_container
from local.cli.screen import fail, show, table

app = Commands(help="Create, list and revoke API keys; revoke signing keys.")


@app.command("create", example="deeplens keys create tenant_demo --name importer --scope deeplens.api.write")
def create_key(
    tenant_id: Annotated[str, typer.Argument(help="e.g. tenant_demo; without it, a key for operators")] = "",
    name: Annotated[str, typer.Option(help="Name of the key.")] = "cli",
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; default: read and write, for an operator's key admin.")
    ] = None,
) -> None:
    """Create an API key; it is shown once."""
    api = admin_api()
    if tenant_id:
        body = {"name": name, "scopes": scope or [READ, WRITE]}
        document: dict[str, Any] = api("POST", f"{below(tenant_id)}/keys", body)
    else:
        scopes = scope or [ADMIN]
        with api.recorded("keys create", name, detail={"scopes": scopes}):
            document = {"name": name, "scopes": scopes, "key": current_container().api_keys.create(None, name, scopes)}
    show(document, document["key"])


@app.command("list", example="deeplens keys list tenant_demo")
def list_keys(
    tenant_id: Annotated[str, typer.Argument(help="e.g. tenant_demo")],
    limit: Annotated[int, typer.Option(min=1)] = 200,
) -> None:
    """List a tenant's live keys, without their secrets."""
    keys = admin_api().pages(f"{below(tenant_id)}/keys", "keys", limit)
    made = table("prefix", "name", "scopes", "created", "expires", "last used")
    for key in keys:
        times = ((key[name] or "")[:19] for name in ("createdAt", "expiresAt", "lastUsedAt"))
        made.add_row(key["prefix"], key["name"], " ".join(key["scopes"]), *times)
    show(keys, made)


@app.command(example="deeplens keys revoke 0f3a9b1c2d4e")
def revoke(
    prefix: Annotated[str, typer.Argument(help="The part of the key between its first two underscores.")],
    tenant: Annotated[str, typer.Option(help="Only a key of this tenant.")] = "",
) -> None:
    """Revoke an API key; it stops working within ten seconds."""
    api = admin_api()
    if tenant:
        api("DELETE", f"{below(tenant)}/keys/{in_path(prefix)}")
    else:
        with api.recorded("keys revoke", prefix):
            if not current_container().api_keys.revoke(prefix):
                raise fail(f"no such key: {prefix[:32]}. `deeplens keys list TENANT` shows the prefixes of live keys.")
    show({"revoked": prefix}, "revoked")


@app.command("revoke-signing", example="deeplens keys revoke-signing mJ0bV1Xq2c3d4e5f")
def revoke_signing_keys(
    kids: Annotated[list[str], typer.Argument(help="Ids of keys that sign tokens: `kid` in the key set.")],
) -> None:
    """Revoke compromised signing keys and delete their private halves; their tokens stop working within ten seconds."""
    api, container = admin_api(), current_container()
    valid = {key["kid"] for key in api("GET", "/signing-keys")["keys"] if not key["revoked"]}
    unknown = [kid for kid in kids if kid not in valid]
    for kid in kids:
        if kid in valid:
            api("DELETE", f"/signing-keys/{in_path(kid)}")
    container.signing_keys.rotate()
    if unknown:
        raise fail(f"no such valid key: {', '.join(unknown)}")
    show({"revoked": kids}, "revoked")
