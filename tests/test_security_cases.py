"""What broke in other stacks, and the tests of ours that would have found it: no case without one.

Each row names public reports (advisories, or issues of the project in front of ``#``), what went wrong there, and our
tests. A test named here is marked ``security``, and one of a row's docstrings carries each of its reports.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Case:
    reports: tuple[str, ...]
    fault: str
    tests: tuple[str, ...]


CASES = [
    Case(
        ("aioquic#501", "CVE-2024-1765", "PR#1546", "xquic 1.9.4"),
        "CRYPTO data kept without limit, after the handshake too",
        (
            "quic/test_space.py::test_crypto_data_far_ahead_is_refused_in_every_space",
            "quic/test_space.py::test_crypto_data_with_a_hole_is_bounded",
            "tls/test_engine.py::test_the_whole_handshake_has_a_limit",
        ),
    ),
    Case(
        ("aioquic#544", "CVE-2023-49295", "CVE-2023-6193", "CVE-2026-34183"),
        "answers to PATH_CHALLENGE queue while acknowledgments are withheld",
        (
            "quic/test_outbound.py::test_a_flood_of_path_challenges_with_every_acknowledgment_withheld",
            "quic/test_outbound.py::test_lost_path_responses_are_not_repeated",
            "quic/test_path.py::test_challenge_flood_keeps_the_newest",
        ),
    ),
    Case(
        ("CVE-2024-22189", "CVE-2024-1410"),
        "retirements of connection ids queue behind a closed window",
        (
            "quic/test_floods.py::test_new_connection_ids_with_a_collapsed_window",
            "quic/test_cids.py::test_retire_prior_to_flood_without_acknowledgments",
        ),
    ),
    Case(
        ("RUSTSEC-2026-0339", "CVE-2026-107494"),
        "the limit left out ids that were retired already or repeated",
        (
            "quic/test_floods.py::test_retired_connection_ids_again_and_again",
            "quic/test_cids.py::test_flood_of_old_sequence_numbers",
            "quic/test_cids.py::test_flood_of_repeated_frames",
        ),
    ),
    Case(
        ("CVE-2025-7054",),
        "the loop that writes frames never ended",
        ("quic/test_outbound.py::test_the_packer_makes_progress_or_stops_at_any_remaining_room",),
    ),
    Case(
        ("CVE-2025-4821",),
        "acknowledgments of packets that were never sent counted",
        ("quic/test_delivery.py::test_an_acknowledgment_of_what_was_never_sent_closes",),
    ),
    Case(
        ("CVE-2025-4820",),
        "acknowledgments ahead of what arrived went unnoticed",
        ("quic/test_delivery.py::test_an_optimistic_acknowledgment_meets_a_skipped_number",),
    ),
    Case(
        ("aioquic#549",),
        "too many ranges for our own ACK frame",
        (
            "quic/test_outbound.py::test_every_other_packet_number_missing_makes_no_endless_acknowledgment",
            "network/test_hostile_peers.py::test_every_other_packet_lost_for_ever",
        ),
    ),
    Case(
        ("aioquic#589", "CVE-2026-75804"),
        "windows followed the highest offset; the connection's limit was not enforced",
        (
            "quic/test_flow.py::test_sparse_data_at_the_top_of_the_window_raises_nothing",
            "quic/test_flow.py::test_the_connection_limit_holds_over_many_streams",
        ),
    ),
    Case(
        ("CVE-2026-44433",),
        "one byte at the top of the window allocated the window",
        ("quic/test_flow.py::test_one_byte_at_the_top_of_a_hundred_windows_costs_nothing",),
    ),
    Case(
        ("CVE-2026-25800", "RUSTSEC-2026-0341"),
        "what each fragment costs beside its bytes was not counted, or not everywhere",
        (
            "quic/test_flow.py::test_gapped_bytes_are_capped_over_all_streams",
            "quic/test_space.py::test_crypto_bytes_with_gaps_are_capped",
        ),
    ),
    Case(
        ("CVE-2026-42772",),
        "reassembly out of order took quadratic time",
        (
            "reference/test_reassembly.py::test_a_hundred_thousand_segments_backwards",
            "reference/test_reassembly.py::test_time_is_linear_in_any_order",
        ),
    ),
    Case(
        ("CVE-2026-54873",),
        "a byte kept the datagram alive that brought it",
        ("quic/test_flow.py::test_a_byte_does_not_keep_the_datagram_that_brought_it",),
    ),
    Case(
        ("CVE-2026-63075",),
        "packets of acknowledgments alone were remembered for ever",
        (
            "quic/test_outbound.py::test_a_million_acknowledgments_that_nobody_acknowledges_are_not_kept",
            "network/test_hostile_peers.py::test_acknowledgments_that_nobody_acknowledges",
        ),
    ),
    Case(
        ("aioquic#637",),
        "endless probes when the handshake never completes",
        (
            "quic/test_timers.py::test_probes_end_with_the_handshake_timeout",
            "network/test_handshakes.py::test_a_peer_that_acknowledges_but_never_finishes",
        ),
    ),
    Case(
        ("CVE-2026-31812",),
        "bad values of transport parameters",
        (
            "quic/test_parameters.py::test_every_parameter_repeated_or_truncated",
            "quic/test_parameters.py::test_integer_parameters_of_the_wrong_length",
            "quic/test_parameters.py::test_ranges",
            "quic/test_parameters.py::test_malformed_values",
            "quic/test_parameters.py::test_unknown_parameters_are_bounded",
            "quic/test_handshake.py::test_malformed_parameters_end_the_handshake_with_their_code",
        ),
    ),
    Case(
        ("CVE-2023-42805",),
        "an unknown frame type",
        ("quic/test_inbound.py::test_any_unknown_frame_type_closes",),
    ),
    Case(
        ("RUSTSEC-2026-0340",),
        "delays of acknowledgments that contradict each other",
        ("quic/test_handshake.py::test_any_delays_of_the_peers_acknowledgments",),
    ),
    Case(
        ("RUSTSEC-2026-0523",),
        "a huge stream id in any frame opened all streams below it",
        (
            "quic/test_streams.py::test_no_stream_above_the_limit_is_opened",
            "quic/test_streams.py::test_every_frame_with_a_stream_id_above_the_limit_closes",
        ),
    ),
    Case(
        ("CVE-2025-59530",),
        "HANDSHAKE_DONE before the handshake is over",
        (
            "quic/test_handshake.py::test_handshake_done_before_its_time_is_a_violation",
            "quic/test_handshake.py::test_handshake_done_in_a_1_rtt_packet_ahead_of_the_handshake_waits_for_its_keys",
            "quic/test_handshake.py::test_handshake_done_twice_confirms_once",
        ),
    ),
    Case(
        ("CVE-2023-46239",),
        "frames behind the CRYPTO data that completes the handshake",
        (
            "quic/test_handshake.py::test_any_frame_order_in_the_packet_that_completes_the_handshake",
            "quic/test_handshake.py::test_an_acknowledgment_behind_the_completing_crypto_from_a_server",
        ),
    ),
    Case(
        ("CVE-2024-53259",),
        "a forged ICMP message killed the connection",
        (
            "quic/test_mtu.py::test_too_big_never_shrinks_a_connection_below_the_minimum",
            "twins/test_udp_sizes.py::test_a_forged_too_big_message_costs_nothing",
        ),
    ),
    Case(
        ("CVE-2025-64702", "CVE-2026-40898"),
        "only the compressed size of a field section was limited, in trailers too",
        (
            "h3/test_rules.py::test_decoded_size_is_limited",
            "h3/test_qpack.py::test_expansion_bomb_is_refused_undecoded",
        ),
    ),
    Case(
        ("CVE-2026-115482", "xquic 1.9.4"),
        "field sections that wait for the encoder stream were not limited",
        (
            "h3/test_qpack.py::test_blocked_bytes_are_limited",
            "h3/test_qpack.py::test_too_many_blocked_streams_close_the_connection",
        ),
    ),
    Case(
        ("CVE-2026-48748",),
        "one blocked stream too many, and a limit of zero that was none",
        ("h3/test_qpack.py::test_one_blocked_stream_too_many",),
    ),
    Case(
        ("CVE-2026-56816",),
        "an unknown HTTP/3 frame was stored up to its length",
        ("h3/test_rules.py::test_unknown_frame_of_any_length_is_skipped_not_stored",),
    ),
    Case(
        ("CVE-2026-40170",),
        "the log overflowed on large transport parameters",
        ("quic/test_qlog.py::test_maximal_parameters_fit_the_log",),
    ),
    Case(
        (
            "CVE-2024-2379",
            "CVE-2025-4947",
            "CVE-2025-5025",
            "CVE-2025-13034",
            "CVE-2026-105794",
            "CVE-2026-49457",
        ),
        "a check of the certificate was left out on one way in",
        (
            "tls/test_trust.py::test_names_that_do_not_match",
            "tls/test_trust.py::test_validity",
            "tls/test_trust.py::test_unknown_authority",
            "tls/test_trust.py::test_missing_intermediate",
            "tls/test_trust.py::test_self_signed",
            "tls/test_trust.py::test_impostor_of_a_trusted_authority",
            "tls/test_trust.py::test_leaf_as_an_issuer",
            "tls/test_trust.py::test_usage",
            "tls/test_trust.py::test_nothing_usable",
            "trust/test_matrix.py::test_cell",
            "trust/test_refused_clients.py::test_httpx_judges_on_tcp_too",
            "client/test_trust.py::test_an_unknown_authority",
            "client/test_trust.py::test_nobody_is_trusted_by_default",
            "client/test_trust.py::test_a_wrong_name",
            "client/test_trust.py::test_a_wrong_address",
            "client/test_trust.py::test_the_wrong_time",
            "client/test_trust.py::test_the_wrong_use",
            "client/test_resumption.py::test_a_session_is_no_way_around_verification",
            "client/test_resumption.py::test_a_session_is_good_for_its_name_only",
            "client/test_resumption.py::test_a_session_does_not_outlive_the_certificate",
            "interop/test_security.py::test_a_wrong_host_name_is_refused",
            "interop/test_security.py::test_a_wrong_address_is_refused",
            "interop/test_security.py::test_an_unknown_authority_is_refused",
        ),
    ),
    Case(
        ("CVE-2025-15468",),
        "a ServerHello that chooses what was not offered",
        ("tls/test_client.py::test_server_hello",),
    ),
    Case(
        ("CVE-2023-39321", "CVE-2023-39322"),
        "messages after the handshake in pieces, or without end",
        (
            "tls/test_engine.py::test_ticket_byte_by_byte",
            "tls/test_engine.py::test_ticket_that_claims_too_much",
            "quic/test_tickets.py::test_a_ticket_byte_by_byte",
            "quic/test_tickets.py::test_a_ticket_that_claims_to_be_endless",
        ),
    ),
    Case(
        ("CVE-2021-22901",),
        "a ticket that came after its request was gone",
        ("client/test_resumption.py::test_a_ticket_that_comes_after_its_request_is_gone",),
    ),
    Case(
        ("CVE-2025-54939",),
        "foreign packets behind a good one were kept for ever",
        ("quic/test_inbound.py::test_coalesced_packets_for_other_ids_leave_no_trace",),
    ),
    Case(
        ("GHSA-fr44-546p-7xcp", "GHSA-xh5m-8qqp-c5x7"),
        "Retry and a second set of parameters; Version Negotiation in the wrong role or too late",
        (
            "quic/test_handshake.py::test_parameters_must_name_the_retry_that_was_followed",
            "quic/test_handshake.py::test_a_server_ignores_version_negotiation_and_retry",
            "network/test_versions.py::test_version_negotiation_that_does_not_count",
        ),
    ),
    Case(
        ("haproxy",),
        "an unreadable frame type was taken for PADDING, for ever",
        (
            "quic/test_inbound.py::test_a_truncated_frame_type_closes",
            "quic/test_inbound.py::test_a_handshake_datagram_truncated_anywhere_is_dropped",
        ),
    ),
    Case(
        ("CVE-2026-47070", "GHSA-qccp-gfcp-xxvc"),
        "a redirect took credentials along to another origin",
        (
            "cli/test_redirects.py::test_credentials_stay_with_their_origin",
            "integrations/test_auto.py::test_a_redirect_from_http3_to_tcp_strips_credentials",
            "integrations/test_features.py::test_a_redirect_to_another_origin_strips_credentials",
        ),
    ),
    Case(
        ("GHSA-mf9v-mfxr-j63j", "GHSA-38jv-5279-wg99", "GHSA-gm62-xv2j-4w53"),
        "bodies that expand without end: streamed, on redirects, through chains of codings",
        (
            "client/test_decode.py::test_a_bomb_on_every_way_to_read",
            "client/test_decode.py::test_the_bomb_of_a_redirect_is_not_touched",
            "client/test_decoding.py::test_a_bomb_inside_a_chain",
            "client/test_decoding.py::test_a_chain_that_is_too_long",
        ),
    ),
    Case(
        ("death spiral",),
        "the window stayed at its floor for ever after heavy loss",
        (
            "network/test_keys_and_congestion.py::test_the_window_recovers_after_heavy_loss",
            "quic/test_congestion.py::test_window_recovers_after_heavy_loss",
        ),
    ),
    Case(
        (),
        "a queue that the peer fills and our window drains",
        (
            "quic/test_floods.py::test_any_frame_again_and_again",
            "network/test_hostile_peers.py::test_a_flood_of",
            "network/test_hostile_peers.py::test_the_time_of_a_flood_is_linear",
        ),
    ),
]

NODES = sorted({node for case in CASES for node in case.tests})


@cache
def functions(path: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def find(node: str) -> ast.FunctionDef | ast.AsyncFunctionDef | None:
    path, _, name = node.partition("::")
    return functions(path).get(name) if (ROOT / path).exists() else None


@pytest.mark.parametrize("node", NODES)
def test_the_test_exists_and_is_marked(node: str) -> None:
    found = find(node)
    assert found is not None, "there is no such test"
    assert "pytest.mark.security" in [ast.unparse(decorator) for decorator in found.decorator_list]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.reports[0] if case.reports else "pattern")
def test_every_case_has_a_test_that_names_it(case: Case) -> None:
    assert case.tests
    said = [ast.get_docstring(found) or "" for found in map(find, case.tests) if found is not None]
    for report in case.reports:
        assert any(report in text for text in said), f"no docstring names {report}"


def test_no_case_is_listed_twice() -> None:
    first = [case.reports[0] for case in CASES if case.reports]
    assert len(set(first)) == len(first) == len(CASES) - 1
