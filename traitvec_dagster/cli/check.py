"""`traitvec check`: settings and definitions, before anything runs."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from traitvec_core.errors import DefinitionError, TraitvecError
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.console import print_json
from traitvec_dagster.cli.lint_lines import print_weaknesses
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    complain,
    err,
    experiment_folder,
    note_retirement,
    open_project,
    out,
    print_notes,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.storage.folders import ExperimentFolder
    from traitvec_core.trait import TraitDefinition
    from traitvec_core.validation.finding import Finding

__all__ = ["check"]


def check(
    experiment: ExperimentName,
    trait: Annotated[
        str | None, typer.Option("--trait", help="Check only this trait. Default: all.")
    ] = None,
    show_all: Annotated[
        bool, typer.Option("--all", help="List every finding, also accepted ones.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with all findings.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Check the settings and definitions of an experiment, before anything runs.

    Reports every problem at once and how to fix it; exits with 1 if there is one. Also lists what
    will probably weaken a trait's vector: such findings never block.

    Example: traitvec check --experiment mine
    """
    from traitvec_core.storage.files import display_path

    folder = experiment_folder(open_project(experiments_dir), experiment)
    settings = _readable_settings(folder)
    error = _check_settings(folder, trait, is_quiet=as_json)
    n_problems = complain(error) if error else 0
    names = [folder.trait(trait).name] if trait else _trait_folders(folder)
    if not names:
        raise TraitvecError(
            f"{display_path(folder.path)} has no trait; create one with `traitvec new-trait"
            f" --experiment {experiment} --trait NAME`"
        )
    checked = [_check_trait(folder, name, settings) for name in names]
    for result in checked:
        if result.error:
            n_problems += complain(result.error)
        elif result.definition and not as_json:
            _print(result, result.definition, show_all=show_all)
    if as_json:
        problems = _problems(error)
        print_json({"problems": problems, "traits": {each.trait: _row(each) for each in checked}})
    if n_problems:
        err.print(f"{n_problems} problem{'s' if n_problems > 1 else ''}")
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Checked:
    """A trait's definition, or what is wrong with it."""

    trait: str
    definition: "TraitDefinition | None" = None
    pairs: str = ""
    error: TraitvecError | None = None
    findings: "Sequence[Finding]" = ()
    accepted: str = ""


def _check_settings(
    folder: "ExperimentFolder", trait: str | None, *, is_quiet: bool
) -> TraitvecError | None:
    """Return what is wrong with the settings."""
    from traitvec_core.generation.engine_process import check_engine
    from traitvec_core.judging import check_judge
    from traitvec_core.models.files import check_model
    from traitvec_core.storage.files import display_path
    from traitvec_core.trust import check_trust, exposed_keys

    try:
        settings = folder.settings()
        if not is_quiet:
            out.print(
                f"{display_path(folder.path)}: model {one_line(settings.model)}, judge"
                f" {one_line(settings.judge_model)}"
            )
        # First, because the next checks import scorers and call servers.
        check_trust(folder, settings)
        print_notes(exposed_keys(settings))
        note_retirement(settings, ask=True)
        check_judge(settings, [trait] if trait else _trait_folders(folder) or None, folder.path)
        check_model(settings.model)
        check_engine(settings)
    except TraitvecError as error:
        return error
    return None


def _readable_settings(folder: "ExperimentFolder") -> "ExperimentSettings | None":
    try:
        return folder.settings()
    except TraitvecError:
        return None


def _check_trait(
    folder: "ExperimentFolder", name: str, settings: "ExperimentSettings | None"
) -> _Checked:
    from traitvec_core.validation.lint import lint

    try:
        definition = folder.trait(name).definition()
        elicited_by = settings.elicitation if settings else "instructions"
        what = "pairs of openings" if elicited_by == "scenarios" else "pairs"
        pairs = f"{len(definition.pairs(elicited_by))} {what}"
    except TraitvecError as error:
        return _Checked(name, error=error)
    # The check `definition`, as the owner accepts its warnings, covers what the linter finds.
    accepted = settings.accepted_of(name).get("definition", "") if settings else ""
    return _Checked(name, definition, pairs, findings=lint(definition, name), accepted=accepted)


def _print(result: _Checked, definition: "TraitDefinition", *, show_all: bool) -> None:
    from traitvec_core.writing import describe_draft

    name = one_line(result.trait)
    counts = f"{result.pairs}, {len(definition.questions)} questions"
    source = f"; {line}" if (line := describe_draft(definition)) else ""
    out.print(Text.assemble(f"{name}: ", ("ok", "green"), f" ({counts}{source})"))
    print_weaknesses(name, definition, result.findings, show_all=show_all, accepted=result.accepted)


def _row(result: _Checked) -> dict[str, Any]:
    return {
        "problems": _problems(result.error),
        "notes": list(result.definition.warnings) if result.definition else [],
        "accepted": result.accepted,
        "findings": [asdict(finding) for finding in result.findings],
    }


def _problems(error: TraitvecError | None) -> list[str]:
    if isinstance(error, DefinitionError):
        return [f"{error.where}: {problem}" for problem in error.problems]
    return [str(error)] if error else []


def _trait_folders(folder: "ExperimentFolder") -> list[str]:
    """Every folder with a definition, even a misnamed one, or with results but no definition."""
    from traitvec_core.storage.files import DEFINITION_FILE

    markers = (DEFINITION_FILE, "responses", "vectors")
    return sorted({path.parent.name for mark in markers for path in folder.path.glob(f"*/{mark}")})
