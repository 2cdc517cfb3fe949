"""`traitvec atlas` and `traitvec compare`: compare traits, and compare experiments."""

import json
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.vector_verdict import warn_if_not_usable
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    err,
    experiment_folder,
    out,
    print_json,
    verdict_mark,
)

if TYPE_CHECKING:
    import dagster as dg

    from traitvec_core.atlas.comparison import Comparison, TraitComparison
    from traitvec_core.atlas.cross_projection import Read
    from traitvec_core.atlas.values import TraitRow
    from traitvec_core.estimate import Estimate

__all__ = ["atlas", "compare"]

_BARS = "▁▂▃▄▅▆▇█"
_COLUMNS = {"contrast": 0, "best_effect_size": 1, "best_auroc": 3, "steered": 0}
_MAX_PAIRS = 20
_MAX_BARS = 10
_ARROW, _NONE = Text(" → "), Text("–")
_ELICITS = {True: Text("yes"), False: Text("no", "red"), None: _NONE}


def atlas(experiment: ExperimentName, experiments_dir: Root = None) -> None:
    """Compare all traits of an experiment with each other, on a page and as JSON.

    Runs through Dagster, which keeps the history. Names traits that failed or are not finished,
    and compares the others.

    Example: traitvec atlas --experiment demo
    """
    import dagster as dg

    from traitvec_core.stages.trait_atlas import ATLAS_VALUES
    from traitvec_core.storage.files import display_path
    from traitvec_dagster.graph.atlas_asset import build_atlas_asset
    from traitvec_dagster.graph.names import Graph
    from traitvec_dagster.graph.run_overrides import SettingsOverrides
    from traitvec_dagster.project import Project
    from traitvec_dagster.runs.ownership import process_tags

    project = Project(experiments_dir)
    folder = experiment_folder(project, experiment)
    result = dg.materialize(
        [build_atlas_asset(Graph(str(project.experiments), experiment))],
        instance=project.instance(),
        resources={"overrides": SettingsOverrides()},
        # The console would show every event; the instance stores them anyway.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        tags=process_tags(),
        raise_on_error=False,
    )
    if not result.success:
        raise TraitvecError(_failure(result))
    _print_atlas(json.loads(folder.read(ATLAS_VALUES))["atlas"])
    values = folder.path / ATLAS_VALUES
    out.print(f"wrote {display_path(values.with_suffix('.html'))} and {display_path(values)}")


