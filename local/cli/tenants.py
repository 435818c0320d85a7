"""``deeplens tenants``: create tenants and migrate their databases."""

import re
from typing import Annotated

import typer
from deeplens.bootstrap.container import Container
from deeplens.embedding.model import BUILT_IN_MODEL, ModelRef
from deeplens.errors import StoreNotOwned
from rich.progress import Progress

from local.cli.container import current_container
from local.cli.screen import console, fail, print_line
from local.operations.migrations import databases_to_migrate, migrate_platform, migrate_tenants, move_credentials
from local.stack.config import LocalConfig

app = typer.Typer(no_args_is_help=True, help="Create tenants and migrate their databases.")
NOT_IN_ID = re.compile(r"[^a-z0-9]+")


@app.command()
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
        ref = served_model(container, model) if model else BUILT_IN_MODEL
        tenant = container.provisioning.provision(new_id, name, storage or LocalConfig().storage, ref)
    except ValueError as error:
        raise fail(str(error)) from None
    typer.echo(f"{tenant.id} is {tenant.status}; collection {tenant.collection}, store {tenant.storage_uri}")


def served_model(container: Container, name_and_version: str) -> ModelRef:
    """Register a model that the endpoint serves, by ``NAME:VERSION``. Raises ``ModelNotFound``, ``ValueError``."""
    name, _, version = name_and_version.partition(":")
    if not version:
        raise ValueError(f"{name_and_version} is not NAME:VERSION; `deeplens models list` shows the models")
    profile = container.embedder.describe(name, version)
    container.rollouts.register(profile)
    return profile.ref


@app.command()
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
    console.print(f"{len(migrations) - len(failed)} migrated, {len(failed)} to repeat")
    raise typer.Exit(1 if failed else 0)


@app.command()
def adopt(
    tenant_id: Annotated[str, typer.Argument(help="e.g. tenant_demo")],
    replacing: Annotated[str, typer.Option(help="Id of an installation that no longer uses the bucket.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Mark a tenant's bucket as this installation's, so that sweeps and deletions may remove objects in it.

    Use it for buckets that were created before marks existed, and after an installation moved. First start a sweep as
    a dry run, which lists the objects that a sweep would delete.
    """
    question = (
        f"Sweeps will delete every object in {tenant_id}'s bucket that this installation does not know. Continue?"
    )
    if not yes:
        typer.confirm(question, abort=True)
    try:
        tenant = current_container().provisioning.adopt_store(tenant_id, replacing)
    except StoreNotOwned as error:
        mark = f"; its mark is {error.found}. `--replacing {error.found}` replaces it" if error.found else ""
        raise fail(f"{error}{mark}") from None
    typer.echo(f"{tenant.storage_uri} belongs to this installation")
