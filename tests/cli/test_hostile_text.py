"""Every command over a project in which every text is hostile: no traceback, nothing obeyed."""

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.live import Live
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from tests.cli.conftest import Command, Finished
from tests.projects import FEW_VECTORS, REPOSITORY, SMALL, SmallProject, demo_definition
from traitvec_core.embedded import embedded_model_path
from traitvec_dagster.cli.console import PlainConsole

pytestmark = pytest.mark.slow

# Rich's markup that closes nothing, a code of an emoji, TeX, sequences of a terminal with 7 and 8
# bits, directions, invisible characters, HTML, Markdown, a formula.
HOSTILE = (
    "x[/y] [red] :warning: $\\frac{ \x1b[31m\x1b]0;owned\x07 \x9b2J \x7f\x08 \u202e\u2066 \u200b"
    " <script>alert(1)</script> ![a](http://x) `|` =cmd|' /C calc'!A0 {0} %s \\"
)
# A name of a folder, which has no slash.
HOSTILE_NAME = "m[red] $x$ \x1b[31m\x9b\x7f\u202e\u200b :warning: \n ![a] {0} %s \\"
RAW = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def check(done: Finished, codes: tuple[int, ...]) -> Finished:
    """No traceback, nothing that a terminal obeys, and an exit code that was meant."""
    for stream in (done.out, done.err):
        assert "Traceback" not in stream, stream
        assert not RAW.search(stream), ascii(stream)
        assert "⚠" not in stream
    assert done.code in codes, (done.code, done.out, done.err)
    return done


def hostile_definition() -> dict[str, Any]:
    definition = demo_definition("refusal")
    definition["instruction"] = [
        {pole: f"{text} {HOSTILE}" for pole, text in pair.items()}
        for pair in definition["instruction"]
    ]
    definition["questions"] = [f"{text} {HOSTILE}" for text in definition["questions"]]
    definition["eval_prompt"] += HOSTILE
    return definition | {
        "name": HOSTILE, "description": HOSTILE, "positive_label": HOSTILE,
        "negative_label": HOSTILE, HOSTILE: HOSTILE,
    }  # fmt: skip


@pytest.fixture
def hostile(empty: SmallProject, tmp_path: Path) -> SmallProject:
    """Two experiments of hostile text, of which one has run."""
    model = tmp_path / HOSTILE_NAME
    model.symlink_to(embedded_model_path())
    settings = {
        **SMALL, **FEW_VECTORS, "model": str(model), "description": HOSTILE,
        "monitoring_prompts": [HOSTILE], "judge_prices": {HOSTILE: {"input": 1, "output": 1}},
    }  # fmt: skip
    for name in ("demo", "other"):
        folder = empty.project.experiments / name
        folder.mkdir(exist_ok=True)
        (folder / "experiment.yaml").write_text(yaml.safe_dump(settings))
        (folder / "refusal").mkdir(exist_ok=True)
        empty.define("refusal", hostile_definition(), name)
    shutil.rmtree(empty.project.experiments / "demo" / "uncertainty")
    return empty


def test_a_project_of_hostile_text_runs(traitvec: Command, hostile: SmallProject) -> None:
    demo = ("--experiment", "demo")
    assert HOSTILE_NAME[-4:] in check(traitvec("check", *demo), (0,)).out
    check(traitvec("estimate", *demo, "--json"), (0,))
    first = ("--select", "definition,responses,judged_responses")
    check(traitvec("run", "--experiment", "other", "--trait", "refusal", *first), (0, 1))
    # The same responses, if a model had been worse, arrive as somebody else's tables.
    _write_tables(hostile, hostile.folder / "theirs")
    shutil.rmtree(hostile.trait("refusal").path)
    check(traitvec("import-persona-vectors", "theirs", *demo), (0,))
    trait = hostile.trait("refusal")
    done = check(traitvec("run", *demo, "--trait", "refusal", "--select", "activations+"), (0, 1))
    assert (trait.path / "validation/report.html").is_file(), done.err
    page = (trait.path / "validation/report.html").read_text()
    assert "<script>alert" not in page
    assert not RAW.search(page)
    # What is stored is exactly what was said.
    assert trait.read_responses()["response"].str.endswith(HOSTILE).all()
    for command in (
        ("status",), ("status", "--json"), ("estimate", *demo), ("judgements", "list"),
        ("judgements", "list", "--json"), ("atlas", *demo), ("gpus",),
        ("monitor", *demo, "--prompt", HOSTILE, "--set", "sampling.max_new_tokens=4"),
        ("export", *demo, "--format", "safetensors", "--out", f"out/{HOSTILE_NAME}.safetensors"),
        ("export", *demo, "--format", "gguf", "--out", "x.gguf"),
        ("push", *demo, "--repo-id", "me/vectors"),
        ("compare", "demo", "other"), ("compare", "demo", "other", "--json"),
        ("run", *demo, "--trait", "refusal"),
        ("remove-trait", *demo, "--trait", "refusal", "--yes"),
    ):  # fmt: skip
        check(traitvec(*command), (0, 1))
        if "--json" in command:
            json.loads(traitvec(*command).out)
    for made in (
        hostile.folder / "monitor.html",
        hostile.folder / "experiments/demo/atlas/atlas.html",
    ):
        assert not RAW.search(made.read_text()), made


