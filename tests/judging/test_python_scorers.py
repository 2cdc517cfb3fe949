"""Scorers in a Python file, run in real child processes: scores, faults, identity."""

import importlib.util
import json
import os
import py_compile
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from traitvec_core.errors import TraitvecError
from traitvec_core.experiment import ExperimentSettings
from traitvec_core.judging import Judgement, JudgementStore, check_judge
from traitvec_core.judging.judge import score_prompts
from traitvec_core.judging.load import judge_fingerprint, load_judge
from traitvec_core.judging.python_worker import read_score
from traitvec_core.judging.scorer import scorer_prompt
from traitvec_core.models.language_model import LanguageModel
from traitvec_core.settings.scorer import parse_scorer

WORDS = "def words(question, response):\n    return min(100, 10 * len(response.split()))\n"
# The response says what to do.
FAULTS = """
import os, sys, time

def score(question, response):
    print("a line on the output", flush=True)
    print("and one on the error output", file=sys.stderr, flush=True)
    if response == "read":
        return 1.0 + len(sys.stdin.read())
    if response == "write":
        os.write(1, b'{"score": 99}' + b"\\n")
        return 2
    return eval(response)
"""


def no_model(name: str) -> LanguageModel:
    raise AssertionError(f"a scorer needs no model, and {name} was loaded")


def settings(name: str = "python:scorers.py:score", **given: Any) -> ExperimentSettings:
    return ExperimentSettings(model="embedded", judge_model=name, **given)


def scores(
    folder: Path, responses: list[str], store: JudgementStore | None = None, **given: Any
) -> list[Judgement]:
    store = store or JudgementStore()
    judge = load_judge(settings(**given), store, load_model=no_model, folder=folder)
    prompts = {scorer_prompt("Why?", text): ("trait", str(n)) for n, text in enumerate(responses)}
    judgements, _, _ = score_prompts(judge, prompts, store=store)
    return [judgements[prompt] for prompt in prompts]


def problem(folder: Path, **given: Any) -> str:
    """The one line with which both the check and the run refuse a scorer."""
    with pytest.raises(TraitvecError) as checked:
        check_judge(settings(**given), folder=folder)
    with pytest.raises(TraitvecError) as loaded:
        load_judge(settings(**given), JudgementStore(), load_model=no_model, folder=folder)
    assert str(checked.value) == str(loaded.value)
    assert len(str(checked.value).splitlines()) == 1
    return str(checked.value)


# -- scores and faults ----------------------------------------------------------------------------


def test_scores_are_what_the_function_returns(tmp_path: Path) -> None:
    (tmp_path / "scorers.py").write_text(WORDS)
    texts = ["one", "one two", "é \udcff \u2028 \x00", "a " * 50_000]
    judged = scores(tmp_path, texts, name="python:scorers.py:words")
    assert [j.score for j in judged] == [10, 20, 30, 100]
    assert {(j.status, j.usd) for j in judged} == {("ok", 0.0)}


def test_a_fault_is_a_missing_score_with_its_reason_and_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "scorers.py").write_text(FAULTS)
    faults = {
        "1 / 0": "raised ZeroDivisionError",
        "sys.exit('bye')": "raised SystemExit: bye",
        "(lambda f: f(f))(lambda f: f(f))": "raised RecursionError",
        "140": "140, which is not from 0 to 100",
        "-1": "-1, which is not from 0 to 100",
        "float('nan')": "nan, which is not from 0 to 100",
        "'80'": "'80' (str), which is not a number",
        "True": "True, which is not a number",
        "10 ** 5000": "which is not from 0 to 100",
        "[]": "which is not a number",
        "None": "None: no score",
        "os._exit(3)": "ended its process (exit status 3)",
        "os.kill(os.getpid(), 11)": "ended its process (SIGSEGV)",
        "time.sleep(60)": "did not finish within 1.5 s",
    }
    good = {"50": 50.0, "read": 1.0, "write": 2.0, "99.5": 99.5, "0": 0.0, "-0.0": 0.0}
    good |= {str(n): float(n) for n in range(20, 28)}
    # Every fault is followed by a response that is fine.
    texts = [text for pair in zip(faults, good, strict=True) for text in pair]
    judged = dict(zip(texts, scores(tmp_path, texts, judge_timeout_s=1.5), strict=True))
    for text, reason in faults.items():
        assert judged[text].score is None
        assert judged[text].status == "error"
        assert reason in judged[text].reason, judged[text].reason
        assert len(judged[text].reason) < 250
    for text, score in good.items():
        assert (judged[text].score, judged[text].status) == (score, "ok")
    # What a busy machine may have caused is tried again; what the function did is its answer.
    retried = {text for text, judgement in judged.items() if not judgement.is_final}
    assert retried == {"os._exit(3)", "os.kill(os.getpid(), 11)", "time.sleep(60)"}


