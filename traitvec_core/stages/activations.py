"""Stage 2: activations of the responses that the filter keeps."""

from typing import TYPE_CHECKING, Any

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.context import StageContext, StageOutput, now
from traitvec_core.stages.inputs import content_of, model_input
from traitvec_core.stages.spec import FILTER_SETTINGS, MODEL_SETTINGS, StageSpec
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.formats import dump_tensor
from traitvec_core.storage.manifests import ActivationsManifest

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SPEC", "make_activations"]


def make_activations(context: StageContext) -> StageOutput:
    """Read activations of every kept response at every layer and position."""
    import torch

    from traitvec_core.generation import close_thinking
    from traitvec_core.models.activations import capture_means, pack

    settings = context.settings
    kept = _kept_examples(context)
    model = context.generator()
    prompts = kept["prompt"].map(close_thinking)
    texts = list(zip(prompts, kept["response"], strict=True))
    means = capture_means(
        model, texts, positions=settings.positions,
        on_batch=lambda done: context.bench.progress("activations", done, len(texts)),
    )  # fmt: skip
    # A kept response may consist of white space or special tokens alone, and has no mean.
    present = ~torch.stack([m.isnan().flatten(1).all(1) for m in means.values()]).any(0)
    examples = kept[present.numpy()]
    if examples["pole"].nunique() < 2:
        raise TraitvecError(
            f"{display_path(context.folder.path)}: one pole has no response with any text left; see"
            " responses/*.csv"
        )
    stored = {name: pack(values[present]) for name, values in means.items()}
    first, *others = settings.positions
    context.cost.tokens_in = int(kept["prompt_tokens"].sum() + kept["response_tokens"].sum())
    files = {"activations/all_layers.pt": dump_tensor(stored[first])}
    files |= {f"activations/{name}.pt": dump_tensor(stored[name]) for name in others}
    loaded: dict[str, Any] = model.as_loaded
    manifest = ActivationsManifest(
        model=settings.model,
        n_examples=len(examples),
        n_layers=model.n_layers,
        hidden_dim=model.hidden_dim,
        threshold=settings.threshold,
        extraction_date=now(),
        **loaded,
        dtype=str(stored[first].dtype).removeprefix("torch."),
        position=first,
        other_positions=others,
        min_coherence=settings.min_coherence,
        n_positive=int((examples["pole"] == "pos").sum()),
        n_negative=int((examples["pole"] == "neg").sum()),
        without_tokens=int((~present).sum()),
        mean_norm_by_layer=stored[first].float().norm(dim=-1).mean(0).tolist(),
        question_ids=examples["question_id"].tolist(),
    )
    return files, manifest.model_dump()


def _kept_examples(context: StageContext) -> "pd.DataFrame":
    from traitvec_core.validation.elicitation import keep_mask

    judged = context.folder.read_responses()
    kept = judged[keep_mask(judged, context.settings.response_filter)]
    counts = {pole: int((kept["pole"] == pole).sum()) for pole in ("pos", "neg")}
    if not all(counts.values()):
        raise TraitvecError(
            f"{display_path(context.folder.path)}: the filter keeps {counts['pos']} positive and"
            f" {counts['neg']} negative responses, and a direction needs both; see the checks of"
            " judged_responses"
        )
    ordered: pd.DataFrame = kept.reset_index(drop=True)
    return ordered


def _inputs(folder: TraitFolder, settings: ExperimentSettings) -> dict[str, str]:
    return {**content_of(folder, "judged_responses"), **model_input(settings)}


SPEC = StageSpec(
    name="activations",
    upstream=("judged_responses",),
    version="2",
    settings=(*MODEL_SETTINGS, "positions", *FILTER_SETTINGS),
    inputs=_inputs,
    make=make_activations,
    place=lambda settings: "gpu",
)
