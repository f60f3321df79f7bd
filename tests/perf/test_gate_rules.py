"""The gate's rule: what passes, and every way in which it must not."""

from __future__ import annotations

import json
import shutil

import pytest

from perf.gate import __main__ as command
from perf.gate.metrics import METRICS, figures, percentile
from perf.gate.plan import FULL, QUICK, steps
from perf.gate.records import MISSING, read
from perf.gate.verdict import MANIFEST, VERDICT, judge, load, table
from tests.perf.gate_evidence import CLIENTS, TAIL, TTFB, change_manifest, change_run, file_of, make


@pytest.fixture(scope="module")
def genuine(tmp_path_factory):
    return make(tmp_path_factory.mktemp("gate") / "genuine")


@pytest.fixture
def evidence(genuine, tmp_path):
    return shutil.copytree(genuine, tmp_path / "evidence")


def problems(directory):
    """Return what is wrong, as one text; it must not pass then."""
    verdict = judge(directory)
    assert not verdict.passed
    return "\n".join(verdict.problems)


# -- what passes -----------------------------------------------------------------------------------------


def test_a_clean_win_passes(evidence):
    verdict = judge(evidence)
    assert verdict.problems == []
    assert verdict.passed
    assert verdict.won("specter-spin")
    assert len(verdict.comparisons) == 2 * 2 * len(METRICS["get"])
    assert verdict.cadence_p95_us == pytest.approx(0.1)
    assert command.main(["verify", str(evidence)]) == command.PASSED


def test_the_figures_are_those_of_the_definition(evidence):
    ttfb, tail = TTFB["quiche"], TAIL["quiche"]
    first = table(load(evidence))["get"]["quiche"][0]
    assert first["ttfb_p50"] == pytest.approx((ttfb + 10 * 59) / 1e3)  # the 50th of samples 10 to 109
    assert first["ttfb_p95"] == pytest.approx((ttfb + 10 * 104) / 1e3)
    assert first["tail_p50"] == pytest.approx((tail + 10 * 59) / 1e3)
    spent = sum(ttfb + tail + 20 * number + 4_000_000 for number in range(10, 110))
    assert first["throughput"] == pytest.approx(100 * 81_920 * 1e9 / spent / (1 << 20))


@pytest.mark.parametrize(("share", "value"), [(0.5, 50), (0.95, 95), (1.0, 100), (0.01, 1), (0.001, 1)])
def test_percentiles_are_members(share, value):
    assert percentile(list(range(100, 0, -1)), share) == value


def test_a_tail_is_not_clamped(evidence):
    def early(run):
        run.samples = [(number, [*times[:1], times[3], *times[2:]]) for number, times in run.samples]

    change_run(evidence, early)
    run = read(file_of(evidence, "quiche", 2))
    assert figures(run, FULL.warm_ups)["tail_p50"] == pytest.approx((TAIL["quiche"] + 200 + 590) / 1e3)


def test_the_order_is_abba():
    order = [(step.client, step.repetition) for step in steps(["get"], ["a", "b"], 4)]
    assert [client for client, _ in order] == ["a", "b", "b", "a", "b", "a", "a", "b"]
    assert [repetition for _, repetition in order] == [0, 0, 1, 1, 2, 2, 3, 3]


# -- what is lost ----------------------------------------------------------------------------------------


def lose(run):
    """Make one repetition of Specter as slow as the fastest of quiche."""
    run.samples = [
        (number, [begin, begin + TTFB["quiche"] + 10 * number, *rest]) for number, (begin, _, *rest) in run.samples
    ]


def test_a_tie_fails(evidence):
    change_run(evidence, lose, client="specter", repetition=1)
    verdict = judge(evidence)
    assert verdict.problems == []
    assert not verdict.passed
    lost = {(item.metric, item.comparator): item for item in verdict.comparisons if not item.won}
    assert lost["ttfb_p50", "quiche"].worst == lost["ttfb_p50", "quiche"].best
    assert verdict.won("specter-spin")


def test_one_slow_repetition_fails(evidence):
    def slow(run):
        run.samples = [(number, [*times[:3], times[3] + 50_000, times[4]]) for number, times in run.samples]

    change_run(evidence, slow, client="specter", repetition=3)
    lost = [item for item in judge(evidence).comparisons if not item.won]
    assert {(item.metric, item.profile) for item in lost} >= {("tail_p50", "specter"), ("tail_p95", "specter")}
    assert command.main(["verify", str(evidence)]) == command.INVALID  # it said something else before


def test_who_loses_is_told_apart_from_what_is_invalid(evidence):
    change_run(evidence, lose, client="specter", repetition=1)
    (evidence / VERDICT).write_text(json.dumps(judge(evidence).as_json()))
    assert command.main(["verify", str(evidence)]) == command.LOST


# -- what is invalid -------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["tree_before", "tree_after"])
def test_a_dirty_tree_fails(evidence, when):
    change_manifest(evidence, **{when: {"commit": "0123456789" * 4, "dirty": [" M specter/net/blocking.py"]}})
    assert "the tree was dirty:  M specter/net/blocking.py" in problems(evidence)


