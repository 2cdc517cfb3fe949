"""What an experiment is: one optional `experiment.yaml`, one pydantic model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.models.positions import check_position
from traitvec_core.settings.address import check_address
from traitvec_core.settings.group import SettingGroup
from traitvec_core.settings.judge_price import JudgePrice
from traitvec_core.settings.model_name import infer_model
from traitvec_core.settings.sampling import Sampling
from traitvec_core.settings.scaffold import scaffold_experiment
from traitvec_core.settings.schedule import Schedule
from traitvec_core.settings.steering import Steering
from traitvec_core.settings.thresholds import CheckName, NormThreshold, Thresholds
from traitvec_core.trait import check_name

__all__ = [
    "CheckName",
    "ExperimentSettings",
    "JudgePrice",
    "NormThreshold",
    "Sampling",
    "Schedule",
    "Steering",
    "Thresholds",
    "VectorMethod",
    "check_address",
    "infer_model",
    "parse_experiment",
    "scaffold_experiment",
]

VectorMethod = Literal["mean_diff", "probe", "ica", "gradient", "pca_diff", "random"]


class ExperimentSettings(SettingGroup):
    """Everything an experiment can set; `traitvec new-experiment` writes a commented file.

    Attributes:
        model: Hugging Face id, local folder, or `embedded` (the small model that ships).
        judge_model: The model that scores responses: `gpt-…`, `claude-…`, a Hugging Face id,
            `embedded`, or a model of the server at `judge_base_url`.
        judge_provider: Who serves the judge: `openai` (also any server that speaks its language),
            `anthropic`, `local`; `auto` follows from the name and the address.
        judge_base_url: Address of an OpenAI-compatible server (vLLM, Ollama, llama.cpp).
        judge_mode: `live` asks one by one; `batch` hands all to the provider at once, which costs
            half and takes up to a day.
        judge_timeout_s: Longest time that one call may take.
        max_judge_usd: What the experiment may spend on judgements, in all its runs together.
        judge_prices: Prices of models that the shipped table lacks, or has wrong.
        also_judge: Other traits of the experiment whose rubric is put to every response too.
        second_judge: A model that scores a sample again, to see how far the judge can be trusted.
        judge_repeats: How often the judge scores that sample again, to see its own noise.
        agreement_sample: Responses in that sample.
        revision: Branch, tag or commit of `model` on the hub; the commit is recorded.
        dtype: `auto` is bfloat16 on hardware that has it and float32 on a CPU.
        attention: Attention kernels: `sdpa`, `eager`, `flash_attention_2`; `auto` leaves the choice
            to transformers.
        quantization: `8bit` or `4bit` weights through bitsandbytes, on a GPU.
        trust_remote_code: Whether to run Python code that comes with the model.
        engine: What generates: `transformers` in this process, `vllm` in this process, or the
            OpenAI-compatible `server` at `engine_url`. `auto`, the default, is the server if there
            is an address, else transformers.
        engine_url: Address of that server, up to and with `/v1`.
        n_examples: Responses per pole, spread evenly over instructions and questions.
        batch_size: Rows generated at once; `auto` picks by device, model and memory.
        max_concurrent_judges: Judgements under way at once.
        instruction_role: Where the instruction goes: `auto` takes the system turn if there is one.
        threshold: Positives score at least this on the trait, negatives less.
        min_coherence: Responses with a lower coherence are left out of the averages.
        positions: Where activations are read, all in one forward pass: `response_mean`,
            `response_first_<k>`, `prompt_avg`, `prompt_last`. Vectors come from the first.
        pairing: `paired` keeps a response only together with its counterpart: same question,
            instruction pair and sample.
        methods: Vector methods to extract.
        layers: `all` is 1…N; a list may name row 0, the embedding output.
        scale: The length of each vector: separation of the classes along it, raw, or unit.
        gradient_penalty: λ of the gradient method.
        gradient_objective: Import path `module:function` of a custom objective.
        probe_penalty: `l2`, or `l1` for a probe that uses few dimensions.
        steering: How steering is evaluated.
        monitoring_prompts: What the model is asked while its recommended vectors are watched, a
            prompt each; none, the default, switches this off.
        thresholds: What the checks hold.
        severities: Checks that only warn (`warn`), or fail where they would warn (`error`).
        auto_run: Whether new and changed definitions are run as soon as they are seen.
        schedule: When every trait is run again.
        follow_data_versions: Whether Dagster makes a stage when the content that it is made from
            has changed.
    """

    description: str = ""
    model: str
    judge_model: Annotated[str, Field(min_length=1)] = "gpt-5-mini"
    judge_provider: Literal["auto", "openai", "anthropic", "local"] = "auto"
    judge_base_url: str | None = None
    judge_mode: Literal["live", "batch"] = "live"
    judge_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    max_judge_usd: Annotated[float, Field(ge=0)] | None = None
    judge_prices: dict[str, JudgePrice] = Field(default_factory=dict)
    also_judge: tuple[str, ...] = ()
    second_judge: Annotated[str, Field(min_length=1)] | None = None
    judge_repeats: Annotated[int, Field(ge=0, le=20)] = 0
    agreement_sample: Annotated[int, Field(ge=3, le=100_000)] = 50
    revision: str | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    quantization: Literal["none", "8bit", "4bit"] = "none"
    trust_remote_code: bool = False
    engine: Literal["transformers", "vllm", "server"] = "transformers"
    engine_url: str | None = None
    n_examples: Annotated[int, Field(ge=2, le=1_000_000)] = 100
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    max_concurrent_judges: Annotated[int, Field(ge=1, le=10_000)] = 20
    instruction_role: Literal["auto", "system", "user", "raw"] = "auto"
    sampling: Sampling = Sampling()
    threshold: Annotated[float, Field(ge=0, le=100)] = 50.0
    min_coherence: Annotated[float, Field(ge=0, le=100)] = 50.0
    pairing: Literal["independent", "paired"] = "independent"
    positions: tuple[str, ...] = ("response_mean",)
    methods: tuple[VectorMethod, ...] = ("mean_diff", "probe", "ica", "gradient")
    layers: Literal["all"] | tuple[int, ...] = "all"
    scale: Literal["separation", "raw", "unit"] = "separation"
    gradient_penalty: Annotated[float, Field(ge=0)] = 1.0
    gradient_objective: str | None = None
    probe_penalty: Literal["l2", "l1"] = "l2"
    steering: Steering = Steering()
    monitoring_prompts: tuple[str, ...] = ()
    thresholds: Thresholds = Thresholds()
    severities: dict[CheckName, Literal["warn", "error"]] = Field(default_factory=dict)
    auto_run: bool = False
    schedule: Schedule | None = None
    follow_data_versions: bool = False

    @field_validator("layers")
    @classmethod
    def _layers_are_rows(cls, layers: Any) -> Any:
        if not layers:
            raise ValueError("name at least one layer, or 'all'")
        if layers != "all" and (min(layers) < 0 or len(set(layers)) < len(layers)):
            raise ValueError("layers are distinct numbers from 0 (embeddings) to the last block")
        return layers

    @model_validator(mode="before")
    @classmethod
    def _engine_follows_from_address(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        engine, address = raw.get("engine", "auto"), raw.get("engine_url")
        if engine == "auto":
            # What `auto` stands for depends on the file alone, never on the machine: results of one
            # experiment come from one engine.
            return {**raw, "engine": "server" if address else "transformers"}
        if (engine == "server") != bool(address):
            raise ValueError(
                "engine: server and engine_url (such as http://127.0.0.1:8000/v1) go together"
            )
        if engine == "vllm" and raw.get("quantization", "none") != "none":
            raise ValueError(
                "engine: vllm would generate with other weights than those that are quantized for"
                " reading activations; set engine: transformers"
            )
        return raw

    @field_validator("judge_base_url")
    @classmethod
    def _address_is_plain(cls, address: str | None) -> str | None:
        if address is None:
            return None
        check_address(address)
        return address.rstrip("/")

    @field_validator("engine_url")
    @classmethod
    def _engine_address_is_plain(cls, address: str | None) -> str | None:
        if address is None:
            return None
        check_address(address, "GENERATION_API_KEY")
        return address.rstrip("/")

    @field_validator("positions")
    @classmethod
    def _positions_are_known(cls, positions: tuple[str, ...]) -> tuple[str, ...]:
        if not positions:
            raise ValueError("name at least one position")
        for name in positions:
            check_position(name)
        if len(set(positions)) < len(positions):
            raise ValueError("a position is named twice")
        return positions

    @field_validator("monitoring_prompts")
    @classmethod
    def _monitoring_prompts_ask_something(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if not all(prompt.strip() for prompt in prompts):
            raise ValueError("a prompt is empty")
        if len(set(prompts)) < len(prompts):
            raise ValueError("a prompt is given twice")
        return prompts

    @field_validator("also_judge")
    @classmethod
    def _also_judge_names_traits(cls, traits: tuple[str, ...]) -> tuple[str, ...]:
        for trait in traits:
            try:
                check_name("trait", trait)
            except TraitvecError as error:
                raise ValueError(str(error)) from None
            if trait in {"trait", "coherence", "judge"}:
                raise ValueError(f"a trait called {trait!r} would take the place of other columns")
        if len(set(traits)) < len(traits):
            raise ValueError("a trait is named twice")
        return traits

    @field_validator("methods")
    @classmethod
    def _methods_are_distinct(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if not methods:
            raise ValueError("name at least one method")
        if len(set(methods)) < len(methods):
            raise ValueError("a method is named twice")
        return methods


def parse_experiment(
    text: str, experiment: str, where: str, overrides: Mapping[str, Any] | None = None
) -> ExperimentSettings:
    """Read an experiment's settings and report every problem at once.

    Args:
        text: The content of `experiment.yaml`; empty when there is none.
        experiment: The experiment's name, from which the model may follow.
        where: How to name the file in messages.
        overrides: Settings that take the place of the file's, as flags do. A dotted name reaches
            into a group ("sampling.seed").

    Raises:
        DefinitionError: If the text is no YAML mapping, or a setting cannot be used.
        TraitvecError: If no model is named and none follows from the experiment's name.
    """
    try:
        raw = yaml.safe_load(text) or {}
    except (yaml.YAMLError, ValueError) as error:
        # ValueError: something that looks like a date but is none.
        line = " ".join(str(error).split())
        raise DefinitionError(where, [f"is not YAML: {line}"]) from None
    except RecursionError:
        raise DefinitionError(where, ["is nested too deeply to hold settings"]) from None
    if not isinstance(raw, dict):
        raise DefinitionError(where, ["must be a YAML mapping of settings (`model: …`)"])
    for name, value in (overrides or {}).items():
        raw = _with(raw, name.split("."), value)
    if not raw.get("model"):
        inferred = infer_model(experiment)
        if inferred is None:
            raise TraitvecError(
                f"{where}: no model is named, and none follows from the name {experiment!r}; add a"
                " line such as `model: google/gemma-2-2b-it` (or `model: embedded` to try)"
            )
        raw["model"] = inferred
    try:
        return ExperimentSettings.model_validate(raw)
    except ValidationError as error:
        given = {name.partition(".")[0] for name in overrides or {}}
        lines = [
            _line(item)
            + (
                " (given for this run, not in the file)"
                if item["loc"][:1] and item["loc"][0] in given
                else ""
            )
            for item in error.errors()
        ]
        raise DefinitionError(where, lines) from None


def _with(raw: Any, path: list[str], value: Any) -> dict[str, Any]:
    """`raw` with one setting replaced; whatever stands in its way is no group of settings."""
    whole = dict(raw) if isinstance(raw, dict) else {}
    head, *rest = path
    whole[head] = _with(whole.get(head), rest, value) if rest else value
    return whole


def _line(item: Any) -> str:
    # pydantic puts the name of the union's branch into the place; it says nothing to a user.
    parts = [
        part
        for part in item["loc"]
        if not str(part).startswith(("literal[", "tuple[", "constrained"))
    ]
    place = ".".join(str(part) for part in parts) or "file"
    if item["type"] == "extra_forbidden":
        known = sorted(ExperimentSettings.model_fields)
        return f"{place}: no such setting" + (
            f"; known: {', '.join(known)}" if len(parts) == 1 else ""
        )
    return f"{place}: {item['msg'].removeprefix('Value error, ')}"
