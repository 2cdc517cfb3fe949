"""Published judgements give their published figures, in whatever order their rows come."""

import csv
import html
import io
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.report.reports import activations_manifest, empty_manifest, judging_manifest
from traitvec_core.experiment import ExperimentSettings, Thresholds
from traitvec_core.report.page import ReportSources, build_report, sample_responses
from traitvec_core.settings.response_filter import ResponseFilter
from traitvec_core.storage.formats import parse_csv, response_csvs
from traitvec_core.trait import parse_definition
from traitvec_core.validation.checks.contrast import check_contrast
from traitvec_core.validation.checks.coverage import check_coverage
from traitvec_core.validation.elicitation import Elicitation, keep_mask, summarise_responses

PUBLISHED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "persona_vectors"
THRESHOLD, MIN_COHERENCE = 50.0, 50.0
FILTER = ResponseFilter(threshold=THRESHOLD, min_coherence=MIN_COHERENCE)

published = pytest.mark.skipif(
    not (PUBLISHED / "judged").is_dir(),
    reason=f"the published judgements are not here: {PUBLISHED}",
)


class Facts(NamedTuple):
    """What SOURCE.md says of a trait."""

    contrast: float
    pairs_kept: int
    kept_at_any_coherence: tuple[int, int]
    kept: tuple[int, int]
    mean_characters: tuple[int, int]
    contrast_verdict: str


FACTS = {
    "sycophantic": Facts(67.72, 804, (807, 1000), (805, 999), (509, 1511), "pass"),
    "honest": Facts(14.04, 124, (989, 130), (989, 130), (1157, 1155), "fail"),
}


def real(trait: str) -> pd.DataFrame:
    """The published rows in this project's columns.

    Their `question_id` ends at the instruction and stands for ten samples; which of the ten a row
    is, only the order of their file tells, so it is written down before anything moves.
    """
    frames = []
    for pole in ("pos", "neg"):
        frame = parse_csv(raw(trait, pole)).rename(
            columns={"answer": "response", trait: "trait_score", "coherence": "coherence_score"}
        )
        for score in ("trait_score", "coherence_score"):
            frame[score] = pd.to_numeric(frame[score])
        sample = frame.groupby("question_id").cumcount().astype(str)
        frame["question_id"] += "_" + sample
        frame["instruction"] = frame["prompt"].str.extract(
            r"<\|im_start\|>system\n(.*?)<\|im_end\|>", expand=False
        )
        # What their files do not tell, as a run of ours would write it.
        frames.append(
            frame.assign(
                judge_status="ok",
                finish_reason="stop",
                prompt_tokens=0,
                response_tokens=0,
                pole=pole,
            )
        )
    return pd.concat(frames, ignore_index=True)


def raw(trait: str, pole: str) -> bytes:
    return (PUBLISHED / "judged" / f"{trait}_{pole}.csv").read_bytes()