def test_a_tree_nobody_looked_at_fails(evidence):
    change_manifest(evidence, tree_after=None)
    assert "the tree was dirty" in problems(evidence)


def test_a_commit_that_changes_or_is_unknown_fails(evidence):
    change_manifest(evidence, tree_after={"commit": "f" * 40, "dirty": []})
    assert "the commit changed" in problems(evidence)
    change_manifest(evidence, tree_before={"commit": "unknown", "dirty": []})
    assert "the commit is unknown" in problems(evidence)


@pytest.mark.parametrize("name", ["SPECTER_LIBCRYPTO", "PERF_FASTER"])
def test_a_foreign_environment_variable_fails(evidence, name):
    change_manifest(evidence, foreign_environment=[name])
    assert name in problems(evidence)


def test_missing_keys_of_the_manifest_fail(evidence):
    written = json.loads((evidence / MANIFEST).read_text())
    for name in ("tree_before", "foreign_environment", "pinned", "counts", "artifacts", "clients", "workloads"):
        (evidence / MANIFEST).write_text(json.dumps({key: value for key, value in written.items() if key != name}))
        assert problems(evidence)
    (evidence / MANIFEST).unlink()
    assert "no manifest" in problems(evidence)


def test_fewer_samples_than_the_full_counts_fail(evidence):
    change_manifest(evidence, counts=QUICK.as_json())
    assert "proves nothing" in problems(evidence)


def test_a_missing_ledger_line_fails(evidence):
    change_run(evidence, lambda run: run.ledger.pop(7))
    assert "the ledger lacks chunk 2 of response 1 (1 lines in all)" in problems(evidence)


def test_a_duplicated_ledger_line_fails(evidence):
    change_run(evidence, lambda run: run.ledger.append(run.ledger[7]))
    assert "the ledger has chunk 2 of response 1 twice" in problems(evidence)


def test_a_ledger_with_too_many_responses_fails(evidence):
    def more(run):
        run.ledger += [{**entry, "response": 110, "stream_id": 440} for entry in run.ledger[-5:]]

    change_run(evidence, more)
    assert "the ledger has chunk 0 of response 110, which nobody asked for" in problems(evidence)


@pytest.mark.parametrize(
    ("index", "change", "said"),
    [
        (7, {"due_ns": 5}, "chunk 2 of response 1 was due at the wrong time"),
        (9, {"fin": False}, "chunk 4 of response 1 has FIN where it should not, or none where it should"),
        (5, {"fin": True}, "chunk 0 of response 1 has FIN"),
        (7, {"bytes": 16_000}, "chunk 2 of response 1 has 16000 bytes"),
        (7, {"send_start_ns": 1}, "chunk 2 of response 1 has times in an impossible order"),
        (7, {"stream_id": 400}, "response 1 changes its stream"),
        (7, {"connection": 1}, "the ledger has more than one connection"),
        (7, {"more": 1}, "the ledger has a malformed line"),
    ],
)
def test_an_inconsistent_ledger_fails(evidence, index, change, said):
    change_run(evidence, lambda run: run.ledger[index].update(change))
    assert said in problems(evidence)


def test_a_ledger_of_another_time_fails(evidence):
    def shift(run):
        for entry in run.ledger[:5]:
            for name in ("due_ns", "send_start_ns", "send_done_ns"):
                entry[name] -= 5_000_000

    change_run(evidence, shift)
    assert "sample 0 and response 0 are not of the same time" in problems(evidence)


def test_a_body_complete_before_it_was_sent_fails(evidence):
    def clairvoyant(run):
        number, times = run.samples[3]
        run.samples[3] = (number, [*times[:3], times[3] - 100_000, times[4]])

    change_run(evidence, clairvoyant)
    assert "sample 3 was complete before its last chunk left" in problems(evidence)


def test_a_missing_sample_fails(evidence):
    change_run(evidence, lambda run: run.samples.pop(50))
    assert "has 109 samples, not 110" in problems(evidence)


def test_a_duplicated_sample_fails(evidence):
    change_run(evidence, lambda run: run.samples.append(run.samples[50]))
    assert "sample 50 is there 2 times" in problems(evidence)


def test_a_sample_too_many_fails(evidence):
    change_run(evidence, lambda run: run.samples.append((110, run.samples[-1][1])))
    assert "has 111 samples, not 110" in problems(evidence)


@pytest.mark.parametrize(
    ("position", "value", "said"),
    [
        (4, 81_919, "81919 bytes, not 81920"),
        (1, 0, "impossible order"),
        (3, 0, "impossible order"),
        (0, 1.5, "malformed"),
    ],
)
def test_an_impossible_sample_fails(evidence, position, value, said):
    change_run(evidence, lambda run: run.samples[20][1].__setitem__(position, value))
    assert said in problems(evidence)


