"""`traitvec atlas` and `traitvec compare`: traits of one experiment, and one trait in two."""

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import dagster as dg
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.files import display_path
from traitvec_dagster.cli.terminal import ExperimentName, Root, err, experiment_folder, out
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.project import Project
from traitvec_dagster.runs.ownership import process_tags

if TYPE_CHECKING:
    from traitvec_core.atlas.comparison import Comparison, TraitComparison
    from traitvec_core.atlas.cross_projection import Read
    from traitvec_core.estimate import Estimate

__all__ = ["atlas", "compare"]

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = {"contrast": 0, "best_effect_size": 1, "best_auroc": 3, "steered": 0}
_MOST_PAIRS = 20
_MOST_BARS = 10


def atlas(experiment: ExperimentName, experiments_dir: Root = None) -> None:
    """Hold all traits of an experiment against each other: a page, and its values as JSON.

    Goes through Dagster, which keeps its history. Traits that failed or are not finished are named;
    they stop nothing.
    """
    from traitvec_dagster.graph.atlas_asset import build_atlas_asset
    from traitvec_dagster.graph.resources import SettingsOverrides

    project = Project(experiments_dir)
    folder = experiment_folder(project, experiment)
    result = dg.materialize(
        [build_atlas_asset(Graph(str(project.experiments), experiment))],
        instance=project.instance(),
        resources={"overrides": SettingsOverrides()},
        # The console log repeats every event; the instance keeps them all.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags=process_tags(),
        raise_on_error=False,
    )
    if not result.success:
        raise TraitvecError(_why(result))
    values = folder.path / "atlas" / "atlas.json"
    _print_atlas(json.loads(values.read_bytes())["atlas"])
    out.print(
        f"wrote {escape(display_path(values.with_suffix('.html')))} and"
        f" {escape(display_path(values))}"
    )


