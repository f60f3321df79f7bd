"""The state of a connection as qlog sees it: looked at after each call of the driver, told where it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from specter.quic import qlog_values as values
from specter.quic.close import CloseState
from specter.quic.config import MILLISECOND
from specter.quic.congestion.base import INFINITE, initial_window
from specter.quic.recovery import PERSISTENT_CONGESTION_THRESHOLD
from specter.quic.rtt import GRANULARITY
from specter.quic.space import Space, SpaceId
from specter.tls.ciphers import CipherSuite

if TYPE_CHECKING:
    from specter._backend import batch
    from specter.quic.core import Core
    from specter.quic.handshake import Handshake
    from specter.quic.parameters import TransportParameters
    from specter.quic.qlog import Data, Trace

__all__ = ["Watch"]

_KEYS: Final = {SpaceId.INITIAL: "initial", SpaceId.HANDSHAKE: "handshake", SpaceId.APPLICATION: "1rtt"}
_EARLY_KEY: Final = "client_0rtt_secret"
_ENDS: Final = {CloseState.CLOSING: "closing", CloseState.DRAINING: "draining", CloseState.CLOSED: "closed"}


class Watch:
    """Compares a connection with what was last told of it."""

    def __init__(self, core: Core, handshake: Handshake, trace: Trace) -> None:
        self._core = core
        self._handshake = handshake
        self._trace = trace
        self._state = ""
        self._keys: dict[str, int] = {}
        self._version = 0
        self._declared: TransportParameters | None = None
        self._has_parameters = False
        self._has_alpn = False
        self._dcid = core.packer.dcid
        self._datagram_size = core.datagram_size
        self._metrics: Data = {}
        self._congestion = ""
        self._congestion_events = 0
        self._persistent = 0
        self._marks = 0
        self._recovery_until = -1
        self._updated_by_us = 0
        """The newest key phase that we began."""

    def start(self, local: batch.Address, remote: batch.Address) -> None:
        """Tell what is known before the first packet; the addresses are those of the socket."""
        core = self._core
        data = values.endpoints(local, remote)
        self._trace.emit(
            "connectivity:connection_started",
            data | {"src_cid": core.first_cid.hex(), "dst_cid": core.remote_cids.current.hex()},
        )
        self._trace.emit("recovery:parameters_set", self._recovery_parameters())

    def _recovery_parameters(self) -> Data:
        config = self._core.config
        return {
            "reordering_threshold": values.PACKET_THRESHOLD,
            "time_threshold": 9 / 8,
            "timer_granularity": GRANULARITY // MILLISECOND,
            "initial_rtt": config.initial_rtt / MILLISECOND,
            "max_datagram_size": config.datagram_size,
            "initial_congestion_window": initial_window(config.datagram_size),
            "minimum_congestion_window": self._core.recovery.controller.minimum_window,
            "persistent_congestion_threshold": PERSISTENT_CONGESTION_THRESHOLD,
            "congestion_control": config.congestion,
        }

    def look(self) -> None:
        """Tell what changed since the last look."""
        self._look_at_handshake()
        self._look_at_keys()
        self._look_at_path()
        self._look_at_metrics()
        self._look_at_congestion()
        self._look_at_state()

    # -- handshake --------------------------------------------------------------------------------

    def _look_at_handshake(self) -> None:
        core = self._core
        if core.version != self._version:
            self._version = core.version
            mine = "client_versions" if core.is_client else "server_versions"
            known = [values.version(version) for version in core.config.versions]
            data: Data = {mine: known, "chosen_version": values.version(core.version)}
            self._trace.emit("transport:version_information", data)
        if core.local_parameters is not self._declared:
            self._declared = core.local_parameters
            self._trace.emit("transport:parameters_set", values.parameters("local", core.local_parameters))
        if core.peer_parameters is not None and not self._has_parameters:
            self._has_parameters = True
            data = values.parameters("remote", core.peer_parameters)
            self._trace.emit("transport:parameters_set", data | {"tls_cipher": self._cipher()})
        if core.handshake_complete and not self._has_alpn:
            self._has_alpn = True
            self._trace.emit("transport:alpn_information", {"chosen_alpn": self._handshake.tls.alpn})

    def _cipher(self) -> str:
        suite = self._handshake.tls.cipher_suite
        return CipherSuite(suite).name.removeprefix("TLS_") if suite else "unknown"

    def _look_at_keys(self) -> None:
        self._look_at_early_data()
        for space in self._core.spaces:
            self._look_at_key(space, ours=True)
            self._look_at_key(space, ours=False)

    def _look_at_early_data(self) -> None:
        early = self._core.early_data
        told = _EARLY_KEY in self._keys
        if (early.keys is not None) is told:
            return
        if told:
            del self._keys[_EARLY_KEY]
            self._trace.emit("security:key_discarded", {"key_type": _EARLY_KEY, "trigger": "tls"})
            return
        self._keys[_EARLY_KEY] = 0
        self._trace.emit("security:key_updated", {"key_type": _EARLY_KEY, "trigger": "tls"})
        if self._core.is_client:
            self._trace.emit("transport:parameters_restored", values.restored(early.remembered))

    def _look_at_key(self, space: Space, *, ours: bool) -> None:
        """Tell of new and discarded keys; never what they are."""
        keys = space.sealer if ours else space.opener
        side = "client" if ours == self._core.is_client else "server"
        name = f"{side}_{_KEYS[space.id]}_secret"
        told = self._keys.get(name, -1)
        if keys is None:
            if told >= 0:
                del self._keys[name]
                self._trace.emit("security:key_discarded", {"key_type": name, "trigger": "tls"})
        elif keys.updates > told:
            self._keys[name] = keys.updates
            trigger = "tls" if told < 0 else self._initiator(space, keys.updates)
            data: dict[str, Any] = {"key_type": name, "trigger": trigger}
            if space.id is SpaceId.APPLICATION:
                data["generation"] = keys.updates
            self._trace.emit("security:key_updated", data)

    def _initiator(self, space: Space, generation: int) -> str:
        """Whose key update it is: that of the side which wrote with new keys first."""
        reader, writer = space.opener, space.sealer
        if reader is not None and writer is not None and writer.updates > reader.updates:
            self._updated_by_us = writer.updates
        return "local_update" if generation <= self._updated_by_us else "remote_update"

    # -- path -------------------------------------------------------------------------------------

    def _look_at_path(self) -> None:
        core = self._core
        if core.packer.dcid != self._dcid:
            old, self._dcid = self._dcid, core.packer.dcid
            data = {"owner": "remote", "old": old.hex(), "new": self._dcid.hex()}
            self._trace.emit("connectivity:connection_id_updated", data)
        if core.datagram_size != self._datagram_size:
            sizes = {"old": self._datagram_size, "new": core.datagram_size}
            self._datagram_size = core.datagram_size
            self._trace.emit("connectivity:mtu_updated", sizes)

    # -- recovery ---------------------------------------------------------------------------------

    def _look_at_metrics(self) -> None:
        current = self._current_metrics()
        changed = {name: value for name, value in current.items() if self._metrics.get(name) != value}
        if changed:
            self._metrics = current
            self._trace.emit("recovery:metrics_updated", changed)

    def _current_metrics(self) -> Data:
        recovery = self._core.recovery
        rtt, controller = recovery.rtt, recovery.controller
        metrics: Data = {
            "pto_count": recovery.pto_count,
            "congestion_window": recovery.window,
            "bytes_in_flight": recovery.bytes_in_flight,
            "packets_in_flight": sum(len(space.sent) for space in self._core.spaces),
        }
        if rtt.has_sample:
            metrics["min_rtt"] = rtt.minimum / MILLISECOND
            metrics["smoothed_rtt"] = rtt.smoothed / MILLISECOND
            metrics["latest_rtt"] = rtt.latest / MILLISECOND
            metrics["rtt_variance"] = rtt.variance / MILLISECOND
        if controller.ssthresh != INFINITE:
            metrics["ssthresh"] = controller.ssthresh
        return metrics

    def _look_at_congestion(self) -> None:
        new = self._congestion_state()
        stats = self._core.recovery.stats
        trigger = "persistent_congestion" if stats.persistent_congestions > self._persistent else ""
        if not trigger and stats.ecn_ce > self._marks and new == "recovery":
            trigger = "ECN"
        self._persistent, self._marks = stats.persistent_congestions, stats.ecn_ce
        if new == self._congestion and not trigger:
            return
        data = {"new": new} if not self._congestion else {"old": self._congestion, "new": new}
        self._congestion = new
        self._trace.emit("recovery:congestion_state_updated", data | ({"trigger": trigger} if trigger else {}))

    def _congestion_state(self) -> str:
        """A recovery period lasts until a packet sent after its start is acknowledged (RFC 9002, section 7.3.2)."""
        core, events = self._core, self._core.recovery.stats.congestion_events
        if events > self._congestion_events:
            self._congestion_events = events
            self._recovery_until = core.app.sent.next_pn
        if core.app.sent.largest_acked < self._recovery_until:
            return "recovery"
        return "slow_start" if core.recovery.controller.in_slow_start else "congestion_avoidance"

    # -- the connection ---------------------------------------------------------------------------

    def _look_at_state(self) -> None:
        new = self._connection_state()
        if new != self._state:
            data = {"new": new} if not self._state else {"old": self._state, "new": new}
            self._state = new
            self._trace.emit("connectivity:connection_state_updated", data)

    def _connection_state(self) -> str:
        core = self._core
        if core.closer.state in _ENDS:
            return _ENDS[core.closer.state]
        if core.handshake_confirmed:
            return "handshake_confirmed"
        if core.handshake_complete:
            return "handshake_complete"
        started = core.spaces[SpaceId.HANDSHAKE].opener is not None
        return "handshake_started" if started else "attempted"
