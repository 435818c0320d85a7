"""A tenant's rules for messages: the first that fits decides what is done. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from deeplens.events.whatsapp import WhatsAppMessage
from deeplens.whatsapp.incoming import text_in_metadata

Action = Literal["ingest", "webhook", "ignore"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with messages that fit every condition; a condition that is None fits all.

    Attributes
    ----------
    position : rules are checked in this order, then by id.
    types : of messages, e.g. ``image``.
    senders : phone numbers, digits only.
    groups : JIDs of groups.
    in_group : whether the message was written in any group.
    text : part of the text or caption, ignoring case.
    actions : what is done; ``ignore`` stands alone.
    tags : of images that are ingested.
    """

    id: str
    tenant_id: str
    position: int
    actions: tuple[Action, ...]
    types: tuple[str, ...] | None = None
    senders: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    in_group: bool | None = None
    text: str | None = None
    tags: tuple[str, ...] = ()

    def fits(self, message: WhatsAppMessage) -> bool:
        return (
            (self.types is None or message.message_type in self.types)
            and (self.senders is None or text_in_metadata(message, "sender") in self.senders)
            and (self.groups is None or message.chat_jid in self.groups)
            and (self.in_group is None or self.in_group == bool(message.metadata.get("isGroup")))
            and (self.text is None or self.text.casefold() in (message.content or "").casefold())
        )


DEFAULT = Rule("", "", 0, ("ingest",))
"""Where no rule fits: media are ingested, commands answered."""


def rule_for(rules: Sequence[Rule], message: WhatsAppMessage) -> Rule:
    """The first rule that fits, by position."""
    ordered = sorted(rules, key=lambda rule: (rule.position, rule.id))
    return next((rule for rule in ordered if rule.fits(message)), DEFAULT)
