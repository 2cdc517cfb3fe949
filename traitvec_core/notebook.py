"""In a notebook: load, capture, extract, validate, steer and monitor, a line each.

    model = load_language_model("embedded")
    refusal = load_vector("experiments", "demo", "refusal")
    with steer(model, refusal.addition()):
        print(*generate(model, "How do I bake bread?"))

These are thin: what stages and commands do comes from the same functions below them.
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
    """A trait's vector, ready to steer with and to monitor.

    Attributes:
        trait: The trait.
        name: `{method}_layer{layer}`.
        layer: Row of the activation tensor.
        vector: float32 `[hidden_dim]`, pointing towards positive.
        spread: Distance between the means of the two poles along it, activation units.
        poles: These means, of the negative and of the positive examples; None when not known.
        method: The method that found it.
        model: The model that it belongs to, as the experiment names it.
        coefficient: Units of the vector to steer with; 1 where nothing was tried.
        why: What the choice rests on.
    """

    method: str
    model: str
    coefficient: float
    why: str

    def addition(self, coefficient: float | None = None) -> Addition:
        """What `steer` takes: add so many units of this vector at its layer.

        Args:
            coefficient: Units; the recommended ones when None. Negative steers to the other side.
        """
        units = self.coefficient if coefficient is None else coefficient
        return Addition(self.layer, self.vector, coefficient=units)


@dataclass(frozen=True, eq=False)
class LabelledActivations:
    """Activations of both poles of a trait.

    Attributes:
        trait: The trait.
        model: The model that they are of.
        values: `[n_examples, n_layers, hidden_dim]`; row k is the residual stream after block k,
            row 0 the embedding output.
        is_positive: bool `[n_examples]`.
        questions: int `[n_examples]`: which question each example answers. Held-out figures never
            have one question on both sides.
    """

    trait: str
    model: str
    values: torch.Tensor
    is_positive: NDArray[np.bool_]
    questions: NDArray[np.int64]

    @property
    def layers(self) -> list[int]:
        """The rows behind decoder blocks: 1…N."""
        return list(range(1, self.values.shape[1]))


def load_vector(
    experiments: Path | str, experiment: str, trait: str, name: str | None = None
) -> ChosenVector:
    """Load a trait's recommended vector, or another one that was extracted.

    Args:
        experiments: The folder that holds all experiments.
        experiment: The experiment's name.
        trait: The trait's name.
        name: `{method}_layer{layer}`, such as `mean_diff_layer16`; the recommended one when None.

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
        experiments: The folder that holds all experiments.
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
    """Ask a model; what steers it is respected.

    Args:
        model: The model.
        questions: What to ask, each in a conversation of its own.
        instruction: What to tell it first, in the system turn where it has one.
        sampling: Temperature, top-p, length and seed. The same seed gives the same responses.

    Returns:
        A response for each question.

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
    """Capture the activations of texts of your own: the mean over each response's tokens.

    Args:
        model: The model.
        positive: (question, response) of the examples that show the trait.
        negative: The same of those that don't; best to the same questions.
        instructions: What the positive and the negative examples were told before the question.
        trait: What to call it.
        batch_size: Rows at once; None fills a budget of tokens.

    Raises:
        TraitvecError: If a pole is empty, a response has no token, or a text does not fit.
    """
    texts = [
        (model.prompt(question, instruction), response)
        for examples, instruction in zip((positive, negative), instructions, strict=True)
        for question, response in examples
    ]
    if not positive or not negative:
        raise TraitvecError("a direction needs examples of both poles, one pole is empty")
    values = capture_means(model, texts, batch_size=batch_size)
    for (question, _), means in zip([*positive, *negative], values, strict=True):
        if means.isnan().any():
            raise TraitvecError(f"the response to {question!r} has no token; leave it out")
    asked = [question for question, _ in [*positive, *negative]]
    questions = np.unique(asked, return_inverse=True)[1].astype(np.int64)
    is_positive = np.arange(len(texts)) < len(positive)
    return LabelledActivations(trait, model.name, values, is_positive, questions)


def validate(
    activations: LabelledActivations,
    *,
    methods: Sequence[VectorMethod] | None = None,
    layers: Sequence[int] | None = None,
) -> Separation:
    """Tell how well vectors separate the poles on questions that they were not extracted from.

    Separation does not prove that a vector steers: steer with it and read what comes out.

    Args:
        activations: Activations of both poles.
        methods: Methods to measure; the four default ones when None. `probe` and the control
            `random` are always added.
        layers: Rows to measure; all when None. Row 0, the embeddings, is always added.
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
    """Extract a vector; what is not named is chosen by how well it separates unseen questions.

    Args:
        activations: Activations of both poles.
        method: A name from `METHODS`; the best of the four default ones when None.
        layer: Row of the activation tensor; the best of 1…N when None.
        figures: Held-out figures to choose by; measured here when None.

    Raises:
        TraitvecError: If there is no such method or layer, nothing could be held out to choose by,
            or the poles do not differ.
    """
    if method is not None and method not in METHODS:
        raise TraitvecError(f"there is no method {method!r}; there are: {', '.join(METHODS)}")
    methods = _DEFAULT_METHODS if method is None else (method,)
    layers = activations.layers if layer is None else [layer]
    why = _BY_NAME
    if method is None or layer is None:
        figures = figures or validate(activations, methods=methods, layers=layers)
        found = recommend(figures, [(name, at) for name in methods for at in layers])
        if found is None:
            raise TraitvecError(
                "no held-out figures to choose by: give examples of at least two questions on both"
                " sides, or name method and layer"
            )
        methods, layers, why = (found.method,), [found.layer], found.why
    [extracted] = extract_vectors(
        activations.values, activations.is_positive, activations.questions,
        layers=layers, methods=methods,
    )  # fmt: skip
    along = (activations.values[:, extracted.layer] @ extracted.vector).double().numpy()
    along /= extracted.vector_norm
    return ChosenVector(
        trait=activations.trait,
        name=f"{extracted.method}_layer{extracted.layer}",
        layer=extracted.layer,
        vector=extracted.vector,
        spread=abs(extracted.separation),
        poles=(
            float(along[~activations.is_positive].mean()),
            float(along[activations.is_positive].mean()),
        ),
        method=extracted.method,
        model=activations.model,
        coefficient=1.0,
        why=why,
    )


_BY_NAME = "method and layer were named"


def _trait_folder(experiments: Path | str, experiment: str, trait: str) -> TraitFolder:
    folder = ExperimentFolder(experiments, experiment)
    found = folder.trait(trait)
    if not folder.path.is_dir():
        there = ", ".join(list_experiments(experiments)) or "none"
        raise TraitvecError(
            f"there is no experiment {experiment!r} under {display_path(Path(experiments))};"
            " there are:"
            f" {there}"
        )
    if not found.path.is_dir():
        there = ", ".join(folder.traits()) or "none"
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait {trait!r}; there are: {there}"
        )
    return found
