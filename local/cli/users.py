"""``deeplens users``: the users of a tenant, or of the platform itself."""

import sys
from typing import Annotated, Any

import typer

from local.cli.admin import admin_api, below, in_path
from local.cli.commands import Commands
from local.cli.screen import confirm, console, fail, show, table

app = Commands(help="List, create, invite, change, disable and delete users, who sign in by the identity API.")

Tenant = Annotated[str, typer.Option(help="e.g. tenant_demo; without it, users of the platform, who are operators.")]
Language = Annotated[str, typer.Option(help="Of the mail: en or de.")]
User = Annotated[str, typer.Argument(help="usr_…; `deeplens users list` shows ids.")]


@app.command("list", example="deeplens users list --tenant tenant_demo")
def list_users(tenant: Tenant = "", limit: Annotated[int, typer.Option(min=1)] = 200) -> None:
    """List users, by address."""
    users = admin_api().pages(f"{below(tenant)}/users", "users", limit)
    made = table("id", "address", "name", "roles", "status")
    for user in users:
        made.add_row(user["userId"], user["email"], user["name"], " ".join(user["roles"]), user["status"])
    show(users, made)


@app.command(example="deeplens users create ada@example.com --name Ada --role editor --tenant tenant_demo")
def create(
    email: Annotated[str, typer.Argument(help="Address, which signs in to one account of the platform.")],
    name: Annotated[str, typer.Option(help="Name that people read.")],
    role: Annotated[
        list[str], typer.Option(help="tenant_admin, editor or viewer, repeatable; of the platform platform_admin.")
    ],
    tenant: Tenant = "",
    invite: Annotated[
        bool, typer.Option("--invite", help="Mail a link instead, by which the person chooses a password in 7 days.")
    ] = False,
    language: Language = "en",
) -> None:
    """Create a user. The password is asked for, or without a terminal read as a line of standard input."""
    api = admin_api()
    body = {"email": email, "name": name, "roles": role}
    body |= {"language": language} if invite else {"password": _password()}
    _show(api("POST", f"{below(tenant)}/users", body))


@app.command(example="deeplens users invite usr_01kd1v8q --tenant tenant_demo")
def invite(user: User, tenant: Tenant = "") -> None:
    """Send an invitation again, with a new link; the old one ends."""
    _show(admin_api()("POST", f"{_path(tenant, user)}/invitation"))


@app.command(example="deeplens users email usr_01kd1v8q ada.lovelace@example.com --tenant tenant_demo")
def email(
    user: User,
    address: Annotated[str, typer.Argument(help="New address, which a link in a mail to it confirms.")],
    tenant: Tenant = "",
    language: Language = "en",
) -> None:
    """Change a user's address, once its owner has confirmed it; the former one is told, and can undo it for 7 days."""
    found = admin_api()("POST", f"{_path(tenant, user)}/email", {"email": address, "language": language})
    _show(found, f"; a link to confirm {address} is mailed")


@app.command(example="deeplens users change usr_01kd1v8q --role viewer --tenant tenant_demo")
def change(
    user: User,
    name: Annotated[str | None, typer.Option(help="New name.")] = None,
    role: Annotated[list[str] | None, typer.Option(help="Replaces all roles; repeat for several.")] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for a new one, which ends all sessions.")] = False,
    tenant: Tenant = "",
) -> None:
    """Change a user's name, roles or password."""
    api = admin_api()
    body: dict[str, Any] = {"name": name, "roles": role or None, "password": _password() if password else None}
    given = {key: value for key, value in body.items() if value is not None}
    if not given:
        raise fail("nothing to change: give --name, --role or --password")
    _show(api("PATCH", _path(tenant, user), given))


@app.command(example="deeplens users disable usr_01kd1v8q --tenant tenant_demo")
def disable(user: User, tenant: Tenant = "") -> None:
    """End a user's sessions and tokens, and let them sign in no more."""
    _show(admin_api()("PATCH", _path(tenant, user), {"status": "disabled"}))


@app.command(example="deeplens users enable usr_01kd1v8q --tenant tenant_demo")
def enable(user: User, tenant: Tenant = "") -> None:
    """Let a disabled user sign in again."""
    _show(admin_api()("PATCH", _path(tenant, user), {"status": "active"}))


@app.command(example="deeplens users delete usr_01kd1v8q --tenant tenant_demo --yes")
def delete(
    user: User,
    tenant: Tenant = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a user. `disable` can be undone, this cannot."""
    confirm(f"The user {user} will be deleted.", yes=yes)
    admin_api()("DELETE", _path(tenant, user))
    show({"deleted": user}, f"deleted {user}")


def _path(tenant: str, user: str) -> str:
    return f"{below(tenant)}/users/{in_path(user)}"


def _show(user: dict[str, Any], remark: str = "") -> None:
    show(user, f"{user['userId']} {user['email']}: {' '.join(user['roles'])}, {user['status']}{remark}")


def _password() -> str:
    """A password that appears neither on the screen nor in the list of processes."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=console.stderr))
    return sys.stdin.readline().rstrip("\n")
