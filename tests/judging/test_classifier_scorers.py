"""Scores of a Hugging Face text-classification model: a tiny one with random weights."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging import Judgement, JudgementStore, check_judge
from traitvec_core.judging.judge import score_prompts
from traitvec_core.judging.load import judge_fingerprint, load_judge
from traitvec_core.judging.scorer import scorer_prompt
from traitvec_core.models.language_model import LanguageModel

LABELS = {0: "sad", 1: "happy", 2: "very happy"}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz"]
TEXTS = ["a b c", "z", "q w e r t y " * 4, "hello", "a b d", ""]


def save_classifier(folder: Path, kind: Any = BertForSequenceClassification, **given: Any) -> Path:
    """Write a tiny model with random weights."""
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=10**20,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(1)
    config_class = RobertaConfig if kind is RobertaForSequenceClassification else BertConfig
    options = {"id2label": LABELS, "label2id": {v: k for k, v in LABELS.items()}, **given}
    config = config_class(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=30, pad_token_id=0, initializer_range=0.5,
        **options,
    )  # fmt: skip
    model = kind(config)
    # A head of zeros would give every text the same score.
    model.save_pretrained(folder)
    return folder


def no_model(name: str) -> LanguageModel:
    raise AssertionError(f"a classifier is no language model, and {name} was loaded as one")


def settings(folder: Path, label: str = "happy") -> ExperimentSettings:
    return ExperimentSettings(model="embedded", judge_model=f"hf-classifier:{folder}:{label}")


def scores(folder: Path, texts: list[str], label: str = "happy") -> list[Judgement]:
    store = JudgementStore()
    judge = load_judge(settings(folder, label), store, load_model=no_model)
    prompts = {scorer_prompt("Why?", text): ("trait", str(n)) for n, text in enumerate(texts)}
    judgements, _, _ = score_prompts(judge, prompts, store=store)
    return [judgements[prompt] for prompt in prompts]


def logits(folder: Path, text: str) -> torch.Tensor:
    model = BertForSequenceClassification.from_pretrained(folder).eval()
    ids = [2, *(WORDS.index(w) if w in WORDS else 1 for w in text.split()), 3]
    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids])).logits[0]


def test_the_score_is_the_probability_of_the_label(tmp_path: Path) -> None:
    # A path may hold a colon: the label follows the last one.
    folder = save_classifier(tmp_path / "of:mine")
    by_label = {label: scores(folder, TEXTS, label) for label in LABELS.values()}
    for number, text in enumerate(TEXTS):
        expected = 100 * logits(folder, text).softmax(-1)
        found = torch.tensor([by_label[label][number].score for label in LABELS.values()])
        assert torch.allclose(found, expected, atol=0.01)
    assert len({judgement.score for judgement in by_label["happy"]}) > 3
    assert {judgement.usd for judgement in by_label["happy"]} == {0.0}


def test_labels_of_a_multi_label_model_are_independent(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path, problem_type="multi_label_classification")
    expected = [100 * float(logits(folder, text).sigmoid()[1]) for text in TEXTS]
    assert [j.score for j in scores(folder, TEXTS)] == pytest.approx(expected, abs=0.01)


def test_a_score_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path)
    together = scores(folder, TEXTS)
    alone = [scores(folder, [text])[0] for text in TEXTS]
    backwards = scores(folder, TEXTS[::-1])[::-1]
    for one, two, three in zip(together, alone, backwards, strict=True):
        assert one.score == pytest.approx(two.score, abs=0.01)
        assert one.score == pytest.approx(three.score, abs=0.01)


@pytest.mark.parametrize(
    ("kind", "longest"),
    # Of RoBERTa's 30 positions, the first is for padding.
    [(BertForSequenceClassification, 30), (RobertaForSequenceClassification, 29)],
)
def test_what_is_too_long_to_read_is_missing_and_the_rest_is_scored(
    tmp_path: Path, kind: Any, longest: int
) -> None:
    folder = save_classifier(tmp_path, kind)
    fits, too_long = "a " * (longest - 2), "a " * (longest - 1)
    judged = scores(folder, [too_long, fits, "b"])
    assert [j.status for j in judged] == ["error", "ok", "ok"]
    assert judged[0].reason == f"longer than the classifier can read ({longest} tokens)"
    assert judged[0].score is None


def test_a_broken_model_gives_missing_scores(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path)
    model = BertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.bias, float("nan"))
    model.save_pretrained(folder)
    judged = scores(folder, TEXTS)
    assert {(j.score, j.status) for j in judged} == {(None, "error")}


def problem(given: ExperimentSettings, folder: Path) -> str:
    with pytest.raises(TraitvecError) as checked:
        check_judge(given, folder=folder)
    with pytest.raises(TraitvecError) as loaded:
        load_judge(given, JudgementStore(), load_model=no_model, folder=folder)
    assert str(checked.value) == str(loaded.value)
    assert len(str(checked.value).splitlines()) == 1
    return str(checked.value)


def test_a_label_that_the_model_lacks_is_refused_with_those_that_it_has(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path)
    check_judge(settings(folder), folder=tmp_path)
    line = problem(settings(folder, "angry"), tmp_path)
    assert line.endswith("has no label 'angry'; its labels: sad, happy, very happy")


def test_a_model_that_does_not_classify_is_refused(tmp_path: Path) -> None:
    line = problem(settings(save_classifier(tmp_path / "encoder", BertModel)), tmp_path)
    assert "is not a text-classification model (BertModel)" in line
    number = save_classifier(tmp_path / "regression", id2label={0: "happy"}, label2id={"happy": 0})
    assert "predicts one number" in problem(settings(number), tmp_path)
    assert "could not be loaded" in problem(settings(tmp_path / "nothing"), tmp_path)


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path / "encoder", BertModel)
    config = folder / "config.json"
    config.write_text(config.read_text().replace("BertModel", "BertForSequenceClassification"))
    with pytest.raises(TraitvecError, match=r"no weights for classifier\.bias"):
        load_judge(settings(folder), JudgementStore(), load_model=no_model)


def test_other_weights_are_another_judge(tmp_path: Path) -> None:
    folder = save_classifier(tmp_path)
    before = judge_fingerprint(settings(folder))
    assert judge_fingerprint(settings(folder, "sad")) != before
    model = BertForSequenceClassification.from_pretrained(folder)
    torch.nn.init.constant_(model.classifier.bias, 1.0)
    model.save_pretrained(folder)
    assert judge_fingerprint(settings(folder)) != before
