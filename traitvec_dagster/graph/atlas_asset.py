"""The atlas of an experiment as an asset: all its traits compared."""

import base64
from collections import Counter
from typing import TYPE_CHECKING, Any

import dagster as dg

from traitvec_core.stages.trait_atlas import ATLAS_VERSION, make_atlas
from traitvec_core.storage.folders import ExperimentFolder
from traitvec_core.storage.markdown import escape_markdown
from traitvec_core.storage.vector_verdict import VERDICT_NAMES, describe_verdict
from traitvec_core.visible_text import one_line
from traitvec_dagster.graph.asset_metadata import asset_metadata
from traitvec_dagster.graph.failures import one_line_failure
from traitvec_dagster.graph.metadata_values import in_project, shown
from traitvec_dagster.graph.names import Graph
from traitvec_dagster.graph.run_overrides import SettingsOverrides
from traitvec_dagster.ui.addresses import ATLAS_PAGE, page_url

if TYPE_CHECKING:
    from traitvec_core.atlas import Atlas, Standing
    from traitvec_core.atlas.values import TraitRow
    from traitvec_core.estimate import Estimate
    from traitvec_core.validation.key_figure import KeyFigureName

__all__ = ["ATLAS", "atlas_key", "atlas_metadata", "build_atlas_asset"]

ATLAS = "trait_atlas"
# A picture goes into the event log with every materialization, and so do tables.
_MAX_PICTURE_BYTES = 50_000
_MAX_PAIRS = 100
_MAX_REASONS = 100
_MAX_NAMES = 20
# Columns of the table by trait.
_FIGURES: "dict[str, KeyFigureName]" = {
    "coherence": "coherence_moved",
    "accuracy": "accuracy",
    "instruction_share": "instruction_share",
}


def atlas_key(graph: Graph) -> dg.AssetKey:
    """Return the key of an experiment's atlas."""
    return dg.AssetKey([graph.experiment, ATLAS])


def build_atlas_asset(graph: Graph) -> dg.AssetsDefinition:
    """Build the atlas of one experiment: unpartitioned, downstream of all traits' reports."""

    @dg.asset(
        key=atlas_key(graph),
        group_name=graph.group,
        deps=[
            dg.AssetDep(graph.key("validation_report"), partition_mapping=dg.AllPartitionMapping())
        ],
        description="All traits compared: how similar their vectors are, how specific, which"
        " methods and layers do best, and what each cost. Traits that are not finished are listed.",
        kinds={"html"},
        owners=graph.loaded.owners,
        metadata=asset_metadata(graph, work=make_atlas, files="atlas/atlas.html"),
        code_version=ATLAS_VERSION,
    )
    def trait_atlas(
        context: dg.AssetExecutionContext, overrides: dg.ResourceParam[SettingsOverrides]
    ) -> dg.MaterializeResult[None]:
        with one_line_failure(context):
            graph.folder.refresh()
            atlas, is_reused = make_atlas(graph.folder, overrides.settings_of(graph))
        for row in atlas.traits:
            if row.missing:
                context.log.warning(one_line(f"{row.trait}: {'; '.join(row.missing)}"))
            if row.verdict == "not_usable":
                described = describe_verdict(row.verdict, row.reasons)
                context.log.warning(f"{row.trait} ({row.method}_layer{row.layer}) is {described}")
        return dg.MaterializeResult(
            metadata={**atlas_metadata(graph.folder, atlas), "reused": is_reused},
            data_version=dg.DataVersion(atlas.content),
        )

    return trait_atlas


