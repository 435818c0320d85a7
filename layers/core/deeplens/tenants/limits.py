"""A tenant's limits, and pure decisions whether a request fits into them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal, NewType

WINDOW_SECONDS = 60
type Quota = Literal["max_images", "max_bytes"]
MaxUploadBytes = NewType("MaxUploadBytes", int)
"""The largest file that one request to the API can carry."""


@dataclass(frozen=True, slots=True)
class ResourceLimits:
    """Limits of one tenant. None means the platform's default, 0 means unlimited.

    Attributes
    ----------
    max_images, max_bytes : images in the collection, and bytes of their originals.
    requests_per_minute : to the API, in each minute of the clock.
    max_file_bytes : of one upload.
    """

    max_images: int | None = None
    max_bytes: int | None = None
    requests_per_minute: int | None = None
    max_file_bytes: int | None = None

    def with_defaults(self, defaults: "ResourceLimits") -> "ResourceLimits":
        """These limits, with the defaults for those that are None. In the result None is unlimited."""
        effective = defaults.given() | self.given()
        return ResourceLimits(**{name: limit for name, limit in effective.items() if limit})

    def given(self) -> dict[str, int]:
        """The limits that are set, by name, as a tenant's row stores them."""
        return {name: limit for name, limit in asdict(self).items() if limit is not None}

    def check(self) -> None:
        """Raise ``ValueError`` for an invalid limit."""
        for name, limit in self.given().items():
            if not _is_limit(limit):
                raise ValueError(f"{name} must be 0 (unlimited) or more, not {limit!r}")


UNLIMITED = ResourceLimits()


def limits_of(row: Mapping[str, Any]) -> ResourceLimits:
    """The ``limits`` of a tenant's row. Invalid values are left out: a bad row must not stop its tenant."""
    return ResourceLimits(**{name: row[name] for name in asdict(UNLIMITED) if _is_limit(row.get(name))})


def _is_limit(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 63


@dataclass(frozen=True, slots=True)
class Storage:
    """Images, and the bytes of their originals."""

    images: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Allowance:
    """Whether requested storage fits.

    Attributes
    ----------
    exceeded : quotas that the request would exceed.
    images_left, bytes_left : what remains, after the request if it fits; None without a limit.
    """

    exceeded: tuple[Quota, ...]
    images_left: int | None
    bytes_left: int | None


def allowance(limits: ResourceLimits, used: Storage, requested: Storage) -> Allowance:
    """Decide whether ``requested`` fits beside ``used``. A request for nothing always fits."""
    quotas: dict[Quota, tuple[int | None, int, int]] = {
        "max_images": (limits.max_images, used.images, requested.images),
        "max_bytes": (limits.max_bytes, used.bytes, requested.bytes),
    }
    exceeded = tuple(
        name
        for name, (limit, present, wanted) in quotas.items()
        if limit is not None and wanted > 0 and present + wanted > limit
    )
    images_left, bytes_left = (
        None if limit is None else max(0, limit - present - (0 if exceeded else wanted))
        for limit, present, wanted in quotas.values()
    )
    return Allowance(exceeded, images_left, bytes_left)


@dataclass(frozen=True, slots=True)
class RequestRate:
    """A tenant's requests in the minute of the clock that a request fell into, itself included."""

    limit: int
    requests: int
    resets_in_seconds: int

    @property
    def exceeded(self) -> bool:
        return self.requests > self.limit

    @property
    def left(self) -> int:
        return max(0, self.limit - self.requests)


def request_rate(limit: int, requests: int, now: datetime) -> RequestRate:
    """The rate at ``now``; it resets 1 to 60 seconds later, when the next minute begins."""
    return RequestRate(limit, requests, WINDOW_SECONDS - now.second)


def minute_of(now: datetime) -> datetime:
    return now.replace(second=0, microsecond=0)


def largest_file(limits: ResourceLimits, max_upload_bytes: int) -> int:
    """Bytes of the largest file that the tenant may upload: its own limit, or what a request can carry."""
    return min(limits.max_file_bytes or max_upload_bytes, max_upload_bytes)
