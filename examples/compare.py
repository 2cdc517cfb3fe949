"""Compare the traits of an experiment with each other. Run: `python examples/compare.py`."""

# %% An atlas is plain numbers, made from what the traits left on disk; no model is loaded
from demo_results import demo_results

from traitvec_core import ExperimentFolder, build_atlas, load_activations, load_vector

traits = ("refusal", "uncertainty", "verbosity")
experiments = demo_results(*traits)
demo = ExperimentFolder(experiments, "demo")
atlas = build_atlas(demo, demo.settings())


def table(title: str, rows: list[list[float | None]]) -> None:
    """Print a matrix of traits; what is missing is a dash, not a zero."""
    print(f"\n{title}\n{'':12}", *(f"{name:>12}" for name in atlas.order))
    for name, row in zip(atlas.order, rows, strict=True):
        print(f"{name:12}", *(f"{'–' if value is None else f'{value:.2f}':>12}" for value in row))


# %% One method at one layer for all; unrelated directions are near 0
table(f"cosines ({atlas.cosine_method}, layer {atlas.cosine_layer})", atlas.cosines)

# %% Does a trait's vector react to that trait alone? 0.5 is chance, 0 separates the wrong way round
table("AUROC of the row's vector on the column's responses", atlas.cross_auroc)
for pair in atlas.near_duplicates:
    print(f"nearly the same direction: {pair.one} and {pair.other}, cosine {pair.cosine:.2f}")

# %% Every trait in a line
print("\nrecommended")
for row in atlas.traits:
    size = "–" if row.effect_size.value is None else f"{row.effect_size.value:.1f}"
    print(f"  {row.trait}: {row.method} at layer {row.layer}, effect size {size}")

# %% The same by hand: the responses of one trait along the vector of another
refusal = load_vector(experiments, "demo", "refusal")
other = load_activations(experiments, "demo", "verbosity")
along = other.values[:, refusal.layer] @ refusal.vector / refusal.vector.norm()
print("\nverbosity's responses along the refusal vector, in its spreads")
for name, chosen in (("verbose", other.is_positive), ("brief", ~other.is_positive)):
    print(f"  {name}: {float(along[chosen].mean()) / refusal.spread:.2f}")
