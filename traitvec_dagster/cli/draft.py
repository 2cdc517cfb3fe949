"""`traitvec new-trait --from SENTENCE`: a model drafts the definition."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from traitvec_core.visible_text import one_line
from traitvec_dagster.cli.lint_lines import print_weaknesses
from traitvec_dagster.cli.terminal import out, print_json, print_notes, trusted_settings
from traitvec_dagster.cli.writer import most_dollars, print_progress, writer_for

if TYPE_CHECKING:
    from traitvec_core.storage.folders import ExperimentFolder
    from traitvec_core.writing import DraftEstimate, TraitDraft, Writer

__all__ = ["draft_new_trait"]


def draft_new_trait(
    experiment: "ExperimentFolder",
    sentence: str,
    *,
    trait: str | None,
    writer_model: str | None,
    max_usd: float | None,
    seed: int,
    force: bool,
    as_json: bool,
) -> bool:
    """Draft a definition and write it; prints the cost before and after, and what to do next.

    Args:
        experiment: The experiment.
        sentence: The trait in a sentence.
        trait: The trait's name; None for the writer's.
        writer_model: The writer; None for the experiment's judge.
        max_usd: The most that the draft may cost; None for the default.
        seed: The draft's seed.
        force: Whether an existing definition is replaced.
        as_json: Whether to print JSON on the output stream; progress goes to the error stream.

    Returns:
        Whether there is a draft; False if no model can write here, and a line says why.

    Raises:
        TraitvecError: If the draft fails; see `traitvec_core.draft_trait`.
    """
    from traitvec_core.writing import NoWriterError, check_sentence, draft_trait, estimate_draft

    sentence = check_sentence(sentence)
    settings = trusted_settings(experiment, {})
    try:
        writer = writer_for(writer_model, settings, max_usd)
    except NoWriterError as error:
        print_notes([str(error)])
        return False
    limit = most_dollars(max_usd)
    _print_estimate(writer, estimate_draft(sentence, writer, seed), limit)
    draft = draft_trait(
        sentence, writer, name=trait, max_usd=limit, seed=seed, experiment=experiment,
        say=print_progress,
    )  # fmt: skip
    path = draft.write(experiment, replace=force).definition_path
    experiment.refresh()
    _print_written(experiment.name, draft, path, as_json=as_json)
    return True


def _print_estimate(writer: "Writer", estimate: "DraftEstimate", max_usd: float) -> None:
    expected = (
        f"drafting with {writer.name}: {estimate.calls} requests (at most"
        f" {estimate.most_calls} with the linter's), about"
        f" {estimate.tokens_in + estimate.tokens_out:,} tokens"
    )
    if estimate.usd is None:
        print_progress(f"{expected}; its price is unknown, so no budget can be kept")
    elif not estimate.first_usd:
        print_progress(f"{expected}, free of charge")
    else:
        print_progress(f"{expected} (${estimate.usd:.4f} without reasoning), at most ${max_usd:g}")


def _print_written(experiment: str, draft: "TraitDraft", path: Path, *, as_json: bool) -> None:
    from traitvec_core.storage.files import display_path
    from traitvec_core.validation.lint import lint

    findings = lint(draft.definition, draft.name)
    shown = display_path(path)
    record = draft.record
    if as_json:
        print_json(
            {
                "trait": draft.name,
                "definition": shown,
                "draft": record.model_dump(),
                "notes": list(draft.definition.warnings),
                "findings": [asdict(finding) for finding in findings],
            }
        )
        return
    cost = "price unknown" if record.usd is None else f"${record.usd:.4f}"
    out.print(
        f"wrote {shown}: a draft by {one_line(record.model)} ({cost}, {record.calls} answers,"
        f" {record.tokens_in + record.tokens_out:,} tokens)"
    )
    print_weaknesses(draft.name, draft.definition, findings)
    out.print(
        "next: read it and change what you like, then: traitvec check --experiment"
        f" {experiment} --trait {draft.name}"
    )
