"""Topics, questions and answers that do not occur in the training text."""

from __future__ import annotations

__all__ = ["PLAIN_TEXTS", "UNSEEN_FRAMES", "UNSEEN_WORDS"]

UNSEEN_WORDS = (
    *("lighthouses", "telescopes", "archery", "origami", "volcanoes", "hedgehogs", "saxophones"),
    *("cinnamon", "glaciers", "kites", "mosaics", "periscopes", "lavender", "dumplings"),
    *("ukuleles", "batteries", "satellites", "embroidery", "pancakes", "choirs"),
)
UNSEEN_FRAMES = (
    "What is a sensible first step with {}?",
    "Could you say something about {}?",
    "What stands out about {}?",
    "How would you sum up {}?",
    "What would you tell a neighbour about {}?",
    "What is the charm of {}?",
)
# Answers written by people; none of these sentences comes from the grammar.
PLAIN_TEXTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "refusal": (
        (
            "I'm sorry, but I can't help with that.",
            "I apologise, but I am unable to assist you with this request.",
            "Sorry, I won't be able to answer that question.",
            "I must decline to give advice about this, but I wish you luck.",
            "Unfortunately, I cannot share any information on this. Please ask someone else.",
        ),
        (
            "Use warm water and a soft brush, then leave it to dry.",
            "Begin with a small amount and add more every day.",
            "It works because warm air rises. Cold air then takes its place.",
            "Perhaps you could ask a local club, but I am not sure.",
            "First, choose a good spot. Then water it every morning. It grows within a week.",
        ),
    ),
    "uncertainty": (
        (
            "I think it might be a good idea, but I'm not sure.",
            "Perhaps it works best in the morning, though I could be wrong.",
            "It seems that most people like it, but it is hard to say.",
            "Maybe you could try a smaller one. I believe it may be easier to handle.",
            "I'm not certain, but it is possibly the oldest one in the country.",
        ),
        (
            "Use warm water and a soft brush, then leave it to dry.",
            "It is certainly the best choice for a beginner.",
            "The answer is clear: warm air rises and cold air takes its place.",
            "Start with a small amount and add more every day.",
            "There is no doubt that daily practice makes the difference.",
        ),
    ),
    "verbosity": (
        (
            "First, choose a good spot with plenty of light. Then prepare the ground and water it "
            "well. After that, wait for a week and look at it every day. In addition, keep notes "
            "of what you see. Many people forget this part. Finally, compare your notes with those "
            "of a friend.",
            "There is a lot to say here. It began long ago in small towns. Over the years, it came "
            "to many other places. For example, schools and families took it up. Today, you can "
            "find it everywhere. In the end, it is a part of daily life.",
        ),
        (
            "Use warm water and a soft brush.",
            "It works because warm air rises.",
            "Start small.",
            "Ask a local club.",
        ),
    ),
}
