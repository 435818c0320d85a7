"""``deeplens keys``: create and revoke API keys, and revoke signing keys."""

from typing import Annotated

import typer
from deeplens.access.scopes import ADMIN, READ, WRITE
from deeplens.identity.revoke_signing_key import RevokeSigningKey

from local.cli.container import current_container
from local.cli.screen import console

app = typer.Typer(no_args_is_help=True, help="Create and revoke API keys; revoke signing keys.")


@app.command("create")
def create_key(
    tenant_id: Annotated[str, typer.Argument(help="e.g. tenant_demo; without it, a key for operators")] = "",
    name: Annotated[str, typer.Option(help="Name of the key.")] = "cli",
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeat for several; default: read and write, for an operator's key admin.")
    ] = None,
) -> None:
    """Create an API key; it is shown once."""
    container = current_container()
    if tenant_id:
        container.tenants.get(tenant_id)
    typer.echo(container.api_keys.create(tenant_id or None, name, scope or ((READ, WRITE) if tenant_id else (ADMIN,))))


@app.command()
def revoke(
    prefix: Annotated[str, typer.Argument(help="The part of the key between its first two underscores.")],
) -> None:
    """Revoke an API key; it stops working within ten seconds."""
    done = current_container().api_keys.revoke(prefix)
    console.print("revoked" if done else "no such key")
    raise typer.Exit(0 if done else 1)


@app.command("revoke-signing")
def revoke_signing_keys(
    kids: Annotated[list[str], typer.Argument(help="Ids of keys that sign tokens: `kid` in the key set.")],
) -> None:
    """Revoke compromised signing keys and delete their private halves; their tokens stop working within ten seconds."""
    container = current_container()
    revoke = container.build(RevokeSigningKey)
    unknown = [kid for kid in kids if not revoke(kid)]
    container.signing_keys.rotate()
    console.print(f"no such valid key: {', '.join(unknown)}" if unknown else "revoked")
    raise typer.Exit(1 if unknown else 0)