def test_a_function_that_always_hangs_is_given_up_on(tmp_path: Path) -> None:
    (tmp_path / "scorers.py").write_text(
        "def score(question, response):\n"
        "    while response.startswith('hang'): pass\n"
        "    return 7\n"
    )
    store = JudgementStore()
    texts = ["first", *(f"hang {n}" for n in range(30)), "last"]
    judged = scores(tmp_path, texts, store, judge_timeout_s=0.5)
    assert judged[0].score == 7
    assert [j.reason for j in judged[1:4]] == ["the function did not finish within 0.5 s"] * 3
    assert {j.reason for j in judged[4:]} == {
        "not tried: the function hung or crashed 3 times in a row"
    }
    assert not any(j.is_final for j in judged[1:])
    # The next run asks again for what is missing, and only for that.
    assert [j.score for j in scores(tmp_path, ["first", "last"], store)] == [7, 7]


@pytest.mark.slow
def test_a_hanging_function_ends_with_the_run_that_started_it(tmp_path: Path) -> None:
    (tmp_path / "scorers.py").write_text(
        "import os\nfrom pathlib import Path\n"
        "def score(question, response):\n"
        f"    Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))\n"
        "    while True: pass\n"
    )
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.judging.test_python_scorers import scores\n"
        "scores(Path(sys.argv[1]), ['x'])"
    )
    run = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 120
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert time.monotonic() < deadline
        assert run.poll() is None
        time.sleep(0.05)
    child = int((tmp_path / "pid").read_text())
    run.send_signal(signal.SIGKILL)
    run.wait()
    while _is_running(child):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    # In a container nobody may collect it.
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@given(
    st.one_of(
        st.floats(), st.integers(), st.fractions(), st.booleans(), st.text(), st.none(),
        st.binary(),
        st.complex_numbers(), st.lists(st.integers()), st.floats(width=32).map(np.float32),
        st.integers(-200, 200).map(np.int64), st.booleans().map(np.bool_),
    )
)  # fmt: skip
def test_only_real_numbers_from_0_to_100_are_scores(value: Any) -> None:
    score, reason = read_score(value)
    is_number = isinstance(value, (int, float, np.number)) or type(value).__name__ == "Fraction"
    is_score = is_number and not isinstance(value, bool) and 0 <= value <= 100
    assert (score is not None) == is_score
    assert (reason == "") == is_score
    if is_score:
        assert score == float(value)
    else:
        assert reason.isprintable()
        assert len(reason) < 250


# -- files that cannot be used --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("def score(question, response:\n", "cannot be imported (SyntaxError"),
        ("import not_installed_anywhere\n", "cannot be imported (ModuleNotFoundError"),
        ("import sys; sys.exit(1)\n", "cannot be imported (SystemExit: 1)"),
        ("import os; os._exit(1)\n", "cannot be imported: it ended its process (exit status 1)"),
        ("import time; time.sleep(60)\n", "cannot be imported: it did not finish within 1 s"),
        (WORDS, "has no function score; it has words"),
        ("score = 3\n", "has no function score"),
        ("def score(response): return 1\n", "score must take two arguments: (question, response)"),
        ("def score(a, b, c): return 1\n", "score must take two arguments: (question, response)"),
        ("async def score(a, b): return 1\n", "score is async"),
        ("raise ValueError('two\\nlines')\n", "cannot be imported (ValueError: two lines)"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_before_anything_is_scored(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / "scorers.py").write_text(text)
    line = problem(tmp_path, judge_timeout_s=1)
    assert says in line
    assert "scorers.py" in line


def test_a_file_outside_the_experiment_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    assert "there is no such file" in problem(folder)
    (tmp_path / "outside.py").write_text(WORDS.replace("words", "score"))
    (folder / "scorers.py").symlink_to(tmp_path / "outside.py")
    assert "is a link to a file outside" in problem(folder)
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "scorers.py").write_text(WORDS.replace("words", "score"))
    (folder / "code").symlink_to(tmp_path / "code")
    assert "is a link to a file outside" in problem(folder, name="python:code/scorers.py:score")
    (folder / "real.py").write_text(WORDS.replace("words", "score"))
    (folder / "scorers.py").unlink()
    (folder / "scorers.py").symlink_to("real.py")
    assert scores(folder, ["one"])[0].score == 10


