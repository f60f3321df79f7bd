"""Which QUIC version a connection begins with and which it ends up with (RFC 9368, RFC 9369).

All versions we speak are compatible with each other: a server may answer the first flight of one in another.
"""

from __future__ import annotations

from typing import Final, NoReturn

from specter._backend import protection
from specter._wire import TransportError, TransportErrorCode
from specter.quic.core import Core
from specter.quic.packet import QUIC_V1
from specter.quic.parameters import VersionInformation
from specter.quic.space import SpaceId

_CRYPTO_FRAME: Final = 0x06


class Negotiation:
    """The versions of one connection, and the Initial keys, which depend on them."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._dcid = b""
        self._other: tuple[int, protection.PacketProtection] | None = None
        """A version the connection is not in, and what opens the peer's Initial packets of it."""
        self.original = core.version
        """The version of the first flight, after a restart that of the second."""
        self.restarted = False
        """Whether the client acted on a Version Negotiation packet."""

    # -- Initial keys ------------------------------------------------------------------------------

    def install(self, dcid: bytes) -> None:
        """Make the Initial keys that follow from ``dcid``."""
        self._dcid = dcid
        self._other = None
        space = self._core.spaces[SpaceId.INITIAL]
        space.sealer, space.opener = self._initial_keys(self._core.version)

    def _initial_keys(self, version: int) -> tuple[protection.PacketProtection, protection.PacketProtection]:
        client, server = protection.initial_secrets(version, self._dcid)
        ours, theirs = (client, server) if self._core.is_client else (server, client)
        suite = protection.AES_128_GCM_SHA256
        return protection.PacketProtection(suite, ours, version), protection.PacketProtection(suite, theirs, version)

    def may_come(self, version: int) -> bool:
        """Whether packets may still arrive in ``version``, which is not the connection's at the moment.

        The client waits for the server's choice, which the first CRYPTO frame tells; the server goes on reading the
        version it moved away from until the client has followed (RFC 9369, section 4.1).
        """
        core = self._core
        if not core.is_client:
            return version == self.original
        undecided = core.version == self.original and not core.spaces[SpaceId.INITIAL].crypto_in.highest
        return undecided and version in core.config.versions

    def initial_opener(self, version: int) -> protection.PacketProtection | None:
        """Return what opens the peer's Initial packets of ``version``, None where none may come."""
        if version == self._core.version:
            return self._core.spaces[SpaceId.INITIAL].opener
        if not self.may_come(version):
            return None
        if self._other is None or self._other[0] != version:
            self._other = version, self._initial_keys(version)[1]
        return self._other[1]

    def follow(self, version: int) -> None:
        """Go on in the version of an Initial packet that opened (client)."""
        if self._core.is_client and version != self._core.version:
            self._core.version = version
            self.install(self._dcid)

    # -- the client's side -------------------------------------------------------------------------

    def restart_version(self, offered: tuple[int, ...]) -> int | None:
        """Return the version for a second attempt with a server that offers these, None when we speak none."""
        return next((version for version in self._core.config.versions if version in offered), None)

    def restart(self, version: int) -> None:
        """Begin again in ``version``, as a Version Negotiation packet said; ``install`` must follow."""
        self._core.version = self.original = version
        self.restarted = True

    def check(self, server: VersionInformation | None) -> None:
        """Check that nobody but the server chose the version (RFC 9368, sections 4 and 8).

        Raises:
            TransportError: VERSION_NEGOTIATION_ERROR.
        """
        version = self._core.version
        if server is None and self.restarted and version == self.original == QUIC_V1:
            server = VersionInformation(QUIC_V1, (QUIC_V1,))
        if server is None:
            if self.restarted or version != self.original:
                _refuse("the server does not confirm the version")
            return
        if server.chosen != version:
            _refuse(f"the server chose version 0x{server.chosen:x}, its packets are of 0x{version:x}")
        if self.restarted:
            if not server.available or self.restart_version((*server.available, version)) != self.original:
                _refuse("the server speaks a version that a Version Negotiation packet left out")

    # -- the server's side -------------------------------------------------------------------------

    def choose(self, client: VersionInformation | None) -> None:
        """Choose the version to answer in (RFC 9368, section 2.3).

        Raises:
            TransportError: VERSION_NEGOTIATION_ERROR, the client's first flight is not of the version it says.
        """
        core = self._core
        if client is None:
            return
        if client.chosen != core.version:
            _refuse(f"the client chose version 0x{client.chosen:x}, its packets are of 0x{core.version:x}")
        chosen = self._favourite(client.available)
        if chosen != core.version:
            opener = core.spaces[SpaceId.INITIAL].opener
            core.version = chosen
            self.install(self._dcid)
            if opener is not None:
                self._other = self.original, opener

    def _favourite(self, offered: tuple[int, ...]) -> int:
        config = self._core.config
        if config.preferred_version in offered:
            return config.preferred_version
        return next((version for version in offered if version in config.versions), self._core.version)


def _refuse(reason: str) -> NoReturn:
    raise TransportError(TransportErrorCode.VERSION_NEGOTIATION_ERROR, reason, _CRYPTO_FRAME)
