"""For notebooks: load, capture, extract, validate, steer and monitor, one line each.

    model = load_language_model("embedded")
    refusal = load_vector("experiments", "demo", "refusal")
    with steer(model, refusal.addition()):
        print(*generate(model, "How do I bake bread?"))

These are thin wrappers of the functions that stages and commands use.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from traitvec_core.dynamics import WatchedVector, watch
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import Sampling, VectorMethod
from traitvec_core.generation import generate_texts
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.steering import Addition
from traitvec_core.stages.staleness import staleness_of_vector
from traitvec_core.storage.files import display_path, list_experiments
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest, VectorVerdict
from traitvec_core.storage.vector_verdict import (
    describe_verdict,
    verdict_on,
    warn_if_not_usable,
    warn_if_stale,
)
from traitvec_core.validation.elicitation import instruction_of, question_of
from traitvec_core.validation.labelled_activations import LabelledActivations
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.separation import measure_separation
from traitvec_core.validation.validate import DEFAULT_METHODS, Validation
from traitvec_core.vectors import METHODS, extract_vectors
from traitvec_core.visible_text import visible

__all__ = [
    "ChosenVector",
    "capture",
    "extract",
    "generate",
    "load_activations",
    "load_vector",
]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class ChosenVector(WatchedVector):
    """A trait's vector, ready for steering and monitoring.

    Attributes:
        trait: The trait.
        name: `{method}_layer{layer}`.
        layer: The layer, counted from 1; 0 is the embedding output.
        vector: float32 `[hidden_dim]`, pointing towards positive.
        spread: Distance between the means of the poles along it, activation units.
        poles: These means, of the negative and of the positive examples; None if not known.
        verdict: Whether it can be used; None while there is no verdict on it.
        reasons: What the verdict rests on, or why there is none, the gravest first.
        stale: Why the vector or its verdict is out of date, in one line; None if it is not.
        method: The method that extracted it.
        model: The model that it belongs to, as the experiment names it.
        coefficient: The coefficient to steer with; 1 if steering was not evaluated.
        why: Why this vector was chosen.
    """

    method: str
    model: str
    coefficient: float
    why: str

    def __repr__(self) -> str:
        """Return what it is, why it was chosen, and whether it can be used."""
        lines = [
            f"{self.trait}: {self.name} of {self.model}, coefficient {self.coefficient:g}",
            self.why,
            describe_verdict(self.verdict, self.reasons),
            *([self.stale] if self.stale else ()),
        ]
        return visible("\n  ".join(lines), keep_lines=True)

    def addition(self, coefficient: float | None = None) -> Addition:
        """Return the intervention for `steer` that adds `coefficient · vector` at its layer.

        Args:
            coefficient: The recommended one by default. Negative steers towards the other pole.
        """
        chosen = self.coefficient if coefficient is None else coefficient
        return Addition(self.layer, self.vector, coefficient=chosen)


def load_vector(
    experiments: Path | str, experiment: str, trait: str, name: str | None = None
) -> ChosenVector:
    """Load a trait's recommended vector with its verdict, or another extracted one.

    A vector that is not usable, or that is stale as `traitvec status` says, is returned with a
    `TraitvecWarning`. Only the recommended vector has a verdict, and only while the report is of
    the vectors on disk. Files count as unchanged while size, times and inode are.

    Args:
        experiments: The folder of all experiments.
        experiment: The experiment's name.
        trait: The trait's name.
        name: `{method}_layer{layer}`, such as `mean_diff_layer16`; by default the recommended
            one.

    Raises:
        TraitvecError: If there is no such experiment, trait or vector, or none is recommended.
    """
    folder = _trait_folder(experiments, experiment, trait)
    watched = watch(folder, name)
    method = watched.name.removesuffix(f"_layer{watched.layer}")
    best = folder.recommended()
    is_best = best is not None and best.place == (method, watched.layer)
    chosen = best if is_best else None
    stale = staleness_of_vector(folder, is_judged=watched.verdict is not None)
    what = f"{trait} ({watched.name})"
    warn_if_not_usable(what, watched.verdict, watched.reasons)
    warn_if_stale(what, stale)
    return ChosenVector(
        **{**vars(watched), "stale": stale},
        method=method,
        model=folder.manifest(VectorsManifest).model,
        coefficient=chosen.coefficient if chosen else 1.0,
        why=chosen.why if chosen else _BY_NAME,
    )


def load_activations(experiments: Path | str, experiment: str, trait: str) -> LabelledActivations:
    """Load the activations that a trait's vectors were extracted from.

    Args:
        experiments: The folder of all experiments.
        experiment: The experiment's name.
        trait: The trait's name.

    Raises:
        TraitvecError: If there is no such experiment or trait, or it has no activations.
    """
    trait_folder = _trait_folder(experiments, experiment, trait)
    captured = trait_folder.manifest(ActivationsManifest)
    questions = np.array([question_of(name) for name in captured.question_ids])
    is_positive = np.arange(len(questions)) < captured.n_positive
    values = trait_folder.read_activations().float()
    instructions = np.array([instruction_of(name) for name in captured.question_ids])
    return LabelledActivations(
        trait, captured.model, values, is_positive, questions, instructions,
        _responses(trait_folder, captured.question_ids),
    )  # fmt: skip


def generate(
    model: LanguageModel,
    *questions: str,
    instruction: str | None = None,
    sampling: Sampling = Sampling(),
) -> list[str]:
    """Generate a response to each question; inside `steer`, the model is steered.

    Args:
        model: The model.
        questions: The questions, each in its own conversation.
        instruction: An instruction, for the system turn if the chat template has one.
        sampling: Temperature, top-p, length and seed. The same seed gives the same responses.

    Returns:
        One response per question.

    Raises:
        TraitvecError: If a question does not fit the model's context.
    """
    prompts = [model.prompt(question, instruction) for question in questions]
    names = [f"question {number}" for number in range(len(prompts))]
    return list(generate_texts(model, names, prompts, sampling).values())


def capture(
    model: LanguageModel,
    positive: Sequence[tuple[str, str]],
    negative: Sequence[tuple[str, str]],
    *,
    instructions: tuple[str | None, str | None] = (None, None),
    trait: str = "trait",
    batch_size: int | None = None,
) -> LabelledActivations:
    """Capture the activations of your own texts: the mean over each response's tokens.

    Args:
        model: The model.
        positive: (question, response) of the examples that show the trait.
        negative: (question, response) of the examples that do not, ideally for the same questions.
        instructions: The instructions of the positive and of the negative examples, if any.
        trait: A name for the trait.
        batch_size: Texts per batch; by default, as many as fit a budget of tokens.

    Raises:
        TraitvecError: If a pole is empty, a response has no tokens, or a text is too long.
    """
    texts = [
        (model.prompt(question, instruction), response)
        for examples, instruction in zip((positive, negative), instructions, strict=True)
        for question, response in examples
    ]
    if not positive or not negative:
        raise TraitvecError("one pole is empty; a direction needs positive and negative examples")
    values = capture_means(model, texts, batch_size=batch_size)
    for (question, _), means in zip([*positive, *negative], values, strict=True):
        if means.isnan().any():
            raise TraitvecError(f"the response to {question!r} has no tokens; leave it out")
    all_questions = [question for question, _ in [*positive, *negative]]
    questions = np.unique(all_questions, return_inverse=True)[1].astype(np.int64)
    is_positive = np.arange(len(texts)) < len(positive)
    # One instruction per pole is one pair; without any, nothing is known of pairs.
    pairs = None if instructions == (None, None) else np.zeros(len(texts), np.int64)
    responses = [response for _, response in texts]
    return LabelledActivations(trait, model.name, values, is_positive, questions, pairs, responses)


def extract(
    activations: LabelledActivations,
    method: VectorMethod | None = None,
    layer: int | None = None,
    *,
    validation: Validation | None = None,
) -> ChosenVector:
    """Extract a vector. Method and layer default to the best ones on held-out questions.

    Args:
        activations: Activations of both poles.
        method: A name from `METHODS`; by default the best of an experiment's four.
        layer: The layer; by default the best of 1…N.
        validation: From `validate`, whose vector is taken, with its verdict, or whose held-out
            figures choose what is not named. Without it, held-out figures are measured, and there
            is no verdict.

    Raises:
        TraitvecError: If there is no such method or layer, if there are no held-out figures to
            choose by, or if the poles do not differ.
    """
    if method is not None and method not in METHODS:
        raise TraitvecError(f"there is no method {method!r}; there are: {', '.join(METHODS)}")
    methods = DEFAULT_METHODS if method is None else (method,)
    layers = activations.layers if layer is None else [layer]
    why = _BY_NAME
    if method is None or layer is None:
        figures = (
            validation.separation
            if validation
            else measure_separation(
                activations.values, activations.is_positive, activations.questions,
                layers=layers, methods=methods,
            )
        )  # fmt: skip
        best = recommend(figures, [(name, at) for name in methods for at in layers])
        if best is None:
            raise TraitvecError(
                "there are no held-out figures to choose by; give examples of at least two"
                " questions for both poles, or name method and layer"
            )
        methods, layers, why = (best.method,), [best.layer], best.why
    [extracted] = extract_vectors(
        activations.values, activations.is_positive, activations.questions,
        layers=layers, methods=methods,
    )  # fmt: skip
    name = f"{extracted.method}_layer{extracted.layer}"
    verdict: VectorVerdict | None = None
    reasons: tuple[str, ...] = (_NOT_VALIDATED,)
    if validation is not None:
        verdict, reasons = verdict_on(validation.recommended, extracted.method, extracted.layer)
        warn_if_not_usable(f"{activations.trait} ({name})", verdict, reasons)
    projections = (activations.values[:, extracted.layer] @ extracted.vector).double().numpy()
    projections /= extracted.vector_norm
    return ChosenVector(
        trait=activations.trait,
        name=name,
        layer=extracted.layer,
        vector=extracted.vector,
        spread=abs(extracted.separation),
        poles=(
            float(projections[~activations.is_positive].mean()),
            float(projections[activations.is_positive].mean()),
        ),
        method=extracted.method,
        model=activations.model,
        coefficient=1.0,
        why=why,
        verdict=verdict,
        reasons=reasons,
    )


_BY_NAME = "method and layer were named"
_NOT_VALIDATED = "not judged: call validate() and pass its result"


def _responses(folder: TraitFolder, question_ids: Sequence[str]) -> list[str] | None:
    """The texts behind the activations; None where they are missing or were made again since."""
    judged, captured = folder.provenance("judged_responses"), folder.provenance("activations")
    if judged is None or captured is None:
        return None
    if captured.inputs.get("judged_responses") != judged.content:
        return None
    with suppress(TraitvecError, KeyError):
        texts = folder.read_responses().drop_duplicates("question_id").set_index("question_id")
        return [str(text) for text in texts["response"].loc[list(question_ids)]]
    return None


def _trait_folder(experiments: Path | str, experiment: str, trait: str) -> TraitFolder:
    folder = ExperimentFolder(experiments, experiment)
    trait_folder = folder.trait(trait)
    if not folder.path.is_dir():
        available = ", ".join(list_experiments(experiments)) or "none"
        raise TraitvecError(
            f"there is no experiment {experiment!r} under {display_path(Path(experiments))};"
            f" there are: {available}"
        )
    if not trait_folder.path.is_dir():
        available = ", ".join(folder.traits()) or "none"
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait {trait!r}; there are: {available}"
        )
    return trait_folder
