"""The whole verdict where there is no trait, and where there is one. `make calibrate` runs more."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch

from benchmarks.calibrate.traits import NON_TRAITS, Design, planted, simulate
from traitvec_core.experiment import Thresholds
from traitvec_core.storage.manifests import VectorVerdict
from traitvec_core.validation.checks.result import CheckResult
from traitvec_core.validation.measure_vectors import measure_vectors, n_steps
from traitvec_core.validation.validate import check_vectors
from traitvec_core.validation.verdict import judge_vector

Kind = Callable[..., Any]
N_TRAITS = 7


@cache
def judge(
    kind: Kind, seed: int, n_pairs: int = 10
) -> tuple[VectorVerdict, dict[str, CheckResult], bool]:
    """The verdict on one simulated trait, its checks, and whether steering is called hopeless."""
    design = Design(
        n_pairs=n_pairs, n_questions=10, n_per_pole=100, n_layers=1, hidden_dim=24, question_sd=0.5
    )
    measured = measure_vectors(simulate(kind, design, seed), [1], ["mean_diff"])
    checks = check_vectors(measured, Thresholds())
    by_name = {check.name: check for check in checks}
    return judge_vector(checks)[0], by_name, measured.forecast.is_hopeless


@pytest.mark.parametrize("kind", NON_TRAITS)
def test_what_is_no_trait_is_not_usable(kind: str) -> None:
    results = [judge(NON_TRAITS[kind], seed) for seed in range(N_TRAITS)]
    verdicts = [verdict for verdict, _, _ in results]
    print({name: [r[1][name].verdict for r in results] for name in results[0][1]})
    assert "usable" not in verdicts
    assert verdicts.count("not_usable") >= N_TRAITS - 3


@pytest.mark.parametrize(
    ("kind", "checks"),
    [
        ("exchangeable noise", {"chance", "accuracy"}),
        ("uneven poles (100 against 8)", {"accuracy"}),
        ("instruction only", {"confounds"}),
        ("length and a tic", {"confounds"}),
    ],
)
def test_the_check_that_is_made_for_it_notices(kind: str, checks: set[str]) -> None:
    for name in checks:
        verdicts = [judge(NON_TRAITS[kind], seed)[1][name].verdict for seed in range(4)]
        assert "pass" not in verdicts, name
        assert "fail" in verdicts, name


def test_a_strong_trait_with_ten_pairs_is_usable() -> None:
    for seed in range(3):
        verdict, checks, is_hopeless = judge(planted(7.0), seed)
        assert verdict == "usable", {name: check.summary for name, check in checks.items()}
        assert {check.verdict for check in checks.values()} == {"pass"}
        assert not is_hopeless


def test_a_strong_trait_with_five_pairs_is_usable_with_care() -> None:
    """Five pairs cannot show less than 1/16, and nothing else is wrong."""
    verdict, checks, _ = judge(planted(7.0), 0, n_pairs=5)
    assert verdict == "with_care"
    assert {name for name, check in checks.items() if check.verdict != "pass"} == {"chance"}
    assert "1/16" in checks["chance"].advice


def test_noise_is_hopeless_to_steer_with() -> None:
    hopeless = [judge(NON_TRAITS["exchangeable noise"], seed)[2] for seed in range(4)]
    assert sum(hopeless) >= 3


def test_one_thread_or_two_and_every_step_is_announced() -> None:
    design = Design(n_pairs=3, n_questions=4, n_per_pole=12, n_layers=2, hidden_dim=8)
    examples = simulate(planted(4.0), design, 0)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            finished: list[int] = []
            measured = measure_vectors(
                examples, [1, 2], ["mean_diff", "probe"], on_layer=finished.append
            )
            assert len(finished) == n_steps([1, 2])
            results.append((measured.separation, measured.chance, measured.evidence))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1]
