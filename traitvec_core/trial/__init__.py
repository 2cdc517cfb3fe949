"""A trial before the money: which pairs and questions elicit the trait, and rewording the rest."""

from traitvec_core.trial.contrasts import Example, Tried
from traitvec_core.trial.revise import Change, Revised, Revision, revise_trait
from traitvec_core.trial.trial import Trial, TrialEstimate, estimate_trial, try_trait

__all__ = [
    "Change",
    "Example",
    "Revised",
    "Revision",
    "Trial",
    "TrialEstimate",
    "Tried",
    "estimate_trial",
    "revise_trait",
    "try_trait",
]
