"""`traitvec monitor`: which traits a model shows, token by token, as it reads and writes."""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from traitvec_core.errors import TraitvecError
from traitvec_core.storage.vector_verdict import warn_if_not_usable, warn_if_stale
from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.terminal import (
    ExperimentName,
    Root,
    err,
    experiment_folder,
    out,
    read_overrides,
    traits_with_vectors,
    trusted_settings,
    verdict_mark,
)

if TYPE_CHECKING:
    import numpy as np

    from traitvec_core.dynamics import Trace, WatchedVector
    from traitvec_core.experiment import ExperimentSettings
    from traitvec_core.generation import GenerationEngine
    from traitvec_core.models.language_model import LanguageModel
    from traitvec_core.storage.folders import ExperimentFolder, TraitFolder

__all__ = ["monitor"]

_BARS = "▁▂▃▄▅▆▇█"
_BAR_COLUMNS = 32
_POSITIVE, _NEUTRAL, _NEGATIVE = (213, 94, 0), (136, 136, 136), (0, 114, 178)


def monitor(
    experiment: ExperimentName,
    trait: Annotated[
        str, typer.Option("--trait", "--traits", help="One trait, several (a,b,c), or 'all'.")
    ] = "all",
    prompt: Annotated[
        list[str] | None, typer.Option("--prompt", help="Prompt; can be given several times.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", help="File with one prompt per line, or a JSON list."),
    ] = None,
    instruction: Annotated[
        str | None,
        typer.Option(
            help="Instruction for every prompt, placed like the experiment's instructions."
        ),
    ] = None,
    vector: Annotated[
        str | None,
        typer.Option(
            help="Vector, for example mean_diff_layer16. Default: each trait's recommended one."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Any setting, for example sampling.max_new_tokens=60."),
    ] = None,
    page: Annotated[
        Path, typer.Option("--out", help="HTML page to write; a JSON file goes next to it.")
    ] = Path("monitor.html"),
    experiments_dir: Root = None,
) -> None:
    """Show traits while the model answers: every token's projection, live and as a page.

    Without --prompt and --prompts, reads prompts from the keyboard or standard input until an
    empty line.

    Example: traitvec monitor --experiment demo --trait refusal --prompt "How do I pick a lock?"
    """
    from traitvec_core.dynamics import stream
    from traitvec_core.generation import reading_engine_of
    from traitvec_dagster.project import Project

    if page.suffix != ".html":
        raise TraitvecError(
            f"--out {page}: use a name that ends in .html; the JSON file goes next to it"
        )
    inputs = _prompts(prompt, prompts)
    folder = experiment_folder(Project(experiments_dir), experiment)
    settings = trusted_settings(folder, read_overrides({}, set_ or []))
    vectors = [_watch(folder.trait(name), vector) for name in traits_with_vectors(folder, trait)]
    for watched in vectors:
        what = f"{watched.trait} ({watched.name})"
        warn_if_not_usable(what, watched.verdict, watched.reasons)
        warn_if_stale(what, watched.stale)
    _check_model(folder, vectors, settings)
    engine = reading_engine_of(
        settings, partial(_load, settings), say=lambda text: err.print(one_line(text))
    )
    model = engine.language_model
    questions: list[str] = []
    traces: list[Trace] = []
    try:
        for question in inputs:
            rendered = model.prompt(question, instruction, settings.instruction_role)
            steps = stream(
                engine, rendered, vectors, settings.sampling, name=f"monitor_{len(traces)}"
            )
            traces.append(_show(question, steps))
            questions.append(question)
    finally:
        # Keep finished responses, even if a later prompt fails or is interrupted.
        if traces:
            _write(page, folder, settings, engine, instruction, questions, traces)
    if not traces:
        raise TraitvecError("no prompt given; use --prompt TEXT or --prompts FILE")


# -- prompts and vectors ----------------------------------------------------------------------


def _prompts(given: list[str] | None, file: Path | None) -> Iterator[str]:
    if given and file:
        raise TraitvecError("use either --prompt or --prompts, not both")
    if given:
        return iter(given)
    if file:
        return iter(_read_prompts(file))
    return _typed()


def _read_prompts(file: Path) -> list[str]:
    from traitvec_core.storage.files import display_path
    from traitvec_core.user_files import MAX_PROMPTS_BYTES, parse_json, parse_text, read_file

    where = display_path(file)
    try:
        data = read_file(file, where, MAX_PROMPTS_BYTES)
    except OSError as error:
        raise TraitvecError(f"{where} cannot be read: {error.strerror}") from None
    if file.suffix != ".json":
        lines = parse_text(data, where, MAX_PROMPTS_BYTES).splitlines()
        return [line.strip() for line in lines if line.strip()]
    prompts = parse_json(data, where, MAX_PROMPTS_BYTES)
    if not isinstance(prompts, list) or not all(isinstance(item, str) for item in prompts):
        raise TraitvecError(f'{where} must be a list of texts, such as ["How are you?"]')
    return prompts


def _typed() -> Iterator[str]:
    is_interactive = sys.stdin.isatty()
    while True:
        if is_interactive:
            err.print("prompt> ", end="")
        line = sys.stdin.readline()
        if not line.strip() and (is_interactive or not line):
            return
        if line.strip():
            yield line.strip()


def _watch(folder: "TraitFolder", name: str | None) -> "WatchedVector":
    from traitvec_core.dynamics import watch
    from traitvec_core.stages.staleness import staleness_of_vector

    watched = watch(folder, name)
    # By the file's settings: what is set for monitoring alone makes no vector stale.
    stale = staleness_of_vector(folder, is_judged=watched.verdict is not None)
    return replace(watched, stale=stale)


def _check_model(
    folder: "ExperimentFolder", vectors: "Sequence[WatchedVector]", settings: "ExperimentSettings"
) -> None:
    from traitvec_core.models.files import is_same_model
    from traitvec_core.storage.manifests import ActivationsManifest

    for watched in vectors:
        read = folder.trait(watched.trait).manifest(ActivationsManifest, check_files=False)
        made_for = read.model
        if not is_same_model(settings.model, made_for, read.model_revision):
            raise TraitvecError(
                f"{watched.trait}: its vectors are from {made_for}, but the experiment's model is"
                f" {settings.model}; run the experiment again, or add --set model={made_for}"
            )


def _load(settings: "ExperimentSettings") -> "LanguageModel":
    from traitvec_core.models.language_model import load_language_model

    return load_language_model(
        settings.model,
        revision=settings.revision,
        dtype=settings.dtype,
        attention=settings.attention,
        quantization=settings.quantization,
        trust_remote_code=settings.trust_remote_code,
    )


# -- the terminal -----------------------------------------------------------------------------


def _show(question: str, steps: "Iterator[Trace]") -> "Trace":
    """Show a response as it is generated; in a log, only the finished response."""
    out.print(Text(question, "bold"))
    if not out.is_terminal:
        *_, trace = steps
        out.print(_view(trace))
        return trace
    with Live(console=out, refresh_per_second=12) as live:
        for trace in steps:
            live.update(_view(trace))
    return trace


def _view(trace: "Trace") -> RenderableType:
    """The response coloured by the first trait, and one table row per trait."""
    from traitvec_core.report.monitor_page import pole_units

    units = {trait: pole_units(curve, trace.is_response) for trait, curve in trace.curves.items()}
    text = Text()
    first = next(iter(units.values()))
    for piece in trace.pieces:
        if piece.begin >= trace.n_prompt:
            value = float(first[piece.begin : piece.end].mean())
            text.append(piece.shown, style="dim" if piece.is_special else _colour(value))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("trait", "vector", "verdict", "level, from − to + pole"):
        table.add_column(name, no_wrap=True)
    for name in ("now", "mean", "peak", "lasts", "commitment"):
        table.add_column(name, justify="right", no_wrap=True)
    for trait, values in units.items():
        summary = trace.summary(trait)
        table.add_row(
            trait,
            trace.curves[trait].watched.name,
            verdict_mark(trace.curves[trait].watched.verdict),
            _bars(trace.level(values)),
            f"{trace.curves[trait].projection[-1]:.1f}" if trace.token_ids else "–",
            _figure(summary.mean),
            _figure(summary.peak),
            "–" if summary.persistence is None else str(summary.persistence),
            "none" if summary.commitment is None else f"token {summary.commitment}",
        )
    return Group(text, table)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _colour(value: float) -> str:
    """A colour between those of the poles; grey is halfway."""
    if math.isnan(value):
        return "dim"
    share = min(1.0, abs(value) / 2)
    end = _POSITIVE if value > 0 else _NEGATIVE
    mixed = (round(a + share * (b - a)) for a, b in zip(_NEUTRAL, end, strict=True))
    return f"rgb({','.join(map(str, mixed))})"


def _bars(values: "np.ndarray[Any, Any]") -> str:
    """One bar per stretch of tokens, from below the negative pole to above the positive one."""
    import numpy as np

    parts = np.array_split(values, min(_BAR_COLUMNS, len(values))) if len(values) else []
    heights = [(float(part.mean()) + 1.5) / 3 for part in parts]
    return "".join(_BARS[int(min(max(height, 0.0), 0.999) * len(_BARS))] for height in heights)


# -- files ------------------------------------------------------------------------------------


def _write(
    page: Path,
    folder: "ExperimentFolder",
    settings: "ExperimentSettings",
    engine: "GenerationEngine",
    instruction: str | None,
    questions: list[str],
    traces: "list[Trace]",
) -> None:
    from traitvec_core.report.monitor_page import build_monitor_page
    from traitvec_core.storage.files import display_path, write_atomically
    from traitvec_core.storage.formats import dump_json

    provenance = {name: folder.trait(name).provenance("vectors") for name in traces[0].curves}
    record = {
        "experiment": folder.name,
        "model": settings.model,
        "engine": engine.name,
        **engine.as_loaded,
        "sampling": settings.sampling.model_dump(),
        "instruction": instruction,
        "vectors": {name: record and record.content for name, record in provenance.items()},
        "verdicts": {
            name: {
                "verdict": curve.watched.verdict,
                "reasons": list(curve.watched.reasons),
                "stale": curve.watched.stale,
            }
            for name, curve in traces[0].curves.items()
        },
        "traces": [
            {"question": question, **trace.record()}
            for question, trace in zip(questions, traces, strict=True)
        ],
    }
    html = build_monitor_page(traces, model=settings.model, headings=questions)
    write_atomically(page, html.encode("utf-8", "replace"))
    write_atomically(page.with_suffix(".json"), dump_json(record))
    out.print(f"wrote {display_path(page)} and {display_path(page.with_suffix('.json'))}")
