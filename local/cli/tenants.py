"""``deeplens tenants``: create tenants and migrate their databases."""

import re
from typing import Annotated

import typer
from deeplens.bootstrap.container import Container
from deeplens.embedding.built_in import BUILT_IN_MODEL
from deeplens.embedding.model import ModelRef
from deeplens.errors import StoreNotOwned
from deeplens.provisioning.provision import databases_to_migrate, migrate_platform, migrate_tenants
from rich.progress import Progress

from local.cli.container import current_container
from local.cli.screen import console, fail, print_line
from local.stack.config import LocalConfig

app = typer.Typer(no_args_is_help=True, help="Create tenants and migrate their databases.")
NOT_IN_ID = re.compile(r"[^a-z0-9]+")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="What people call it.")],
    tenant_id: Annotated[str, typer.Option("--id", help="tenant_ and a-z, 0-9, _; made from the name if absent.")] = "",
    storage: Annotated[str, typer.Option(help="s3, minio or nfs; the stack's default if absent.")] = "",
    model: Annotated[str, typer.Option(help="NAME:VERSION of a served model; the built-in one if absent.")] = "",
) -> None:
    """Create a tenant: database, bucket, collection. Safe to run again after any failure."""
    chosen = tenant_id or f"tenant_{NOT_IN_ID.sub('_', name.lower())[:40].strip('_')}"
    container = current_container()
    try:
        ref = served_model(container, model) if model else BUILT_IN_MODEL
        tenant = container.provisioning.provision(chosen, name, storage or LocalConfig().storage, ref)
    except ValueError as error:
        raise fail(str(error)) from None
    typer.echo(f"{tenant.id} is {tenant.status}; collection {tenant.collection}, store {tenant.storage_uri}")


def served_model(container: Container, named: str) -> ModelRef:
    """A model by ``NAME:VERSION``, as its endpoint describes it. Raises ``ModelNotFound``, ``ValueError``."""
    name, _, version = named.partition(":")
    if not version:
        raise ValueError(f"{named}: name a model as NAME:VERSION; `deeplens models list` shows them")
    profile = container.embedder.describe(name, version)
    container.rollouts.register(profile)
    return profile.ref


@app.command()
def migrate(
    every: Annotated[
        bool, typer.Option("--all", help="Also those that are up to date: roles changed by hand.")
    ] = False,
) -> None:
    """Bring every database to the newest schema, and tenants' roles to the present key; repeat it to resume."""
    container = current_container()
    migrate_platform(container.connections.platform_url)
    waiting = list(databases_to_migrate(container.connections, every=every))
    with Progress(console=console) as progress:
        task = progress.add_task("tenant databases", total=len(waiting))
        done = migrate_tenants(container.connections, lambda _: progress.advance(task), every=every)
    failed = [one for one in done if one.error]
    for one in failed:
        print_line(f"{one.tenant_id}:", "red", str(one.error))
    console.print(f"{len(done) - len(failed)} migrated, {len(failed)} to repeat")
    raise typer.Exit(1 if failed else 0)


@app.command()
def adopt(
    tenant_id: Annotated[str, typer.Argument(help="e.g. tenant_demo")],
    replacing: Annotated[str, typer.Option(help="Mark of an installation that no longer uses the bucket.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Mark a tenant's bucket as this installation's, so that sweeps and deletions may remove objects in it.

    For buckets from before buckets were marked, and after an installation moved. Ask for a dry run of the sweep first:
    it lists what a sweep would remove.
    """
    question = f"Sweeps will delete every object in {tenant_id}'s bucket that this installation does not know. Go on?"
    if not yes:
        typer.confirm(question, abort=True)
    try:
        tenant = current_container().provisioning.adopt_store(tenant_id, replacing)
    except StoreNotOwned as error:
        known = f"; it carries the mark {error.found}, which --replacing would replace" if error.found else ""
        raise fail(f"{error}{known}") from None
    typer.echo(f"{tenant.storage_uri} is this installation's")