def compare(
    a: Annotated[str, typer.Argument(help="An experiment.")],
    b: Annotated[str, typer.Argument(help="Another, with traits of the same names.")],
    read: Annotated[
        bool,
        typer.Option(
            "--read",
            help="Where vectors live in different spaces, load both models and have each read the"
            " other's responses.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Compare two experiments: two models, or two settings of one.

    Which traits elicit, at which relative depth, which figures moved; and the vectors, by cosine in
    one space, by what both say of shared responses otherwise.
    """
    from traitvec_core.atlas.comparison import compare_experiments

    project = Project(experiments_dir)
    folders = experiment_folder(project, a), experiment_folder(project, b)
    if a == b:
        raise TraitvecError(f"{a} cannot be compared with itself; name two experiments")
    found = compare_experiments(*folders, read=_reader() if read else None)
    if as_json:
        # For machines, not for the terminal.
        print(found.model_dump_json(indent=2))  # noqa: T201
        return
    _print_comparison(found)


def _reader() -> "Read":
    from traitvec_core.atlas.cross_projection import read_with
    from traitvec_core.models.language_model import load_language_model

    @cache
    def load(name: str, options: tuple[tuple[str, Any], ...]) -> Any:
        err.print(f"loading {escape(name)}")
        return load_language_model(name, **dict(options))

    return read_with(lambda name, options: load(name, tuple(vars(options).items())))


def _why(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            failure = event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error is not None:
                cause = failure.error.cause or failure.error
                return (
                    f"the atlas broke: {cause.message.strip().splitlines()[0]} (this is a bug; the"
                    f" traceback is in the run {result.run_id[:8]} in the UI)"
                )
    return f"the atlas could not be made; see the run {result.run_id[:8]} in the UI"


def _print_atlas(values: dict[str, Any]) -> None:
    from traitvec_core.atlas import Atlas

    found: Atlas = Atlas.model_validate(values)
    for row in found.traits:
        if row.missing or row.trait in found.left_out:
            what = "; ".join(row.missing) or found.left_out[row.trait]
            err.print(f"[yellow]{row.trait}:[/] {escape(what)}")
    for pair in found.near_duplicates[:_MOST_PAIRS]:
        how = "opposite" if pair.cosine < 0 else "near-duplicates"
        out.print(f"[yellow]{how}:[/] {pair.one} and {pair.other}, cosine {pair.cosine:.2f}")
    if len(found.near_duplicates) > _MOST_PAIRS:
        out.print(f"… and {len(found.near_duplicates) - _MOST_PAIRS} more; the page has them")
    out.print(
        f"{found.experiment}: {len(found.order)} of {len(found.traits)} traits compared"
        + (f", by {found.cosine_method} at layer {found.cosine_layer}" if found.order else "")
    )


def _print_comparison(found: "Comparison") -> None:
    out.print(f"[bold]{found.a}[/]: {escape(found.models[0])}")
    out.print(f"[bold]{found.b}[/]: {escape(found.models[1])}")
    for name, (first, second) in found.settings.items():
        if name != "model":
            out.print(f"  {escape(name)}: {escape(f'{first} → {second}')}")
    for name, only in ((found.a, found.only_a), (found.b, found.only_b)):
        if only:
            out.print(f"only in {name}: {', '.join(only)}")
    title = f"{found.a} → {found.b}"
    figures = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left",
        caption="* the 95% interval of the change leaves out 0. best: held-out, of any vector;"
        " steered: how far the recommended one moves the score",
    )  # fmt: skip
    for name in ("trait", "elicits", *_COLUMNS):
        figures.add_column(name.replace("_", " "), no_wrap=True)
    vectors = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left",
        caption="depth of the recommended layer; bars: best held-out effect size by relative depth",
    )  # fmt: skip
    vectors.add_column("trait", no_wrap=True)
    vectors.add_column("depth", no_wrap=True)
    vectors.add_column("vectors")
    for row in found.traits:
        moved = {figure.name: figure for figure in row.moved}
        figures.add_row(
            row.trait,
            " → ".join({True: "yes", False: "[red]no[/]", None: "–"}[is_] for is_ in row.elicits),
            *(
                f"{_figure(moved[name].a, digits)} → {_figure(moved[name].b, digits)}"
                + (" [yellow]*[/]" if moved[name].has_moved else "")
                for name, digits in _COLUMNS.items()
            ),
        )
        vectors.add_row(row.trait, f"{_depth(row, 0)} → {_depth(row, 1)}", _vectors(row))
    out.print(figures)
    out.print(vectors)
    for row in found.traits:
        where = {found.a: row.a.missing, found.b: row.b.missing}
        notes = [*row.notes, *(f"{name}: {line}" for name, m in where.items() for line in m)]
        for note in notes:
            out.print(f"{row.trait}: [yellow]note:[/] {escape(note)}")


def _depth(row: "TraitComparison", side: int) -> str:
    """The recommended layer's depth, and a bar for each layer, or for each tenth of the depth."""
    depth = (row.a, row.b)[side].depth
    profile = row.depth_profile[side]
    n = min(len(profile), _MOST_BARS)
    best = [0.0] * n
    for at, size in profile:
        place = min(int(at * n - 1e-9), n - 1)
        best[place] = max(best[place], size)
    top = max(best, default=0.0)
    bars = "".join(_BARS[int(size / top * (len(_BARS) - 1))] for size in best) if top > 0 else ""
    return f"{'–' if depth is None else f'{depth:.0%}'} {bars}".strip()


def _vectors(row: "TraitComparison") -> str:
    if row.vectors:
        return "; ".join(
            f"cosine {v.cosine:.2f} ({v.method}, layer {v.layer})" for v in row.vectors
        )
    found = row.projection
    if found is None:
        return "other space: see --read" if row.is_same_space is False else "–"
    r = found.correlation
    ends = "" if r.low is None or r.high is None else f" [{r.low:.2f}, {r.high:.2f}]"
    aurocs = ["–" if value is None else f"{value:.2f}" for value in (found.a_on_b, found.b_on_a)]
    return (
        f"r {_figure(r, 2)}{ends} over {found.n} texts; AUROC on the other's"
        f" {aurocs[0]}, {aurocs[1]}"
    )


def _figure(found: "Estimate", digits: int) -> str:
    """A missing figure is a dash, never a 0."""
    return "–" if found.value is None else f"{found.value:.{digits}f}"
