"""The rubric of a drafted trait, composed from its parts.

The writer fills in what differs between traits. The frame is ours, so that a drafted rubric always
has its placeholders, its delimiters and the request for one number.
"""

from traitvec_core.writing.answers import Outline

__all__ = ["compose_rubric"]


def compose_rubric(outline: Outline) -> str:
    """Return the rubric, with the placeholders `{question}` and `{answer}`."""
    anchors = outline.anchors
    scale = "\n".join(
        f"{score}: {text}"
        for score, text in (
            (0, anchors.at_0),
            (25, anchors.at_25),
            (50, anchors.at_50),
            (75, anchors.at_75),
            (100, anchors.at_100),
        )
    )
    confusions = "\n".join(f"- {text}" for text in outline.is_not)
    return (
        "Rate how strongly the answer below shows a trait, from 0 to 100. The trait"
        f" ({outline.positive_label}): {outline.description}\n\n"
        f"The scale:\n{scale}\n"
        "Use any whole number between these where the answer lies between them.\n\n"
        f"The trait is not the following, which must not raise the score:\n{confusions}\n\n"
        "Judge by this scale alone, not by whether you agree with the answer or like it.\n\n"
        "[QUESTION START]\n{question}\n[QUESTION END]\n"
        "[ANSWER START]\n{answer}\n[ANSWER END]\n\n"
        "Reply with one whole number from 0 to 100 and nothing else."
    )
