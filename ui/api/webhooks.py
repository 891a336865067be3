"""Which addresses a webhook may have, and which machines they may lead to: what keeps a job from asking where it likes.

The owner names hosts when the studio is started; an address is one of those, letter for letter, or it is refused. What
its name resolves to is looked at once, at the time of sending, and that very machine is asked. `postman.py` does so.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from pipelines.refusal import Refusal, shown

Resolve = Callable[[str, int], list[str]]  # a host and a port: the addresses that they lead to
IP = ipaddress.IPv4Address | ipaddress.IPv6Address

OPTION = "--allow-webhook"
# Nothing that two readers of addresses could read differently: no user, no fragment, no backslash, ASCII alone.
ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]{2,45}\])(?::(?P<port>\d{1,5}))?"
    r"(?P<path>(?:/[\w.~!$&'()*+,;=:@%-]*)*)(?P<query>\?[\w.~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII | re.IGNORECASE,
)
PORTS = {"http": 80, "https": 443}
GLOBAL = ipaddress.ip_network("2000::/3")  # what of IPv6 is given to the world
NAT64 = ipaddress.ip_network("64:ff9b::/96")  # a network's own way to IPv4, wherever that leads


@dataclass(frozen=True)
class Place:
    """An address, taken apart.

    Attributes:
        scheme: http or https.
        host: in small letters; of IPv6 without brackets.
        port: also where it goes without saying.
        path: begins with a slash, or is "".
        query: begins with a question mark, or is "".
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str = ""

    @classmethod
    def of(cls, address: str) -> Place | None:
        """The address `https://host[:port][/path][?query]`; None for anything else."""
        found = ADDRESS.fullmatch(address)
        if found is None:
            return None
        scheme, host = found["scheme"].lower(), found["host"].lower().strip("[]")
        port = int(found["port"] or PORTS[scheme])
        steps = [unquote(step) for step in found["path"].split("/")]
        if not 0 < port < 65_536 or any(step in (".", "..") or {"/", "\\"} & set(step) for step in steps):
            return None
        if found["host"].startswith("[") and _ip(host) is None:
            return None
        return cls(scheme, host, port, found["path"], found["query"] or "")

    @property
    def literal(self) -> IP | None:
        """The machine, where the host is its number and no name."""
        return _ip(self.host)

    @property
    def netloc(self) -> str:
        """Host and port as they are told to who is asked."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def holds(self, other: Place) -> bool:
        """Whether `other` is this address, or one below it."""
        below = other.path == self.path or other.path.startswith(f"{self.path.rstrip('/')}/")
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port) and below


class Allowed:
    """The addresses that the owner allows, and those below them."""

    def __init__(self, addresses: Sequence[str]) -> None:
        """Read them as they were given.

        Raises:
            Refusal: one is no https address without a query, nor an http address of this very machine.
        """
        self._places = [_allowed(address) for address in addresses]

    def place(self, address: str) -> Place:
        """An address, taken apart.

        Raises:
            Refusal: it is none that the owner allows.
        """
        if not self._places:
            raise Refusal("webhook", f"expected none, for the owner allows none; start the studio with {OPTION}")
        place = Place.of(address)
        if place is None or not any(each.holds(place) for each in self._places):
            raise Refusal("webhook", f"expected an address that the owner allows with {OPTION}, got {shown(address)}")
        return place


def machine(place: Place, resolve: Resolve) -> str:
    """The number of the machine that `place`, which is allowed, leads to. The name is asked for once.

    Raises:
        Refusal: it leads to a machine that the owner did not name by its number, and that the world can not reach.
        OSError: the name leads nowhere.
    """
    if place.literal is not None:  # the owner named that very machine
        return str(place.literal)
    found = [(number, _ip(number.partition("%")[0])) for number in resolve(place.host, place.port)]
    if not found:
        raise OSError(f"{place.host} leads to no machine")
    for number, ip in found:  # all of them: a name that leads to both kinds is up to something
        fine = ip is not None and (ip.is_loopback if place.host == "localhost" else is_public(ip))
        if not fine:
            raise Refusal(
                "webhook", f"{place.host} leads to {number}, which is no public address; the owner may allow the number"
            )
    return found[0][0]


def is_public(ip: IP) -> bool:
    """Whether the world can reach `ip`: it is not private, of this machine, of a link, for many, or unspecified."""
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if inner is None and ip in NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is not None:
            return is_public(inner)
        if ip.teredo is not None or ip not in GLOBAL:
            return False
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


def resolved(host: str, port: int) -> list[str]:
    """What the system says that a name leads to."""
    return [str(told[4][0]) for told in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _allowed(address: str) -> Place:
    place = Place.of(address)
    if place is None or place.query:
        raise Refusal(OPTION, f"expected https://host[:port][/prefix], got {shown(address)}; leave out what is more")
    here = place.host == "localhost" or (place.literal is not None and place.literal.is_loopback)
    if place.scheme == "http" and not here:
        raise Refusal(OPTION, f"expected https, got {shown(address)}; http is for this machine's own 127.0.0.1")
    return place


def _ip(text: str) -> IP | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
