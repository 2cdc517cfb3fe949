"""One trait on real vLLM: generated, read, steered and monitored there; and what can go wrong."""

import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from tests.vllm.projects import VllmProject, engine_core_below, kill, serving_below, wait_for
from traitvec_core.storage.files import DEFINITION_FILE

pytestmark = pytest.mark.vllm

KEY = "sk-the-key-of-this-test"
# One process has the engine, where several run tests.
SHARED = pytest.mark.xdist_group("shared engine")


@pytest.fixture
def project(tmp_path: Path, vllm_python: Path, smollm2: Path) -> VllmProject:
    return VllmProject(tmp_path, smollm2)


def test_a_trait_survives_the_death_of_its_engine_in_every_stage(project: VllmProject) -> None:
    experiment = project.write()
    folder = experiment / "lists"
    run = ("run", "--experiment", "small", "--traits", "lists")

    def journal(stage: str) -> int:
        files = folder.glob(f"**/.{stage}-*.jsonl")
        return sum(len(file.read_text().splitlines()) for file in files)

    # While it generates: the server is killed.
    with project.start(*run) as process:
        wait_for(lambda: journal("responses") > 4, process)
        kill(serving_below(process.pid))
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert one_line(said, "vLLM's process was killed by signal 9"), said
    n_before = journal("responses")
    assert n_before > 4

    # While it reads: vLLM's engine process below the server is killed.
    with project.start(*run) as process:
        wait_for((folder / ".locks/activations").exists, process)
        kill(engine_core_below(process.pid))
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert one_line(said, "vLLM's process ended"), said
    assert project.manifest("responses/generation_metadata.json")["resumed_from"] == n_before

    # While it steers.
    with project.start(*run) as process:
        wait_for(lambda: journal("steering_evaluation") > 2, process)
        kill(serving_below(process.pid))
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert one_line(said, "vLLM's process was killed by signal 9"), said

    code, said = project.run(*run)
    assert code == 0, said
    check_that_vllm_did_it(project)
    code, said = project.run("run", "--experiment", "small", "--traits", "lists")
    assert code == 0
    assert "1 of 1 traits" in said, said
    # vLLM is not started for nothing.
    assert "loads its model" not in said

    page = project.folder / "monitor.html"
    code, said = project.run(
        "monitor", "--experiment", "small", "--prompt", "How do I learn to swim?", "--out",
        str(page),
    )  # fmt: skip
    assert code == 0, said
    assert '"engine": "vllm"' in page.with_suffix(".json").read_text()


def one_line(said: str, text: str) -> bool:
    lines = [line for line in said.splitlines() if text in line]
    return bool(lines) and "finished work is kept" in lines[0] and "Traceback" not in said


def check_that_vllm_did_it(project: VllmProject) -> None:
    for file in (
        "responses/generation_metadata.json", "activations/metadata.json",
        "steering/evaluation.json", "dynamics/summary.json",
    ):  # fmt: skip
        manifest = project.manifest(file)
        assert manifest["engine"] == "vllm", file
        assert "interp-engine" in manifest["engine_backend"], file
    read = project.manifest("activations/metadata.json")
    assert read["n_from_ids"] == read["n_examples"]
    assert read["opposite_instruction"] == ""
    steered = project.manifest("steering/evaluation.json")
    if steered["tested"]:
        assert steered["damage"]["perplexity_unsteered"] > 1
    assert project.manifest("validation/report.json")["recommended"]["verdict"]


