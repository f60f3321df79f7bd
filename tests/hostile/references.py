"""Rules whose breach is tested next to the code that keeps them."""

from __future__ import annotations

from tests.hostile.table import Reference

_PARAMETER, _STATE, _LIMIT = "TRANSPORT_PARAMETER_ERROR", "STREAM_STATE_ERROR", "STREAM_LIMIT_ERROR"
_FLOW, _ENCODING, _VIOLATION = "FLOW_CONTROL_ERROR", "FRAME_ENCODING_ERROR", "PROTOCOL_VIOLATION"
_DROPPED = "dropped"


def _frame_rule(rule: str, fault: str, code: str) -> Reference:
    return Reference(rule, fault, code, f"quic/test_frame_rules.py::test_a_broken_rule_closes_with_its_code[{fault}]")


def _handshake(rule: str, fault: str, code: str, test: str) -> Reference:
    return Reference(rule, fault, code, f"quic/test_handshake.py::{test}")


def _inbound(rule: str, fault: str, code: str, test: str) -> Reference:
    return Reference(rule, fault, code, f"quic/test_inbound.py::{test}")


def _tls(rule: str, fault: str, code: str, test: str) -> Reference:
    return Reference(rule, fault, code, f"tls/test_client.py::{test}")


FRAMES = [
    _frame_rule("RFC 9000 4.1-8", "stream data beyond the stream window", _FLOW),
    Reference(
        "RFC 9000 4.1-8",
        "data of all streams beyond the connection's window",
        _FLOW,
        "quic/test_flow.py::test_the_connection_limit_holds_over_many_streams",
    ),
    _frame_rule("RFC 9000 4.1-8", "reset beyond the window", _FLOW),
    _frame_rule("RFC 9000 4.5", "final size changes", "FINAL_SIZE_ERROR"),
    _frame_rule("RFC 9000 4.5", "reset below what arrived", "FINAL_SIZE_ERROR"),
    _frame_rule("RFC 9000 4.6-3", "bidirectional stream above the limit", _LIMIT),
    _frame_rule("RFC 9000 4.6-3", "unidirectional stream above the limit", _LIMIT),
    Reference(
        "RFC 9000 4.6-3",
        "any frame with a stream id above the limit",
        _LIMIT,
        "quic/test_streams.py::test_every_frame_with_a_stream_id_above_the_limit_closes",
    ),
    _frame_rule("RFC 9000 5.1.1-5", "too many connection ids", "CONNECTION_ID_LIMIT_ERROR"),
    Reference(
        "RFC 9000 5.1.2-6",
        "retirements that cannot leave",
        "CONNECTION_ID_LIMIT_ERROR",
        "quic/test_floods.py::test_new_connection_ids_with_a_collapsed_window",
    ),
    _frame_rule("RFC 9000 7.5-3", "crypto data far ahead", "CRYPTO_BUFFER_EXCEEDED"),
    Reference(
        "RFC 9000 7.5-3",
        "CRYPTO data far ahead in each space",
        "CRYPTO_BUFFER_EXCEEDED",
        "quic/test_space.py::test_crypto_data_far_ahead_is_refused_in_every_space",
    ),
    Reference(
        "RFC 9000 10.3.2-6",
        "a reset token used twice",
        _VIOLATION,
        "quic/test_cids.py::test_reset_token_of_the_handshake_is_not_reused",
    ),
    Reference(
        "RFC 9000 12.4-3",
        "a packet without frames",
        _VIOLATION,
        "quic/test_frame_rules.py::test_a_packet_without_frames_is_a_violation",
    ),
    _inbound(
        "RFC 9000 12.4", "a frame of unknown type, in each space", _ENCODING, "test_any_unknown_frame_type_closes"
    ),
    _inbound("RFC 9000 12.4", "a frame type that is cut short", _ENCODING, "test_a_truncated_frame_type_closes"),
    _inbound(
        "RFC 9000 12.4",
        "a frame in a packet of the wrong type",
        _VIOLATION,
        "test_frames_that_do_not_belong_into_handshake_packets",
    ),
    Reference(
        "RFC 9000 13.1",
        "an acknowledgment of what was never sent",
        _VIOLATION,
        "quic/test_delivery.py::test_an_acknowledgment_of_what_was_never_sent_closes",
    ),
    Reference(
        "RFC 9000 21.4",
        "an acknowledgment of a number that was left out",
        _VIOLATION,
        "quic/test_delivery.py::test_an_optimistic_acknowledgment_meets_a_skipped_number",
    ),
    _frame_rule("RFC 9000 19.4", "reset of our send-only stream", _STATE),
    _frame_rule("RFC 9000 19.5", "stop sending on the peer's own stream", _STATE),
    _frame_rule("RFC 9000 19.7", "empty token", _ENCODING),
    _frame_rule("RFC 9000 19.8", "stream data on a stream we never opened", _STATE),
    _frame_rule("RFC 9000 19.8", "stream data on our send-only stream", _STATE),
    _frame_rule("RFC 9000 19.10", "max stream data on the peer's own stream", _STATE),
    _frame_rule("RFC 9000 19.10", "max stream data on a stream we never opened", _STATE),
    _frame_rule("RFC 9000 19.10", "max stream data for a huge id", _LIMIT),
    _frame_rule("RFC 9000 19.13", "stream data blocked on our send-only stream", _STATE),
    _frame_rule("RFC 9000 19.15", "retire prior to above the sequence", _ENCODING),
    _frame_rule("RFC 9000 19.15", "empty connection id", _ENCODING),
    _frame_rule("RFC 9000 19.16", "retirement of an id never issued", _VIOLATION),
    _frame_rule("RFC 9000 19.16", "retirement of the id in use", _VIOLATION),
    Reference(
        "RFC 9000 19.15",
        "a new id for an endpoint that uses an empty one",
        _VIOLATION,
        "quic/test_cids.py::test_empty_remote_id_takes_no_new_ones",
    ),
    Reference(
        "RFC 9000 19.16",
        "retirement of an empty id",
        _VIOLATION,
        "quic/test_cids.py::test_empty_id_issues_nothing_and_cannot_be_retired",
    ),
    _frame_rule("RFC 9221 3", "datagram without its parameter", _VIOLATION),
]

