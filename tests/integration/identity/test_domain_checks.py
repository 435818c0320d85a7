"""A verified domain is looked at every day, and ends when its TXT record is missing for seven days."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from deeplens.database.connections import Connections
from deeplens.identity.federation.model import IdentityProvider
from deeplens.identity.federation.recheck import GRACE, RecheckDomains
from deeplens.tenants.model import Tenant

from tests.fakes.federation import FakeTxtRecords
from tests.harness.mailed_identity import MailedIdentity, mailed_identity

DOMAIN = "checked.test"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


class World:
    """A tenant with a verified domain, its administrator, and a clock that tests move."""

    def __init__(self, identity: MailedIdentity, tenant: Tenant) -> None:
        self.identity, self.tenant, self.parts = identity, tenant, identity.container
        self.records, self.time = FakeTxtRecords(), datetime.now(UTC)
        vars(self.parts).update(txt_records=self.records, clock=self)
        provider = IdentityProvider(tenant.id, "https://login.test", "c", "email", "name", None, {}, "viewer", False)
        self.parts.identity_providers.save(provider, [DOMAIN])
        self.parts.identity_providers.verify(tenant.id, DOMAIN, self.time)
        (self.domain,) = self.parts.identity_providers.domains(tenant.id)
        self.publish()
        self.admin = identity.user("tenant_admin", tenant_id=tenant.id)
        identity.user("viewer", tenant_id=tenant.id)

    def now(self) -> datetime:
        return self.time

    def publish(self) -> None:
        self.records.records = {self.domain.txt_name: ["other", self.domain.txt_value]}

    def after(self, passed: timedelta) -> list[str]:
        """The subjects of the mails that the schedule sends then; all go to the administrator."""
        self.time += passed
        self.parts.build(RecheckDomains)()
        mails = self.identity.mails()
        assert {mail.recipient for mail in mails} <= {self.admin.email}
        return [mail.text.partition(".")[0] for mail in mails]

    @property
    def signs_in(self) -> bool:
        return self.parts.identity_providers.of_domain(DOMAIN) is not None

    def audited(self) -> list[tuple[str, str, str]]:
        entries = self.parts.audit.page(self.tenant.id, 2**62, 10)
        return [(entry.action, entry.target, entry.outcome) for entry in entries]


@pytest.fixture
def world(connections: Connections, tenant: Tenant) -> Iterator[World]:
    with mailed_identity(connections) as identity:
        yield World(identity, tenant)
    with connections.platform() as connection:
        connection.execute("DELETE FROM nextgen_identity.identity_providers")


def test_a_domain_whose_record_stays_away_ends_and_its_administrators_are_told(world: World) -> None:
    assert world.after(DAY) == []
    world.records.records = {}
    (missed,) = world.after(DAY)
    assert "was not found" in missed
    assert [world.after(DAY) for _ in range(GRACE.days - 1)] == [[]] * (GRACE.days - 1)
    assert (world.signs_in, world.audited()) == (True, [])
    (ended,) = world.after(DAY)
    assert ("was missing for seven days" in ended, world.signs_in) == (True, False)
    action = ("end domain verification", DOMAIN)
    assert world.audited() == [(*action, "done"), (*action, "begun")]
    assert world.after(DAY) == []


def test_a_record_that_comes_back_in_time_counts_from_the_beginning(world: World) -> None:
    world.records.records = {}
    assert len(world.after(DAY)) == 1
    world.publish()
    assert world.after(DAY) == []
    world.records.records = {}
    assert len(world.after(DAY)) == 1
    assert [world.after(DAY) for _ in range(GRACE.days - 1)] == [[]] * (GRACE.days - 1)
    assert world.signs_in


def test_a_domain_is_looked_at_once_a_day(world: World) -> None:
    world.records.records = {}
    assert world.after(23 * HOUR) == []
    assert len(world.after(HOUR)) == 1
    claimed = world.parts.identity_providers.claim_domains(world.time, world.time - DAY, 10)
    assert claimed == []


def test_who_verifies_again_in_the_last_moment_keeps_the_domain(world: World) -> None:
    world.records.records = {}
    for _ in range(GRACE.days):
        world.after(DAY)
    late = world.time + DAY
    world.parts.identity_providers.verify(world.tenant.id, DOMAIN, late)
    assert not world.parts.identity_providers.end_verification(world.tenant.id, DOMAIN, late)
    assert world.signs_in


def test_before_the_migration_nothing_is_looked_at_and_domains_can_be_verified(world: World) -> None:
    rename = "ALTER TABLE nextgen_identity.federated_domains RENAME COLUMN {} TO {}"
    with world.identity.connections.platform() as connection:
        connection.execute(rename.format("missing_since", "away").encode())
        try:
            world.records.records = {}
            assert world.after(DAY) == []
            world.parts.identity_providers.verify(world.tenant.id, DOMAIN, world.time)
        finally:
            connection.execute(rename.format("away", "missing_since").encode())
    assert world.signs_in
