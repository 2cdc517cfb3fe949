"""Which stages to make again although they are fresh."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import cast

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, RedoKind, Stage
from traitvec_core.stages import SPECS

__all__ = ["Redo", "parse_redo"]

_JUDGED: Stage = "judged_responses"


@dataclass(frozen=True)
class Redo:
    """What a run makes again.

    Attributes:
        stages: The stages.
        only_missing: Whether `judged_responses` asks again only for what is missing.
    """

    stages: tuple[Stage, ...] = ()
    only_missing: bool = False

    def of(self, stage: Stage) -> RedoKind | None:
        """Return how a stage is made again; None if only when it is not fresh."""
        if stage not in self.stages:
            return None
        return "missing" if self.only_missing and stage == _JUDGED else "all"


def parse_redo(names: Iterable[str], *, only_missing: bool = False) -> Redo:
    """Return what to make again, by the names of stages.

    Raises:
        TraitvecError: If a name is no stage or the definition's, or `only_missing` has nothing to
            act on. The line names the nearest stage.
    """
    names = list(dict.fromkeys(name.strip() for name in names))
    can_be_made = [stage for stage in STAGES if SPECS[stage].make is not None]
    for name in names:
        if name in can_be_made:
            continue
        if name in STAGES:
            raise TraitvecError(f"redo {name!r}: you write it, so there is nothing to make again")
        begun = [stage for stage in can_be_made if name and stage.startswith(name.lower())]
        near = begun or get_close_matches(name.lower(), can_be_made, n=1)
        raise TraitvecError(
            f"redo: there is no stage {name[:40]!r}"
            + (f"; did you mean {near[0]!r}?" if near else f"; stages: {', '.join(can_be_made)}")
        )
    if only_missing and _JUDGED not in names:
        raise TraitvecError(f"only-missing is about judgements: use it with --redo {_JUDGED}")
    return Redo(tuple(cast(Stage, name) for name in names), only_missing)
