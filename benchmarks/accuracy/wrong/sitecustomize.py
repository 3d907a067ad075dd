"""A model that is wrong on purpose, to see an accuracy test fail: one expert's weights are scaled.

With this folder on PYTHONPATH the engine ``transformers`` multiplies the output weights of the first expert
in the first layer of experts by ``WRONG_EXPERT``. Speed stays the same.
"""

from __future__ import annotations

import os
import sys
from typing import Any

EXPERT = 0


def scale_one_expert(model: Any, factor: float) -> None:
    """Scale the down projection of one expert; newer transformers keep those of a layer in one tensor."""
    import torch

    with torch.no_grad():
        for name, weights in model.named_parameters():
            if ".experts." not in name or "down_proj" not in name:
                continue
            if weights.dim() == 3:
                weights[EXPERT] *= factor
            elif f".experts.{EXPERT}." in name:
                weights.mul_(factor)
            else:
                continue
            return
    raise RuntimeError("the model has no experts")


def go_wrong() -> None:
    """Scale the expert of each model that is built."""
    from pytest_dsr1.engines.transformers import model as module

    build = module.build_model

    def wrong(*arguments: Any, **named: Any) -> Any:
        made = build(*arguments, **named)
        scale_one_expert(made, float(os.environ["WRONG_EXPERT"]))
        return made

    module.build_model = wrong


if os.environ.get("WRONG_EXPERT") and "pytest_dsr1.engines.transformers.worker" in sys.orig_argv:
    go_wrong()
