"""Bugs in how voice recipes are compared, and released embeddings judged."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_ORDERINGS = "simulations/matrix/orderings.py"
_TESTS = "simulations/test_matrix"

MUTANTS = (
    mutant(
        "near on average is near",
        "an ordering is seen only if the whole interval lies on its side",
        Edit(_ORDERINGS, "found.low > -NEAR", "found.mean > -NEAR"),
        f"{_TESTS}_orderings.py::test_the_interval_decides_and_not_the_mean",
    ),
    mutant(
        "any share is small",
        "conditional norms are compared at a small share of the whole model's numbers",
        Edit(_ORDERINGS, " and share <= SMALL", ""),
        f"{_TESTS}_orderings.py::test_conditional_norms_are_near_the_whole_model_or_not",
    ),
    mutant(
        "a finished recipe is trained again",
        "an interrupted matrix goes on where it was",
        Edit("simulations/matrix/training.py", "if (run.path / OUTCOME).is_file():", "if not run.path:"),
        f"{_TESTS}.py::test_recipes_are_trained_alike_and_judged_and_an_interrupted_matrix_goes_on",
    ),
    mutant(
        "a release is compared with what it was made of",
        "a released embedding is judged by other recordings of the person",
        Edit("simulations/benchmarks/embedding_privacy.py", "vectors[-others:]", "vectors[:others]"),
        "simulations/test_embedding_privacy.py::test_a_release_is_compared_with_other_recordings",
    ),
)