def test_a_changed_artifact_fails(evidence):
    path = file_of(evidence, "specter", 0)
    path.write_bytes(path.read_bytes() + b"\0")
    assert "-get-specter.jsonl.gz was changed" in problems(evidence)


def test_a_missing_run_fails(evidence):
    file_of(evidence, "aioquic", 3).unlink()
    assert "-get-aioquic.jsonl.gz is missing" in problems(evidence)


def test_a_run_too_many_fails(evidence):
    shutil.copy(file_of(evidence, "aioquic", 3), evidence / "runs" / "999-get-aioquic.jsonl.gz")
    assert "999-get-aioquic.jsonl.gz is there, and is no part of the plan" in problems(evidence)


def test_the_run_of_another_client_fails(evidence):
    def swap(run):
        run.client = "aioquic"

    change_run(evidence, swap)
    assert "is the run of something else" in problems(evidence)


def test_different_builds_fail(evidence):
    change_run(evidence, lambda run: run.identity.update(build="another"))
    assert "quiche was not the same build in all repetitions" in problems(evidence)


def test_a_build_nobody_knows_fails(evidence):
    change_run(evidence, lambda run: run.identity.clear())
    assert "quiche does not say which build it is" in problems(evidence)


def test_different_fixtures_fail(evidence):
    change_run(evidence, lambda run: run.fixture.update(build="another"))
    assert "the fixture was not the same build throughout" in problems(evidence)


def test_a_specter_that_is_not_compiled_fails(evidence):
    for repetition in range(4):
        change_run(
            evidence,
            lambda run: run.identity["backend"].update(acks="reference"),
            client="specter",
            repetition=repetition,
        )
    assert "specter did not run compiled: acks" in problems(evidence)


def test_a_comparator_left_out_fails(evidence):
    clients = [name for name in CLIENTS if name != "quiche"]
    change_manifest(evidence, clients=clients)
    assert "left out: quiche" in problems(evidence)


def test_a_comparator_missing_without_a_reason_fails(evidence):
    def silent(run):
        run.reason = ""

    change_run(evidence, silent, client="reqwest")
    assert "did not run, and does not say why" in problems(evidence)


def test_a_comparator_that_runs_now_and_then_fails(evidence):
    def vanish(run):
        run.status, run.reason, run.samples, run.ledger = MISSING, "it crashed", [], []

    change_run(evidence, vanish)
    assert "quiche did get only some of the time" in problems(evidence)


def test_nobody_to_compare_with_fails(evidence):
    def vanish(run):
        run.status, run.reason, run.samples, run.ledger = MISSING, "not here", [], []

    for client in ("quiche", "aioquic"):
        for repetition in range(4):
            change_run(evidence, vanish, client=client, repetition=repetition)
    assert "get: nothing was compared" in problems(evidence)


def test_specter_itself_missing_fails(evidence):
    def vanish(run):
        run.status, run.reason, run.samples, run.ledger = MISSING, "not here", [], []

    for repetition in range(4):
        change_run(evidence, vanish, client="specter", repetition=repetition)
    assert "specter did not do get: not here" in problems(evidence)


def test_a_late_fixture_fails(evidence):
    def late(run):
        for entry in run.ledger:
            if entry["chunk"] == 1:
                entry["send_start_ns"] += 200_000
                entry["send_done_ns"] += 200_000

    for client in ("specter", "quiche"):
        for repetition in range(4):
            change_run(evidence, late, client=client, repetition=repetition)
    assert "the fixture was late: 200 us at p95, 150 are allowed" in problems(evidence)


def test_garbage_in_a_run_fails(evidence):
    path = file_of(evidence, "aioquic", 3)
    path.write_bytes(b"nothing")
    assert "is not what a run leaves" in problems(evidence)


def test_a_verdict_that_was_touched_is_noticed(evidence):
    told = json.loads((evidence / VERDICT).read_text())
    told["comparisons"][0]["worst"] = 1.0
    (evidence / VERDICT).write_text(json.dumps(told))
    assert command.main(["verify", str(evidence)]) == command.INVALID


# -- what does not even start ----------------------------------------------------------------------------


def test_a_full_run_does_not_start_under_foreign_variables(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("SPECTER_FASTER", "1")
    assert command.main(["run", "get", "--out", str(tmp_path / "out")]) == command.INVALID
    assert "SPECTER_FASTER is set" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_full_run_does_not_start_on_a_dirty_tree(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "tree", lambda: {"commit": "a" * 40, "dirty": ["?? new"]})
    assert command.main(["run", "get", "--out", str(tmp_path / "out")]) == command.INVALID
    assert "the tree is dirty" in capsys.readouterr().err


def test_a_directory_in_use_is_not_written_to(monkeypatch, evidence, capsys):
    monkeypatch.setattr(command, "tree", lambda: {"commit": "a" * 40, "dirty": []})
    monkeypatch.setattr(command, "foreign", list)
    assert command.main(["run", "get", "--out", str(evidence)]) == command.INVALID
    assert "is not empty" in capsys.readouterr().err
