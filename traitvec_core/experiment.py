"""The settings of an experiment: one optional `experiment.yaml`, read into one pydantic model."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from traitvec_core.elicited_by import ElicitedBy
from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.positions import check_position
from traitvec_core.settings.accepted import AcceptedWarnings
from traitvec_core.settings.address import check_address
from traitvec_core.settings.experiment_name import ExperimentName
from traitvec_core.settings.judge_price import JudgePrice
from traitvec_core.settings.model_name import DEFAULT_JUDGE, default_judge, infer_model
from traitvec_core.settings.origin import SettingsWithOrigin, replaced
from traitvec_core.settings.owners import Owner
from traitvec_core.settings.response_filter import Pairing, ResponseFilter
from traitvec_core.settings.sampling import Sampling
from traitvec_core.settings.scaffold import scaffold_experiment
from traitvec_core.settings.schedule import Schedule
from traitvec_core.settings.scorer import REPETITION, is_scorer, parse_scorer
from traitvec_core.settings.steering import Steering
from traitvec_core.settings.thresholds import CheckName, NormThreshold, Thresholds
from traitvec_core.settings.wrong_setting import describe_problem
from traitvec_core.trait import check_name
from traitvec_core.user_files import MAX_SETTINGS_BYTES, parse_yaml

__all__ = [
    "DEFAULT_JUDGE",
    "CheckName",
    "ExperimentSettings",
    "JudgePrice",
    "JudgeProvider",
    "NormThreshold",
    "Sampling",
    "Schedule",
    "Steering",
    "Thresholds",
    "VectorMethod",
    "check_address",
    "default_judge",
    "infer_model",
    "parse_experiment",
    "scaffold_experiment",
]

# One row of `judging.providers.table.PROVIDERS` each.
JudgeProvider = Literal["openai", "anthropic", "local"]
VectorMethod = Literal["mean_diff", "probe", "ica", "gradient", "pca_diff", "random"]


class ExperimentSettings(SettingsWithOrigin):
    """Every setting of an experiment. `traitvec new-experiment` writes a commented file.

    Attributes:
        model: Hugging Face id, local folder, GGUF file, or `embedded` (the small model included in
            traitvec).
        judge_model: The model that scores responses: `gpt-…`, `claude-…`, a Hugging Face id,
            a GGUF file, `embedded`, or a model of the server at `judge_base_url`. Or a scorer,
            which needs no rubric: `python:scorers.py:function`, `hf-classifier:MODEL:LABEL`.
        scorers: Trait → who scores it instead of `judge_model`; the same names are allowed.
        coherence_judge: Who scores coherence; the same names, or `repetition`, a rule without a
            model. By default `judge_model`, and `repetition` where that is a scorer.
        judge_provider: Who serves the judge: `openai` (or any server with the same API),
            `anthropic`, `local`; `auto` decides by the judge's name and address.
        judge_base_url: Address of an OpenAI-compatible server (vLLM, Ollama, llama.cpp).
        judge_mode: `live` sends one request per judgement; `batch` sends all at once, which costs
            half and takes up to a day.
        judge_timeout_s: Timeout of one call.
        judge_preflight: Whether a judge that is a language model must first give a clear answer a
            higher score than noise.
        max_judge_usd: Limit on what all runs of the experiment together may spend on judgements.
        judge_prices: Prices of models that the built-in table lacks or has wrong.
        also_judge: Other traits of the experiment whose rubric also scores every response.
        second_judge: A model that scores a sample again, to show how far to trust the judge.
        judge_repeats: How often the judge scores that sample again, to measure its own noise.
        agreement_sample: Number of responses in that sample.
        revision: Branch, tag or commit of `model` on the hub; the commit is recorded.
        dtype: `auto` is bfloat16 where the hardware supports it, and float32 on a CPU.
        attention: Attention kernels: `sdpa`, `eager`, `flash_attention_2`; `auto` leaves the choice
            to transformers.
        quantization: `8bit` or `4bit` weights through bitsandbytes; needs a GPU.
        trust_remote_code: Whether to run Python code that comes with the model.
        engine: What generates responses, reads activations and steers: `transformers` in this
            process, `vllm` in a child process, or the `server` at `engine_url`. `auto`, the
            default, uses the server if `engine_url` is set, else transformers.
        engine_url: Address of that server: a `traitvec serve-engine`, or one that is compatible
            with OpenAI's, ending in `/v1`; that one only generates.
        engine_model: The model's name on that server, where it is neither `model` nor the only one.
        engine_reads: Whether that server is a `traitvec serve-engine`, so that no stage needs a GPU
            for the model.
        tensor_parallel: GPUs over which `engine: vllm` splits the weights.
        max_model_len: Longest prompt with its response, in tokens, that `engine: vllm` keeps room
            for; `auto` is 8192 on a GPU, 2048 on a CPU, or the model's context if that is shorter.
        n_examples: Responses per pole, spread evenly over instructions and questions.
        batch_size: Responses generated at once; `auto` depends on device, model and memory.
        max_concurrent_judges: How many judgements may be requested at once.
        elicitation: What elicits the trait: the definition's `instructions`, or the openings of its
            `scenarios`, with which the response begins and which the model completes.
        instruction_role: Where the instruction goes. `auto` is the system turn if the chat template
            has one, else the user turn.
        sampling: How responses are sampled.
        threshold: Positives need at least this trait score, negatives less.
        min_coherence: Responses with a lower coherence score are left out of the averages.
        positions: Where activations are read, all in one forward pass: `response_mean`,
            `response_first_<k>`, `prompt_avg`, `prompt_last`. Vectors come from the first one.
        pairing: `paired` keeps a response only if its counterpart (same question, instruction pair
            and sample) passes the filter too.
        methods: Vector methods to extract.
        layers: `all` is layers 1…N; a list may also name layer 0, the embedding output.
        scale: The length of each vector: the separation of the classes along it, raw, or unit.
        gradient_penalty: λ of the gradient method.
        gradient_objective: Import path `module:function` of a custom objective.
        probe_penalty: `l2`, or `l1` for a probe that uses few dimensions.
        steering: How steering is evaluated.
        monitoring_prompts: Prompts whose responses are projected, token by token, on the
            recommended vectors. Empty, the default, skips this.
        thresholds: The thresholds of the checks.
        severities: Checks that only warn (`warn`), or that fail where they would warn (`error`).
        accepted: Warnings that the owner accepts, by trait and check, each with the reason.
        owners: Who answers for the experiment, as Dagster shows it: e-mail addresses, and teams
            such as `team:interp`.
        auto_run: Whether new and changed definitions run as soon as the sensor sees them.
        schedule: When all traits run again.
        follow_data_versions: Whether Dagster reruns a stage when the content of its inputs changes.
    """

    description: str = ""
    model: str
    judge_model: Annotated[str, Field(min_length=1)] = DEFAULT_JUDGE
    scorers: dict[str, Annotated[str, Field(min_length=1)]] = Field(default_factory=dict)
    coherence_judge: Annotated[str, Field(min_length=1)] | None = None
    judge_provider: Literal["auto", JudgeProvider] = "auto"
    judge_base_url: str | None = None
    judge_mode: Literal["live", "batch"] = "live"
    judge_timeout_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    judge_preflight: bool = True
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
    engine_model: Annotated[str, Field(min_length=1)] | None = None
    engine_reads: bool = False
    tensor_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    max_model_len: Literal["auto"] | Annotated[int, Field(ge=16)] = "auto"
    n_examples: Annotated[int, Field(ge=2, le=1_000_000)] = 100
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    max_concurrent_judges: Annotated[int, Field(ge=1, le=10_000)] = 20
    elicitation: ElicitedBy = "instructions"
    second_elicitation: ExperimentName | None = None
    style_stress: Annotated[int, Field(ge=0, le=10_000)] = 0
    instruction_role: Literal["auto", "system", "user", "raw"] = "auto"
    sampling: Sampling = Sampling()
    threshold: Annotated[float, Field(ge=0, le=100)] = 50.0
    min_coherence: Annotated[float, Field(ge=0, le=100)] = 50.0
    pairing: Pairing = "independent"
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
    accepted: AcceptedWarnings = Field(default_factory=dict)
    owners: tuple[Owner, ...] = ()
    auto_run: bool = False
    schedule: Schedule | None = None
    follow_data_versions: bool = False

    @property
    def load_options(self) -> LoadOptions:
        """How the experiment's model is loaded."""
        return LoadOptions(
            revision=self.revision,
            dtype=self.dtype,
            attention=self.attention,
            quantization=self.quantization,
            trust_remote_code=self.trust_remote_code,
        )

    @property
    def response_filter(self) -> ResponseFilter:
        """Which judged responses vectors are made from."""
        return ResponseFilter(
            threshold=self.threshold, min_coherence=self.min_coherence, pairing=self.pairing
        )

    def accepted_of(self, trait: str) -> Mapping[CheckName, str]:
        """Return the checks whose warnings the owner accepts for a trait, with the reasons."""
        return self.accepted.get(trait, {})

    def judge_of(self, trait: str) -> str:
        """Return the name of the judge that scores a trait."""
        return self.scorers.get(trait, self.judge_model)

    @property
    def judge_of_coherence(self) -> str:
        """The name of the judge that scores coherence."""
        if self.coherence_judge is not None:
            return self.coherence_judge
        # A scorer of a trait says nothing about coherence.
        return REPETITION if is_scorer(self.judge_model) else self.judge_model

    @field_validator("judge_model", "second_judge", "coherence_judge")
    @classmethod
    def _scorer_is_complete(cls, name: str | None) -> str | None:
        if name is not None:
            parse_scorer(name)
        return name

    @field_validator("scorers")
    @classmethod
    def _scorers_are_complete(cls, scorers: dict[str, str]) -> dict[str, str]:
        for trait, name in scorers.items():
            try:
                check_name("trait", trait)
            except TraitvecError as error:
                raise ValueError(str(error)) from None
            parse_scorer(name)
        return scorers

    @field_validator("layers")
    @classmethod
    def _layers_are_rows(cls, layers: Any) -> Any:
        if not layers:
            raise ValueError("is empty; list at least one layer, or write all")
        if layers != "all" and (min(layers) < 0 or len(set(layers)) < len(layers)):
            raise ValueError(
                "must be distinct numbers from 0 (embedding output) to the last decoder block"
            )
        return layers

    @model_validator(mode="before")
    @classmethod
    def _engine_fits_address(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        engine, address = raw.get("engine", "auto"), raw.get("engine_url")
        if raw.get("engine_model") and not address:
            raise ValueError(
                "engine_model is the model's name on a server; set engine_url to its address, or"
                " remove engine_model"
            )
        if raw.get("engine_reads") and not address:
            raise ValueError("engine_reads: true says what engine_url does; set engine_url too")
        if engine == "auto":
            # `auto` depends on the file alone, never on the machine, so that all results of an
            # experiment come from the same engine.
            return {**raw, "engine": "server" if address else "transformers"}
        if (engine == "server") != bool(address):
            raise ValueError(
                "engine: server and engine_url go together; set both, such as engine_url:"
                " http://127.0.0.1:8000/v1, or neither"
            )
        if engine == "vllm" and raw.get("quantization", "none") != "none":
            raise ValueError(
                "engine: vllm does not quantize; name a checkpoint that is quantized already, or"
                " set engine: transformers"
            )
        return raw

    @field_validator("judge_base_url")
    @classmethod
    def _judge_address_is_valid(cls, address: str | None) -> str | None:
        if address is None:
            return None
        check_address(address)
        return address.rstrip("/")

    @field_validator("engine_url")
    @classmethod
    def _engine_address_is_valid(cls, address: str | None) -> str | None:
        if address is None:
            return None
        check_address(address, "GENERATION_API_KEY")
        return address.rstrip("/")

    @field_validator("positions")
    @classmethod
    def _positions_are_known(cls, positions: tuple[str, ...]) -> tuple[str, ...]:
        if not positions:
            raise ValueError("is empty; list at least one position, such as response_mean")
        for name in positions:
            check_position(name)
        if len(set(positions)) < len(positions):
            raise ValueError("lists a position twice; remove one")
        return positions

    @field_validator("monitoring_prompts")
    @classmethod
    def _monitoring_prompts_are_valid(cls, prompts: tuple[str, ...]) -> tuple[str, ...]:
        if not all(prompt.strip() for prompt in prompts):
            raise ValueError("contains an empty prompt; remove it")
        if len(set(prompts)) < len(prompts):
            raise ValueError("lists a prompt twice; remove one")
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
                raise ValueError(
                    f"trait name {trait!r} clashes with a column of the responses table; rename"
                    " the trait"
                )
        if len(set(traits)) < len(traits):
            raise ValueError("lists a trait twice; remove one")
        return traits

    @field_validator("methods")
    @classmethod
    def _methods_are_distinct(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        if not methods:
            raise ValueError("is empty; list at least one method, such as mean_diff")
        if len(set(methods)) < len(methods):
            raise ValueError("lists a method twice; remove one")
        return methods


def parse_experiment(
    text: str,
    experiment: str,
    where: str,
    overrides: Mapping[str, Any] | None = None,
    *,
    are_owners: bool = True,
) -> ExperimentSettings:
    """Read an experiment's settings, and report all problems at once.

    Args:
        text: The content of `experiment.yaml`; empty when there is none.
        experiment: The experiment's name, which may imply the model.
        where: The file, as messages name it.
        overrides: Settings that replace those of the file, such as flags. A dotted name is a
            setting in a group ("sampling.seed").
        are_owners: Whether the owner of this machine gave the overrides, and so answers for them;
            else they count as part of the file.

    Returns:
        The settings, with defaults filled in.

    Raises:
        DefinitionError: If the text is not a YAML mapping, or a setting is not valid.
        TraitvecError: If no model is set and the experiment's name implies none.
    """
    raw = parse_yaml(text, where, MAX_SETTINGS_BYTES) or {}
    if not isinstance(raw, dict):
        raise DefinitionError(
            where, ["must be a YAML mapping of settings, such as `model: google/gemma-2-2b-it`"]
        )
    for name, value in (overrides or {}).items():
        raw = replaced(raw, name.split("."), value)
    if not raw.get("model"):
        inferred = infer_model(experiment)
        if inferred is None:
            raise TraitvecError(
                f"{where}: no model is set, and the experiment name {experiment!r} does not imply"
                " one; add a line such as `model: google/gemma-2-2b-it` (`model: embedded` for a"
                " quick try)"
            )
        raw["model"] = inferred
    try:
        settings = ExperimentSettings.model_validate(raw)
    except ValidationError as error:
        overridden = {name.partition(".")[0] for name in overrides or {}}
        lines = [
            describe_problem(item, ExperimentSettings)
            + (
                " (set for this run, not in the file)"
                if item["loc"][:1] and item["loc"][0] in overridden
                else ""
            )
            for item in error.errors()
        ]
        raise DefinitionError(where, lines) from None
    settings.record_origin(frozenset(overrides or ()) if are_owners else frozenset())
    return settings