# -- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "python:", "python:scorers.py", "python:scorers.py:", "python::words",
        "python:a.py:two words", "python:a.py:class", "python:/etc/a.py:words",
        "python:../a.py:words", "python:a/../../b.py:f",
        "python:scorers.txt:words", "python:a\\b.py:words", "python:a\n.py:words",
        "hf-classifier:", "hf-classifier:model", "hf-classifier::label", "hf-classifier:model: ",
    ],
)  # fmt: skip
@pytest.mark.parametrize("setting", ["judge_model", "second_judge", "coherence_judge", "scorers"])
def test_an_incomplete_name_is_refused_where_it_is_set(name: str, setting: str) -> None:
    value: Any = {"refusal": name} if setting == "scorers" else name
    with pytest.raises(ValueError, match=setting):
        ExperimentSettings.model_validate({"model": "embedded", setting: value})


@given(st.text(max_size=40), st.text(max_size=20))
def test_what_follows_the_last_colon_is_the_label(model: str, label: str) -> None:
    name = f"hf-classifier:{model}:{label}"
    try:
        parsed = parse_scorer(name)
    except ValueError:
        return
    assert parsed is not None
    assert ":" not in parsed.label  # type: ignore[union-attr]
    assert f"hf-classifier:{parsed.model}:{parsed.label}" == name  # type: ignore[union-attr]


@pytest.mark.parametrize("module", ["scorers", "words"])
def test_a_compiled_file_does_not_run_in_place_of_the_source(tmp_path: Path, module: str) -> None:
    """A project from elsewhere can bring `__pycache__`; who reads the source would not see it."""
    (tmp_path / "words.py").write_text("VALUE = 1\n")
    (tmp_path / "scorers.py").write_text(
        "from words import VALUE\ndef score(question, response):\n    return VALUE\n"
    )
    other = tmp_path / "other.py"
    other.write_text("VALUE = 99\ndef score(question, response):\n    return 99\n")
    py_compile.compile(
        str(other), importlib.util.cache_from_source(str(tmp_path / f"{module}.py")),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )  # fmt: skip
    assert scores(tmp_path, ["a"], JudgementStore())[0].score == 1


# -- identity -------------------------------------------------------------------------------------


def test_editing_the_file_or_what_it_imports_makes_its_scores_another_judges(
    tmp_path: Path,
) -> None:
    (tmp_path / "scorers.py").write_text(
        "from counting import count\ndef score(question, response):\n    return count(response)\n"
    )
    (tmp_path / "counting.py").write_text("import lists.marks\ndef count(text): return 1\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "__init__.py").write_text("")
    (tmp_path / "lists" / "marks.py").write_text("MARKS = '-'\n")
    (tmp_path / "notes.py").write_text("")

    def identity() -> tuple[str, str]:
        judge = load_judge(settings(), JudgementStore(), load_model=no_model, folder=tmp_path)
        return judge_fingerprint(settings(), None, tmp_path), judge.identity

    store = JudgementStore()
    seen = {identity()}
    assert scores(tmp_path, ["a"], store)[0].score == 1
    for file, text in {
        "notes.py": "unrelated = True\n",
        "other.csv": "unrelated",
    }.items():
        (tmp_path / file).write_text(text)
        assert identity() in seen
    for file, text in {
        "counting.py": "import lists.marks\ndef count(text): return 2\n",
        "lists/marks.py": "MARKS = '*'\n",
        "lists/__init__.py": "# changed\n",
        "scorers.py": "from counting import count\ndef score(q, r): return 2 * count(r)\n",
    }.items():
        (tmp_path / file).write_text(text)
        new = identity()
        assert not any(part in old for old in seen for part in new), file
        seen.add(new)
    # Nothing is left from the version before, in the store or in compiled files.
    assert scores(tmp_path, ["a"], store)[0].score == 4
    assert not list(tmp_path.rglob("__pycache__"))
    assert json.loads(new[1])["model"] == "python:scorers.py:score"