def _write_tables(project: SmallProject, folder: Path) -> None:
    """Write the other experiment's judged responses as tables of persona vectors, hostile."""
    tables, definitions = folder / "eval_persona_extract" / "m", folder / "trait_data_extract"
    for made in (tables, definitions):
        made.mkdir(parents=True)
    (definitions / "refusal.json").write_text(json.dumps(hostile_definition()))
    frame = project.trait("refusal", "other").read_responses()
    for pole, rows in frame.groupby("pole"):
        rows.assign(
            answer=rows["response"] + HOSTILE, refusal=90 if pole == "pos" else 10,
            coherence=90,
        )[["question", "prompt", "answer", "question_id", "refusal", "coherence"]].to_csv(
            tables / f"refusal_{pole}_instruct.csv", index=False
        )  # fmt: skip


SETTINGS = {
    "model": {"model": HOSTILE},
    "judge": {"judge_model": HOSTILE},
    "judge server": {"judge_model": HOSTILE, "judge_base_url": "http://127.0.0.1:9/v1"},
    "engine": {"engine": HOSTILE},
    "engine server": {"engine": "server", "engine_url": f"http://{HOSTILE}/"},
    "unknown key": {HOSTILE: 1},
    "group": {"sampling": {HOSTILE: 1}},
    "scorer": {"scorers": {HOSTILE: HOSTILE}},
    "scorer file": {"scorers": {"own": f"{HOSTILE}.py:f"}},
    "also judge": {"also_judge": [HOSTILE]},
    "revision": {"revision": HOSTILE},
    "methods": {"methods": [HOSTILE]},
    "objective": {"gradient_objective": HOSTILE},
    "schedule": {"schedule": {"cron": HOSTILE}},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_hostile_setting_is_one_visible_line(
    traitvec: Command, empty: SmallProject, name: str
) -> None:
    empty.set(**SETTINGS[name])
    demo = ("--experiment", "demo")
    for command in (
        ("check", *demo), ("status",), ("estimate", *demo), ("atlas", *demo),
        ("run", *demo, "--trait", "refusal", "--select", "definition,responses"),
        ("monitor", *demo, "--prompt", "x"), ("export", *demo, "--format", "gguf", "--out", "x"),
    ):  # fmt: skip
        check(traitvec(*command), (0, 1))


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "--experiment", HOSTILE), ("check", "--experiment", "demo", "--trait", HOSTILE),
        ("run", "--experiment", "demo", "--trait", HOSTILE),
        ("run", "--experiment", "demo", "--trait", "refusal", "--model", HOSTILE),
        ("run", "--experiment", "demo", "--trait", "refusal", "--judge-model", HOSTILE),
        ("run", "--experiment", "demo", "--trait", "refusal", "--select", HOSTILE),
        ("run", "--experiment", "demo", "--trait", "refusal", "--set", HOSTILE),
        ("run", "--experiment", "demo", "--trait", "refusal", "--set", f"model={HOSTILE}"),
        ("status", "--experiments-dir", HOSTILE), ("status", "--experiments-dir", "a\udcffb"),
        ("new-experiment", "fresh", "--model", HOSTILE, "--description", HOSTILE),
        ("new-experiment", "fresh", "--judge-model", HOSTILE),
        ("new-trait", "--experiment", "demo", "--trait", "fresh", "--description", HOSTILE),
        ("monitor", "--experiment", "demo", "--prompts", HOSTILE),
        ("monitor", "--experiment", "demo", "--prompt", "x", "--vector", HOSTILE),
        ("monitor", "--experiment", "demo", "--prompt", "x", "--out", HOSTILE),
        ("export", "--experiment", "demo", "--format", HOSTILE, "--out", "x"),
        ("push", "--experiment", "demo", "--repo-id", HOSTILE),
        ("compare", "demo", HOSTILE), ("judgements", "prune", "--judge-model", HOSTILE),
        ("import-persona-vectors", HOSTILE, "--experiment", "demo"),
        ("import-persona-vectors", ".", "--experiment", "demo", "--from-model", HOSTILE),
        ("serve-engine", "--model", HOSTILE),
        ("remove-trait", "--experiment", "demo", "--trait", HOSTILE),
    ],
    ids=lambda arguments: " ".join(arguments).encode("ascii", "replace").decode()[:40],
)  # fmt: skip
def test_a_hostile_argument_is_shown_visibly(
    traitvec: Command, finished: SmallProject, arguments: tuple[str, ...]
) -> None:
    check(traitvec(*arguments), (0, 1, 2))


