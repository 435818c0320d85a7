"""When keys sign and when they may be forgotten."""

from datetime import UTC, datetime, timedelta

import pytest
from deeplens.identity.key_plan import (
    LEAD,
    LONGEST_TOKEN,
    MARGIN,
    PERIOD,
    Rotation,
    SigningKey,
    plan_rotation,
    signer,
)
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
CACHED = timedelta(minutes=10)
"""How long anybody may keep the key set (``discovery.KEYS_KEPT``)."""


def key(kid: str, signs_from: timedelta, lost: bool = False, revoked: bool = False) -> SigningKey:
    return SigningKey(kid, {"kid": kid}, START, START + signs_from, lost, revoked)


@pytest.mark.parametrize(
    ("keys", "at", "expected"),
    [
        ([], timedelta(0), None),
        ([key("a", timedelta(0))], timedelta(0), "a"),
        ([key("a", HOUR)], timedelta(0), None),  # published, but not yet to sign
        ([key("a", timedelta(0)), key("b", PERIOD)], PERIOD - MINUTE, "a"),
        ([key("a", timedelta(0)), key("b", PERIOD)], PERIOD, "b"),
        ([key("b", PERIOD), key("a", timedelta(0))], PERIOD, "b"),  # in whatever order they are read
        ([key("a", timedelta(0)), key("b", PERIOD, lost=True)], PERIOD + DAY, "a"),  # the older one still stands
        ([key("a", timedelta(0), lost=True)], DAY, None),
        ([key("a", timedelta(0), revoked=True)], DAY, None),
        ([key("a", timedelta(0)), key("b", PERIOD, revoked=True)], PERIOD + MINUTE, "a"),
    ],
)
def test_the_youngest_key_that_may_signs(keys: list[SigningKey], at: timedelta, expected: str | None) -> None:
    chosen = signer(keys, START + at)
    assert (chosen.kid if chosen else None) == expected


@pytest.mark.parametrize(
    ("keys", "at", "create", "forget"),
    [
        ([], timedelta(0), timedelta(0), ()),  # the first key signs at once: nobody has cached anything
        ([key("a", timedelta(0))], PERIOD - LEAD - MINUTE, None, ()),
        ([key("a", timedelta(0))], PERIOD - LEAD, PERIOD, ()),
        ([key("a", timedelta(0))], PERIOD - MINUTE, PERIOD - MINUTE + LEAD, ()),  # late, but the lead is kept
        ([key("a", timedelta(0))], 3 * PERIOD, 3 * PERIOD + LEAD, ()),  # nobody planned for months
        ([key("a", timedelta(0)), key("b", PERIOD)], PERIOD - MINUTE, None, ()),  # made once
        ([key("a", timedelta(0)), key("b", PERIOD)], PERIOD + LONGEST_TOKEN, None, ()),
        ([key("a", timedelta(0)), key("b", PERIOD)], PERIOD + LONGEST_TOKEN + MARGIN, None, ("a",)),
        ([key("a", timedelta(0), revoked=True)], DAY, DAY, ("a",)),
        ([key("a", timedelta(0), revoked=True), key("b", PERIOD)], PERIOD - HOUR, PERIOD - HOUR, ("a",)),
        # A revoked key is nobody's successor: the tokens of the key before it are still valid.
        ([key("a", timedelta(0)), key("b", DAY, revoked=True)], DAY + 2 * HOUR, None, ("b",)),
        ([key("a", timedelta(0), lost=True)], DAY, DAY, ()),  # nothing to sign with: at once
        ([key("a", timedelta(0)), key("b", PERIOD, lost=True)], PERIOD + DAY, PERIOD + DAY + LEAD, ()),
        ([key("a", timedelta(0), lost=True), key("b", DAY)], DAY + LONGEST_TOKEN + MARGIN, None, ("a",)),
    ],
)
def test_a_plan_makes_the_next_key_in_time_and_forgets_dead_ones(
    keys: list[SigningKey], at: timedelta, create: timedelta | None, forget: tuple[str, ...]
) -> None:
    expected = Rotation(None if create is None else START + create, forget)
    assert plan_rotation(keys, START + at) == expected


class Simulated:
    """Rotation over time: keys as the database would hold them, and tokens that are still alive."""

    def __init__(self) -> None:
        self.now = START
        self.keys: list[SigningKey] = []
        self.tokens: list[tuple[str, datetime]] = []
        self.made = 0

    def rotate(self) -> None:
        plan = plan_rotation(self.keys, self.now)
        self.keys = [key for key in self.keys if key.kid not in plan.forget]
        if plan.create is not None:
            self.made += 1
            self.keys.append(SigningKey(f"k{self.made}", {}, self.now, plan.create))

    def issue(self) -> None:
        """Sign a token, with a new key when there is none that may."""
        if signer(self.keys, self.now) is None:
            self.rotate()
        chosen = signer(self.keys, self.now)
        assert chosen is not None
        self.tokens.append((chosen.kid, self.now + LONGEST_TOKEN))

    def lose(self) -> None:
        """The secret of the key that signs is gone."""
        chosen = signer(self.keys, self.now)
        self.keys = [
            SigningKey(key.kid, key.public_jwk, key.created_at, key.signs_from, key.lost or key is chosen)
            for key in self.keys
        ]

    def living(self) -> set[str]:
        return {kid for kid, until in self.tokens if until >= self.now}


PAUSES = st.sampled_from([MINUTE, HOUR, LEAD, DAY, 13 * DAY, PERIOD - LEAD, PERIOD, 2 * PERIOD])


@given(st.lists(st.tuples(PAUSES, st.sampled_from(["rotate", "issue", "lose"])), max_size=60))
def test_whatever_happens_every_living_token_finds_its_key(steps: list[tuple[timedelta, str]]) -> None:
    world = Simulated()
    for pause, step in steps:
        world.now += pause
        getattr(world, step)()
        assert world.living() <= {key.kid for key in world.keys}
        assert len(world.keys) <= len(steps) + 1


@given(st.lists(st.sampled_from([MINUTE, 7 * MINUTE, HOUR]), min_size=1, max_size=40), st.integers(0, 120))
def test_planned_in_time_a_key_is_in_every_cache_before_it_signs(pauses: list[timedelta], days: int) -> None:
    world = Simulated()
    world.rotate()
    world.now += days * DAY
    for pause in pauses:
        world.now += pause
        world.rotate()
        world.issue()
        kid = world.tokens[-1][0]
        signing = next(key for key in world.keys if key.kid == kid)
        assert kid == "k1" or signing.signs_from - signing.created_at >= LEAD > CACHED


def test_planned_every_hour_for_a_year_a_key_signs_for_a_period_and_two_or_three_stand_at_once() -> None:
    world, most = Simulated(), 0
    for _ in range(365 * 24):
        world.rotate()
        world.now += HOUR
        most = max(most, len(world.keys))
    assert world.made == 1 + 365 // 30
    assert most == 2
