"""Constants of the calibrated scores, as printed by ``python -m evals.calibrate`` (development half
of LOCOMO and LongMemEval). Change them by running it, not by hand."""

from __future__ import annotations

# Weights of `hymem.features.NAMES` in the score of a turn.
RELEVANCE = {
    "dense": 2.749,
    "lexical": 2.773,
    "coverage": 0.315,
    "dense_rank": 0.181,
    "lexical_rank": 0.066,
    "dense_2_before": -0.608,
    "dense_before": 0.876,
    "dense_after": 1.386,
    "dense_2_after": 0.097,
    "lexical_2_before": 1.520,
    "lexical_before": 1.694,
    "lexical_after": 0.105,
    "lexical_2_after": 0.503,
    "session_dense": 3.651,
    "session_lexical": 2.636,
    "has_unit": -1.191,
    "unit_dense": 2.359,
    "unit_lexical": 0.875,
    "unit_rank": 0.172,
    "unit_nearby": 0.054,
    "named": 2.243,
    "length": 1.550,
}
BIAS = -9.0
# Below this confidence the deep tier is asked.
GATE = 0.5
# Below this best score nothing is found.
FOUND = 0.02
