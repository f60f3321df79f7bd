from __future__ import annotations

import pytest

from specter._entropy import SeededEntropy
from specter._frame_types import PathChallenge, PathResponse
from specter._wire import NEVER
from specter.quic.path import MAX_CHALLENGES, MAX_RESPONSES, AmplificationLimit, PathState, PathValidator

PTO = 100_000_000


def started() -> tuple[PathValidator, SeededEntropy, PathChallenge]:
    path, entropy = PathValidator(), SeededEntropy(3)
    path.start(1000, PTO, entropy)
    challenge = path.next_challenge(1000)
    assert challenge is not None
    return path, entropy, challenge


def test_challenges_are_answered_in_order_and_once() -> None:
    path = PathValidator()
    assert path.next_response() is None
    path.receive_challenge(b"1" * 8)
    path.receive_challenge(b"2" * 8)
    assert path.has_pending
    assert [path.next_response(), path.next_response()] == [PathResponse(b"1" * 8), PathResponse(b"2" * 8)]
    assert path.next_response() is None
    assert not path.has_pending
    assert path.state is PathState.UNKNOWN


@pytest.mark.security
def test_challenge_flood_keeps_the_newest() -> None:
    """aioquic#544, quic-go CVE-2023-49295, quiche CVE-2023-6193, OpenSSL CVE-2026-34183."""
    path = PathValidator()
    for number in range(100_000):
        path.receive_challenge(number.to_bytes(8, "big"))
        assert len(path._responses) <= MAX_RESPONSES
    answers = []
    while (answer := path.next_response()) is not None:
        answers.append(int.from_bytes(answer.data, "big"))
    assert answers == list(range(100_000 - MAX_RESPONSES, 100_000))


def test_matching_response_validates() -> None:
    path, _, challenge = started()
    assert len(challenge.data) == 8
    assert (path.state, path.deadline) == (PathState.VALIDATING, 1000 + 3 * PTO)
    assert path.next_challenge(1000) is None
    assert not path.receive_response(b"guess..." if challenge.data != b"guess..." else bytes(8), 2000)
    assert path.state is PathState.VALIDATING
    assert path.receive_response(challenge.data, 2000)
    assert (path.state, path.deadline) == (PathState.VALIDATED, NEVER)
    assert not path.receive_response(challenge.data, 2000)


def test_response_without_a_challenge_is_ignored() -> None:
    path = PathValidator()
    assert not path.receive_response(bytes(8), 2000)
    path.start(0, PTO, SeededEntropy(3))
    assert path._unsent is not None
    assert not path.receive_response(path._unsent, 2000)


def test_validation_fails_in_time() -> None:
    path, _, challenge = started()
    assert not path.handle_deadline(path.deadline - 1)
    assert path.handle_deadline(path.deadline)
    assert (path.state, path.deadline) == (PathState.FAILED, NEVER)
    assert not path.handle_deadline(NEVER - 1)
    assert not path.receive_response(challenge.data, 2000)


def test_it_asks_again_less_and_less_often() -> None:
    path, entropy, _ = started()
    path.start(0, PTO, entropy, initial_pto=10 * PTO)
    assert path.deadline == 30 * PTO
    asked = []
    while not path.handle_deadline(path.next_time):
        challenge = path.next_challenge(1000)
        if challenge is not None:
            asked.append(challenge.data)
    assert len(set(asked)) == len(asked) == 4, "after 1, 3, 7 and 15"
    assert (path.state, path.next_time) == (PathState.FAILED, NEVER)


def test_answers_that_cannot_be_sent_are_forgotten() -> None:
    path = PathValidator()
    path.receive_challenge(bytes(8))
    path.drop_responses()
    assert not path.has_pending


def test_what_was_earned_counts_after_validation_too() -> None:
    limit = AmplificationLimit()
    limit.on_received(100)
    limit.on_sent(250)
    limit.validate()
    assert (limit.allowance, limit.earned) == (NEVER, 50)


def test_any_of_several_challenges_may_be_answered() -> None:
    path, entropy, first = started()
    path.probe(entropy)
    assert path.has_pending
    second = path.next_challenge(1000)
    assert second is not None
    assert second.data != first.data
    assert path.receive_response(first.data, 2000)


def test_the_delay_of_an_answer_is_known_when_there_was_one_question() -> None:
    path, entropy, first = started()
    assert path.receive_response(first.data, 1700)
    assert path.delay == 700
    path.start(5000, PTO, entropy)
    assert path.next_challenge(5000) is not None
    path.probe(entropy)
    second = path.next_challenge(6000)
    assert second is not None
    assert path.receive_response(second.data, 6500)
    assert path.delay == 0


def test_unsent_challenges_do_not_pile_up_and_sent_ones_are_bounded() -> None:
    path, entropy, first = started()
    for _ in range(100):
        path.probe(entropy)
        path.probe(entropy)
        assert path.next_challenge(1000) is not None
        assert path.next_challenge(1000) is None
    assert len(path._challenges) == MAX_CHALLENGES
    assert not path.receive_response(first.data, 2000)


def test_starting_over_forgets_earlier_challenges() -> None:
    path, entropy, first = started()
    path.start(5000, PTO, entropy)
    assert not path.receive_response(first.data, 2000)
    assert path.deadline == 5000 + 3 * PTO


def test_abandon_and_probe_outside_a_validation() -> None:
    path, entropy, challenge = started()
    path.abandon()
    assert (path.state, path.deadline) == (PathState.UNKNOWN, NEVER)
    assert not path.receive_response(challenge.data, 2000)
    path.probe(entropy)
    assert path.next_challenge(1000) is None
    path.start(0, PTO, entropy)
    challenge = path.next_challenge(1000)  # type: ignore[assignment]
    assert path.receive_response(challenge.data, 2000)
    path.abandon()
    assert path.state is PathState.VALIDATED


# Amplification


def test_three_times_what_was_received() -> None:
    limit = AmplificationLimit()
    assert limit.allowance == 0
    limit.on_received(1200)
    assert limit.allowance == 3600
    limit.on_sent(3000)
    assert limit.allowance == 600
    limit.on_sent(601)
    assert limit.allowance == 0
    limit.on_received(1)
    assert limit.allowance == 2


def test_no_limit_once_validated() -> None:
    limit = AmplificationLimit()
    limit.validate()
    assert limit.allowance == NEVER
    assert AmplificationLimit(validated=True).allowance == NEVER
