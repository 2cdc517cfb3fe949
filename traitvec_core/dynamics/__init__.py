"""How a trait's projection changes from token to token while a model reads and generates."""

from traitvec_core.dynamics.curves import (
    ResponseSummary,
    acceleration,
    calm_point,
    commitment_point,
    persistence,
    smooth,
    summarise,
    velocity,
)
from traitvec_core.dynamics.overview import Figures, MonitoredText, Overview, sum_up
from traitvec_core.dynamics.pieces import Piece, PieceReader
from traitvec_core.dynamics.prediction import Correlation, ScorePrediction, predict_scores
from traitvec_core.dynamics.trace import stream, trace
from traitvec_core.dynamics.traced import Curve, Trace
from traitvec_core.dynamics.watched import WatchedVector, watch

__all__ = [
    "Correlation",
    "Curve",
    "Figures",
    "MonitoredText",
    "Overview",
    "Piece",
    "PieceReader",
    "ResponseSummary",
    "ScorePrediction",
    "Trace",
    "WatchedVector",
    "acceleration",
    "calm_point",
    "commitment_point",
    "persistence",
    "predict_scores",
    "smooth",
    "stream",
    "sum_up",
    "summarise",
    "trace",
    "velocity",
    "watch",
]
