"""What the chosen dose is compared with: random directions of the same added norm."""

import numpy as np
import torch

from traitvec_core.models.interventions import Addition
from traitvec_core.steering_evaluation.search import Dose, dose_condition
from traitvec_core.steering_evaluation.trials import Condition

__all__ = ["random_directions"]


def random_directions(dose: Dose, n: int, seed: int) -> list[Condition]:
    """Return `n` random directions of a dose's added norm, at its layer.

    Args:
        dose: The dose.
        n: Number of directions.
        seed: Decides them, together with the layer.
    """
    vector = dose.vector
    conditions = []
    for number in range(n):
        rng = np.random.default_rng([seed, vector.layer, number])
        drawn = torch.from_numpy(rng.standard_normal(len(vector.vector))).float()
        matched = drawn * (vector.vector.norm() / drawn.norm())
        conditions.append(
            Condition(
                name=f"random{number}_for_{dose_condition(dose).name}",
                interventions=(Addition(vector.layer, matched, dose.coefficient),),
                method="random",
                layer=vector.layer,
                coefficient=dose.coefficient,
            )
        )
    return conditions
