"""What an experiment from elsewhere may run or send: nothing, until its owner allows it."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.trust.conftest import MakeExperiment
from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.stages.make import make
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.trust import (
    TRUSTED_SETTINGS,
    allow,
    check_trust,
    grants_of,
    revoke,
    trust_file,
    trust_for_other_machines,
    untrusted_grants,
)
from traitvec_dagster.graph.owner_overrides import OWNER_SETTINGS, settings_with_overrides

EMBEDDED = "model: embedded\njudge_model: embedded\n"
# The setting that is named, the file, and the same setting with another value.
ASKING = [
    ("trust_remote_code", "model: org/x\ntrust_remote_code: true\n", "model: org/other"),
    ("trust_remote_code", "model: org/x\ntrust_remote_code: true\n", "revision: abc"),
    ("gradient_objective", "model: org/x\ngradient_objective: a.b:c\n",
     "gradient_objective: os:system"),
    ("judge_model", "model: embedded\njudge_model: python:scorers.py:f\n",
     "judge_model: python:scorers.py:g"),
    ("scorers.refusal", "model: embedded\nscorers: {refusal: 'python:scorers.py:f'}\n",
     "scorers: {refusal: 'python:scorers.py:g'}"),
    ("coherence_judge", "model: embedded\ncoherence_judge: python:scorers.py:f\n",
     "coherence_judge: python:other.py:f"),
    ("second_judge", "model: embedded\nsecond_judge: python:scorers.py:f\n",
     "second_judge: python:scorers.py:g"),
    ("judge_base_url", "model: embedded\njudge_base_url: http://a.example:1/v1\n",
     "judge_base_url: http://b.example:1/v1"),
    ("engine_url", "model: embedded\nengine_url: http://a.example:1/v1\n",
     "engine_url: http://a.example:2/v1"),
]  # fmt: skip
BY_NAME = pytest.mark.parametrize(
    ("setting", "text", "change"), ASKING, ids=[f"{row[0]}-{row[2][:8]}" for row in ASKING]
)


def is_asking(folder: ExperimentFolder, settings: ExperimentSettings | None = None) -> bool:
    return bool(untrusted_grants(folder, settings or folder.settings()))


def allow_all(folder: ExperimentFolder) -> None:
    allow(folder, grants_of(folder, folder.settings()))


def test_every_setting_of_the_owner_asks_or_does_neither() -> None:
    """Names of models, revisions and engines run no code and choose no host."""
    neither = {
        "model", "revision", "attention", "engine", "engine_model", "judge_provider",
    }  # fmt: skip
    assert set(OWNER_SETTINGS) - TRUSTED_SETTINGS == neither
    assert {setting.partition(".")[0] for setting, _, _ in ASKING} == TRUSTED_SETTINGS


@BY_NAME
def test_a_stage_is_not_made_until_it_is_allowed(
    experiment: MakeExperiment, setting: str, text: str, change: str
) -> None:
    folder = experiment(text)
    with pytest.raises(TraitvecError) as caught:
        make("responses", folder.trait("refusal"), folder.settings())
    message = str(caught.value)
    assert setting in message
    assert "traitvec trust mine" in message
    assert len(message) < 200
    allow_all(folder)
    with pytest.raises(TraitvecError, match="trait_definition"):
        make("responses", folder.trait("refusal"), folder.settings())


@BY_NAME
def test_a_change_asks_again(
    experiment: MakeExperiment, setting: str, text: str, change: str
) -> None:
    folder = experiment(text)
    allow_all(folder)
    check_trust(folder, folder.settings())
    name = change.partition(":")[0]
    kept = [line for line in text.splitlines() if not line.startswith(f"{name}:")]
    folder = experiment("\n".join([*kept, change]))
    assert setting in str(untrusted_grants(folder, folder.settings())[0].setting)


def test_what_is_no_code_and_no_server_never_asks(
    experiment: MakeExperiment, configuration: Path
) -> None:
    folder = experiment(
        "model: org/model\nrevision: abc\njudge_model: claude-haiku-4-5\nsecond_judge: gpt-4.1\n"
        "coherence_judge: repetition\nn_examples: 10\nthresholds: {accuracy: 0.8}\n"
        "scorers: {refusal: 'hf-classifier:org/x:LABEL'}\n"
    )
    assert grants_of(folder, folder.settings()) == []
    check_trust(folder, folder.settings())
    assert not configuration.exists()


def test_other_lines_may_change(experiment: MakeExperiment) -> None:
    text = f"{EMBEDDED}judge_base_url: http://a.example:1/v1\n"
    allow_all(experiment(text))
    assert not is_asking(experiment(f"{text}n_examples: 4\njudge_timeout_s: 3\n"))
    assert not is_asking(experiment(EMBEDDED))


@pytest.mark.parametrize("changed", ["scorers", "words", "lists/__init__", "lists/marks"])
def test_the_code_of_a_scorer_is_part_of_what_is_allowed(
    experiment: MakeExperiment, changed: str
) -> None:
    text = "model: embedded\njudge_model: python:scorers.py:f\n"
    sources = {"scorers": "import words\ndef f(q, r): return words.n(r)\n",
               "words": "import lists\ndef n(r): return 1\n",
               "lists/__init__": "from .marks import MARKS\n",
               "lists/marks": "MARKS = '-'\n"}  # fmt: skip
    folder = experiment(text, **sources)
    allow_all(folder)
    assert not is_asking(folder)
    experiment(text, **sources)
    assert not is_asking(folder)
    experiment(text, **{**sources, changed: sources[changed] + "# new\n"})
    assert is_asking(folder)


def test_a_new_file_that_shadows_a_module_of_python_asks_again(experiment: MakeExperiment) -> None:
    text = "model: embedded\njudge_model: python:scorers.py:f\n"
    folder = experiment(text, scorers="import statistics\ndef f(q, r): return 1\n")
    allow_all(folder)
    # `statistics` imports `decimal`, and the scorer's folder is searched first.
    experiment(text, decimal="\n")
    assert is_asking(folder)


def test_what_a_linked_scorer_imports_is_part_of_what_is_allowed(
    experiment: MakeExperiment,
) -> None:
    text = "model: embedded\njudge_model: python:scorers.py:f\n"
    sources = {"real/scorers": "import words\ndef f(q, r): return 1\n", "real/words": ""}
    folder = experiment(text, **sources)
    (folder.path / "scorers.py").symlink_to("real/scorers.py")
    allow_all(folder)
    experiment(text, **{**sources, "real/words": "# new\n"})
    assert is_asking(folder)


def test_asking_runs_nothing(experiment: MakeExperiment, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    folder = experiment(
        "model: embedded\njudge_model: python:scorers.py:f\ngradient_objective: objective:f\n",
        scorers=f"open({str(mark)!r}, 'w')\n", objective=f"open({str(mark)!r}, 'w')\n",
    )  # fmt: skip
    assert is_asking(folder)
    allow_all(folder)
    assert not mark.exists()


def test_the_objectives_code_is_part_of_what_is_allowed(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_objectives").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    code = tmp_path / "own_objectives" / "first.py"
    code.write_text("def f(a, b): return a.mean()\n")
    init = tmp_path / "own_objectives" / "__init__.py"
    init.write_text("raise SystemExit('imported')\n")
    folder = experiment("model: embedded\ngradient_objective: own_objectives.first:f\n")
    allow_all(folder)
    assert not is_asking(folder)
    code.write_text("import own_objectives.second\ndef f(a, b): return a.mean()\n")
    assert is_asking(folder)
    for file in (init, tmp_path / "own_objectives" / "second.py"):
        allow_all(folder)
        assert not is_asking(folder)
        file.write_text("# new\n")
        assert is_asking(folder)


@pytest.mark.parametrize("file", ["modeling_own.py", "config.json"])
def test_the_code_in_a_models_folder_is_part_of_what_is_allowed(
    experiment: MakeExperiment, tmp_path: Path, file: str
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "modeling_own.py").write_text("class Own: ...\n")
    (model / "config.json").write_text("{}")
    folder = experiment(f"model: {model}\ntrust_remote_code: true\n")
    allow_all(folder)
    assert not is_asking(folder)
    (model / file).write_text('{"auto_map": {}}')
    assert is_asking(folder)


# Who says it


GIVEN: list[tuple[str, dict[str, Any]]] = [
    (EMBEDDED, {"judge_base_url": "http://a.example/v1"}),
    (EMBEDDED, {"scorers.refusal": "python:scorers.py:f"}),
    (EMBEDDED, {"scorers": {"refusal": "python:scorers.py:f"}}),
    (f"{EMBEDDED}judge_base_url: http://a.example/v1\n", {"judge_base_url": "http://b.example/v1"}),
    (f"{EMBEDDED}judge_base_url: http://a.example/v1\n", {"judge_base_url": None}),
]


@pytest.mark.parametrize(("text", "given"), GIVEN)
def test_what_the_owner_gives_is_allowed_by_that(
    experiment: MakeExperiment, text: str, given: dict[str, Any]
) -> None:
    folder = experiment(text)
    assert not is_asking(folder, folder.settings(given))
    # The same from a run's config, which anyone who reaches the UI can write, is not.
    if grants_of(folder, folder.settings(given)):
        assert is_asking(folder, folder.settings(given, are_owners=False))


def test_another_override_says_nothing_about_the_files_lines(experiment: MakeExperiment) -> None:
    folder = experiment("model: org/x\ntrust_remote_code: true\n")
    assert is_asking(folder, folder.settings({"n_examples": 4}))
    allow_all(folder)
    # The code of another model was not allowed, though the owner names the model.
    assert is_asking(folder, folder.settings({"model": "org/other"}))
    given = {"model": "org/other", "trust_remote_code": True}
    assert not is_asking(folder, folder.settings(given))


def test_one_of_several_scorers_given_leaves_the_others_asking(experiment: MakeExperiment) -> None:
    folder = experiment("model: embedded\nscorers: {a: 'python:s.py:f', b: 'python:s.py:g'}\n")
    (left,) = untrusted_grants(folder, folder.settings({"scorers.a": "python:s.py:h"}))
    assert left.setting == "scorers.b"


def test_a_runs_config_that_repeats_the_file_does_not_allow_it(experiment: MakeExperiment) -> None:
    folder = experiment(f"{EMBEDDED}judge_base_url: http://a.example/v1\n")
    same = {"judge_base_url": "http://a.example/v1"}
    assert is_asking(folder, settings_with_overrides(folder, same))
    allow_all(folder)
    assert not is_asking(folder, settings_with_overrides(folder, same))


def test_settings_made_in_code_are_the_callers(experiment: MakeExperiment) -> None:
    folder = experiment(EMBEDDED)
    settings = ExperimentSettings(model="embedded", judge_base_url="http://a.example/v1")
    assert not is_asking(folder, settings)


# Where it is recorded


def test_a_project_cannot_bring_its_own_trust(
    experiment: MakeExperiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{EMBEDDED}judge_base_url: http://a.example/v1\n"
    folder = experiment(text)
    allow_all(folder)
    # A clone elsewhere, even with the record in its own tree.
    clone = tmp_path / "clone"
    shutil.copytree(folder.path, clone / "experiments" / "mine")
    shutil.copytree(trust_file().parent, clone / "traitvec")
    monkeypatch.chdir(clone)
    there = ExperimentFolder(clone / "experiments", "mine")
    assert is_asking(there)
    # A relative configuration folder would be the project's.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", ".")
    assert is_asking(there)
    assert trust_file().is_relative_to(tmp_path / "home")


def test_trust_can_be_taken_back(experiment: MakeExperiment) -> None:
    folder = experiment(f"{EMBEDDED}judge_base_url: http://a.example/v1\n")
    assert not revoke(folder)
    allow_all(folder)
    assert revoke(folder)
    assert is_asking(folder)


def test_a_variable_says_it_where_there_is_no_home(
    experiment: MakeExperiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = experiment(
        f"{EMBEDDED}judge_base_url: http://a.example/v1\nengine_url: http://a.example/v1\n"
    )
    judge, engine = (grant.fingerprint for grant in grants_of(folder, folder.settings()))
    monkeypatch.setenv("TRAITVEC_TRUST", judge)
    (left,) = untrusted_grants(folder, folder.settings())
    assert left.setting == "engine_url"
    monkeypatch.setenv("TRAITVEC_TRUST", f"{judge}, {engine}")
    assert not is_asking(folder)
    monkeypatch.setenv("TRAITVEC_TRUST", "all")
    assert not is_asking(folder)
    monkeypatch.setenv("TRAITVEC_TRUST", "1")
    assert is_asking(folder)


def test_a_record_that_cannot_be_written_is_one_line_with_the_way_out(
    experiment: MakeExperiment, configuration: Path
) -> None:
    folder = experiment(f"{EMBEDDED}judge_base_url: http://a.example/v1\n")
    configuration.write_text("in the way")
    with pytest.raises(TraitvecError, match=r"cannot be written .*; set TRAITVEC_TRUST to"):
        allow_all(folder)
    assert is_asking(folder)


def test_a_relative_home_is_none(
    experiment: MakeExperiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would be a folder of the project, which could bring its own record."""
    folder = experiment(f"{EMBEDDED}judge_base_url: http://a.example/v1\n")
    allow_all(folder)
    record = tmp_path / ".config" / "traitvec" / "trusted.json"
    record.parent.mkdir(parents=True)
    shutil.copy(trust_file(), record)
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", ".")
    assert is_asking(folder)


