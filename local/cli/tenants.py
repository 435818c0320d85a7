"""``deeplens tenants``: create, list, suspend and delete tenants, set their limits, and migrate their databases."""

import json
import re
from typing import Annotated, Any

import typer
from deeplens.bootstrap.container import Container
from deeplens.embedding.model import BUILT_IN_MODEL, ModelRef
from deeplens.errors import StoreNotOwned
from rich.progress import Progress

from local.cli.admin import admin_api, below
from local.cli.commands import Commands
from local.cli.container import current_container
from local.cli.screen import confirm, console, fail, print_line, show, table
from local.operations.migrations import databases_to_migrate, migrate_platform, migrate_tenants, move_credentials
from local.stack.config import LocalConfig

app = Commands(help="Create, list, suspend and delete tenants, set their limits, and migrate their databases.")
TenantId = Annotated[str, typer.Argument(help="e.g. tenant_demo")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
NOT_IN_ID = re.compile(r"[^a-z0-9]+")


@app.command(example="deeplens tenants create Acme --storage s3")
def create(
    name: Annotated[str, typer.Argument(help="Name that people read.")],
    tenant_id: Annotated[str, typer.Option("--id", help="tenant_ and a-z, 0-9, _; default: from the name.")] = "",
    storage: Annotated[str, typer.Option(help="s3, minio or nfs; default: the stack's.")] = "",
    model: Annotated[str, typer.Option(help="NAME:VERSION of a served model; default: the built-in one.")] = "",
) -> None:
    """Create a tenant with its database, bucket and collection. Safe to repeat after any failure."""
    new_id = tenant_id or f"tenant_{NOT_IN_ID.sub('_', name.lower())[:40].strip('_')}"
    container = current_container()
    try:
        with admin_api().recorded("tenants create", new_id, new_id, {"name": name, "storage": storage, "model": model}):
            ref = served_model(container, model) if model else BUILT_IN_MODEL
            tenant = container.provisioning.provision(new_id, name, storage or LocalConfig().storage, ref)
    except ValueError as error:
        raise fail(str(error)) from None
    document = {"tenantId": tenant.id, "status": tenant.status, "collection": tenant.collection}
    show(
        document | {"storageUri": tenant.storage_uri},
        f"{tenant.id} is {tenant.status}; collection {tenant.collection}, store {tenant.storage_uri}",
    )


def served_model(container: Container, name_and_version: str) -> ModelRef:
    """Register a model that the endpoint serves, by ``NAME:VERSION``. Raises ``ModelNotFound``, ``ValueError``."""
    name, _, version = name_and_version.partition(":")
    if not version:
        raise ValueError(f"{name_and_version} is not NAME:VERSION; `deeplens models list` shows the models")
    profile = container.embedder.describe(name, version)
    container.rollouts.register(profile)
    return profile.ref


@app.command(example="deeplens tenants migrate --all")
def migrate(
    every: Annotated[
        bool,
        typer.Option("--all", help="Also databases that are up to date, to repair roles that were changed by hand."),
    ] = False,
) -> None:
    """Migrate every database to the newest schema, and roles to their passwords and rights; repeat it to resume."""
    container = current_container()
    migrate_platform(container.connections.admin_url, container.platform_role_urls)
    for tenant_id in move_credentials(container.connections, container.secret_store):
        print_line(f"{tenant_id}:", "green", "the credentials of its server are in the secret store now")
    databases = list(databases_to_migrate(container.connections, every=every))
    with Progress(console=console) as progress:
        task = progress.add_task("tenant databases", total=len(databases))
        migrations = migrate_tenants(container.connections, lambda _: progress.advance(task), every=every)
    failed = [migration for migration in migrations if migration.error]
    for migration in failed:
        print_line(f"{migration.tenant_id}:", "red", str(migration.error))
    show(migrations, f"{len(migrations) - len(failed)} migrated, {len(failed)} to repeat")
    raise typer.Exit(1 if failed else 0)


@app.command(example="deeplens tenants adopt tenant_demo --yes")
def adopt(
    tenant_id: TenantId,
    replacing: Annotated[str, typer.Option(help="Id of an installation that no longer uses the bucket.")] = "",
    yes: Yes = False,
) -> None:
    """Mark a tenant's bucket as this installation's, so that sweeps and deletions may remove objects in it.

    Use it for buckets that were created before marks existed, and after an installation moved. First start a sweep as
    a dry run, which lists the objects that a sweep would delete.
    """
    confirm(f"Sweeps will delete every object in {tenant_id}'s bucket that this installation does not know.", yes=yes)
    try:
        with admin_api().recorded("tenants adopt", tenant_id, tenant_id, {"replacing": replacing}):
            tenant = current_container().provisioning.adopt_store(tenant_id, replacing)
    except StoreNotOwned as error:
        mark = f"; its mark is {error.found}. `--replacing {error.found}` replaces it" if error.found else ""
        raise fail(f"{error}{mark}") from None
    document = {"tenantId": tenant_id, "storageUri": tenant.storage_uri}
    show(document, f"{tenant.storage_uri} belongs to this installation")


@app.command("list", example="deeplens tenants list --status suspended")
def list_tenants(
    status: Annotated[str, typer.Option(help="Only active, suspended, provisioning, deleting or deleted ones.")] = "",
    limit: Annotated[int, typer.Option(min=1)] = 200,
) -> None:
    """List tenants, by id."""
    tenants = admin_api().pages("/tenants", "tenants", limit, status=status)
    made = table("id", "name", "status", "since", "model", "store")
    for tenant in tenants:
        model = f"{tenant['model']['name']}:{tenant['model']['version']}"
        names = (tenant["tenantId"], tenant["name"], tenant["status"], tenant["statusSince"][:19])
        made.add_row(*names, model, tenant["placement"]["storageUri"])
    show(tenants, made)


@app.command("show", example="deeplens tenants show tenant_demo")
def show_tenant(tenant_id: TenantId) -> None:
    """Show a tenant: status, model, store, limits. Of a deleted one this is the receipt: what was removed, and when."""
    _show(admin_api()("GET", below(tenant_id)))


@app.command(example="deeplens tenants suspend tenant_demo")
def suspend(tenant_id: TenantId) -> None:
    """Refuse every request of a tenant within ten seconds. Accepted images are still processed; `resume` undoes it."""
    _show(admin_api()("POST", f"{below(tenant_id)}/suspend"))


@app.command(example="deeplens tenants resume tenant_demo")
def resume(tenant_id: TenantId) -> None:
    """Let a suspended tenant in again."""
    _show(admin_api()("POST", f"{below(tenant_id)}/resume"))


Limit = Annotated[str | None, typer.Option(help="A number, 0 for no limit, or default for the platform's.")]


@app.command(example="deeplens tenants limits tenant_demo --max-images 100000 --requests-per-minute default")
def limits(
    tenant_id: TenantId,
    max_images: Limit = None,
    max_bytes: Limit = None,
    requests_per_minute: Limit = None,
    max_file_bytes: Limit = None,
) -> None:
    """Show a tenant's own limits, or change those that are given, within ten seconds. What is stored already stays."""
    given = {
        "maxImages": max_images,
        "maxBytes": max_bytes,
        "requestsPerMinute": requests_per_minute,
        "maxFileBytes": max_file_bytes,
    }
    changes = {name: limit_of(name, value) for name, value in given.items() if value is not None}
    api = admin_api()
    tenant = api("GET", below(tenant_id))
    if changes:
        tenant = api("PUT", f"{below(tenant_id)}/limits", tenant["limits"] | changes)
    made = table("limit", "value")
    for name, value in tenant["limits"].items():
        made.add_row(name, "default" if value is None else str(value) if value else "none")
    show(tenant["limits"], made)


def limit_of(name: str, text: str) -> int | None:
    """Read a limit; None is the platform's default."""
    if text == "default":
        return None
    if not text.isdecimal():
        raise fail(f"{name}: {text} is no limit. Give a number, 0 for no limit, or default for the platform's.")
    return int(text)


@app.command(example="deeplens tenants delete tenant_demo --yes")
def delete(tenant_id: TenantId, yes: Yes = False) -> None:
    """Delete a tenant with all it has. There is no way back, and its id is not given again.

    Credentials end within ten seconds; files, vectors, database and rows are removed by a job in the minutes after.
    `deeplens tenants show` then is the receipt.
    """
    confirm(f"{tenant_id}'s images, vectors, users and keys will be removed for ever.", yes=yes)
    _show(admin_api()("DELETE", below(tenant_id)))


def _show(tenant: dict[str, Any]) -> None:
    made = table("", "")
    for name, value in tenant.items():
        made.add_row(name, value if isinstance(value, str) else json.dumps(value))
    show(tenant, made)