def compare(
    a: Annotated[str, typer.Argument(help="An experiment.")],
    b: Annotated[str, typer.Argument(help="Another experiment, with traits of the same names.")],
    read: Annotated[
        bool,
        typer.Option(
            "--read",
            help="For different models: load both, and let each read the other's responses.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
    experiments_dir: Root = None,
) -> None:
    """Compare two experiments: two models, or two settings of one model.

    Shows which traits were elicited, at which relative depth, and which figures changed. Vectors
    of one model are compared by cosine; those of different models by their projections of the
    same responses, with --read.

    Example: traitvec compare gemma_2b_style llama_8b_style --read
    """
    from traitvec_core.atlas.comparison import compare_experiments
    from traitvec_core.stages.provenance import result_settings
    from traitvec_dagster.project import Project

    project = Project(experiments_dir)
    folders = experiment_folder(project, a), experiment_folder(project, b)
    if a == b:
        raise TraitvecError(f"{a} cannot be compared with itself; name two experiments")
    comparison = compare_experiments(
        *folders, read=_reader() if read else None, compared_settings=result_settings()
    )
    if as_json:
        print_json(comparison.model_dump(mode="json"))
        return
    _print_comparison(comparison)


def _reader() -> "Read":
    from traitvec_core.atlas.cross_projection import read_with
    from traitvec_core.models.files import LoadOptions
    from traitvec_core.models.language_model import LanguageModel, load_language_model

    # Every trait needs both models in turn.
    @cache
    def load(name: str, options: LoadOptions) -> LanguageModel:
        err.print(f"loading {one_line(name)}")
        return load_language_model(name, **vars(options))

    return read_with(load)


def _failure(result: "dg.ExecuteInProcessResult") -> str:
    import dagster as dg

    for event in result.all_events:
        if event.event_type == dg.DagsterEventType.STEP_FAILURE:
            failure = event.step_failure_data
            if failure.user_failure_data is not None and failure.user_failure_data.description:
                return failure.user_failure_data.description
            if failure.error is not None:
                cause = failure.error.cause or failure.error
                return (
                    f"the atlas crashed: {cause.message.strip().splitlines()[0]} (this is a bug;"
                    f" the traceback is in run {result.run_id[:8]} in the UI)"
                )
    return f"building the atlas failed; see run {result.run_id[:8]} in the UI"


def _print_atlas(values: dict[str, Any]) -> None:
    from traitvec_core.atlas import Atlas

    result: Atlas = Atlas.model_validate(values)
    for row in result.traits:
        if row.missing or row.trait in result.left_out:
            what = "; ".join(row.missing) or result.left_out[row.trait]
            err.print(Text.assemble((f"{row.trait}:", "yellow"), f" {one_line(what)}"))
        _warn_of(row, row.trait)
    for pair in result.near_duplicates[:_MAX_PAIRS]:
        how = "opposite" if pair.cosine < 0 else "near-duplicates"
        what = f" {pair.one} and {pair.other}, cosine {pair.cosine:.2f}"
        out.print(Text.assemble((f"{how}:", "yellow"), what))
    if len(result.near_duplicates) > _MAX_PAIRS:
        out.print(f"… and {len(result.near_duplicates) - _MAX_PAIRS} more, listed on the page")
    out.print(
        f"{result.experiment}: {len(result.order)} of {len(result.traits)} traits compared"
        + (f", by {result.cosine_method} at layer {result.cosine_layer}" if result.order else "")
    )


def _print_comparison(comparison: "Comparison") -> None:
    for experiment, model in zip((comparison.a, comparison.b), comparison.models, strict=True):
        out.print(Text.assemble((experiment, "bold"), f": {one_line(model)}"))
    for name, (first, second) in comparison.settings.items():
        if name != "model":
            out.print(f"  {one_line(f'{name}: {first} → {second}')}")
    for name, only in ((comparison.a, comparison.only_a), (comparison.b, comparison.only_b)):
        if only:
            out.print(f"only in {name}: {', '.join(only)}")
    title = f"{comparison.a} → {comparison.b}"
    figures = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left",
        caption="* the 95% interval of the change excludes 0. best: of all vectors, held-out;"
        " steered: change of the score with the recommended vector",
    )  # fmt: skip
    for name in ("trait", "elicits", "verdict", *_COLUMNS):
        figures.add_column(name.replace("_", " "), no_wrap=True)
    vectors = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left",
        caption="depth of the recommended layer; bars: best held-out effect size by relative depth",
    )  # fmt: skip
    vectors.add_column("trait", no_wrap=True)
    vectors.add_column("depth", no_wrap=True)
    vectors.add_column("vectors")
    for row in comparison.traits:
        moved = {figure.name: figure for figure in row.moved}
        figures.add_row(
            row.trait,
            _ARROW.join(_ELICITS[is_] for is_ in row.elicits),
            _ARROW.join(verdict_mark(x.verdict) if x.method else _NONE for x in (row.a, row.b)),
            *(
                Text.assemble(
                    f"{_figure(moved[name].a, digits)} → {_figure(moved[name].b, digits)}",
                    (" *" if moved[name].has_moved else "", "yellow"),
                )
                for name, digits in _COLUMNS.items()
            ),
        )
        vectors.add_row(row.trait, f"{_depth(row, 0)} → {_depth(row, 1)}", _vectors(row))
    out.print(figures)
    out.print(vectors)
    for row in comparison.traits:
        for name, side in ((comparison.a, row.a), (comparison.b, row.b)):
            _warn_of(side, f"{name}/{row.trait}")
        where = {comparison.a: row.a.missing, comparison.b: row.b.missing}
        notes = [*row.notes, *(f"{name}: {line}" for name, m in where.items() for line in m)]
        for note in notes:
            out.print(Text.assemble(f"{row.trait}: ", ("note:", "yellow"), f" {one_line(note)}"))


def _warn_of(row: "TraitRow", name: str) -> None:
    what = f"{name} ({row.method}_layer{row.layer})"
    warn_if_not_usable(what, row.verdict, row.reasons)


def _depth(row: "TraitComparison", side: int) -> str:
    """The recommended layer's depth, and one bar per layer, or per tenth of the depth."""
    depth = (row.a, row.b)[side].depth
    profile = row.depth_profile[side]
    n = min(len(profile), _MAX_BARS)
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
    projection = row.projection
    if projection is None:
        return "different models: see --read" if row.is_same_space is False else "–"
    r = projection.correlation
    ends = "" if r.low is None or r.high is None else f" [{r.low:.2f}, {r.high:.2f}]"
    aurocs = [
        "–" if value is None else f"{value:.2f}" for value in (projection.a_on_b, projection.b_on_a)
    ]
    return (
        f"r {_figure(r, 2)}{ends} over {projection.n} texts; AUROC on the other's"
        f" {aurocs[0]}, {aurocs[1]}"
    )


def _figure(estimate: "Estimate", digits: int) -> str:
    """A missing figure is shown as a dash, never as 0."""
    return "–" if estimate.value is None else f"{estimate.value:.{digits}f}"
