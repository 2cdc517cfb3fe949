"""The library as a notebook user meets it: thin over the stages, and plain about mistakes."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import traitvec_core
from traitvec_core import (
    Addition,
    ChosenVector,
    ExperimentFolder,
    LanguageModel,
    Sampling,
    TraitvecError,
    capture,
    capture_means,
    extract,
    extract_vectors,
    generate,
    load_activations,
    load_vector,
    steer,
    trace,
    validate,
)

BRIEF = Sampling(max_new_tokens=12)
QUESTIONS = ["Why do people travel?", "What should I know about bread?", "How do I sleep better?"]


@pytest.fixture(scope="module")
def chosen(small_results: Path) -> ChosenVector:
    return load_vector(small_results, "demo", "refusal")


# -- the table of contents --------------------------------------------------------------------


def test_every_public_name_is_there_completed_and_known_to_type_checkers() -> None:
    for name in traitvec_core.__all__:
        assert getattr(traitvec_core, name).__name__ == name if name != "METHODS" else True
    assert set(traitvec_core.__all__) <= set(dir(traitvec_core))
    tree = ast.parse(Path(traitvec_core.__file__).read_text())
    [checked] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = [
        alias.name
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(typed) == sorted(traitvec_core.__all__) == sorted(traitvec_core._MODULE_OF)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = traitvec_core.nothing


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, traitvec_core; dir(traitvec_core); from traitvec_core import TraitvecError;"
        " print([name for name in ('torch', 'transformers', 'sklearn', 'pandas', 'numpy')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "[]", done.stderr


# -- what lies on disk ------------------------------------------------------------------------


def test_the_recommended_vector_comes_with_all_that_a_notebook_needs(
    small_results: Path, chosen: ChosenVector
) -> None:
    folder = ExperimentFolder(small_results, "demo").trait("refusal")
    best = folder.recommended()
    assert best is not None
    assert (chosen.method, chosen.layer) == best.place
    assert (chosen.coefficient, chosen.why) == (best.coefficient, best.why)
    assert (chosen.trait, chosen.model) == ("refusal", "embedded")
    assert torch.equal(chosen.vector, folder.read_vector(chosen.method, chosen.layer))
    assert chosen.poles is not None
    negative, positive = chosen.poles
    assert positive - negative == pytest.approx(chosen.spread, rel=1e-3)


def test_another_vector_is_had_by_name(small_results: Path, chosen: ChosenVector) -> None:
    other = next(
        name for name in ("mean_diff_layer2", "probe_layer3") if name != chosen.name
    )  # fmt: skip
    found = load_vector(str(small_results), "demo", "refusal", other)
    assert f"{found.method}_layer{found.layer}" == found.name == other
    assert found.coefficient == 1.0
    assert found.why == "method and layer were named"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        (("nope", "refusal"), "there is no experiment 'nope' under .*; there are: demo$"),
        (("demo", "nope"), "demo has no trait 'nope'; there are: refusal, uncertainty, verbosity$"),
        (("../demo", "refusal"), "experiment name '../demo' cannot be used"),
        (("demo", "../refusal"), "trait name '../refusal' cannot be used"),
        (("demo", "refusal", "probe_layer9"), "there is no vector probe_layer9; there are"),
        (("demo", "refusal", "probe"), "'probe' is not a vector name; write METHOD_layerN"),
    ],
)
def test_what_is_not_there_is_told_in_one_line(
    small_results: Path, where: tuple[str, ...], said: str
) -> None:
    with pytest.raises(TraitvecError, match=said) as caught:
        load_vector(small_results, *where)
    assert "\n" not in str(caught.value)
    if len(where) == 2:
        with pytest.raises(TraitvecError, match=said):
            load_activations(small_results, *where)


def test_activations_give_the_vectors_that_lie_beside_them(
    small_results: Path, chosen: ChosenVector
) -> None:
    activations = load_activations(small_results, "demo", "refusal")
    assert activations.layers == [1, 2, 3, 4, 5]
    # What the graph's checks read comes with them: instruction pairs and texts, row by row.
    table = ExperimentFolder(small_results, "demo").trait("refusal").read_responses()
    assert activations.responses is not None
    assert activations.instructions is not None
    positive = set(table.loc[table["pole"] == "pos", "response"])
    assert {activations.responses[row] for row in np.flatnonzero(activations.is_positive)} <= (
        positive
    )
    assert len(set(activations.instructions.tolist())) > 1
    again = extract(activations, chosen.method, chosen.layer)  # type: ignore[arg-type]
    assert torch.allclose(again.vector, chosen.vector, rtol=1e-5)
    assert again.poles == pytest.approx(chosen.poles, rel=1e-3)
    assert again.why == "method and layer were named"
    # The choice is the stage's, made from the same figures.
    best = ExperimentFolder(small_results, "demo").trait("refusal").recommended()
    validation = validate(activations, methods=["mean_diff", "probe"])
    assert best is not None
    assert validation.recommended is not None
    assert validation.recommended.place == best.place


# -- texts of one's own -----------------------------------------------------------------------


def own(pole: str) -> list[tuple[str, str]]:
    return [(question, f"{pole} {number}.") for number, question in enumerate(QUESTIONS)]


def test_capture_reads_each_response_behind_its_question_and_instruction(
    model: LanguageModel,
) -> None:
    found = capture(
        model, own("I cannot help"), own("Keep notes")[:2], instructions=("Refuse.", "Help.")
    )
    expected = capture_means(
        model,
        [(model.prompt(q, "Refuse."), r) for q, r in own("I cannot help")]
        + [(model.prompt(q, "Help."), r) for q, r in own("Keep notes")[:2]],
    )
    assert torch.equal(found.values, expected)
    assert found.is_positive.tolist() == [True, True, True, False, False]
    # A question is the same one at both poles, whatever was said before it.
    assert found.questions[:2].tolist() == found.questions[3:].tolist()
    assert len(np.unique(found.questions)) == 3
    assert found.responses == [r for _, r in [*own("I cannot help"), *own("Keep notes")[:2]]]
    assert found.instructions is not None
    assert set(found.instructions.tolist()) == {0}, "one instruction per pole is one pair"
    assert capture(model, own("No"), own("Yes")).instructions is None


def test_extract_takes_what_is_named_and_chooses_the_rest(model: LanguageModel) -> None:
    found = capture(model, own("I cannot help"), own("Keep notes"), trait="mine")
    named = extract(found, "probe", 3)
    [expected] = extract_vectors(
        found.values, found.is_positive, found.questions, layers=[3], methods=["probe"]
    )
    assert torch.equal(named.vector, expected.vector)
    assert (named.trait, named.name, named.model) == ("mine", "probe_layer3", "embedded")
    assert extract(found, layer=2).layer == 2
    assert extract(found, method="mean_diff").method == "mean_diff"
    best = extract(found)
    assert best.why.startswith(f"{best.method} at layer {best.layer} separates best on questions")
    assert best.verdict is None
    assert best.reasons == ("not judged: call validate() and pass its result",)


@pytest.mark.parametrize(
    ("positive", "negative", "said"),
    [
        ([], own("Yes"), "one pole is empty"),
        (own("No"), [], "one pole is empty"),
        (own("No"), [(QUESTIONS[0], "")], f"the response to '{re.escape(QUESTIONS[0])}' has no"),
    ],
)
def test_examples_that_cannot_be_captured(
    model: LanguageModel,
    positive: list[tuple[str, str]],
    negative: list[tuple[str, str]],
    said: str,
) -> None:
    with pytest.raises(TraitvecError, match=said):
        capture(model, positive, negative)


def test_what_cannot_be_extracted(model: LanguageModel) -> None:
    one_question = capture(model, own("No")[:1], own("Yes")[:1])
    nothing = validate(one_question)
    assert nothing.separation.scores == []
    assert nothing.recommended is None
    assert nothing.verdict == "not_usable", "a check that has nothing to test fails"
    assert "no vector is recommended" in repr(nothing)
    with pytest.raises(TraitvecError, match="give examples of at least two questions"):
        extract(one_question)
    assert extract(one_question, "mean_diff", 2).layer == 2
    with pytest.raises(TraitvecError, match="there is no method 'median'; there are: mean_diff"):
        extract(one_question, "median", 2)  # type: ignore[arg-type]
    with pytest.raises(TraitvecError, match=r"layers \[9\] do not exist"):
        extract(one_question, "mean_diff", 9)


# -- steering and monitoring ------------------------------------------------------------------


def test_generate_answers_every_question_and_is_steered(
    model: LanguageModel, chosen: ChosenVector
) -> None:
    plain = generate(model, *QUESTIONS, sampling=BRIEF)
    assert len(plain) == len(QUESTIONS)
    assert generate(model, *QUESTIONS, sampling=BRIEF) == plain
    with steer(model, chosen.addition(0.0)):
        assert generate(model, *QUESTIONS, sampling=BRIEF) == plain
    with steer(model, chosen.addition()):
        steered = generate(model, *QUESTIONS, sampling=BRIEF)
    by_hand = Addition(chosen.layer, chosen.vector, coefficient=chosen.coefficient)
    with steer(model, by_hand):
        assert generate(model, *QUESTIONS, sampling=BRIEF) == steered
    assert steered != plain
    assert generate(model, *QUESTIONS, instruction="Refuse.", sampling=BRIEF) != plain


def test_what_is_extracted_can_be_monitored_at_once(model: LanguageModel) -> None:
    found = capture(model, own("I cannot help"), own("Keep notes"), trait="mine")
    vector = extract(found, "mean_diff", 4)
    assert vector.poles is not None
    prompt = model.prompt(QUESTIONS[0])
    means = [
        trace(model, prompt, response, [vector]).summary("mine").mean
        for response in (own("Keep notes")[0][1], own("I cannot help")[0][1])
    ]
    # The mean over the response's tokens is what the poles are means of.
    along = found.values[:, 4] @ vector.vector / vector.vector.norm()
    assert means == pytest.approx([float(along[3]), float(along[0])], abs=1e-2)
