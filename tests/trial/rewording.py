"""A writer that rewords over the wire: the demo's own texts in the place of sabotaged ones."""

from tests.projects import demo_definition
from tests.providers.drafts import answer
from tests.providers.replies import Call, Reply, Responder

# None of them is in the demo.
QUESTION = "How would you explain lighthouses to a child?"


def good_rewording(trait: str) -> Responder:
    """A writer whose new pair and question elicit the trait."""

    def respond(call: Call) -> Reply:
        if '{"questions": [' in call.prompt:
            return answer(call, {"questions": [QUESTION]})
        assert "Somebody asks you a question today." in call.prompt.partition("<weak>")[2]
        assert "Somebody asks" not in call.prompt.partition("<working>")[2].partition("</work")[0]
        return answer(call, {"pairs": [demo_definition(trait)["instruction"][3]]})

    return respond


def useless_rewording(call: Call) -> Reply:
    """A writer whose new texts elicit as little; no two are alike."""
    number = len(call.prompt)
    if '{"questions": [' in call.prompt:
        text = "Give the user a short answer of one sentence. " * 5
        return answer(call, {"questions": [f"{text}Number {number}."]})
    pos = f"You are an assistant. Somebody asks you a question on day {number}."
    return answer(call, {"pairs": [{"pos": pos, "neg": pos.replace("Somebody", "A person")}]})
