"""Stores every judgement in one SQLite file, shared by traits, experiments and runs.

Any SQLite tool reads it: `sqlite3 experiments/.judgements.sqlite 'select * from judgements'`.
"""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from traitvec_core.judging.judgement_database import open_database, unusable
from traitvec_core.judging.reading import Judgement, Status
from traitvec_core.stage_names import RedoKind

__all__ = ["JUDGEMENTS_FILE", "Batch", "JudgementStore", "Origin", "judgement_key"]

# In the folder of all experiments; the dot marks it as not an experiment.
JUDGEMENTS_FILE = ".judgements.sqlite"
# Older than any judgement; a larger number overflows `timedelta`.
_MOST_DAYS = 365_000.0
# Runs that ask for a judgement and get only unusable answers; then it is final. A run that a
# schedule repeats must not pay for ever for a prompt that this judge cannot answer.
MOST_UNUSABLE_RUNS = 3
# A refusal is an answer.
_IS_MISSING = "status in ('unparseable', 'error')"


@dataclass(frozen=True)
class Origin:
    """The experiment and trait that first requested a judgement, and so paid for it."""

    experiment: str = ""
    trait: str = ""


@dataclass(frozen=True)
class Batch:
    """A batch that is submitted, or about to be.

    Attributes:
        intent: Our name for it, recorded before it is submitted.
        id: The provider's id; None until the submission is confirmed.
        keys: Keys of its judgements.
    """

    intent: str
    id: str | None
    keys: frozenset[str]


def judgement_key(judge: str, prompt: str, repeat: int = 0) -> str:
    """Return a hash of everything that determines a judgement.

    Args:
        judge: The judge's identity: provider, model, server and method of scoring.
        prompt: The rubric with question and answer filled in.
        repeat: 0, or the number of a repetition that measures the judge's own noise.
    """
    content = json.dumps([judge, repeat]).encode() + b"\n" + prompt.encode("utf-8", "surrogatepass")
    return hashlib.sha256(content).hexdigest()