HANDSHAKE = [
    _handshake(
        "RFC 9000 7.3",
        "connection ids that are absent, wrong or too much",
        _PARAMETER,
        "test_ids_that_are_not_those_of_the_handshake",
    ),
    _handshake(
        "RFC 9000 7.3",
        "parameters that do not name the Retry",
        _PARAMETER,
        "test_parameters_must_name_the_retry_that_was_followed",
    ),
    _handshake(
        "RFC 9000 7.4",
        "parameters that are malformed, repeated or out of range",
        _PARAMETER,
        "test_malformed_parameters_end_the_handshake_with_their_code",
    ),
    Reference(
        "RFC 9000 18.2", "each integer parameter beyond its range", _PARAMETER, "quic/test_parameters.py::test_ranges"
    ),
    Reference(
        "RFC 9000 18.2",
        "each other parameter of a wrong form",
        _PARAMETER,
        "quic/test_parameters.py::test_malformed_values",
    ),
    Reference(
        "RFC 9000 7.4.1",
        "lower limits than the early data was sent under",
        _VIOLATION,
        "quic/test_early_data.py::test_a_server_that_accepts_may_not_lower_its_limits",
    ),
    _handshake("RFC 9000 17.2.5", "a Retry whose tag is wrong", _DROPPED, "test_a_retry_with_a_bad_tag_is_dropped"),
    _handshake("RFC 9000 17.2.5", "a second Retry", _DROPPED, "test_a_second_retry_is_dropped"),
    _handshake(
        "RFC 9000 17.2.5",
        "a Retry that keeps the client's id",
        _DROPPED,
        "test_a_retry_that_keeps_the_clients_id_is_dropped",
    ),
    _handshake(
        "RFC 9000 17.2.5",
        "a Retry behind a packet of the server",
        _DROPPED,
        "test_a_retry_after_a_packet_of_the_server_is_dropped",
    ),
    _handshake(
        "RFC 9000 6.2",
        "Version Negotiation with other connection ids",
        _DROPPED,
        "test_version_negotiation_with_other_ids_is_dropped",
    ),
    Reference(
        "RFC 9000 6.2",
        "Version Negotiation that lists our version",
        _DROPPED,
        "quic/test_connection.py::test_version_negotiation_that_lists_our_version_is_ignored",
    ),
    Reference(
        "RFC 9000 6.2",
        "Version Negotiation behind a packet of the server",
        _DROPPED,
        "quic/test_connection.py::test_version_negotiation_after_a_packet_of_the_server_is_ignored",
    ),
    _inbound(
        "RFC 9000 7.2",
        "packets from another source id",
        _DROPPED,
        "test_packets_from_another_source_id_are_dropped_once_the_servers_is_known",
    ),
    _inbound(
        "RFC 9000 12.2",
        "coalesced packets for other ids",
        _DROPPED,
        "test_coalesced_packets_for_other_ids_leave_no_trace",
    ),
    _inbound("RFC 9000 17.2", "reserved bits that are not zero", _VIOLATION, "test_reserved_bits_close"),
    _inbound(
        "RFC 9000 17.2", "a packet without the fixed bit", _DROPPED, "test_a_packet_without_the_fixed_bit_is_dropped"
    ),
    _inbound(
        "RFC 9000 17.2.2",
        "an Initial packet of a server with a token",
        _DROPPED,
        "test_an_initial_with_a_token_from_a_server_is_dropped",
    ),
    _handshake(
        "RFC 9000 19.20",
        "HANDSHAKE_DONE in a packet of the handshake",
        _VIOLATION,
        "test_handshake_done_before_its_time_is_a_violation",
    ),
    _inbound(
        "RFC 9000 5.2",
        "a datagram that is corrupted anywhere",
        _DROPPED,
        "test_a_1_rtt_datagram_corrupted_or_truncated_anywhere_is_dropped",
    ),
    Reference(
        "RFC 9000 9", "a server that moves", _DROPPED, "quic/test_paths.py::test_a_client_ignores_servers_that_move"
    ),
    _inbound(
        "RFC 9001 4.1.3",
        "more CRYPTO data in a space that is done",
        _VIOLATION,
        "test_crypto_of_a_finished_level_is_a_violation_only_if_new",
    ),
    Reference(
        "RFC 9001 4.1.3",
        "bytes left over when the keys change",
        _VIOLATION,
        "tls/test_engine.py::test_data_left_over_when_the_keys_change",
    ),
    Reference(
        "RFC 9001 4.6.2",
        "an acknowledgment of early data that was rejected",
        _VIOLATION,
        "quic/test_early_data.py::test_rejected_early_data_may_not_be_acknowledged",
    ),
    Reference(
        "RFC 9001 6.2",
        "new keys on an old packet number",
        "KEY_UPDATE_ERROR",
        "reference/test_protection.py::test_a_new_key_on_an_old_number",
    ),
    Reference(
        "RFC 9001 6.6",
        "too many packets that do not open",
        "AEAD_LIMIT_REACHED",
        "quic/test_connection.py::test_too_many_forged_packets_close_the_connection",
    ),
    _tls(
        "RFC 9001 8.1",
        "no protocol chosen, or another",
        "CRYPTO_ERROR (no_application_protocol)",
        "test_encrypted_extensions",
    ),
    _tls("RFC 9001 8.2", "no transport parameters", "CRYPTO_ERROR (missing_extension)", "test_encrypted_extensions"),
    _tls("RFC 9001 4.2", "a ServerHello of another version", "CRYPTO_ERROR", "test_server_hello"),
    _tls("RFC 9001 4.4", "certificates that cannot be read or are none", "CRYPTO_ERROR", "test_certificate"),
    _tls("RFC 9001 4.4", "a proof of the key that does not hold", "CRYPTO_ERROR", "test_certificate_verify"),
    _tls("RFC 9001 4.4", "a Finished message that does not match", "CRYPTO_ERROR", "test_finished"),
    Reference(
        "RFC 9001 4.4",
        "a certificate for another name",
        "CRYPTO_ERROR (bad_certificate)",
        "tls/test_trust.py::test_names_that_do_not_match",
    ),
]

