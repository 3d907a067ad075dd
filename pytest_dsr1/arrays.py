"""Array types for annotations, to import under ``TYPE_CHECKING``: numpy is imported only where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Indices = NDArray[np.int64]
    Flow = tuple[Floats, Floats, Floats]
    """Starts, ends and amounts of tokens over time (:mod:`pytest_dsr1.metrics.token_flow`)."""
