"""Scores responses with a Hugging Face text-classification model: 100 × a label's probability."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from traitvec_core.errors import TraitvecError
from traitvec_core.judging.reading import SCORE_DECIMALS, Judgement
from traitvec_core.judging.scorer import Pair, Scorer
from traitvec_core.models.files import model_fingerprint
from traitvec_core.models.loading import explain_loading
from traitvec_core.settings.scorer import ClassifierLabel

__all__ = ["ClassifierScorer", "check_classifier"]

# Raise when the arithmetic changes: all judgements are then made again.
_VERSION = 1
_MULTI_LABEL = "multi_label_classification"
_MOST_LABELS_SHOWN = 12
# Their positions are counted from the padding token's id plus one.
_OFFSET_POSITIONS = {
    "roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "longformer", "mpnet",
    "roberta-prelayernorm",
}  # fmt: skip


class ClassifierScorer(Scorer):
    """100 × the probability of one label, of the response alone, in float32.

    The probability is the softmax over all labels; with `problem_type: multi_label_classification`
    in the model's configuration it is the sigmoid of the label's logit.

    Args:
        name: The name as in the settings.
        classifier: Model and label.
        batch_size: Responses per forward pass; None chooses by device.

    Raises:
        TraitvecError: If the model cannot be loaded, is no classifier, or has no such label.
    """

    def __init__(
        self, name: str, classifier: ClassifierLabel, batch_size: int | None = None
    ) -> None:
        self.name = name
        config = _config(classifier)
        self._label = _label_number(classifier, config)
        self._is_multi_label = config.problem_type == _MULTI_LABEL
        self._fingerprint = model_fingerprint(classifier.model)
        disable_progress_bar()
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                classifier.model, trust_remote_code=False
            )
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                classifier.model,
                dtype=torch.float32,
                output_loading_info=True,
                trust_remote_code=False,
            )
        except Exception as error:  # the many readers below transformers raise errors of any type
            raise TraitvecError(explain_loading(classifier.model, error)) from error
        if loading["missing_keys"]:
            raise TraitvecError(
                f"{classifier.model}: no weights for {min(loading['missing_keys'])}, so its scores"
                " would be random; use a model that was trained to classify"
            )
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model: Any = cast(Any, model).eval().to(self._device)
        if self._tokenizer.pad_token_id is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        if config.pad_token_id is None:
            # Decoder models look for the last token that is no padding.
            self._model.config.pad_token_id = self._tokenizer.pad_token_id
        self._limit = _limit(config, self._tokenizer)
        self._batch_size = batch_size or (64 if self._device.type != "cpu" else 16)

    @property
    def identity(self) -> str:
        """All that determines a judgement besides the response."""
        return json.dumps(
            {
                "provider": "hf-classifier",
                "model": self.name,
                "weights": self._fingerprint,
                "dtype": "float32",
                "scoring": "sigmoid" if self._is_multi_label else "softmax",
                "version": _VERSION,
            }
        )

    def scores(self, pairs: Sequence[Pair]) -> Iterator[Mapping[int, Judgement]]:
        """Score responses in batches of similar length, shortest first."""
        ids = [self._tokenizer(response)["input_ids"] for _, response in pairs]
        order = sorted(range(len(pairs)), key=lambda number: len(ids[number]))
        too_long = [number for number in order if len(ids[number]) > self._limit]
        if too_long:
            reason = f"longer than the classifier can read ({self._limit} tokens)"
            yield {number: Judgement(None, "error", reason) for number in too_long}
        order = order[: len(order) - len(too_long)]
        for begin in range(0, len(order), self._batch_size):
            batch = order[begin : begin + self._batch_size]
            probabilities = self._probabilities([pairs[number][1] for number in batch])
            yield {
                number: _judgement(probability, len(ids[number]))
                for number, probability in zip(batch, probabilities, strict=True)
            }

    def _probabilities(self, texts: list[str]) -> list[float]:
        encoded = self._tokenizer(texts, padding=True, return_tensors="pt").to(self._device)
        with torch.inference_mode():
            logits = self._model(**encoded).logits.float()
        shares = logits.sigmoid() if self._is_multi_label else logits.softmax(-1)
        return cast(list[float], shares[:, self._label].cpu().tolist())


def check_classifier(classifier: ClassifierLabel) -> None:
    """Check model and label without loading weights.

    Raises:
        TraitvecError: If there is no such model or label, or it is no classifier.
    """
    _label_number(classifier, _config(classifier))


def _config(classifier: ClassifierLabel) -> Any:
    try:
        # Not None: transformers would ask on the terminal.
        return AutoConfig.from_pretrained(classifier.model, trust_remote_code=False)
    except Exception as error:  # the many readers below transformers raise errors of any type
        raise TraitvecError(explain_loading(classifier.model, error)) from error


def _label_number(classifier: ClassifierLabel, config: Any) -> int:
    if not any("Classification" in name for name in config.architectures or ()):
        raise TraitvecError(
            f"{classifier.model} is not a text-classification model"
            f" ({', '.join(config.architectures or ()) or 'no architecture'}); for a language model"
            f" that judges, write judge_model: {classifier.model}"
        )
    labels = {str(label): int(number) for number, label in config.id2label.items()}
    if config.num_labels == 1 and config.problem_type != _MULTI_LABEL:
        raise TraitvecError(
            f"{classifier.model} predicts one number, not the probability of a label; use a"
            " classifier with two labels or more"
        )
    if classifier.label not in labels:
        shown = ", ".join(list(labels)[:_MOST_LABELS_SHOWN])
        rest = len(labels) - _MOST_LABELS_SHOWN
        raise TraitvecError(
            f"{classifier.model} has no label {classifier.label!r}; its labels: {shown}"
            + (f" and {rest} more" if rest > 0 else "")
        )
    return labels[classifier.label]


def _limit(config: Any, tokenizer: Any) -> int:
    """The longest text, in tokens."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions < 1:
        return int(min(tokenizer.model_max_length, 10**9))
    if config.model_type in _OFFSET_POSITIONS:
        positions -= config.pad_token_id + 1
    return int(min(tokenizer.model_max_length, positions))


def _judgement(probability: float, tokens_in: int) -> Judgement:
    if not math.isfinite(probability):
        return Judgement(None, "error", "the classifier's probability is not a number", tokens_in)
    return Judgement(round(100 * probability, SCORE_DECIMALS), "ok", tokens_in=tokens_in)
