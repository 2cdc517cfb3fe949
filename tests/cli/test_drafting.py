"""`traitvec new-trait --from`: a draft, its cost before and after, and what is refused."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command
from tests.projects import write_experiment
from tests.providers.drafts import PARTS, drafting, good_draft
from tests.providers.replies import Call, Reply
from tests.providers.server import FakeProvider

SENTENCE = "flatters the user and agrees with whatever they claim"
NEW = ("new-trait", "--experiment", "mine", "--from", SENTENCE)
FORM = ("new-trait", "--experiment", "mine", "--trait", "x")
DEFINITION = Path("experiments/mine/sycophancy/trait_definition.json")
# The owner's key, which only its own host may see.
SECRET = "sk-test-SECRET-9f8e7d6c5b4a39281706"


@pytest.fixture
def server(traitvec: Command) -> Any:
    """A writer behind both providers' addresses, and an experiment whose judge it is."""
    write_experiment(Path(), "mine", [], {"judge_model": "gpt-6.1-terra"})
    with FakeProvider(good_draft) as started:
        os.environ["OPENAI_BASE_URL"] = started.base_url_openai
        os.environ["ANTHROPIC_BASE_URL"] = started.base_url_anthropic
        os.environ["OPENAI_API_KEY"] = os.environ["ANTHROPIC_API_KEY"] = SECRET
        yield started


def test_help_teaches(traitvec: Command) -> None:
    done = traitvec("new-trait", "--help")
    assert done.code == 0
    for says in ("--from", "--writer-model", "--max-usd", "--seed", "--json", "pays for nothing"):
        assert says in done.out


def test_a_draft_says_its_cost_before_and_after_and_what_comes_next(
    traitvec: Command, server: FakeProvider
) -> None:
    done = traitvec(*NEW)
    assert done.code == 0, done.err
    first, *_ = done.err.splitlines()
    assert first.startswith(
        "drafting with gpt-6.1-terra: 4 requests (at most 7 with the linter's), about "
    )
    assert first.endswith("at most $1")
    assert "3/4 40 questions: done ($0." in done.err
    assert f"wrote {DEFINITION}: a draft by gpt-6.1-terra ($0." in done.out
    assert "then: traitvec check --experiment mine --trait sycophancy" in done.out
    checked = traitvec("check", "--experiment", "mine", "--trait", "sycophancy")
    assert checked.code == 0, checked.err
    assert "ok (10 pairs, 20 questions; drafted by gpt-6.1-terra on " in checked.out
    assert SECRET not in done.out + done.err + DEFINITION.read_text()


def test_json_is_for_other_programs(traitvec: Command, server: FakeProvider) -> None:
    done = traitvec(*NEW, "--json", "--writer-model", "claude-haiku-4-5", "--seed", "7")
    assert done.code == 0, done.err
    printed = json.loads(done.out)
    assert printed["trait"] == "sycophancy"
    assert printed["definition"] == str(DEFINITION)
    assert (printed["draft"]["model"], printed["draft"]["seed"]) == ("claude-haiku-4-5", 7)
    assert printed["draft"] == json.loads(DEFINITION.read_text())["draft"]
    assert {call.provider for call in server.log.calls} == {"anthropic"}


def test_ctrl_c_says_what_is_kept(traitvec: Command, server: FakeProvider) -> None:
    def interrupts(call: Call) -> Reply:
        os.kill(os.getpid(), signal.SIGINT)
        return Reply(200, "", action="hang", hang_s=300)

    server.responder = interrupts
    done = traitvec(*NEW)
    assert done.code == 130
    assert done.error_lines[-1].startswith("interrupted; finished work is kept")


def test_a_file_where_a_folder_belongs_is_named(traitvec: Command, server: FakeProvider) -> None:
    Path("experiments/mine/.drafts").write_text("")
    done = traitvec(*NEW)
    assert done.code == 1
    (line,) = [line for line in done.error_lines if line.startswith("error")]
    assert "experiments/mine/.drafts: a file is in the way of a folder; move it away" in line


def test_without_a_key_a_line_says_where_to_get_one_and_the_form_is_written(
    traitvec: Command, server: FakeProvider
) -> None:
    del os.environ["OPENAI_API_KEY"]
    done = traitvec(*NEW, "--trait", "flattery")
    assert done.code == 0
    (line,) = done.error_lines
    assert "needs a key: create one at https://platform.openai.com/api-keys" in line
    assert "OPENAI_API_KEY" in line
    form = json.loads(Path("experiments/mine/flattery/trait_definition.json").read_text())
    assert form["description"] == SENTENCE
    assert "draft" not in form
    assert "fill it in" in done.out
    nameless = traitvec(*NEW)
    assert nameless.code == 1
    assert "--trait NAME without --json gives a form instead" in nameless.error_lines[-1]
    assert server.log.total == 0


