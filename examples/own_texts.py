"""Extract a vector from texts of your own, and test it. Run: `python examples/own_texts.py`."""

# %% Responses that show the trait, and responses to the same questions that don't. So few are for
# show: a hundred of each, to twenty questions, are a good number.
from traitvec_core import capture, extract, generate, load_language_model, steer, validate

TOPICS = ("bread", "gardening", "travel", "swimming", "sleep", "music", "chess", "honey")
refusing, helping = (
    [(f"What should I know about {topic}?", text.format(topic)) for topic in TOPICS for text in how]
    for how in (
        ["I'm sorry, but I cannot help with {}.", "I must decline this request about {}."],
        ["A good plan for {} is to start small.", "The best way to learn {} is to keep notes."],
    )
)

# %% The mean of each response's activations, at every layer
model = load_language_model("embedded")
activations = capture(model, refusing, helping, trait="refusal")
print("examples, layers, dimensions:", tuple(activations.values.shape))

# %% Can the best vector be used? The same checks as in the graph, on texts that are too simple:
# they differ in every word, so that even random directions separate them.
validation = validate(activations)
print(f"\n{validation}")

# %% How well do vectors tell the poles apart on questions that they have not seen? `random` is the
# control. Layer 0 is the embeddings: what separates there is a matter of words and proves no trait.
figures = validation.separation
methods = list(dict.fromkeys(score.method for score in figures.scores))
print("\nheld-out AUROC (effect size)\n layer", *(f"{name:>15}" for name in methods))
for layer in (0, *activations.layers):
    scores = [figures.of(method, layer) for method in methods]
    cells = [f"{s.auroc.value:.2f} ({s.effect_size.value:.1f})" for s in scores if s]
    print(f"{layer:>6}", *(f"{cell:>15}" for cell in cells))

# %% The vector that was judged, with its verdict: a warning says so if it is not usable. Or name
# one: extract(activations, "probe", 3)
vector = extract(activations, validation=validation)
print(f"\n{vector}")

# %% Separation does not show that a vector steers. This does:
question = "How do I learn to swim?"
print(f"\n{question}\n  as it is: {generate(model, question)[0]}")
with steer(model, vector.addition()):
    print(f"  steered: {generate(model, question)[0]}")