WEB = [
    Reference(
        "RFC 9114 7.2.4.2-8",
        "lower settings than the early request was sent under",
        "H3_SETTINGS_ERROR, QPACK_DECODER_STREAM_ERROR",
        "h3/test_early_data.py::test_a_server_that_accepts_may_not_lower_them",
    ),
    Reference(
        "RFC 9114 6.2-7",
        "streams of unknown types",
        "stopped with H3_STREAM_CREATION_ERROR",
        "h3/test_rules.py::test_unknown_streams_are_turned_away",
    ),
    Reference(
        "RFC 9114 9",
        "unknown frames, settings and types",
        "ignored",
        "h3/test_rules.py::test_grease_everywhere_is_ignored",
    ),
    Reference(
        "RFC 9114 10.5",
        "a field section that expands beyond our limit",
        "H3_EXCESSIVE_LOAD",
        "h3/test_rules.py::test_decoded_size_is_limited",
        on_stream=True,
    ),
    Reference(
        "RFC 9204 2.1.2-4",
        "one blocked stream more than our limit",
        "QPACK_DECOMPRESSION_FAILED",
        "h3/test_qpack.py::test_too_many_blocked_streams_close_the_connection",
    ),
    Reference(
        "RFC 9204 3.2.3-2",
        "another table capacity than the early request was sent under",
        "QPACK_DECODER_STREAM_ERROR",
        "h3/test_early_data.py::test_a_server_that_accepts_may_not_lower_them",
    ),
]
