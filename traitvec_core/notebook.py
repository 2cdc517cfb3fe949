"""For notebooks: load, capture, extract, validate, steer and monitor, one line each.

    model = load_language_model("embedded")
    refusal = load_vector("experiments", "demo", "refusal")
    with steer(model, refusal.addition()):
        print(*generate(model, "How do I bake bread?"))

These are thin wrappers of the functions that stages and commands use.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from traitvec_core.dynamics import WatchedVector, watch
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings, Sampling, VectorMethod
from traitvec_core.generation import generate_texts
from traitvec_core.models.activations import capture_means
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.models.steering import Addition
from traitvec_core.storage.files import display_path, list_experiments
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.manifests import ActivationsManifest
from traitvec_core.validation.elicitation import question_of
from traitvec_core.validation.manifests import VectorsManifest
from traitvec_core.validation.recommend import recommend
from traitvec_core.validation.separation import Separation, measure_separation
from traitvec_core.vectors import METHODS, extract_vectors

__all__ = [
    "ChosenVector",
    "LabelledActivations",
    "capture",
    "extract",
    "generate",
    "load_activations",
    "load_vector",
    "validate",
]

_DEFAULT_METHODS: tuple[VectorMethod, ...] = ExperimentSettings.model_fields["methods"].default


@dataclass(frozen=True, eq=False, kw_only=True)
class ChosenVector(WatchedVector):
    """A trait's vector, ready for steering and monitoring.

    Attributes:
        trait: The trait.
        name: `{method}_layer{layer}`.
        layer: The layer, counted from 1; 0 is the embedding output.
        vector: float32 `[hidden_dim]`, pointing towards positive.
        spread: Distance between the means of the poles along it, activation units.
        poles: These means, of the negative and of the positive examples; None if not known.
        method: The method that extracted it.
        model: The model that it belongs to, as the experiment names it.
        coefficient: The coefficient to steer with; 1 if steering was not evaluated.
        why: Why this vector was chosen.
    """

    method: str
    model: str
    coefficient: float
    why: str

    def addition(self, coefficient: float | None = None) -> Addition:
        """Return the intervention for `steer` that adds `coefficient · vector` at its layer.

        Args:
            coefficient: The recommended one by default. Negative steers towards the other pole.
        """
        chosen = self.coefficient if coefficient is None else coefficient
        return Addition(self.layer, self.vector, coefficient=chosen)


@dataclass(frozen=True, eq=False)
class LabelledActivations:
    """Activations of both poles of a trait.

    Attributes:
        trait: The trait.
        model: The model that they were captured from.
        values: `[n_examples, n_layers, hidden_dim]`; layer k is the residual stream after decoder
            block k, layer 0 the embedding output.
        is_positive: bool `[n_examples]`.
        questions: int `[n_examples]`: the number of the question that each example answers. In
            held-out figures, no question is on both sides of a split.
    """

    trait: str
    model: str
    values: torch.Tensor
    is_positive: NDArray[np.bool_]
    questions: NDArray[np.int64]

    @property
    def layers(self) -> list[int]:
        """The layers after decoder blocks: 1…N."""
        return list(range(1, self.values.shape[1]))


def load_vector(
    experiments: Path | str, experiment: str, trait: str, name: str | None = None
) -> ChosenVector:
    """Load a trait's recommended vector, or another extracted one.

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
    return ChosenVector(
        **vars(watched),
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
    folder = _trait_folder(experiments, experiment, trait)
    captured = folder.manifest(ActivationsManifest)
    questions = np.array([question_of(name) for name in captured.question_ids])
    is_positive = np.arange(len(questions)) < captured.n_positive
    values = folder.read_activations().float()
    return LabelledActivations(trait, captured.model, values, is_positive, questions)


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
    return LabelledActivations(trait, model.name, values, is_positive, questions)


def validate(
    activations: LabelledActivations,
    *,
    methods: Sequence[VectorMethod] | None = None,
    layers: Sequence[int] | None = None,
) -> Separation:
    """Measure how well vectors separate the poles on held-out questions.

    Separation does not prove that a vector steers: steer with it, and read the responses.

    Args:
        activations: Activations of both poles.
        methods: Methods to measure; by default the four of an experiment. `probe` and the control
            `random` are always added.
        layers: Layers to measure; all by default. Layer 0, the embedding output, is always added.
    """
    return measure_separation(
        activations.values, activations.is_positive, activations.questions,
        layers=activations.layers if layers is None else layers,
        methods=_DEFAULT_METHODS if methods is None else methods,
    )  # fmt: skip


def extract(
    activations: LabelledActivations,
    method: VectorMethod | None = None,
    layer: int | None = None,
    *,
    figures: Separation | None = None,
) -> ChosenVector:
    """Extract a vector. Method and layer default to the best ones on held-out questions.

    Args:
        activations: Activations of both poles.
        method: A name from `METHODS`; by default the best of an experiment's four.
        layer: The layer; by default the best of 1…N.
        figures: Held-out figures to choose by; measured if not given.

    Raises:
        TraitvecError: If there is no such method or layer, if there are no held-out figures to
            choose by, or if the poles do not differ.
    """
    if method is not None and method not in METHODS:
        raise TraitvecError(f"there is no method {method!r}; there are: {', '.join(METHODS)}")
    methods = _DEFAULT_METHODS if method is None else (method,)
    layers = activations.layers if layer is None else [layer]
    why = _BY_NAME
    if method is None or layer is None:
        figures = figures or validate(activations, methods=methods, layers=layers)
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
    projections = (activations.values[:, extracted.layer] @ extracted.vector).double().numpy()
    projections /= extracted.vector_norm
    return ChosenVector(
        trait=activations.trait,
        name=f"{extracted.method}_layer{extracted.layer}",
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
    )


_BY_NAME = "method and layer were named"


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
