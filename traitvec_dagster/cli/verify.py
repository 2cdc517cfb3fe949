"""`traitvec verify`: what on disk is not as its stage wrote it."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import track
from rich.table import Table
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_dagster.cli.terminal import Root, err, experiment_folder, out, print_json

if TYPE_CHECKING:
    from traitvec_core.stages.verify import Finding
    from traitvec_core.storage.folders import ExperimentFolder

__all__ = ["verify"]

_STYLES = {"changed": "red", "missing": "red", "damaged": "red", "extra": "yellow"}
# A removed folder of vectors is a hundred rows.
_MOST_ROWS = 20


def verify(
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="One experiment. Default: all.")
    ] = None,
    trait: Annotated[
        str | None, typer.Option("--trait", help="One trait of it. Default: all, and the atlas.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Hash every result again, and list what was changed, removed or added by hand.

    Reads every tensor, table, page and metadata file, trusts no stored hash, writes nothing, and
    makes no API calls. Use it after copying results to another disk, before publishing them, or
    when somebody else may have edited them; not while a run writes.

    changed: not what the stage wrote. missing: recorded, but gone. extra: written by no stage.
    damaged: cannot be read. Any of these: exit code 1. unverified: metadata from before traitvec
    0.9, without a hash. `traitvec run` makes changed, missing and damaged stages again; extra
    files are yours to keep or delete.

    Example: traitvec verify --experiment demo --trait refusal
    """
    from traitvec_core.storage.files import list_experiments
    from traitvec_dagster.project import Project

    if trait and not experiment:
        raise TraitvecError("--trait needs --experiment, because traits belong to experiments")
    project = Project(experiments_dir)
    names = [experiment] if experiment else list_experiments(project.experiments)
    if not names:
        raise TraitvecError(f"no experiments under {project.experiments}; nothing to verify")
    results = {}
    n_files = 0
    for name in names:
        folder = experiment_folder(project, name, is_refreshed=False)
        results[name], n_here = _verify(folder, trait)
        n_files += n_here
    if as_json:
        rows = {name: [vars(f) for f in findings] for name, findings in results.items()}
        print_json(rows)
    else:
        for name, findings in results.items():
            if any(finding.is_off for finding in findings):
                out.print(_table(name, [finding for finding in findings if finding.is_off]))
        _print_summary([f for findings in results.values() for f in findings], n_files)
    if any(finding.is_off for findings in results.values() for finding in findings):
        raise typer.Exit(1)


def _verify(folder: "ExperimentFolder", trait: str | None) -> "tuple[list[Finding], int]":
    """Return what is off in an experiment, and the number of files that were read."""
    from traitvec_core.stages.verify import results_of, verify_atlas, verify_trait

    names = results_of(folder)
    if trait is not None:
        if trait not in {*names, *folder.traits()}:
            known = ", ".join(names) or "none"
            raise TraitvecError(f"{folder.name} has no trait {trait!r}; its traits: {known}")
        names = [trait]
    n_files = 0

    def count(_name: str) -> None:
        nonlocal n_files
        n_files += 1

    findings: list[Finding] = []
    for name in track(
        names, description=folder.name, console=err, transient=True, disable=not err.is_terminal
    ):
        findings += verify_trait(folder.trait(name), count)
    if trait is None:
        findings += verify_atlas(folder)
    return findings, n_files


def _table(experiment: str, findings: "list[Finding]") -> Table:
    table = Table(title=experiment, title_justify="left")
    for column in ("trait", "stage", "file", "problem", "detail"):
        table.add_column(column, overflow="fold")
    counts: Counter[tuple[str, str]] = Counter()
    for finding in findings:
        counts[place := (finding.trait, finding.stage)] += 1
        if counts[place] <= _MOST_ROWS:
            style = _STYLES[finding.problem]
            table.add_row(
                finding.trait or "–", finding.stage, finding.file,
                Text(finding.problem, style), finding.detail,
            )  # fmt: skip
    for (name, stage), count in counts.items():
        if count > _MOST_ROWS:
            table.add_row(name or "–", stage, f"and {count - _MOST_ROWS} more", "", "")
    return table


def _print_summary(findings: "list[Finding]", n_files: int) -> None:
    counts = Counter(finding.problem for finding in findings)
    off = Counter(finding.problem for finding in findings if finding.is_off)
    if off:
        listed = ", ".join(f"{n} {problem}" for problem, n in off.items())
        out.print(f"{n_files} files read: {listed}")
        out.print(
            "`traitvec run` makes stages with changed, missing or damaged files again; to keep the"
            " old results, restore these files from a backup"
        )
    else:
        out.print(f"{n_files} files are as their stages wrote them")
    if n := counts["unverified"]:
        out.print(
            f"metadata files from before traitvec 0.9, without a hash: {n}. Only that they can be"
            " read was verified; they get a hash when their stage is made again"
        )
    if n := counts["elsewhere"]:
        out.print(f"stages whose files are in the storage only, and were not read: {n}")
