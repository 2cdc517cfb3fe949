"""Load a trait's recommended vector and steer with it. Run: `python examples/steer.py`."""

# %% The model that ships, and the demo's vector for refusal: why this one, and whether it can be
# used. A vector that is not usable comes with a warning.
from demo_results import demo_results

from traitvec_core import Ablation, Sampling, generate, load_language_model, load_vector, steer

model = load_language_model("embedded")
refusal = load_vector(demo_results("refusal"), "demo", "refusal")
print(refusal)

# %% What the model answers by itself
questions = [
    "Why do people travel?",
    "What is a good way to learn chess?",
    "What should I know about bread?",
]
brief = Sampling(max_new_tokens=30)


def ask(how: str) -> None:
    """Print what the model answers."""
    print(f"\n{how}:")
    responses = generate(model, *questions, sampling=brief)
    for question, response in zip(questions, responses, strict=True):
        print(f"  {question}\n    {response}")


ask("as it is")

# %% One unit of the vector is the distance between the poles. It is added at the vector's layer, in
# every forward pass inside the `with`, and nowhere else.
for coefficient in (-1.0, 1.0):
    with steer(model, refusal.addition(coefficient)):
        ask(f"{coefficient:+g} × refusal")

# %% Ablation takes the direction out instead, here at every layer
everywhere = [Ablation(layer, refusal.vector) for layer in range(model.n_layers)]
with steer(model, *everywhere):
    ask("without the direction")
