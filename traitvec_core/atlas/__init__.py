"""All traits of an experiment, compared with each other."""

from traitvec_core.atlas.build import build_atlas
from traitvec_core.atlas.gather import GatheredTrait, gather_trait
from traitvec_core.atlas.matrices import (
    cluster_order,
    correlation_within,
    cosine_matrix,
    cross_separation,
)
from traitvec_core.atlas.standings import choose_layer, layer_standings, method_standings
from traitvec_core.atlas.values import Atlas, NearDuplicate, Standing, TraitRow

__all__ = [
    "Atlas",
    "GatheredTrait",
    "NearDuplicate",
    "Standing",
    "TraitRow",
    "build_atlas",
    "choose_layer",
    "cluster_order",
    "correlation_within",
    "cosine_matrix",
    "cross_separation",
    "gather_trait",
    "layer_standings",
    "method_standings",
]