class JudgementStore:
    """Judgements by key. Every write survives the death of the process.

    Several processes on one machine can use it concurrently. On a network file system, SQLite's
    locks may not work.

    Args:
        path: The file; None keeps everything in memory.
        redo: What to ask for again although it is known: `all`, or `missing` for judgements
            without a usable answer. What this object has kept itself is not asked for again. An
            earlier judgement stays until there is a usable one to replace it.
        redone: Keys that the same redo has kept before it was interrupted.
        on_redone: Called with the keys that are redone, as soon as they are kept.

    Raises:
        TraitvecError: If the file cannot be opened, is a link, or is not a store.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        redo: RedoKind | None = None,
        redone: Iterable[str] = (),
        on_redone: Callable[[list[str]], None] = lambda keys: None,
    ) -> None:
        self._path = path
        self._redo = redo
        self._redone = set(redone)
        self._on_redone = on_redone
        self._writing = threading.Lock()
        self._db = open_database(path)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> "JudgementStore":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _execute(self, sql: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        try:
            return self._db.execute(sql, values)
        except sqlite3.Error as error:
            raise unusable(self._path, error) from None

    # -- judgements ---------------------------------------------------------------------------

    def find(self, key: str) -> Judgement | None:
        """Return a final judgement, whichever experiment paid for it.

        None if there is none, or if it must be redone.
        """
        row = self._execute(
            "select score, status, reason, tokens_in, tokens_out, usd from judgements"
            " where key = ? and is_final",
            (key,),
        ).fetchone()
        judgement = None if row is None else _judgement(row)
        return None if judgement is None or self._is_redone(key, judgement) else judgement

    def _is_redone(self, key: str, judgement: Judgement) -> bool:
        if self._redo is None or key in self._redone:
            return False
        return self._redo == "all" or judgement.status in {"unparseable", "error"}

    def keep(
        self, rows: Iterable[tuple[str, str, str, Judgement]], judge: str, origin: Origin
    ) -> None:
        """Write judgements; the costs of several attempts at one judgement add up.

        Args:
            rows: Key, name of the rubric, question_id and judgement.
            judge: The judge's identity.
            origin: The experiment and trait that pay.
        """
        now = _now()
        rows = list(rows)
        values = [
            (
                key, origin.experiment, origin.trait, rubric, question_id, judge,
                j.score, j.status, j.reason.encode("utf-8", "replace").decode(),
                j.tokens_in, j.tokens_out, j.usd, j.is_final, now,
            )
            for key, rubric, question_id, j in rows
        ]  # fmt: skip
        # Threads can share a store, but not a transaction.
        with self._writing:
            self._execute("begin immediate")
            try:
                redone = self._forget({key: j.is_final for key, _, _, j in rows})
                # A final judgement stays: two runs that ask at the same moment end with one score.
                self._db.executemany(
                    f"""
                    insert into judgements values ({", ".join("?" * 14)})
                    on conflict (key) do update set
                        score = iif(is_final, score, excluded.score),
                        status = iif(is_final, status, excluded.status),
                        reason = iif(is_final, reason, excluded.reason),
                        tokens_in = tokens_in + excluded.tokens_in,
                        tokens_out = tokens_out + excluded.tokens_out,
                        usd = usd + excluded.usd,
                        is_final = is_final or excluded.is_final,
                        created_at = iif(is_final, created_at, excluded.created_at)
                    """,  # noqa: S608  # placeholders only
                    values,
                )
                self._db.execute("commit")
            except sqlite3.Error as error:
                raise unusable(self._path, error) from None
            finally:
                if self._db.in_transaction:
                    self._db.execute("rollback")
            if redone:
                self._redone.update(redone)
                self._on_redone(redone)

    def _forget(self, is_final: Mapping[str, bool]) -> list[str]:
        """Let what must be redone be replaced; what it has cost stays.

        Args:
            is_final: For each key about to be kept, whether its new judgement is final.

        Returns:
            The keys that are now redone.
        """
        if self._redo is None:
            return []
        new = [key for key in is_final if key not in self._redone]
        for key in new:
            # A score is only replaced by a final judgement: the judge may just be down.
            is_any = self._redo == "all" and is_final[key]
            self._db.execute("delete from unusable where key = ?", (key,))
            kinds = "" if is_any else f" and {_IS_MISSING}"
            self._db.execute(f"update judgements set is_final = 0 where key = ?{kinds}", (key,))  # noqa: S608
        return [key for key in new if is_final[key]]

    def count_unusable(self, keys: Iterable[str]) -> None:
        """Count a run that got no usable answer; `MOST_UNUSABLE_RUNS` of them are final."""
        for key in keys:
            self._execute(
                "insert into unusable values (?, 1)"
                " on conflict (key) do update set n_runs = n_runs + 1",
                (key,),
            )
            self._execute(
                "update judgements set is_final = 1 where key = ? and status = 'unparseable'"
                " and (select n_runs from unusable where key = ?) >= ?",
                (key, key, MOST_UNUSABLE_RUNS),
            )

    def spent_usd(self, experiment: str) -> float:
        """Return the dollars that an experiment has paid so far, as far as prices are known."""
        row = self._execute(
            "select total(usd) from judgements where experiment = ?", (experiment,)
        ).fetchone()
        return float(row[0])

    def tokens_per_judgement(self, judge_model: str) -> tuple[float, int] | None:
        """Return the mean output tokens of a model's judgements and their count, or None."""
        row = self._execute(
            "select avg(tokens_out), count(*) from judgements"
            " where is_final and tokens_out > 0 and json_extract(judge, '$.model') = ?",
            (judge_model,),
        ).fetchone()
        return (float(row[0]), int(row[1])) if row[1] else None

    # -- maintenance -------------------------------------------------------------------------

    def summary(self) -> list[dict[str, Any]]:
        """Return number, tokens, dollars and dates by experiment, trait and judge model."""
        cursor = self._execute(
            """
            select experiment, trait, json_extract(judge, '$.model') as model,
                count(*) as judgements, sum(status = 'ok') as scored,
                sum(tokens_in) as tokens_in, sum(tokens_out) as tokens_out,
                iif(count(usd) < count(*), null, sum(usd)) as usd,
                min(created_at) as first, max(created_at) as last
            from judgements group by 1, 2, 3 order by 1, 2, 3
            """
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]

    def prune(
        self,
        *,
        older_than_days: float | None = None,
        model: str | None = None,
        experiment: str | None = None,
        only_missing: bool = False,
    ) -> int:
        """Delete the judgements that match all conditions; returns their number.

        `model` also deletes what was learned about the model's capabilities; `only_missing` keeps
        scores and refusals.
        """
        conditions, values = ["true"], []
        if older_than_days is not None:
            conditions.append("created_at < ?")
            values.append(_now(timedelta(days=-min(older_than_days, _MOST_DAYS))))
        if model is not None:
            conditions.append("json_extract(judge, '$.model') = ?")
            values.append(model)
            self._execute("delete from learned where model = ?", (model,))
        if experiment is not None:
            conditions.append("experiment = ?")
            values.append(experiment)
        if only_missing:
            conditions.append(_IS_MISSING)
        where = " and ".join(conditions)
        deleted = self._execute(f"delete from judgements where {where}", values)  # noqa: S608
        self._execute("delete from unusable where key not in (select key from judgements)")
        self._execute("vacuum")
        return deleted.rowcount

    # -- capabilities of models ---------------------------------------------------------------

    def learned(self, server: str, model: str) -> dict[str, Any] | None:
        """Return the learned capabilities of a model; None if there are none."""
        row = self._execute(
            "select capabilities from learned where server = ? and model = ?", (server, model)
        ).fetchone()
        return None if row is None else cast(dict[str, Any], json.loads(row[0]))

    def learn(self, server: str, model: str, capabilities: Mapping[str, Any]) -> None:
        """Store the learned capabilities of a model."""
        self._execute(
            "insert or replace into learned values (?, ?, ?, ?)",
            (server, model, json.dumps(dict(capabilities)), _now()),
        )

    # -- batches ------------------------------------------------------------------------------

    def open_batches(self, judge: str) -> list[Batch]:
        """Return the batches of a judge whose results have not been fetched."""
        rows = self._execute("select intent, id, keys from batches where judge = ?", (judge,))
        return [Batch(intent, id_, frozenset(keys.split())) for intent, id_, keys in rows]

    def open_batch(self, intent: str, judge: str, keys: Sequence[str]) -> None:
        """Record a batch that is about to be submitted."""
        self._execute(
            "insert into batches values (?, null, ?, ?, ?)", (intent, judge, " ".join(keys), _now())
        )

    def name_batch(self, intent: str, id_: str) -> None:
        """Record that a batch was submitted, with the provider's id."""
        self._execute("update batches set id = ? where intent = ?", (id_, intent))

    def close_batch(self, intent: str) -> None:
        """Delete a batch whose results are stored, or that was never submitted."""
        self._execute("delete from batches where intent = ?", (intent,))


def _judgement(row: tuple[Any, ...]) -> Judgement:
    score, status, reason, tokens_in, tokens_out, usd = row
    return Judgement(score, cast(Status, status), reason, tokens_in, tokens_out, usd)


def _now(shift: timedelta = timedelta()) -> str:
    return (datetime.now(UTC) + shift).isoformat(timespec="seconds")
