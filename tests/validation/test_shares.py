"""Shares of the separation: against regression, planted ones, and the 2×2 of instructions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from tests.validation.crossed_design import crossed
from traitvec_core.estimate import Estimate
from traitvec_core.validation.shares import instruction_share, share_of_vector

DATA = crossed(n_questions=12, n_pairs=8)
SPLIT, IS_POSITIVE = DATA.split, DATA.is_positive
N = len(IS_POSITIVE)
SIGN = np.where(IS_POSITIVE, 1.0, -1.0)


def value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def test_the_share_is_the_slope_within_poles_times_the_difference_between_them() -> None:
    rng = np.random.default_rng(0)
    length = 0.4 * SIGN + rng.standard_normal(N)
    margins = 1.5 * SIGN + 0.8 * length + rng.standard_normal(N)
    share = share_of_vector("length", length, margins, SPLIT, 0)
    fitted = LinearRegression().fit(np.column_stack([length, IS_POSITIVE]), margins)
    distance = margins[IS_POSITIVE].mean() - margins[~IS_POSITIVE].mean()
    assert value(share.share_of_separation) == pytest.approx(1 - fitted.coef_[1] / distance)
    within = [
        np.concatenate([each[pole] - each[pole].mean() for pole in (IS_POSITIVE, ~IS_POSITIVE)])
        for each in (length, margins)
    ]
    assert value(share.correlation) == pytest.approx(np.corrcoef(*within)[0, 1])
    for estimate in (share.share_of_separation, share.correlation):
        assert estimate.interval is not None
        assert estimate.interval[0] < value(estimate) < estimate.interval[1]


@pytest.mark.parametrize("planted", [0.0, 0.3, 1.0])
def test_a_planted_share_is_recovered(planted: float) -> None:
    """The poles are 3 apart along the vector, of which a part is the number's."""
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        number = SIGN / 2 + rng.standard_normal(N)
        margins = 3 * (planted * number + (1 - planted) * SIGN / 2) + rng.standard_normal(N)
        shares.append(share_of_vector("words", number, margins, SPLIT, 0).share_of_separation)
    values = [value(share) for share in shares]
    assert np.mean(values) == pytest.approx(planted, abs=0.05)
    covered = [(share.low or 0) <= planted <= (share.high or 0) for share in shares]
    assert np.mean(covered) >= 0.85


@settings(max_examples=25)
@given(scale=st.floats(0.1, 50), offset=st.floats(-100, 100), seed=st.integers(0, 999))
def test_units_and_origins_change_no_share(scale: float, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    number = 0.5 * SIGN + rng.standard_normal(N)
    margins = SIGN + number + rng.standard_normal(N)
    one = share_of_vector("length", number, margins, SPLIT, 0)
    other = share_of_vector("length", scale * number + offset, 3 * margins - offset, SPLIT, 0)
    assert value(other.share_of_separation) == pytest.approx(value(one.share_of_separation), 1e-6)
    assert value(other.correlation) == pytest.approx(value(one.correlation), rel=1e-6)


def test_a_number_that_never_varies_explains_nothing() -> None:
    share = share_of_vector("length", np.full(N, 3.0), SIGN, SPLIT, 0)
    assert value(share.share_of_separation) == value(share.correlation) == 0.0


def test_a_number_that_varies_only_between_the_poles_cannot_be_told_from_them() -> None:
    margins = SIGN + np.random.default_rng(0).standard_normal(N)
    share = share_of_vector("refusal", (SIGN > 0).astype(float), margins, SPLIT, 0)
    assert share.share_of_separation == share.correlation == Estimate()


# -- the instruction ------------------------------------------------------------------------------


def two_by_two(instruction: float, response: float, noise: float, seed: int = 0) -> tuple:
    """Margins after the own and after the opposite instruction."""
    base = response * SIGN / 2 + noise * np.random.default_rng(seed).standard_normal(N)
    return base + instruction * SIGN / 2, base - instruction * SIGN / 2


@pytest.mark.parametrize(("instruction", "share"), [(2.0, 1.0), (0.0, 0.0)])
def test_it_is_all_or_nothing_where_only_one_of_them_counts(
    instruction: float, share: float
) -> None:
    own, opposite = two_by_two(instruction, 2.0 - instruction, 0.0)
    found = instruction_share(own, opposite, SPLIT, 0)
    assert found.name == "instruction"
    assert value(found.share_of_separation) == pytest.approx(share)
    assert found.correlation == Estimate()


@settings(max_examples=25)
@given(
    instruction=st.floats(0, 3), response=st.floats(0.5, 3), seed=st.integers(0, 999),
    interaction=st.floats(-1, 1),
)  # fmt: skip
def test_what_follows_the_instruction_and_the_response_add_up(
    instruction: float, response: float, seed: int, interaction: float
) -> None:
    own, opposite = two_by_two(instruction, response, 0.1, seed)
    # The instruction may do more to one pole's responses than to the other's.
    opposite = opposite + np.where(IS_POSITIVE, interaction, 0.0)
    of_instruction = value(instruction_share(own, opposite, SPLIT, 0).share_of_separation)
    # Seen from the other side: the same responses under the opposite instruction, in place of the
    # same instruction with the opposite responses.
    separation = own[IS_POSITIVE].mean() - own[~IS_POSITIVE].mean()
    swapped = opposite[IS_POSITIVE].mean() - opposite[~IS_POSITIVE].mean()
    of_response = (separation + swapped) / 2 / separation
    assert of_instruction + of_response == pytest.approx(1)


def test_responses_that_were_not_read_again_are_left_out() -> None:
    own, opposite = two_by_two(1.0, 1.0, 0.1)
    unread = np.arange(N) % 7 == 0
    own[unread] += 100 * SIGN[unread]
    opposite[unread] = np.nan
    found = instruction_share(own, opposite, SPLIT, 0)
    assert value(found.share_of_separation) == pytest.approx(0.5, abs=0.05)
