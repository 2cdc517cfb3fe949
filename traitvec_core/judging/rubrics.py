"""What is known of judging without a model: the rubric of coherence, and which judges there are."""

from traitvec_core.errors import TraitvecError

__all__ = ["COHERENCE_RUBRIC", "check_judge"]

_REMOTE_PREFIXES = ("gpt-", "o1", "o3", "o4", "chatgpt-", "claude-")

COHERENCE_RUBRIC = """\
Rate how coherent the answer below is: is it readable text that makes sense as a whole, whatever \
its content or opinion? 0 is noise, broken words or endless repetition; 100 is clear and fluent.

[QUESTION START]
{question}
[QUESTION END]
[ANSWER START]
{answer}
[ANSWER END]

Reply with one whole number from 0 to 100 and nothing else."""


def check_judge(name: str) -> None:
    """Raise if this version has no judge of that name."""
    if name.startswith(_REMOTE_PREFIXES):
        raise TraitvecError(
            f"judge_model {name!r} is behind an API, and this version judges with models in process"
            " only; set judge_model to `embedded` or to a Hugging Face id"
        )