def test_files_with_hostile_names_are_listed_visibly(
    traitvec: Command, empty: SmallProject
) -> None:
    source = empty.folder / "theirs" / "trait_data_extract"
    source.mkdir(parents=True)
    data = empty.trait("refusal").read_definition_bytes()
    (source / f"{HOSTILE_NAME}.json").write_bytes(data)
    (source / os.fsdecode(b"kind\xff.json")).write_bytes(data)
    (source / "kind.json").write_text(json.dumps(hostile_definition()))
    (source.parent / f"{HOSTILE_NAME}_pos.csv").write_text("question\n")
    (empty.trait("refusal").path.parent / HOSTILE_NAME).mkdir()
    shutil.copy(
        empty.trait("refusal").definition_path, empty.trait("refusal").path.parent / HOSTILE_NAME
    )
    done = check(traitvec("import-persona-vectors", "theirs", "--experiment", "demo"), (1,))
    assert r"\u202e" in done.out + done.err
    done = check(traitvec("check", "--experiment", "demo"), (1,))
    assert r"\x1b[31m" in done.err


def test_a_terminal_that_is_not_utf_8_gets_escapes(empty: SmallProject) -> None:
    empty.set(model="naïve 你好 \x1b[31m")
    done = subprocess.run(
        [sys.executable, "-c", "from traitvec_dagster.cli.main import main; main()", "check",
         "--experiment", "demo"],
        cwd=empty.folder, capture_output=True, check=False,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"},
    )  # fmt: skip
    assert done.returncode == 0
    assert b"Traceback" not in done.stderr
    assert b"\\u4f60" in done.stdout + done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_terminal_gets_our_colours_and_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `NO_COLOR` and a pipe hide: tables, bars and live text in a real terminal."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = io.StringIO()
    console = PlainConsole(file=screen, force_terminal=True, width=4000)
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, "red"))
    console.print(HOSTILE, table, Text.assemble((HOSTILE, "green")), HOSTILE_NAME)
    with Progress(TextColumn("{task.description}", markup=False), console=console) as bar:
        bar.add_task(HOSTILE, total=None)
    with Live(console=console) as live:
        live.update(Text(HOSTILE))
    shown = screen.getvalue()
    assert "\x1b[31m" in shown
    # Without what Rich itself writes: colours, the cursor, the erasing of lines.
    ours = re.sub(r"\x1b\[[0-9;?]*[mAKhl]", "", shown).replace("\r", "")
    assert not RAW.search(ours), ascii(ours)
    assert ours.count("x[/y] [red] :warning: $\\frac{ \\x1b[31m\\x1b]0;owned") >= 8


def test_no_command_writes_markup_into_strings() -> None:
    """Styles come from `rich.text.Text`: a string with brackets may hold anybody's."""
    for path in (REPOSITORY / "traitvec_dagster").rglob("*.py"):
        source = path.read_text()
        assert "rich.markup" not in source, path
        assert not re.search(r"\[/\]|\[(?:bold|red|green|yellow|dim)\]", source), path
