"""Limits of sessions, and what people see of their sessions and applications."""

from dataclasses import dataclass
from datetime import datetime, timedelta

SEEN_PRECISION = timedelta(minutes=1)
"""A visit is recorded if the last one was recorded this long ago."""
MAX_USER_AGENT_CHARS = 256
# The first one that a User-Agent contains names it: most browsers name others, too.
BROWSERS = (
    *(("Edg", "Edge"), ("OPR/", "Opera"), ("SamsungBrowser", "Samsung Internet"), ("Firefox", "Firefox")),
    *(("FxiOS", "Firefox"), ("CriOS", "Chrome"), ("Chrome", "Chrome"), ("Safari", "Safari"), ("curl/", "curl")),
)
SYSTEMS = (
    *(("iPhone", "iPhone"), ("iPad", "iPad"), ("Android", "Android"), ("CrOS", "ChromeOS"), ("Windows", "Windows")),
    *(("Mac OS X", "macOS"), ("Linux", "Linux")),
)


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """How long a browser stays signed in: since its last visit, and since its sign-in."""

    idle: timedelta
    absolute: timedelta

    def ended(self, authenticated_at: datetime, last_seen_at: datetime, now: datetime) -> bool:
        """Whether a session is over; the limits are included."""
        return now - last_seen_at >= self.idle or now - authenticated_at >= self.absolute


@dataclass(frozen=True, slots=True)
class Visit:
    """From where a browser uses its session."""

    user_agent: str
    network_address: str


@dataclass(frozen=True, slots=True)
class OpenSession:
    """A session as its user and administrators see it."""

    id: str
    authenticated_at: datetime
    last_seen_at: datetime
    user_agent: str
    network_address: str
    methods: tuple[str, ...]

    @property
    def browser(self) -> str:
        return _first_mark(self.user_agent, BROWSERS)

    @property
    def system(self) -> str:
        return _first_mark(self.user_agent, SYSTEMS)

    @property
    def device(self) -> str:
        """Browser and system in plain English; unknown ones are left out."""
        return " on ".join(filter(None, (self.browser, self.system))) or "Unknown device"


@dataclass(frozen=True, slots=True)
class Application:
    """A client that a user let in, or that has tokens of the user.

    Attributes
    ----------
    connected : whether it can get tokens now without the user.
    """

    client_id: str
    name: str
    scopes: tuple[str, ...]
    since: datetime
    connected: bool


def _first_mark(user_agent: str, marks: tuple[tuple[str, str], ...]) -> str:
    return next((name for mark, name in marks if mark in user_agent), "")
