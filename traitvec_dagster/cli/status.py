"""`traitvec status`: which stages are fresh, what the checks say, and what is recommended."""

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES
from traitvec_core.storage.vector_verdict import warn_if_not_usable, warn_if_stale
from traitvec_dagster.cli.terminal import (
    Root,
    complain,
    experiment_folder,
    out,
    print_json,
    verdict_mark,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from traitvec_core.stage_names import Stage
    from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

__all__ = ["VERDICT_MARKS", "status", "status_of", "verdict_cell"]

VERDICT_MARKS = {
    "pass": Text("pass", "green"), "warn": Text("warn", "yellow"), "fail": Text("FAIL", "red"),
}  # fmt: skip
_STATE_MARKS = {
    "fresh": Text("fresh", "green"),
    "partial": Text("partial", "yellow"),
    "stale": Text("stale", "yellow"),
    "missing": Text("missing", "dim"),
    "broken": Text("BROKEN", "red"),
}


def status(
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="One experiment. Default: all.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Show for every trait which stages are fresh or stale, its checks, and its best vector.

    Computes nothing and makes no API calls. Exits with 1 if an experiment cannot be read.

    Example: traitvec status --experiment demo
    """
    from traitvec_core.storage.files import list_experiments
    from traitvec_core.storage.folders import refresh
    from traitvec_dagster.project import Project

    project = Project(experiments_dir)
    if not experiment:
        refresh(project.experiments)
    names = [experiment] if experiment else list_experiments(project.experiments)
    if not names:
        raise TraitvecError(
            f"no experiments under {project.experiments}; create one with `traitvec new-experiment"
            " NAME`"
        )
    rows, is_any_broken = {}, False
    for name in names:
        try:
            rows[name] = status_of(experiment_folder(project, name))
        except TraitvecError as error:
            # The others are shown all the same.
            complain(error)
            is_any_broken = True
    if as_json:
        print_json(rows)
    else:
        for name, traits in rows.items():
            out.print(_table(name, traits))
            for trait, row in traits.items():
                if vector := row["recommended"]:
                    what = f"{name}/{trait} ({vector['method']}_layer{vector['layer']})"
                    warn_if_not_usable(what, vector["verdict"], vector["reasons"])
                    warn_if_stale(what, row["stale"])
    if is_any_broken:
        raise typer.Exit(1)


def status_of(
    folder: "ExperimentFolder",
    overrides: dict[str, Any] | None = None,
    only: list[str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the status of traits: states of stages, checks, vector, verdict, why it is stale.

    Args:
        folder: The experiment.
        overrides: Settings that replace those of experiment.yaml.
        only: The traits; by default all.
    """
    from traitvec_core.stages.make import stage_states
    from traitvec_core.stages.staleness import staleness_of_vector

    settings = folder.settings(overrides)
    rows: dict[str, dict[str, Any]] = {}
    for name in only or folder.traits():
        trait = folder.trait(name)
        states = stage_states(trait, settings)
        checks, vector = _verdicts(trait, settings, states), _recommended(trait)
        rows[name] = {
            "stages": states,
            "checks": checks,
            "recommended": vector,
            "verdict": vector["verdict"] if vector else _verdict_without_vector(checks),
            "stale": staleness_of_vector(
                trait, is_judged=vector["verdict"] is not None, settings=settings, states=states
            )
            if vector
            else None,
            "report": str(trait.path / "validation/report.html")
            if states["validation_report"] != "missing"
            else None,
        }
    return rows


def verdict_cell(row: "Mapping[str, Any]") -> Text:
    """Return the verdict of a row of `status_of`, coloured; a dash where there is none yet."""
    return verdict_mark(row["verdict"]) if row["recommended"] or row["verdict"] else Text("–")


def _verdicts(
    folder: "TraitFolder", settings: Any, states: "Mapping[Stage, str]"
) -> dict[str, dict[str, Any]]:
    from traitvec_core.validation.checks.stored import stored_checks
    from traitvec_core.validation.checks.table import CHECKS, applicable_checks

    names = [
        name
        for name in applicable_checks(settings, folder)
        if states[CHECKS[name].stage] != "missing"
    ]
    return {name: row.model_dump() for name, row in stored_checks(names, folder, settings).items()}


def _recommended(trait: "TraitFolder") -> dict[str, Any] | None:
    """The recommended vector with its verdict; None without vectors."""
    with suppress(TraitvecError):
        chosen = trait.recommended()
        return chosen.model_dump() if chosen else None
    return None


def _verdict_without_vector(checks: "Mapping[str, dict[str, Any]]") -> str | None:
    """`not_usable` where a check stopped the trait before there was a vector."""
    from traitvec_core.validation.checks.table import CHECKS

    blocking = {name for name, check in CHECKS.items() if check.is_blocking}
    stops = any(name in blocking and check["verdict"] == "fail" for name, check in checks.items())
    return "not_usable" if stops else None


def _table(experiment: str, traits: dict[str, dict[str, Any]]) -> Table:
    """Return one row per trait: what a person acts on, so that it fits a terminal's 80 columns.

    Stages and checks that are as they should be are only counted.
    """
    table = Table(title=experiment, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    # A name that is cut could be another trait's.
    table.add_column("trait", overflow="fold", max_width=28)
    table.add_column("verdict", no_wrap=True)
    table.add_column("recommended")
    table.add_column("checks", overflow="fold")
    table.add_column("stages")
    for name, row in traits.items():
        vector = row["recommended"]
        table.add_row(
            name,
            verdict_cell(row),
            f"{vector['method']}, layer {vector['layer']}" if vector else "–",
            _checks_cell(row["checks"]),
            _stages_cell(row["stages"]),
        )
    if not traits:
        table.add_row("(no traits yet)")
    return table


def _checks_cell(checks: "Mapping[str, dict[str, Any]]") -> Text:
    """Return the number of checks that pass, then each of the others in a line."""
    if not checks:
        return Text("–")
    verdicts = [(name, check["verdict"]) for name, check in checks.items()]
    parts = [Text(f"{sum(verdict == 'pass' for _, verdict in verdicts)} pass")]
    parts += [
        Text.assemble(f"{name} ", VERDICT_MARKS[verdict])
        for name, verdict in verdicts
        if verdict != "pass"
    ]
    parts += [
        Text(f"{name} accepted", "yellow") for name, check in checks.items() if check["accepted"]
    ]
    return Text("\n").join(parts)


def _stages_cell(states: "Mapping[Stage, str]") -> Text:
    """Return the state that all stages have, else one line per state that is not `fresh`."""
    parts = []
    for state, mark in _STATE_MARKS.items():
        stages = [stage for stage in STAGES if states[stage] == state]
        if len(stages) == len(STAGES):
            return Text.assemble("all ", mark)
        if stages and state == "fresh":
            parts.append(Text.assemble(f"{len(stages)} ", mark))
        elif stages:
            parts.append(Text.assemble(mark, f": {_list_stages(stages)}"))
    return Text("\n").join(parts)


def _list_stages(stages: "Sequence[Stage]") -> str:
    """Return the names, with spaces at which a line may break; first and last of a long range."""
    names = [stage.replace("_", " ") for stage in stages]
    is_range = STAGES.index(stages[-1]) - STAGES.index(stages[0]) == len(stages) - 1
    return f"{names[0]} to {names[-1]}" if is_range and len(names) > 2 else ", ".join(names)
