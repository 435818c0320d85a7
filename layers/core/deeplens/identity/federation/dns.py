"""``TxtRecords`` on the system's resolver."""

from dns.exception import DNSException
from dns.resolver import Resolver

TIMEOUT_SECONDS = 5.0


class DnsTxtRecords:
    def lookup(self, name: str) -> list[str]:
        try:
            answer = Resolver().resolve(name, "TXT", lifetime=TIMEOUT_SECONDS)
        except (DNSException, OSError):
            return []
        return [b"".join(record.strings).decode(errors="replace") for record in answer]
