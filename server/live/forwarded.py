"""The address that a request comes from, where a proxy of the operator's forwards it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence

from shared_models.errors import ServiceError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
HEADER = b"x-forwarded-for"


def networks(named: object) -> tuple[Network, ...]:
    """The addresses and networks that ``gate.json`` lists. Raises :class:`ServiceError` for what is none."""
    if not isinstance(named, list):
        raise ServiceError('gate.json: "proxies" is a list of addresses or networks, as ["10.0.0.5"]')
    try:
        return tuple(ipaddress.ip_network(str(one)) for one in named)
    except ValueError as error:
        raise ServiceError(f'gate.json: "proxies" holds no address or network ({error})') from None


def peer_of(client: str, headers: Iterable[tuple[bytes, bytes]], proxies: Sequence[Network]) -> str:
    """The address that a request came from.

    ``X-Forwarded-For`` counts where the connection is a configured proxy's, and of what it says the last address that
    is not itself a proxy's: whatever stands before it was written by that peer, and may be anything.
    """
    peer = client
    told = b",".join(value for name, value in headers if name == HEADER).decode("latin-1").split(",")
    for hop in reversed(told):
        if not _within(peer, proxies):
            break
        if _address(hop) is None:
            break
        peer = hop.strip()
    return peer


def _within(peer: str, proxies: Sequence[Network]) -> bool:
    address = _address(peer)
    return address is not None and any(address in network for network in proxies)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        return None
