"""Transport "group": tickets of a `FeedServer`, good on any host that reaches it."""

from __future__ import annotations

from arraystream._feed import Member, Ticket
from arraystream._group_member import join_feed


class GroupTransport:
    """Redeems tickets; streams are the business of the transport in the server's URL."""

    def redeem(self, ticket: Ticket) -> Member:
        """Join the feed that made the ticket."""
        return join_feed(ticket)


transport = GroupTransport()
