"""Tables of what a run came to, and of what is fresh."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from rich import box
from rich.markup import escape
from rich.table import Table

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages.make import stage_states
from traitvec_core.storage.files import display_path
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_dagster.cli.terminal import err, out
from traitvec_dagster.graph.checks import CHECKED_STAGE
from traitvec_dagster.project import Project

__all__ = ["print_checks", "print_next", "print_run", "status_of", "status_table"]

_MARK = {"pass": "[green]pass[/]", "warn": "[yellow]warn[/]", "fail": "[red]FAIL[/]"}
# What `run` shows of a check beside its verdict.
_SHOWN_FIGURE = {
    "contrast": ("contrast", ".1f"),
    "agreement": ("same_side", ".2f"),
    "norm": ("vector_norm", ".1f"),
    "accuracy": ("held_out_accuracy", ".3f"),
}
_STATE = {
    "fresh": "[green]fresh[/]",
    "partial": "[yellow]partial[/]",
    "stale": "[yellow]stale[/]",
    "missing": "[dim]missing[/]",
    "broken": "[red]BROKEN[/]",
}


def print_run(result: Any) -> None:
    """Print what one run made, kept, and failed at."""
    if result.made:
        spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in result.made.items())
        kept = f"; fresh and kept: {', '.join(result.reused)}" if result.reused else ""
        out.print(f"{result.trait}: {spent}{kept}")
    elif result.reused and result.is_success:
        out.print(f"{result.trait}: everything is fresh, nothing was recomputed")
    for problem in result.problems:
        err.print(f"[red]{escape(result.trait)} failed:[/] {escape(problem)}")
    if not result.is_success and not result.problems:
        err.print(f"[red]{escape(result.trait)} failed:[/] see run {result.run_id[:8]} in the UI")


def _verdicts(
    folder: TraitFolder, settings: Any, states: Mapping[Stage, str]
) -> dict[str, dict[str, Any]]:
    from traitvec_core.validation.checks.table import applicable_checks, evaluate_check

    return {
        name: evaluate_check(name, folder, settings).model_dump()
        for name in applicable_checks(settings, folder)
        if states[CHECKED_STAGE[name]] != "missing"
    }


def status_of(
    folder: ExperimentFolder, overrides: dict[str, Any] | None = None, only: list[str] | None = None
) -> dict[str, dict[str, Any]]:
    """Tell of traits what is fresh, what the checks say and what is recommended."""
    settings = folder.settings(overrides)
    found: dict[str, dict[str, Any]] = {}
    for name in only or folder.traits():
        trait = folder.trait(name)
        states = stage_states(trait, settings)
        found[name] = {
            "stages": states,
            "checks": _verdicts(trait, settings, states),
            "recommended": _recommended(trait),
            "report": str(trait.path / "validation/report.html")
            if states["validation_report"] != "missing"
            else None,
        }
    return found


def _recommended(trait: TraitFolder) -> dict[str, Any] | None:
    """What the last report recommends; nothing while there is none, or one that was cut short."""
    from traitvec_core.validation.report_manifest import ReportManifest

    with suppress(TraitvecError):
        chosen = trait.manifest(ReportManifest).recommended
        return chosen.model_dump() if chosen else None
    return None


def status_table(experiment: str, traits: dict[str, dict[str, Any]]) -> Table:
    """Return the table of `traitvec status`."""
    table = Table(title=f"{experiment}", title_justify="left")
    table.add_column("trait")
    for stage in STAGES:
        table.add_column(stage.replace("_", " "))
    table.add_column("checks")
    table.add_column("recommended")
    for name, row in traits.items():
        failed = [n for n, c in row["checks"].items() if c["verdict"] != "pass"]
        passed = f"{len(row['checks']) - len(failed)} pass"
        notes = " ".join(f"{n} {_MARK[row['checks'][n]['verdict']]}" for n in failed)
        chosen = row["recommended"]
        table.add_row(
            escape(name),
            *(_STATE[row["stages"][stage]] for stage in STAGES),
            f"{passed} {notes}".strip(),
            f"{chosen['method']}, layer {chosen['layer']}" if chosen else "–",
        )
    if not traits:
        table.add_row("(no traits yet)")
    return table


def print_checks(folder: ExperimentFolder, traits: list[str], overrides: dict[str, Any]) -> None:
    """Print every check of the traits that ran, and the advice of those that did not pass."""
    found = status_of(folder, overrides, traits)
    table = Table(
        title=folder.name,
        title_justify="left",
        caption="contrast: mean score, positive − negative; norm: as thresholds.norm holds it;"
        " accuracy: of a probe on held-out questions",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    table.add_column("trait", no_wrap=True)
    table.add_column("recommended", no_wrap=True)
    checked = {name for row in found.values() for name in row["checks"]}
    shown_figures = {name: how for name, how in _SHOWN_FIGURE.items() if name in checked}
    for name in shown_figures:
        table.add_column(name, no_wrap=True)
    table.add_column("other checks")
    for trait, row in found.items():
        chosen = row["recommended"]
        table.add_row(
            escape(trait),
            f"layer {chosen['layer']} {chosen['method']}" if chosen else "–",
            *(_cell(row["checks"].get(name), *how) for name, how in shown_figures.items()),
            _others(row["checks"]),
        )
    out.print(table)
    for trait, row in found.items():
        for name, verdict in row["checks"].items():
            if verdict["verdict"] != "pass":
                advice = f" {verdict['advice']}" if verdict["advice"] else ""
                out.print(
                    f"{escape(trait)}: {name} {_MARK[verdict['verdict']]}:"
                    f" {escape(verdict['summary'])}.{escape(advice)}"
                )


def _others(checks: dict[str, Any]) -> str:
    """The checks without a column of their own, by verdict; the worst first."""
    others = {name: checks[name] for name in CHECKED_STAGE if name in checks}
    by_verdict = {
        verdict: [
            name
            for name, found in others.items()
            if found["verdict"] == verdict and name not in _SHOWN_FIGURE
        ]
        for verdict in ("fail", "warn", "pass")
    }
    parts = [
        f"{_MARK[verdict]} {', '.join(names) if verdict != 'pass' else len(names)}"
        for verdict, names in by_verdict.items()
        if names
    ]
    return "; ".join(parts) or "–"


def _cell(verdict: dict[str, Any] | None, figure: str = "", style: str = "") -> str:
    """A check's figure, if it has one to show, and its verdict."""
    if verdict is None:
        return "–"
    value = verdict["figures"].get(verdict["figures"].get("held", figure))
    shown_figure = "" if value is None else f"{value:{style}} "
    return shown_figure + _MARK[verdict["verdict"]]


def print_next(
    project: Project, folder: ExperimentFolder, traits: list[str], seconds: float, runs: list[Any]
) -> None:
    """Print where the reports lie, and what to do next."""
    out.print()
    for trait in traits:
        page = folder.trait(trait).path / "validation/report.html"
        if page.exists():
            out.print(f"report: {display_path(page)}")
        page = folder.trait(trait).path / "dynamics/dynamics.html"
        if page.exists():
            out.print(f"token by token: {display_path(page)}")
    failed = [result.trait for result in runs if not result.is_good]
    out.print(
        f"{len(runs) - len(failed)} of {len(runs)} traits in {seconds:.0f} s"
        + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    has_makefile = (project.path / "Makefile").exists()
    out.print(
        f"next: `{'make ui' if has_makefile else 'traitvec ui'}` shows lineage, checks and plots;"
        " `traitvec new-experiment mine` starts your own (docs/creating_traits.md)"
    )