def atlas_metadata(folder: ExperimentFolder, atlas: "Atlas") -> dict[str, Any]:
    """Return an atlas' metadata for Dagster; unknown figures are left out."""
    verdicts = Counter(VERDICT_NAMES[row.verdict] for row in atlas.traits if row.method)
    prices = [row.usd for row in atlas.traits]
    known = [usd for usd in prices if usd is not None]
    metadata: dict[str, Any] = {
        "answer": _answer(atlas, verdicts),
        "page": page_url(folder.name, ATLAS_PAGE),
        "page_file": in_project(folder.path, ATLAS_PAGE),
        "traits": len(atlas.traits),
        "compared": len(atlas.order),
        "incomplete": sum(bool(row.missing) for row in atlas.traits),
        "near_duplicates": len(atlas.near_duplicates),
        "seconds": round(sum(row.seconds for row in atlas.traits), 3),
        "tokens": sum(row.tokens_in + row.tokens_out for row in atlas.traits),
        "verdict": ", ".join(f"{n} {name}" for name, n in verdicts.items()) or "no verdict",
        "reasons": _reasons(atlas),
        "by_trait": _table([_trait_row(row) for row in atlas.traits]),
        "missing": _table(
            [{"trait": r.trait, "missing": "; ".join(r.missing)} for r in atlas.traits if r.missing]
            + [
                {"trait": name, "missing": why}
                for name, why in atlas.left_out.items()
                if not any(row.trait == name and row.missing for row in atlas.traits)
            ]
        ),
        "near_duplicate_pairs": _table(
            [
                {"one": pair.one, "other": pair.other, "cosine": f"{pair.cosine:.3f}"}
                for pair in atlas.near_duplicates[:_MAX_PAIRS]
            ]
        ),
        "methods": _table([_standing(row) for row in atlas.methods]),
        "layers": _table([_standing(row) for row in atlas.layers]),
    }
    # An unknown price leaves a gap in the plot: it is not zero.
    if len(known) == len(prices):
        metadata["cost_usd"] = round(sum(known), 6)
    if len(atlas.order) > 1:
        metadata["cosines"] = _picture(atlas)
        metadata["cosines_of"] = f"{atlas.cosine_method} at layer {atlas.cosine_layer}"
    return metadata


def _answer(atlas: "Atlas", verdicts: "Counter[str]") -> str:
    counts = ", ".join(f"{n} {name}" for name, n in verdicts.items()) or "no verdict yet"
    usable = [row.trait for row in atlas.traits if row.verdict == "usable"]
    return f"{len(atlas.traits)} traits: {counts}." + (
        f" Usable: {', '.join(usable[:_MAX_NAMES])}"
        + (f" and {len(usable) - _MAX_NAMES} more." if len(usable) > _MAX_NAMES else ".")
        if usable
        else ""
    )


def _reasons(atlas: "Atlas") -> Any:
    lines = [
        f"- **{escape_markdown(row.trait)}**: "
        + escape_markdown(describe_verdict(row.verdict, row.reasons))
        for row in atlas.traits
        if row.method
    ]
    return dg.MetadataValue.md("\n".join(lines[:_MAX_REASONS]) or "none")


def _trait_row(row: "TraitRow") -> dict[str, str]:
    failed = row.checks("fail")
    return {
        "trait": row.trait,
        "recommended": f"{row.method}, layer {row.layer}" if row.method else "–",
        "verdict": VERDICT_NAMES[row.verdict] if row.method else "–",
        "contrast": _interval(row.contrast, 1),
        "effect_size": _interval(row.effect_size, 2),
        "auroc": _interval(row.auroc, 3),
        "steering": _interval(row.steered, 1),
        **_other_figures(row),
        "separates_also": row.strongest_other or "–",
        "worst": row.reasons[0] if row.reasons else "–",
        "failed_checks": ", ".join(failed) or ("none" if row.verdicts else "–"),
        "seconds": f"{row.seconds:.0f}",
        "usd": "–" if row.usd is None else f"{row.usd:.4f}",
    }


def _other_figures(row: "TraitRow") -> dict[str, str]:
    """The report's figures that no other column has; a dash where one is missing."""
    shown = {figure.name: figure for figure in row.figures}
    return {
        column: f"{shown[name].value_text} {shown[name].interval_text}".rstrip()
        if name in shown
        else "–"
        for column, name in _FIGURES.items()
    }


def _standing(row: "Standing") -> dict[str, str]:
    return {
        "name": f"{row.name} (control)" if row.is_control else row.name,
        "share_of_best_effect_size": _interval(row.share, 3),
        "best_of": str(row.n_best),
        "recommended_by": str(row.n_recommended),
        "traits": str(row.n_traits),
    }


def _interval(estimate: "Estimate", digits: int) -> str:
    if estimate.value is None:
        return "–"
    interval = ""
    if estimate.low is not None and estimate.high is not None:
        interval = f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f}{interval}"


def _picture(atlas: "Atlas") -> Any:
    from traitvec_core.report.atlas_page import matrix_picture

    png = matrix_picture(atlas.order, atlas.cosines)
    if len(png) > _MAX_PICTURE_BYTES:
        return dg.MetadataValue.text("cosines: picture too large to show here; see the page")
    return dg.MetadataValue.md(
        f"![Cosines](data:image/png;base64,{base64.b64encode(png).decode()})"
    )


def _table(rows: list[dict[str, str]]) -> Any:
    if not rows:
        return dg.MetadataValue.text("(none)")
    return dg.MetadataValue.table([dg.TableRecord(shown(row)) for row in rows])
