"""The coherence rubric, by which every response is judged besides the trait's own."""

__all__ = ["COHERENCE_RUBRIC"]

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
