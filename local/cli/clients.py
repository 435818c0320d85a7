"""``deeplens clients``: the OAuth clients of a tenant, or of the platform itself."""

from typing import Annotated, Any

import typer

from local.cli.admin import admin_api, below, in_path
from local.cli.commands import Commands
from local.cli.screen import confirm, show, table

app = Commands(help="List, register and delete OAuth clients, and replace their secrets.")

Tenant = Annotated[str, typer.Option(help="e.g. tenant_demo; without it, clients of the platform.")]
Client = Annotated[str, typer.Argument(help="cli_…; `deeplens clients list` shows ids.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@app.command("list", example="deeplens clients list --tenant tenant_demo")
def list_clients(tenant: Tenant = "", limit: Annotated[int, typer.Option(min=1)] = 200) -> None:
    """List clients, by id."""
    clients = admin_api().pages(f"{below(tenant)}/clients", "clients", limit)
    made = table("id", "name", "secret", "grants", "scopes")
    for client in clients:
        secret = "yes" if client["confidential"] else "no"
        made.add_row(client["clientId"], client["name"], secret, " ".join(client["grants"]), " ".join(client["scopes"]))
    show(clients, made)


@app.command(example="deeplens clients create Importer --grant client_credentials --scope deeplens.api.write")
def create(
    name: Annotated[str, typer.Argument(help="Name that people read.")],
    grant: Annotated[
        list[str], typer.Option(help="client_credentials, authorization_code or refresh_token; repeat for several.")
    ],
    scope: Annotated[list[str], typer.Option(help="e.g. deeplens.api.read; repeat for several.")],
    redirect_uri: Annotated[list[str] | None, typer.Option(help="Where sign-in returns to; repeatable.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Without a secret: a browser or phone app.")] = False,
    tenant: Tenant = "",
) -> None:
    """Register a client. Its secret is shown once."""
    body = {
        "name": name,
        "grants": grant,
        "scopes": scope,
        "redirectUris": redirect_uri or [],
        "confidential": not public,
    }
    _show_secret(admin_api()("POST", f"{below(tenant)}/clients", body))


@app.command(example="deeplens clients rotate cli_01kd1v8q --tenant tenant_demo --yes")
def rotate(client: Client, tenant: Tenant = "", yes: Yes = False) -> None:
    """Replace a client's secret. The new one is shown once."""
    confirm(f"The secret of {client} will stop working at once.", yes=yes)
    _show_secret(admin_api()("POST", f"{_path(tenant, client)}/rotate"))


@app.command(example="deeplens clients delete cli_01kd1v8q --tenant tenant_demo --yes")
def delete(client: Client, tenant: Tenant = "", yes: Yes = False) -> None:
    """Delete a client with its tokens."""
    confirm(f"The client {client} and its tokens will stop working.", yes=yes)
    admin_api()("DELETE", _path(tenant, client))
    show({"deleted": client}, f"deleted {client}")


def _path(tenant: str, client: str) -> str:
    return f"{below(tenant)}/clients/{in_path(client)}"


def _show_secret(client: dict[str, Any]) -> None:
    secret = client.get("clientSecret")
    show(client, f"{client['clientId']} {client['name']}", f"secret, shown once: {secret}" if secret else "no secret")