def test_steps_elsewhere_get_the_decision_of_this_machine(
    experiment: MakeExperiment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = experiment(f"{EMBEDDED}judge_base_url: http://a.example/v1\n")
    assert trust_for_other_machines([folder]) == ""
    allow_all(folder)
    value = trust_for_other_machines([folder])
    # There the tree has another path, and the user no record.
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "nothing"))
    monkeypatch.setenv("TRAITVEC_TRUST", value)
    there = experiment(folder.settings_path.read_text(), tmp_path / "node")
    assert not is_asking(there)
    assert is_asking(
        experiment(f"{EMBEDDED}judge_base_url: http://b.example/v1\n", tmp_path / "node")
    )


@pytest.mark.parametrize("content", ["", "[]", "{", '{"experiments": {"/x": 3}}', "\xff"])
def test_a_broken_record_is_one_clear_line(experiment: MakeExperiment, content: str) -> None:
    folder = experiment(f"{EMBEDDED}judge_base_url: http://a.example/v1\n")
    allow_all(folder)
    trust_file().write_bytes(content.encode("latin-1"))
    with pytest.raises(TraitvecError, match=r"trusted\.json: cannot be read .* delete it"):
        check_trust(folder, folder.settings())


def test_the_record_of_one_experiment_leaves_the_others(
    experiment: MakeExperiment, tmp_path: Path
) -> None:
    text = f"{EMBEDDED}judge_base_url: http://a.example/v1\n"
    first, second = experiment(text), experiment(text, tmp_path / "second")
    allow_all(first)
    allow_all(second)
    revoke(first)
    assert is_asking(first)
    assert not is_asking(second)
    assert len(json.loads(trust_file().read_text())["experiments"]) == 1


def test_the_whole_address_is_shown_before_it_is_allowed(experiment: MakeExperiment) -> None:
    """The end of a host's name says whose it is."""
    address = f"https://api.openai.com.{'a' * 60}.evil.example/v1"
    folder = experiment(f"model: embedded\njudge_model: x\njudge_base_url: {address}\n")
    (grant,) = grants_of(folder, folder.settings())
    assert address in grant.allows


def test_a_line_break_in_a_value_stays_in_one_line(experiment: MakeExperiment) -> None:
    folder = experiment('model: "x\\e[31m\\nallowed: nothing"\ntrust_remote_code: true\n')
    (grant,) = grants_of(folder, folder.settings())
    assert grant.allows.isprintable()