@pytest.fixture(scope="module")
def shared_engine(
    vllm_python: Path, smollm2: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """`traitvec serve-engine` for the processes that have the key."""
    folder = tmp_path_factory.mktemp("engine")
    project = VllmProject(folder, smollm2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENERATION_API_KEY", KEY)
        process = project.start(
            "serve-engine", "--model", str(smollm2), "--port", "0", "--max-model-len", "512",
            "--dtype", "bfloat16",
        )  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"engine_url: (http://\S+)", line):
                    # The pipe must not fill up.
                    with (folder / "serve.log").open("wb") as log:
                        copier = subprocess.Popen(["cat"], stdin=process.stdout, stdout=log)
                    yield found[1]
                    break
            else:
                raise AssertionError(process.wait())
        finally:
            process.terminate()
            process.wait(timeout=60)
            copier.wait(timeout=60)


@SHARED
def test_two_runs_share_one_engine_and_load_no_weights(
    shared_engine: str, project: VllmProject
) -> None:
    server = {"engine": "server", "engine_url": shared_engine, "engine_reads": True}
    brief = {"n_examples": 12, "steering": {"evaluate": False}, "monitoring_prompts": []}
    runs = []
    for name in ("one", "two"):
        project.write(name, **{**server, **brief, "max_model_len": "auto"})
        runs.append((name, project.start("run", "--experiment", name, "--traits", "lists")))
    for name, process in runs:
        said, _ = process.communicate(timeout=400)
        assert process.returncode == 0, said
        read = project.manifest("activations/metadata.json", experiment=name)
        assert read["engine"] == "server"
        assert read["model_dtype"] == "bfloat16"
    texts = [
        (project.folder / "experiments" / name / "lists/responses/raw_pos.csv").read_text()
        for name in ("one", "two")
    ]
    # The same seeds; in bfloat16, another batch may draw another token now and then.
    assert sum(a == b for a, b in zip(*(t.splitlines() for t in texts), strict=False)) > 3


OPENINGS = [
    {"pos": "I decided to answer with a bulleted list. I wrote:",
     "neg": "I decided to answer with one paragraph. I wrote:"},
    {"pos": 'They asked: "{question}"\n\nI like bullet points. I answered:',
     "neg": 'They asked: "{question}"\n\nI like flowing prose. I answered:'},
]  # fmt: skip


@SHARED
def test_openings_are_gone_on_with_as_in_process(shared_engine: str, project: VllmProject) -> None:
    server = {"engine": "server", "engine_url": shared_engine, "engine_reads": True}
    brief = {
        "n_examples": 8, "threshold": 10, "min_coherence": 0,
        "sampling": {"max_new_tokens": 40, "temperature": 0.0},
    }  # fmt: skip
    engines: dict[str, dict[str, Any]] = {
        "served": {**server, "max_model_len": "auto"}, "here": {"engine": "transformers"}
    }  # fmt: skip
    tables, rows = {}, {}
    for name, engine in engines.items():
        folder = project.write(name, elicitation="scenarios", **{**brief, **engine}) / "lists"
        definition = json.loads((folder / DEFINITION_FILE).read_text())
        (folder / DEFINITION_FILE).write_text(json.dumps({**definition, "scenarios": OPENINGS}))
        code, said = project.run(
            "run", "--experiment", name, "--traits", "lists", "--select", "+activations"
        )
        assert code == 0, said
        tables[name] = pd.concat(
            pd.read_csv(folder / f"responses/{pole}.csv") for pole in ("pos", "neg")
        ).set_index("question_id")
        read = project.manifest("activations/metadata.json", experiment=name)
        assert read["n_from_ids"] == read["n_examples"]
        values = torch.load(folder / "activations/all_layers.pt", weights_only=True).float()
        rows[name] = dict(zip(read["question_ids"], values, strict=True))
    served, here = tables["served"], tables["here"]
    # The prompts are the same to the token: the turn stays open after the opening.
    assert set(served.prompt) == set(here.prompt)
    assert served.prompt_tokens.equals(here.prompt_tokens[served.index])
    is_story = served.prompt.str.startswith("They asked:")
    assert is_story.sum() == len(served) / 2
    assert served.prompt[~is_story].str.startswith("<|im_start|>").all()
    assert served.prompt.str.endswith((" I wrote:", " I answered:")).all()
    # Greedy, in bfloat16 on both sides: most responses begin with the same words.
    begins = {
        name: table.response.str.split().str[:4].str.join(" ") for name, table in tables.items()
    }
    assert (begins["served"] == begins["here"][served.index]).mean() > 0.6
    # The same responses have the same means, within what bfloat16 costs.
    same = [
        name
        for name in rows["served"].keys() & rows["here"].keys()
        if served.response[name] == here.response[name]
    ]
    assert same
    for name in same:
        one, other = rows["served"][name], rows["here"][name]
        assert ((one - other).norm(dim=-1) / other.norm(dim=-1)).max() < 0.06


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"max_model_len": 100_000}, "is more than"),
        ({"max_model_len": 64}, "raise max_model_len"),
        ({"tensor_parallel": 8}, "heads (9) must be divisible by tensor parallel size (8)"),
    ],
)
def test_a_setting_that_does_not_fit_is_one_line(
    project: VllmProject, more: dict[str, object], said: str
) -> None:
    project.write(**more)
    code, output = project.run("run", "--experiment", "small", "--traits", "lists")
    assert code == 1
    lines = [line for line in output.splitlines() if line.startswith("lists failed:")]
    assert len(lines) == 1, output
    assert said in lines[0]
    assert "Traceback" not in output


def test_a_model_without_a_chat_template_works(
    project: VllmProject, smollm2: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(smollm2, plain)
    (plain / "chat_template.jinja").unlink()
    project.write(
        model=str(plain), instruction_role="raw", n_examples=4,
        steering={"evaluate": False}, monitoring_prompts=[],
    )  # fmt: skip
    code, output = project.run(
        "run", "--experiment", "small", "--traits", "all", "--select", "responses"
    )
    assert code == 0, output
    assert project.manifest("responses/generation_metadata.json")["instruction_role"] == "raw"


def test_the_engine_ends_with_the_process_that_started_it(vllm_python: Path, smollm2: Path) -> None:
    options = f"ProcessOptions({str(smollm2)!r}, 'a', max_model_len=64)"
    code = (
        "import sys\n"
        "from traitvec_core.generation.engine_process import EngineProcess, ProcessOptions\n"
        f"print(EngineProcess({options}).address, flush=True)\n"
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    core = wait_for(lambda: engine_core_below(process.pid), process)
    serving = serving_below(process.pid)
    kill(process.pid)
    process.communicate()
    deadline = time.monotonic() + 60
    while any(is_running(pid) for pid in (core, serving)):
        assert time.monotonic() < deadline, "vLLM is still there"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