@pytest.mark.parametrize("judge", ["embedded", "repetition"])
def test_a_judge_that_cannot_write_is_no_writer(
    traitvec: Command, server: FakeProvider, judge: str
) -> None:
    write_experiment(Path(), "small", [], {"judge_model": judge})
    done = traitvec("new-trait", "--experiment", "small", "--from", SENTENCE, "--trait", "flattery")
    assert done.code == 0
    assert f"'{judge}' cannot write definitions; name a model that can" in done.error_lines[0]
    assert Path("experiments/small/flattery/trait_definition.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("new-trait", "--experiment", "mine"), "give --trait NAME, or --from"),
        ((*NEW, "--example"), "leave out --example"),
        ((*NEW, "--description", "x"), "leave out --example, --description"),
        ((*FORM, "--max-usd", "1"), "belong to --from"),
        (("new-trait", "--experiment", "mine", "--from", "  "), "the sentence is empty"),
        ((*NEW, "--trait", "../evil"), "cannot be used as a folder name"),
        ((*NEW, "--max-usd", "0"), "and the next answer can cost"),
    ],
)  # fmt: skip
def test_what_cannot_be_drafted_costs_nothing(
    traitvec: Command, server: FakeProvider, arguments: tuple[str, ...], says: str
) -> None:
    done = traitvec(*arguments)
    assert done.code == 1
    assert says in done.error_lines[-1]
    assert server.log.total == 0
    assert not list(Path("experiments/mine").glob("*/trait_definition.json"))


def test_an_existing_definition_is_seen_before_anything_is_paid(
    traitvec: Command, server: FakeProvider
) -> None:
    assert traitvec(*NEW).code == 0
    before = DEFINITION.read_bytes()
    refused = traitvec(*NEW, "--trait", "sycophancy")
    assert refused.code == 1
    assert refused.error_lines[-1].endswith("--force replaces it")
    assert server.log.total == len(PARTS)
    assert DEFINITION.read_bytes() == before
    assert traitvec(*NEW, "--trait", "sycophancy", "--force").code == 0


def test_a_form_that_replaces_a_draft_is_no_draft(traitvec: Command, server: FakeProvider) -> None:
    assert traitvec(*NEW).code == 0
    form = ("new-trait", "--experiment", "mine", "--trait", "sycophancy", "--example", "--force")
    assert traitvec(*form).code == 0
    checked = traitvec("check", "--experiment", "mine", "--trait", "sycophancy")
    assert "drafted by" not in checked.out


def test_a_server_that_only_the_file_names_gets_nothing_before_trust(
    traitvec: Command, server: FakeProvider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And afterwards only the key of the user's own server."""
    monkeypatch.delenv("TRAITVEC_TRUST")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "configuration"))
    with FakeProvider(good_draft) as own:
        write_experiment(
            Path(), "foreign", [], {"judge_model": "m", "judge_base_url": own.base_url_openai}
        )
        os.environ["JUDGE_API_KEY"] = "own-server-key"
        new = ("new-trait", "--experiment", "foreign", "--from", SENTENCE)
        refused = traitvec(*new)
        assert refused.code == 1
        assert "not allowed here yet; read the file, then `traitvec trust foreign`" in refused.err
        assert own.log.requests == []
        assert traitvec("trust", "foreign").code == 0
        priced = traitvec(*new, "--max-usd", "1")
        assert priced.code == 1
        assert "--max-usd needs the price of 'm', which is unknown" in priced.error_lines[-1]
        done = traitvec(*new)
        assert done.code == 0, done.err
        assert "its price is unknown, so no budget can be kept" in done.err
        assert {call.headers["authorization"] for call in own.log.calls} == {
            "Bearer own-server-key"
        }


def test_a_writer_that_stays_faulty_is_one_line_and_the_command_goes_on(
    traitvec: Command, server: FakeProvider
) -> None:
    server.responder = drafting({"questions": [lambda good: "no"]})
    failed = traitvec(*NEW)
    assert failed.code == 1
    (line,) = [line for line in failed.error_lines if line.startswith("error:")]
    assert "40 questions: 4 answers of 'gpt-6.1-terra' were unusable" in line
    assert not DEFINITION.exists()
    server.responder = good_draft
    again = traitvec(*NEW)
    assert again.code == 0, again.err
    assert again.err.count("kept from before") == 2
    assert DEFINITION.is_file()
