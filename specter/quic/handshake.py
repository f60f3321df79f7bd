"""Drives TLS over CRYPTO streams: keys, transport parameters, Retry and Version Negotiation (RFC 9001, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from specter._backend import protection
from specter._frame_types import HandshakeDone
from specter._wire import NEVER, TransportError, TransportErrorCode
from specter.quic import packet, parameters
from specter.quic.config import MILLISECOND
from specter.quic.core import Core
from specter.quic.events import (
    AddressPreferred,
    CloseKind,
    ConnectionClosed,
    HandshakeCompleted,
    HandshakeConfirmed,
    TicketReceived,
)
from specter.quic.negotiation import Negotiation
from specter.quic.packet import Header
from specter.quic.parameters import PreferredAddress, TransportParameters, VersionInformation
from specter.quic.space import Space, SpaceId
from specter.tls import engine
from specter.tls.alerts import TlsError
from specter.tls.engine import Completed, EarlyDataDecided, InstallKeys, Level, PeerParameters, SendCrypto
from specter.tls.server import ServerHandshake

CRYPTO_FRAME = 0x06

_SPACE_OF = {
    Level.INITIAL: SpaceId.INITIAL,
    Level.HANDSHAKE: SpaceId.HANDSHAKE,
    Level.APPLICATION: SpaceId.APPLICATION,
}
_LEVEL_OF = {space: level for level, space in _SPACE_OF.items()}


class Handshake:
    """Feeds TLS from the CRYPTO streams and carries out what it decides."""

    def __init__(
        self,
        core: Core,
        make_tls: Callable[[bytes], engine.Handshake],
        *,
        original_dcid: bytes,
        retry_scid: bytes | None = None,
        remembered: TransportParameters | None = None,
    ) -> None:
        self._core = core
        self._remembered = remembered
        self._original_dcid = original_dcid
        self._retry_scid = retry_scid
        self._preferred: PreferredAddress | None = None
        self.processed_packet = False
        """Whether any packet of the peer was opened: from then on Retry and Version Negotiation are void."""
        self.versions = Negotiation(core)
        self.versions.install(original_dcid if retry_scid is None else retry_scid)
        self._make_tls = make_tls
        self.tls = self._new_tls()

    def _new_tls(self) -> engine.Handshake:
        tls = self._make_tls(self._encode_parameters())
        if not self._core.is_client:
            tls.answer_parameters = self._answer_parameters
        return tls

    def _encode_parameters(self) -> bytes:
        self._core.local_parameters = self._local_parameters()
        return parameters.encode(self._core.local_parameters)

    def _answer_parameters(self, data: bytes) -> bytes:
        """Choose the version by the client's transport parameters, and return ours, which tell it."""
        self.versions.choose(parameters.decode(data, from_server=False).version_information)
        if isinstance(self.tls, ServerHandshake):
            self.tls.quic_version = self._core.version
        return self._encode_parameters()

    def _local_parameters(self) -> TransportParameters:
        core, config = self._core, self._core.config
        server = not core.is_client
        return TransportParameters(
            original_destination_connection_id=self._original_dcid if server else None,
            retry_source_connection_id=self._retry_scid if server else None,
            initial_source_connection_id=core.first_cid,
            stateless_reset_token=core.local_cids.first_reset_token if server else None,
            max_idle_timeout=config.idle_timeout // MILLISECOND,
            max_udp_payload_size=config.max_udp_payload,
            initial_max_data=config.connection_window,
            initial_max_stream_data_bidi_local=config.stream_window,
            initial_max_stream_data_bidi_remote=config.stream_window,
            initial_max_stream_data_uni=config.stream_window,
            initial_max_streams_bidi=config.max_streams_bidi,
            initial_max_streams_uni=config.max_streams_uni,
            ack_delay_exponent=config.ack_delay_exponent,
            max_ack_delay=config.max_ack_delay // MILLISECOND,
            disable_active_migration=config.disable_active_migration,
            preferred_address=self._preferred_address() if server else None,
            active_connection_id_limit=config.active_connection_id_limit,
            version_information=VersionInformation(core.version, config.versions),
        )

    def _preferred_address(self) -> PreferredAddress | None:
        core, config = self._core, self._core.config
        if self._preferred is None and (config.preferred_ipv4 or config.preferred_ipv6):
            issued = core.local_cids.issue_preferred()
            ends = config.preferred_ipv4, config.preferred_ipv6
            self._preferred = PreferredAddress.at(*ends, issued.connection_id, issued.reset_token)
        return self._preferred

    # -- TLS --------------------------------------------------------------------------------------

    def start(self) -> None:
        self.tls.start()
        self._carry_out()

    def crypto_arrived(self, space: Space) -> None:
        """Hand what arrived in order to TLS.

        Raises:
            TransportError: CRYPTO_ERROR with TLS's alert.
        """
        data = space.read_crypto()
        if not data:
            return
        try:
            self.tls.receive(_LEVEL_OF[space.id], data)
            self._carry_out()
        except TlsError as error:
            self._carry_out_quietly()
            fault = TransportError(error.code, str(error), CRYPTO_FRAME)
            fault.__cause__ = error  # read by the connection; compiled code drops the "from" of a raise
            raise fault  # noqa: B904

    def _carry_out_quietly(self) -> None:
        """Install the keys that a failing handshake got as far as, so that the peer can read why it failed."""
        while (action := self.tls.next_action()) is not None:
            if isinstance(action, InstallKeys):
                self._install(action)

    def _carry_out(self) -> None:
        while (action := self.tls.next_action()) is not None:
            if isinstance(action, SendCrypto):
                self._send(action)
            elif isinstance(action, InstallKeys):
                self._install(action)
            elif isinstance(action, PeerParameters):
                self._apply_parameters(action.data)
            elif isinstance(action, Completed):
                self._complete()
            elif isinstance(action, EarlyDataDecided):
                self._core.early_data.decide(accepted=action.accepted)
            elif isinstance(action, engine.TicketReceived):
                self._core.emit(TicketReceived(replace(action.session, quic_version=self._core.version)))

    def _send(self, action: SendCrypto) -> None:
        space = self._core.spaces[_SPACE_OF[action.level]]
        space.crypto_out.write(action.data)
        if space.id is SpaceId.APPLICATION:
            self._core.packer.enqueue(space.crypto_out)

    def _install(self, action: InstallKeys) -> None:
        core = self._core
        if action.level is Level.EARLY_DATA:
            self._install_early(action)
            return
        space_id = _SPACE_OF[action.level]
        space = core.spaces[space_id]
        keys = protection.PacketProtection(action.cipher_suite, action.secret, core.version)
        if action.writing:
            space.sealer = keys
            if space_id is SpaceId.APPLICATION:
                core.packer.keys = keys
        else:
            space.opener = keys
            if space_id is SpaceId.APPLICATION:
                core.receiver.keys = keys
        if space_id is SpaceId.HANDSHAKE:
            core.recovery.has_handshake_keys = True

    def _install_early(self, action: InstallKeys) -> None:
        early = self._core.early_data
        keys = protection.PacketProtection(action.cipher_suite, action.secret, self.versions.original)
        if not action.writing:
            early.accept(keys)
        elif self._remembered is not None:
            early.offer(keys, self._remembered)

    def _complete(self) -> None:
        core = self._core
        core.handshake_complete = True
        if not core.is_client and core.early_data.keys is not None:
            core.previous_keys_until = core.now + 3 * core.pto
        core.emit(HandshakeCompleted(self.tls.alpn.encode()))
        if not core.is_client:
            core.queue(HandshakeDone())
            core.amplification.validate()
            self.confirm()

    def confirm(self) -> None:
        """The handshake is confirmed: the Handshake keys go (RFC 9001, section 4.9.2)."""
        core = self._core
        if core.handshake_confirmed:
            return
        core.handshake_confirmed = True
        core.handshake_deadline = NEVER
        core.recovery.handshake_confirmed = True
        core.recovery.peer_validated_address = True
        core.discard(SpaceId.INITIAL)
        core.discard(SpaceId.HANDSHAKE)
        core.test_path()
        core.emit(HandshakeConfirmed())
        if core.peer_parameters is not None and core.peer_parameters.preferred_address is not None:
            core.emit(AddressPreferred(tuple(core.peer_parameters.preferred_address.addresses)))

    # -- transport parameters ---------------------------------------------------------------------

    def _apply_parameters(self, data: bytes) -> None:
        core = self._core
        peer = parameters.decode(data, from_server=core.is_client)
        self._authenticate_cids(peer)
        if core.is_client:
            self.versions.check(peer.version_information)
            core.early_data.check(peer)
        core.peer_parameters = peer
        core.packer.raise_limit(peer.initial_max_data)
        core.streams.apply_peer_parameters(peer)
        core.idle.agree(peer.max_idle_timeout_ns)
        core.recovery.peer_max_ack_delay = peer.max_ack_delay_ns
        core.mtu.limit(peer.max_udp_payload_size, core.now)
        core.follow_mtu()
        core.local_cids.set_peer_limit(peer.active_connection_id_limit)
        if peer.stateless_reset_token is not None:
            core.remote_cids.set_initial_reset_token(peer.stateless_reset_token)
        if peer.preferred_address is not None:
            preferred = peer.preferred_address
            core.remote_cids.add_preferred(preferred.connection_id, preferred.reset_token)

    def _authenticate_cids(self, peer: TransportParameters) -> None:
        """Compare the ids of the handshake's packets with those the peer vouches for (RFC 9000, section 7.3)."""
        core = self._core
        expected = {"initial_source_connection_id": core.remote_cids.current}
        if core.is_client:
            expected["original_destination_connection_id"] = self._original_dcid
            if self._retry_scid is not None:
                expected["retry_source_connection_id"] = self._retry_scid
            elif peer.retry_source_connection_id is not None:
                self._refuse("retry_source_connection_id without a Retry")
        for name, value in expected.items():
            if getattr(peer, name) != value:
                self._refuse(f"{name} is not that of the handshake")

    def _refuse(self, reason: str) -> None:
        raise TransportError(TransportErrorCode.TRANSPORT_PARAMETER_ERROR, reason, CRYPTO_FRAME)

    # -- before the first packet of the server ------------------------------------------------------

    def on_retry(self, data: bytes) -> bool:
        """Start over with the token of a Retry; return whether it was a valid one (RFC 9000, section 17.2.5.2)."""
        core = self._core
        if not core.is_client or self.processed_packet or self._retry_scid is not None:
            return False
        if not packet.check_retry(data, self._original_dcid):
            return False
        retry = packet.parse_retry(data, 0, len(data))
        if retry.version != core.version or retry.scid == self._original_dcid:
            return False
        self._retry_scid = retry.scid
        core.token = retry.token
        core.remote_cids.set_initial_scid(retry.scid)
        core.packer.dcid = core.remote_cids.current
        self.versions.install(retry.scid)
        space = core.spaces[SpaceId.INITIAL]
        space.crypto_out.lost(0, space.crypto_out.sent_offset, False)
        space.probes = 0
        core.early_data.repeat()
        core.recovery.reset_for_retry()
        return True

    def on_version_negotiation(self, header: Header, versions: tuple[int, ...]) -> bool:
        """Start over in a version that the server speaks, or fail when it speaks none of ours.

        Returns whether the packet counted (RFC 9368, sections 2.1 and 4).
        """
        core = self._core
        if not core.is_client or self.processed_packet or self._retry_scid is not None or self.versions.restarted:
            return False
        if header.dcid != core.first_cid or header.scid != self._original_dcid:
            return False
        if core.version in versions:
            return False
        version = self.versions.restart_version(versions)
        if version is None:
            offered = ", ".join(f"0x{version:08x}" for version in versions[:8])
            core.vanish(ConnectionClosed(CloseKind.VERSION, 0, f"the server speaks only QUIC versions {offered}"))
        else:
            self._restart(version)
        return True

    def _restart(self, version: int) -> None:
        """Send a new first flight: new connection id, new ClientHello, no token of another version."""
        core = self._core
        core.early_data.give_up()
        self.versions.restart(version)
        self._original_dcid = core.entropy.token(len(self._original_dcid))
        self.versions.install(self._original_dcid)
        core.token = b""
        core.remote_cids.set_initial_scid(self._original_dcid)
        core.packer.dcid = self._original_dcid
        space = core.spaces[SpaceId.INITIAL]
        space.restart_crypto()
        core.recovery.reset_for_retry()
        self.tls = self._new_tls()
        self.start()
