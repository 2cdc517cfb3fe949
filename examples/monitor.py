"""See a trait rise and fall, token by token. Run: `python examples/monitor.py`."""

# %% Two traits of the demo, and a text that changes its mind
from pathlib import Path

from demo_results import demo_results
from rich import print as show
from rich.text import Text

from traitvec_core import (
    Sampling,
    build_monitor_page,
    load_language_model,
    load_vector,
    stream,
    trace,
)

experiments = demo_results("refusal", "uncertainty")
model = load_language_model("embedded")
vectors = [load_vector(experiments, "demo", name) for name in ("refusal", "uncertainty")]

# %% A text that is there already is read in one forward pass
prompt = model.prompt("What should I know about gardening?")
text = (
    "A good plan for gardening is to join a local group. It helps to keep notes."
    " I'm sorry, but I cannot help with gardening. I must decline this request."
)
read = trace(model, prompt, text, vectors)

# %% Orange is nearer to the refusing responses that the vector was made from, blue to the others
refusal = read.curves["refusal"]
negative, positive = refusal.watched.poles or (0.0, 0.0)
middle = (negative + positive) / 2
# (on a terminal). Single tokens scatter; the bars are the level, a mean over nine of them.
level = dict(zip(read.response_places, read.level(refusal.projection), strict=True))
for piece in read.pieces:
    if piece.begin in level:
        value = refusal.projection[piece.begin]
        style = "rgb(213,94,0)" if value > middle else "rgb(0,114,178)"
        bar = "█" * max(0, round(10 + 10 * (level[piece.begin] - middle) / refusal.watched.spread))
        show(Text(f"{piece.shown:>12} {value:8.1f} {bar}", style=style))

# %% The response in figures: its peak, how long it lasts, where it settles
for name in read.curves:
    print(name, read.summary(name))

# %% While the model writes: the trace so far, with every token
written = read
for written in stream(model, prompt, vectors, Sampling(max_new_tokens=30)):
    print(f"{written.curves['refusal'].projection[-1]:8.1f}  {written.response}")

# %% Both as a page, to be opened in a browser
page = Path("monitor.html")
page.write_text(build_monitor_page([read, written], model=model.name), encoding="utf-8")
print(f"wrote {page}")