def shuffled(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """All rows in a new order: each pole's own, and the poles laid into one another."""
    return frame.iloc[np.random.default_rng(seed).permutation(len(frame))]


def summary(frame: pd.DataFrame, min_coherence: float = MIN_COHERENCE) -> Elicitation:
    return summarise_responses(
        frame, ResponseFilter(threshold=THRESHOLD, min_coherence=min_coherence)
    )


@pytest.fixture(scope="module", params=sorted(FACTS))
def trait(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def judged(trait: str) -> pd.DataFrame:
    return real(trait)


@published
def test_the_figures_are_the_published_ones(trait: str, judged: pd.DataFrame) -> None:
    facts, found = FACTS[trait], summary(judged)
    poles = (found.positive, found.negative)
    assert [(pole.n, pole.scored, pole.missing) for pole in poles] == [(1000, 1000, {})] * 2
    assert round(found.contrast.value or 0, 2) == facts.contrast
    assert (found.contrast.low or 0) < facts.contrast < (found.contrast.high or 0)
    assert np.nanmean(np.array(found.by_cell, dtype=float)) == pytest.approx(
        facts.contrast, abs=0.1
    )
    assert tuple(pole.kept for pole in poles) == facts.kept
    assert tuple(round(pole.mean_characters) for pole in poles) == facts.mean_characters
    assert (found.n_pairs, found.pairs_kept) == (1000, facts.pairs_kept)
    assert (found.n_questions, found.n_instructions) == (20, 5)
    at_any_coherence = summary(judged, min_coherence=0)
    assert (
        at_any_coherence.positive.kept,
        at_any_coherence.negative.kept,
    ) == facts.kept_at_any_coherence


@published
def test_the_filter_keeps_what_the_summary_counts(trait: str, judged: pd.DataFrame) -> None:
    kept = judged[keep_mask(judged, FILTER)]
    counts = kept["pole"].value_counts()
    assert (counts["pos"], counts["neg"]) == FACTS[trait].kept


@published
def test_the_checks_say_what_is_known_of_them(trait: str, judged: pd.DataFrame) -> None:
    facts, found = FACTS[trait], summary(judged)
    contrast = check_contrast(found, Thresholds())
    assert contrast.verdict == facts.contrast_verdict
    assert f"contrast {facts.contrast:.1f}" in contrast.summary
    assert bool(contrast.advice) == (contrast.verdict == "fail")
    coverage = check_coverage(found)
    assert f"{facts.kept[0]} of 1000 positives" in coverage.summary
    assert f"{facts.kept[1]} of 1000 negatives" in coverage.summary


@published
def test_no_figure_depends_on_the_order_of_rows(judged: pd.DataFrame) -> None:
    moved = shuffled(judged, 0)
    assert moved["question_id"].tolist() != judged["question_id"].tolist()
    assert summary(moved) == summary(judged)
    assert summary(moved, min_coherence=0) == summary(judged, min_coherence=0)


@published
def test_pairs_are_matched_by_name_where_order_would_give_another_number() -> None:
    """Otherwise the test above could pass by luck."""
    honest = real("honest")
    by_position = []
    for seed in range(5):
        moved = shuffled(honest, seed)
        kept = moved.assign(kept=keep_mask(moved, FILTER))
        sides = [kept.loc[kept["pole"] == pole, "kept"].to_numpy() for pole in ("pos", "neg")]
        by_position.append(int((sides[0] & sides[1]).sum()))
    assert set(by_position) != {FACTS["honest"].pairs_kept}


@published
def test_without_sample_numbers_the_order_of_the_file_is_the_sample(
    trait: str, judged: pd.DataFrame
) -> None:
    numberless = judged.assign(
        question_id=judged["question_id"].str.replace(r"_\d+$", "_0", regex=True)
    )
    assert numberless["question_id"].nunique() == 200
    found = summary(numberless)
    assert (found.n_pairs, found.pairs_kept) == (1000, FACTS[trait].pairs_kept)


@published
def test_real_texts_survive_being_written_and_read(trait: str, judged: pd.DataFrame) -> None:
    texts = "".join(judged["response"])
    assert all(awkward in texts for awkward in ('"', ",", "\n", "'")), "nothing here to survive"
    assert not texts.isascii()
    files = response_csvs(judged, "")
    for pole in ("pos", "neg"):
        before = judged[judged["pole"] == pole].drop(columns="pole").reset_index(drop=True)
        after = parse_csv(files[f"responses/{pole}.csv"])
        assert list(after.columns) == list(before.columns)
        for column in ("question", "instruction", "prompt", "response", "question_id"):
            assert [text.encode() for text in after[column]] == [
                text.encode() for text in before[column]
            ]
        for column in ("trait_score", "coherence_score"):
            assert after[column].tolist() == before[column].tolist()
        # Another reader finds in our file what it finds in theirs.
        theirs = list(csv.DictReader(io.StringIO(raw(trait, pole).decode(), newline="")))
        ours = pd.read_csv(
            io.BytesIO(files[f"responses/{pole}.csv"]), dtype=str, keep_default_na=False
        )
        assert ours["response"].tolist() == [row["answer"] for row in theirs]
        assert ours["prompt"].tolist() == [row["prompt"] for row in theirs]


@published
def test_figures_survive_being_written_and_read(judged: pd.DataFrame) -> None:
    files = response_csvs(shuffled(judged, seed=0), "")
    read = [parse_csv(files[f"responses/{pole}.csv"]).assign(pole=pole) for pole in ("pos", "neg")]
    assert summary(pd.concat(read, ignore_index=True)) == summary(judged)


@published
def test_the_report_tells_the_pairs(trait: str, judged: pd.DataFrame) -> None:
    facts = FACTS[trait]
    chosen = ExperimentSettings(model="m", threshold=THRESHOLD, min_coherence=MIN_COHERENCE)
    definition = parse_definition((PUBLISHED / "traits" / f"{trait}.json").read_bytes(), trait)
    page, report = build_report(
        ReportSources(
            experiment="published", trait=trait, definition=definition, settings=chosen,
            judged=judged, judging=judging_manifest(), captured=activations_manifest(2, ["a", "b"]),
            extracted=empty_manifest(), chosen=None, checks=[],
        )
    )  # fmt: skip
    assert report.elicitation.n_pairs == 1000
    assert report.elicitation.pairs_kept == facts.pairs_kept
    assert f"<strong>{facts.pairs_kept}</strong> of 1000 pairs" in page
    read_back = html.unescape(page)
    for sample in sample_responses(judged, chosen, per_pole=6):
        assert sample["response"] in read_back


# -- any judgements -------------------------------------------------------------------------------

SCORES = st.none() | st.sampled_from([0.0, 49.9, 50.0, 100.0]) | st.floats(0, 100)
CELLS = [(q, i, s) for q in range(3) for i in range(2) for s in range(2)]


@st.composite
def frames(draw: st.DrawFn) -> pd.DataFrame:
    """Some cells of a small grid on each pole, so that some responses have no counterpart."""
    # A trait's name may itself look like the end of an id.
    name = draw(st.sampled_from(["kind", "kind_0", "not_neg_1_0"]))
    rows = [
        row((q, i, s), pole, draw(SCORES), draw(SCORES), name)
        for pole in ("pos", "neg")
        for q, i, s in draw(st.lists(st.sampled_from(CELLS), unique=True, max_size=len(CELLS)))
    ]
    return frame_of(rows)


def row(
    cell: tuple[int, int, int],
    pole: str,
    trait: float | None,
    coherence: float | None,
    name: str = "kind",
) -> dict[str, Any]:
    question, instruction, sample = cell
    return {
        "question": f"Question {question}?", "instruction": f"Be {pole}, {instruction}.",
        "response": f"Response {sample}.", "trait_score": trait, "coherence_score": coherence,
        "question_id": f"{name}_{question}_{pole}_{instruction}_{sample}",
        "judge_status": "ok" if trait is not None else "error",
        "finish_reason": "stop", "response_tokens": 1, "pole": pole, "cell": cell,
    }  # fmt: skip


def frame_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    columns = list(row((0, 0, 0), "pos", None, None))
    frame = pd.DataFrame(rows, columns=columns, dtype=object)
    scores = ["trait_score", "coherence_score"]
    return frame.astype(dict.fromkeys(scores, "float64") | {"response_tokens": "int64"})


@settings(max_examples=40)
@given(frame=frames(), seed=st.integers(0, 2**32 - 1))
def test_pairs_are_the_cells_kept_on_both_poles(frame: pd.DataFrame, seed: int) -> None:
    found = summary(frame)
    kept = frame[keep_mask(frame, FILTER)]

    def cells(rows: pd.DataFrame, pole: str) -> set[tuple[int, int, int]]:
        return set(rows.loc[rows["pole"] == pole, "cell"])

    assert found.n_pairs == len(cells(frame, "pos") & cells(frame, "neg"))
    assert found.pairs_kept == len(cells(kept, "pos") & cells(kept, "neg"))
    assert found.pairs_kept <= min(found.positive.kept, found.negative.kept, found.n_pairs)
    assert summary(shuffled(frame, seed)) == found


BLANKS = st.tuples(
    st.sampled_from(["pos", "neg"]),
    st.sampled_from(CELLS),
    st.sampled_from(["trait_score", "coherence_score"]),
)


@settings(max_examples=40)
@given(blanks=st.lists(BLANKS, max_size=8))
def test_a_missing_score_on_either_side_takes_its_pair_away(
    blanks: list[tuple[str, tuple[int, int, int], str]],
) -> None:
    scores = {"pos": 90.0, "neg": 10.0}
    rows = {(pole, cell): row(cell, pole, scores[pole], 90.0) for pole in scores for cell in CELLS}
    for pole, cell, column in blanks:
        rows[pole, cell][column] = None
    found = summary(frame_of(list(rows.values())))
    assert found.n_pairs == len(CELLS)
    assert found.pairs_kept == len(CELLS) - len({cell for _, cell, _ in blanks})


def test_one_pole_alone_has_no_pairs() -> None:
    found = summary(frame_of([row((0, 0, 0), "pos", 90.0, 90.0)]))
    assert (found.n_pairs, found.pairs_kept, found.positive.kept) == (0, 0, 1)


def test_another_sample_is_no_counterpart() -> None:
    """Sample 1 of the positives has no counterpart; sample 0 must not stand in for it."""
    rows = [row((0, 0, 1), "pos", 90.0, 90.0), row((0, 0, 0), "neg", 10.0, 90.0)]
    assert summary(frame_of(rows)).n_pairs == 0
    rows.append(row((0, 0, 0), "pos", 10.0, 90.0))
    found = summary(frame_of(rows))
    assert (found.n_pairs, found.pairs_kept) == (1, 0)


def test_a_score_at_the_threshold_is_positive() -> None:
    rows = [row(cell, pole, 50.0, 50.0) for cell in CELLS for pole in ("pos", "neg")]
    found = summary(frame_of(rows))
    assert (found.positive.kept, found.negative.kept, found.pairs_kept) == (len(CELLS), 0, 0)
