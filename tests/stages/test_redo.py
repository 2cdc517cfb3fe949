"""A stage that is made again although it is fresh, and what is left when that fails."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.projects import demo_definition
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stage_names import STAGES, Stage
from traitvec_core.stages import SPECS
from traitvec_core.stages.context import StageContext, StageOutput
from traitvec_core.stages.make import make, stage_states
from traitvec_core.stages.redo import Redo, parse_redo
from traitvec_core.storage.folders import TraitFolder

SETTINGS = ExperimentSettings(model="embedded", judge_model="embedded")
pytestmark = pytest.mark.usefixtures("own_environment")


@pytest.fixture
def folder(tmp_path: Path) -> TraitFolder:
    """A trait with a definition."""
    import json

    trait = TraitFolder(tmp_path / "mine", "kind")
    trait.path.mkdir(parents=True)
    trait.definition_path.write_text(json.dumps(demo_definition()))
    return trait


class Server:
    """Makes responses, as a server that draws by itself would; may fail or leave some out."""

    def __init__(self) -> None:
        self.n_made = 0
        self.missing = 0
        self.error: Exception | None = None

    def make(self, context: StageContext) -> StageOutput:
        self.n_made += 1
        if self.error is not None:
            raise self.error
        context.provenance.is_complete = not self.missing
        files = {
            "responses/numbers.json": f"[{self.n_made}]".encode(),
            f"responses/of_{self.n_made}.json": b"[]",
        }
        return files, {"unfinished": {"the server is gone": self.missing} if self.missing else {}}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Stands in for the model behind `responses`, and a stage after it."""
    made = Server()
    monkeypatch.setitem(SPECS, "responses", replace(SPECS["responses"], make=made.make))

    def read(context: StageContext) -> StageOutput:
        return {"activations/read.json": _content(context.folder, "responses").encode()}, {}

    monkeypatch.setitem(
        SPECS, "activations",
        replace(
            SPECS["activations"], make=read, upstream=("responses",),
            inputs=lambda folder, settings: {"responses": _content(folder, "responses")},
        ),
    )  # fmt: skip
    return made


def _content(folder: TraitFolder, stage: Stage) -> str:
    provenance = folder.provenance(stage)
    return provenance.content if provenance else ""


def _files(folder: TraitFolder) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder.path)): path.read_bytes()
        for path in sorted((folder.path / "responses").iterdir())
    }


def test_a_fresh_stage_is_made_again_and_what_follows_goes_by_content(
    folder: TraitFolder, server: Server
) -> None:
    for stage in ("responses", "activations"):
        make(stage, folder, SETTINGS)  # type: ignore[arg-type]
    assert make("responses", folder, SETTINGS).is_reused
    assert not make("responses", folder, SETTINGS, redo="all").is_reused
    assert server.n_made == 2
    assert "responses/of_1.json" not in _files(folder)
    assert stage_states(folder, SETTINGS)["activations"] == "stale"
    # Made again with the same content, it leaves what follows fresh.
    make("activations", folder, SETTINGS)
    server.n_made = 1
    make("responses", folder, SETTINGS, redo="all")
    assert make("activations", folder, SETTINGS).is_reused


@pytest.mark.parametrize(
    "fail",
    [
        lambda server: setattr(server, "error", TraitvecError("no answer")),
        lambda server: setattr(server, "error", RuntimeError("a bug")),
        lambda server: setattr(server, "error", KeyboardInterrupt()),
        lambda server: setattr(server, "missing", 3),
    ],
    ids=["refused", "crashed", "interrupted", "unfinished"],
)
def test_a_redo_that_fails_leaves_the_earlier_result(
    folder: TraitFolder, server: Server, fail: Callable[[Server], None]
) -> None:
    make("responses", folder, SETTINGS)
    before = _files(folder)
    fail(server)
    with pytest.raises(BaseException) as failed:  # noqa: PT011
        make("responses", folder, SETTINGS, redo="all")
    if server.missing:
        assert "it lacks 3 judgements (the server is gone), before 0" in str(failed.value)
        assert "the old result is kept" in str(failed.value)
        assert len(str(failed.value)) < 200
    assert _files(folder) == before
    assert make("responses", folder, SETTINGS).is_reused


def test_a_redo_that_lacks_less_is_kept(folder: TraitFolder, server: Server) -> None:
    server.missing = 5
    make("responses", folder, SETTINGS)
    server.missing = 2
    make("responses", folder, SETTINGS, redo="all")
    assert folder.metadata("responses")["unfinished"] == {"the server is gone": 2}
    assert stage_states(folder, SETTINGS)["responses"] == "partial"


def test_a_full_disk_in_the_middle_of_writing_leaves_the_earlier_result(
    folder: TraitFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("responses", folder, SETTINGS)
    before = _files(folder)
    write = Path.write_bytes

    def full(path: Path, data: bytes) -> int:
        if "generation_metadata" in path.name:
            write(path, data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        return write(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            make("responses", folder, SETTINGS, redo="all")
    assert _files(folder) == before
    assert make("responses", folder, SETTINGS).is_reused


def test_a_kill_between_two_renames_is_made_whole_by_the_next_run(
    folder: TraitFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make("responses", folder, SETTINGS)
    replace_, renamed = Path.replace, 0

    def killed(path: Path, target: Path) -> Path:
        nonlocal renamed
        renamed += 1
        if renamed == 2:
            raise KeyboardInterrupt
        return replace_(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            make("responses", folder, SETTINGS, redo="all")
    # New and old files are mixed, and nobody takes them for a result.
    assert stage_states(folder, SETTINGS)["responses"] == "stale"
    assert not make("responses", folder, SETTINGS).is_reused
    assert stage_states(folder, SETTINGS)["responses"] == "fresh"


def test_names_of_stages() -> None:
    assert parse_redo([]).of("vectors") is None
    assert parse_redo(["vectors", "vectors"]) == Redo(("vectors",))
    both = parse_redo(["judged_responses", "vectors"], only_missing=True)
    assert {stage: both.of(stage) for stage in STAGES if both.of(stage)} == {
        "judged_responses": "missing",
        "vectors": "all",
    }


@pytest.mark.parametrize(
    ("names", "options", "line"),
    [
        (["responces"], {}, "there is no stage 'responces'; did you mean 'responses'?"),
        (["judged"], {}, "did you mean 'judged_responses'?"),
        (["Vectors"], {}, "did you mean 'vectors'?"),
        (["x" * 300], {}, "stages: responses, judged_responses"),
        (["definition"], {}, "you write it, so there is nothing to make again"),
        (["vectors"], {"only_missing": True}, "use it with --redo judged_responses"),
        ([], {"only_missing": True}, "use it with --redo judged_responses"),
    ],
)
def test_a_wrong_name_gets_one_line(names: list[str], options: dict[str, Any], line: str) -> None:
    with pytest.raises(TraitvecError) as refused:
        parse_redo(names, **options)
    assert line in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 200
