"""The definition: what the user writes, and the only stage that nothing makes."""

from traitvec_core.stages.spec import StageSpec, no_inputs

__all__ = ["SPEC"]

SPEC = StageSpec(
    name="definition",
    upstream=(),
    version="1",
    settings=(),
    inputs=no_inputs,
    make=None,
    place=lambda settings: "here",
)
