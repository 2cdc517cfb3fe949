"""vLLM does what transformers does: on SmolLM2, in float32 and in bfloat16."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from tests.generation.parity import CHECKS, Parity
from tests.generation.test_interp_engine import Shifted
from traitvec_core.generation import EngineOptions, load_engine
from traitvec_core.generation.engine_process import stop_engine
from traitvec_core.generation.interp_engine import InterpEngine
from traitvec_core.generation.request import GenerationEngine
from traitvec_core.models.files import LoadOptions
from traitvec_core.models.language_model import LanguageModel, load_language_model

pytestmark = pytest.mark.vllm

# Both against float32 in this process. In bfloat16, transformers itself is off by 3% of a state's
# norm at the last layer, and layers differ by 20% and more.
TOLERANCES = {"float32": (1e-4, 2e-3), "bfloat16": (0.08, 2.0)}


@pytest.fixture(scope="module")
def reference(smollm2: Path) -> LanguageModel:
    return load_language_model(str(smollm2), dtype="float32")


@pytest.fixture(scope="module", params=list(TOLERANCES))
def parity(
    request: pytest.FixtureRequest, vllm_python: Path, smollm2: Path, reference: LanguageModel
) -> Iterator[Parity]:
    options = EngineOptions(
        str(smollm2), lambda: reference, LoadOptions(dtype=request.param), max_model_len=512
    )
    try:
        yield Parity(load_engine("vllm", options), reference, *TOLERANCES[request.param])
    finally:
        stop_engine()


@pytest.mark.parametrize("check", CHECKS)
def test_vllm_does_what_transformers_does(parity: Parity, check: str) -> None:
    CHECKS[check](parity)


@pytest.mark.parametrize("check", ["generated tokens", "projections"])
def test_layers_that_are_one_too_low_are_seen(parity: Parity, check: str) -> None:
    engine = Shifted(cast(InterpEngine, parity.engine))
    shifted = Parity(cast(GenerationEngine, engine), parity.model, parity.relative, parity.logit)
    with pytest.raises(AssertionError):
        CHECKS[check](shifted)
