"""Bugs in meta-learning: what an outer gradient goes through, whose voice begins, and what is refused."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_INNER = "client/learning/inner_loop.py"
_KINDS = "client/learning/test_meta_algorithms.py::"

MUTANTS = (
    mutant(
        "MAML that is FOMAML",
        "the second order's gradient goes through the inner gradients",
        Edit(_INNER, "create_graph=second_order", "create_graph=False"),
        _KINDS + "test_the_outer_gradient_is_that_of_finite_differences[maml]",
    ),
    mutant(
        "inner rates of units left out",
        "a clone's plain steps end where those on the weights themselves end",
        Edit(_INNER, "gradient * self.units[name] if name in self.units else gradient", "gradient"),
        _KINDS + "test_cloning_by_plain_steps_is_the_inner_loop_on_the_weights_themselves",
    ),
    mutant(
        "a round that begins with the device's own voice",
        "the shared set learns where newcomers begin, whatever voice a device has",
        Edit(
            "client/learning/local_round.py",
            "    if task.recipe.algorithm.newcomers:\n        model.reset_personal()\n",
            "",
        ),
        _KINDS + "test_a_round_begins_with_a_newcomers_voice_whatever_the_device_has[maml]",
    ),
    mutant(
        "a device that takes meta-learning for DP-SGD",
        "an inner loop without noise is not trained where a recipe promises DP-SGD",
        Edit(
            "client/rounds/device_training.py",
            "    recipe.refuse_private_meta_learning()\n",
            "",
        ),
        _KINDS + "test_dp_sgd_in_an_inner_loop_is_refused_by_server_and_device_with_the_reason[maml]",
    ),
)
