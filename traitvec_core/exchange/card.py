"""The model card of exported vectors: what they are, how good, how to use them, how made."""

import json
from pathlib import Path
from typing import Any

import yaml

from traitvec_core.exchange.bundle import Bundle
from traitvec_core.storage.markdown import escape_markdown
from traitvec_core.storage.vector_verdict import VERDICT_NAMES
from traitvec_core.visible_text import visible

__all__ = ["write_card"]

# Larger tables are cut.
_MAX_ROWS = 40


def write_card(bundle: Bundle, file: str) -> str:
    """Return a model card in Markdown, with front matter for Hugging Face.

    Args:
        bundle: The vectors.
        file: Name of the safetensors file beside the card.
    """
    name = ", ".join(bundle.traits)
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(bundle), sort_keys=False)}---",
        f"# Trait vectors: {escape_markdown(name)}",
        f"Directions in the residual stream of {_code(bundle.model)} (hidden size"
        f" {bundle.hidden_dim}, {bundle.n_layers - 1} decoder blocks), made by traitvec in the"
        f" experiment `{bundle.experiment}`. They only fit this model.",
        *(_trait(trait, record) for trait, record in bundle.traits.items()),
        "## Vectors",
        _table(bundle),
        "Figures are on held-out questions. A vector that separates the poles does not necessarily"
        " steer: try it, and check what it costs in coherence.",
        "## Layers",
        "Layer k is the residual stream after decoder block k, counted from 1, before the final"
        " norm. To steer, add coefficient · vector to the output of that block: index k − 1 where"
        " blocks are counted from 0.",
        "## Use",
        _snippet(bundle, file),
        "## How they were made",
        _provenance(bundle),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(bundle: Bundle) -> dict[str, Any]:
    fields: dict[str, Any] = {"library_name": "traitvec"}
    # The hub has no local folders, nor the embedded model.
    if bundle.model.count("/") == 1 and not Path(bundle.model).exists():
        fields["base_model"] = bundle.model
    fields["tags"] = ["steering-vectors", "activation-engineering", "interpretability", "traitvec"]
    return fields


def _trait(trait: str, record: dict[str, Any]) -> str:
    lines = [f"## {trait}"]
    if record.get("description"):
        lines.append(escape_markdown(record["description"]))
    chosen = record["recommended"]
    if chosen:
        lines.append(
            f"Recommended: `{chosen['method']}` at layer {chosen['layer']}, coefficient"
            f" {chosen['coefficient']:g}. {escape_markdown(chosen['why'])}."
        )
        lines.append(_verdict(chosen))
    if record.get("stale"):
        lines.append(f"> **Stale:** when it was exported, {escape_markdown(record['stale'])}.")
    if "checks" in record:
        verdicts = ", ".join(f"{name} **{verdict}**" for name, verdict in record["checks"].items())
        lines.append(f"Checks: {verdicts}.")
    else:
        lines.append("Checks: not run.")
    return "\n\n".join(lines)


def _verdict(chosen: dict[str, Any]) -> str:
    verdict, reasons = chosen["verdict"], chosen["reasons"]
    line = f"Verdict: **{VERDICT_NAMES[verdict]}**."
    if verdict == "not_usable":
        line = f"> **Warning:** this vector is **{VERDICT_NAMES[verdict]}**."
    return "\n".join([line, "", *(f"- {escape_markdown(reason)}" for reason in reasons)]).rstrip()


def _table(bundle: Bundle) -> str:
    columns = ("vector_norm", "relative_norm", "held_out_accuracy", "held_out_auroc",
               "held_out_effect_size")  # fmt: skip
    head = ("trait", "method", "layer", "norm", "relative norm", "accuracy", "AUROC", "effect size")
    rows = [
        [item.trait, item.method, str(item.layer)]
        + [_number(item.metadata.get(column)) for column in columns]
        for item in bundle.vectors[:_MAX_ROWS]
    ]
    lines = [head, ["---"] * 3 + ["---:"] * len(columns), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    more = len(bundle.vectors) - len(rows)
    return table + (f"\n\nand {more} more; see the file's header." if more > 0 else "")


def _snippet(bundle: Bundle, file: str) -> str:
    first = bundle.vectors[0]
    recommended = bundle.traits[first.trait]["recommended"] or {}
    chosen = next(
        (v for v in bundle.vectors if v.trait == first.trait and v.layer == recommended.get("layer")
         and v.method == recommended.get("method")),
        first,
    )  # fmt: skip
    return f"""```python
from safetensors import safe_open

with safe_open({json.dumps(file)}, "pt") as vectors:
    vector = vectors.get_tensor("{chosen.trait}/{chosen.method}_layer{chosen.layer}")
    provenance = vectors.metadata()["traitvec"]  # JSON: settings, hashes, versions, cost

# Layer {chosen.layer} is the output of block {chosen.layer - 1} where blocks are counted from 0.
```"""


def _provenance(bundle: Bundle) -> str:
    lines = []
    for trait, record in bundle.traits.items():
        stages = record["stages"]
        settings = {key: value for stage in stages.values() for key, value in _settings(stage)}
        made = stages.get("vectors", {})
        facts = {
            "made": made.get("created_at"),
            "model": bundle.model,
            "revision": settings.get("revision"),
            "judge": settings.get("judge_model"),
            "responses per pole": settings.get("n_examples"),
            "scale": settings.get("scale"),
            "definition (SHA-256)": record.get("definition"),
            "versions": ", ".join(f"{k} {v}" for k, v in made.get("versions", {}).items()),
        }
        shown = [f"- {key}: {_code(str(value))}" for key, value in facts.items() if value]
        lines.append(f"{trait}:\n\n" + "\n".join(shown))
    return "\n\n".join(lines)


def _settings(stage: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(stage["settings"].items())


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _code(text: str) -> str:
    return "`" + visible(" ".join(text.replace("`", "'").split())) + "`"
