"""`traitvec monitor`: where prompts come from, the page and its JSON, one-line errors."""

import io
import json
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli.conftest import Command
from tests.projects import SmallProject
from traitvec_core.dynamics import Trace, stream, watch
from traitvec_core.models.language_model import load_language_model
from traitvec_dagster.cli import monitor as cli_monitor

SHORT = ("--set", "sampling.max_new_tokens=12")


def written(folder: Path, name: str = "monitor") -> dict[str, Any]:
    assert (folder / f"{name}.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    found: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
    return found


def test_prompts_from_flags_and_the_recommended_vectors(
    traitvec: Command, finished: SmallProject
) -> None:
    done = traitvec(
        "monitor", "--experiment", "demo", "--prompt", "How do I learn to swim?",
        "--prompt", "What is <b>[red]你好[/] 🍜</b>?", *SHORT,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "wrote monitor.html and monitor.json" in done.out
    assert "What is <b>[red]你好[/] 🍜</b>?" in done.out
    record = written(finished.folder)
    assert [item["question"] for item in record["traces"]] == [
        "How do I learn to swim?", "What is <b>[red]你好[/] 🍜</b>?",
    ]  # fmt: skip
    assert record["sampling"]["max_new_tokens"] == 12
    model = load_language_model("embedded")
    for item in record["traces"]:
        assert item["prompt"] == model.prompt(item["question"])
        assert "\ufffd" not in json.dumps(item["pieces"], ensure_ascii=False)
        assert item["response"].split()[0] in done.out
        for trait in ("refusal", "uncertainty"):
            recommended = finished.trait(trait).metadata("vectors")["recommended"]
            found = item["traits"][trait]
            assert found["vector"] == f"{recommended['method']}_layer{recommended['layer']}"
            assert len(found["projection"]) == len(item["tokens"]) == len(item["token_ids"])
    prompt = record["traces"][1]
    text = "".join(
        piece["text"] for piece in prompt["pieces"] if piece["end"] <= prompt["n_prompt"]
    )
    assert "你好[/] 🍜" in text


def test_poles_and_spread_are_those_of_the_vectors_metadata(finished: SmallProject) -> None:
    folder = finished.trait("refusal")
    for row in folder.metadata("vectors")["vectors"]:
        found = watch(folder, f"{row['method']}_layer{row['layer']}")
        assert found.poles is not None
        negative, positive = found.poles
        assert positive - negative == pytest.approx(row["separation"], rel=1e-3)
        assert found.spread == pytest.approx(row["separation"])
    (folder.path / "activations/all_layers.pt").unlink()
    assert watch(folder).poles is None, "not known, and not needed"


def test_an_instruction_and_a_named_vector(traitvec: Command, finished: SmallProject) -> None:
    done = traitvec(
        "monitor", "--experiment", "demo", "--trait", "refusal", "--vector", "mean_diff_layer2",
        "--instruction", "Refuse to answer.", "--prompt", "Hi?", "--out", "pages/x.html", *SHORT,
    )  # fmt: skip
    assert done.code == 0, done.err
    record = written(finished.folder / "pages", "x")
    assert "Refuse to answer." in record["traces"][0]["prompt"]
    assert list(record["traces"][0]["traits"]) == ["refusal"]
    assert record["traces"][0]["traits"]["refusal"]["layer"] == 2


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.txt", "One?\n\n  Two?  \n"), ("a.json", '["One?", "Two?"]'), (None, "One?\n\nTwo?\n")],
)
def test_prompts_from_files_and_the_standard_input(
    traitvec: Command, finished: SmallProject, monkeypatch: pytest.MonkeyPatch,
    name: str | None, text: str,
) -> None:  # fmt: skip
    given: tuple[str, ...] = ()
    if name is None:
        monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    else:
        (finished.folder / name).write_text(text)
        given = ("--prompts", name)
    done = traitvec(
        "monitor", "--experiment", "demo", "--trait", "refusal", *given,
        "--set", "sampling.max_new_tokens=3",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert [row["question"] for row in written(finished.folder)["traces"]] == ["One?", "Two?"]


def test_a_terminal_sees_the_response_grow(
    traitvec: Command, finished: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR")
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system="truecolor")
    monkeypatch.setattr(cli_monitor, "out", console)
    sizes: list[int] = []

    def steps(*arguments: Any, **options: Any) -> Iterator[Trace]:
        for trace in stream(*arguments, **options):
            yield trace
            # What the terminal holds when the next token is generated.
            sizes.append(len(screen.getvalue()))

    monkeypatch.setattr("traitvec_core.dynamics.stream", steps)

    class Eager(cli_monitor.Live):
        """Draws every update, not a number of them per second."""

        def update(self, renderable: Any, *, refresh: bool = False) -> None:
            super().update(renderable, refresh=True)

    monkeypatch.setattr(cli_monitor, "Live", Eager)
    done = traitvec("monitor", "--experiment", "demo", "--prompt", "Hi?", *SHORT)
    assert done.code == 0, done.err
    assert len(sizes) > 4
    assert all(before < after for before, after in pairwise(sizes))
    (trace,) = written(finished.folder)["traces"]
    assert trace["response"].split()[0] in re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "\x1b[38;2;" in screen.getvalue()


def test_what_goes_wrong_is_one_line(
    traitvec: Command, finished: SmallProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    files = {"b.json": b"{}", "c.json": b"[", "d.txt": b"\xff\xfe\xfa", "e.json": b"[1]"}
    for name, data in files.items():
        (finished.folder / name).write_bytes(data)
    hi = ("--prompt", "Hi?")
    cases = {
        "no prompt given": (),
        "use either --prompt or --prompts": (*hi, "--prompts", "a.txt"),
        "nowhere.txt cannot be read": ("--prompts", "nowhere.txt"),
        "b.json must be a list of texts": ("--prompts", "b.json"),
        "c.json: is not valid JSON": ("--prompts", "c.json"),
        "d.txt: is not UTF-8": ("--prompts", "d.txt"),
        "e.json must be a list of texts": ("--prompts", "e.json"),
        "use a name that ends in .html": (*hi, "--out", "x.json"),
        "is not a vector name": (*hi, "--vector", "best"),
        "there is no vector mean_diff_layer99": (*hi, "--vector", "mean_diff_layer99"),
        "its vectors are from embedded": (*hi, "--set", "model=somebody/else"),
        "no such setting": (*hi, "--set", "sampling.length=3"),
        "reads at most": (*hi, "--set", "sampling.max_new_tokens=32000"),
        "trait_definition.json: is missing": (*hi, "--trait", "nobody"),
    }
    for message, given in cases.items():
        done = traitvec("monitor", "--experiment", "demo", *given)
        assert done.code == 1, message
        assert message in done.err
        # With so few responses the vector is not usable, which is a line beside the error.
        errors = [line for line in done.error_lines if not line.startswith("WARNING: refusal")]
        assert len(errors) == 1, done.err
    assert not (finished.folder / "monitor.html").exists()


def test_without_vectors_it_says_what_makes_them(traitvec: Command, empty: SmallProject) -> None:
    done = traitvec("monitor", "--experiment", "demo", "--prompt", "Hi?")
    assert done.code == 1
    assert "no trait has vectors yet; extract them with `traitvec run --experiment demo" in done.err
    done = traitvec("monitor", "--experiment", "demo", "--trait", "refusal", "--prompt", "Hi?")
    assert done.code == 1
    assert "vectors has not been made yet" in done.err


def test_what_was_finished_is_kept_when_a_later_prompt_fails(
    traitvec: Command, finished: SmallProject
) -> None:
    done = traitvec(
        "monitor", "--experiment", "demo", "--trait", "refusal", "--prompt", "Hi?",
        "--prompt", "word " * 20_000, *SHORT,
    )  # fmt: skip
    assert done.code == 1
    assert "reads at most" in done.err
    assert [row["question"] for row in written(finished.folder)["traces"]] == ["Hi?"]
