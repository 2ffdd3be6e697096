"""Bugs in DP-SGD on a device."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_STEPS = "client/learning/dp_sgd.py"
_ADAPTATION = "client/learning/private_adaptation.py"
_TRAINING = "client/rounds/device_training.py"
_OF_STEPS = "client/learning/test_dp_sgd.py::"
_OF_CLONING = "client/test_cloning.py::"
_OF_INNER_LOOP = "client/rounds/test_live_inner_loop.py::"
_STEP = "            private.step()\n"
_COINS = "coins = uniform(settings.utterances, generator) < settings.sampling_probability"
_SCALE = "self.noise_multiplier * self.max_grad_norm\n"

MUTANTS = (
    mutant(
        "DP-SGD clips in the precision of the passes",
        "one utterance moves the sum by at most C, whatever the passes were computed in",
        Edit(_STEPS, "gradients.append(found.to(parameter.dtype))", "gradients.append(found)"),
        "client/learning/test_leave_one_out.py::"
        "test_leaving_an_utterance_out_moves_the_sum_by_the_clipping_norm_at_most"
        "[looped-{'engine__precision': 'bfloat16'}]",
    ),
    mutant(
        "DP-SGD noise off",
        "a step carries noise",
        Edit(_STEPS, _SCALE, "0.0 * self.max_grad_norm\n"),
        _OF_STEPS + "test_the_noise_has_the_promised_deviation_even_on_empty_batches[simulation]",
    ),
    mutant(
        "DP-SGD noise halved",
        "the noise is as large as the accountant was told",
        Edit(_STEPS, _SCALE, "0.5 * self.noise_multiplier * self.max_grad_norm\n"),
        _OF_STEPS + "test_the_noise_has_the_promised_deviation_even_on_empty_batches[simulation]",
    ),
    mutant(
        "DP-SGD same noise in every table and step",
        "every coordinate of every step has noise of its own",
        Edit(
            _STEPS,
            "standard_normal(total.numel(), self.generator)",
            "standard_normal(total.numel(), torch.Generator().manual_seed(1))",
        ),
        _OF_STEPS + "test_no_steps_noise_tells_of_anothers[simulation]",
    ),
    mutant(
        "DP-SGD noise seeded live",
        "noise on a real device is the operating system's",
        Edit(
            _STEPS,
            "standard_normal(total.numel(), self.generator)",
            "standard_normal(total.numel(), self.generator or torch.Generator().manual_seed(7))",
        ),
        _OF_STEPS + "test_no_steps_noise_tells_of_anothers[operating system]",
    ),
    mutant(
        "DP-SGD mean of losses, not sum",
        "an utterance's gradient does not depend on how many were drawn",
        Edit(
            _STEPS,
            "[gradients[position] for gradients in found]",
            "[gradients[position] / len(found) for gradients in found]",
        ),
        _OF_STEPS + "test_a_step_is_the_mean_of_clipped_gradients_computed_by_hand",
    ),
    mutant(
        "DP-SGD no nan_to_num",
        "one utterance's NaN does not undo the noise",
        Edit(_STEPS, "torch.where(finite, gradient, 0.0)", "gradient"),
        _OF_STEPS + "test_a_gradient_that_is_not_finite_counts_for_nothing",
    ),
    mutant(
        "DP-SGD loss that is not finite stops the training",
        "whether a training ends tells nothing of any one utterance",
        Edit(_STEPS, "if losses.shape != (1,):", "if losses.shape != (1,) or not bool(losses.isfinite()):"),
        _OF_STEPS + "test_a_loss_that_is_not_finite_counts_for_nothing_and_stops_nothing",
    ),
    mutant(
        "DP-SGD voice that is not finite accepted",
        "a private voice that diverged is not given out",
        Edit(_STEPS, "        _require_finite(private)\n", ""),
        _OF_STEPS + "test_a_voice_that_is_no_longer_finite_is_refused",
    ),
    mutant(
        "DP-SGD of a part of the personal set",
        "all that is trained on the recordings is noised",
        Edit(_STEPS, "if not own or own != trained:", "if not own:"),
        _OF_STEPS + "test_what_the_proof_does_not_cover_is_refused",
    ),
    mutant(
        "DP-SGD fixed batch",
        "each utterance's coin is its own, as the accountant assumes",
        Edit(
            _STEPS,
            _COINS,
            "u = uniform(settings.utterances, generator); "
            "coins = u <= u.sort().values[max(1, round(settings.expected_batch)) - 1]",
        ),
        _OF_STEPS + "test_the_coins_are_each_utterances_own_and_of_the_stated_probability",
    ),
    mutant(
        "DP-SGD divides by actual batch",
        "a step's sum is divided by the expected batch, which is public",
        Edit(
            _STEPS,
            _STEP,
            "            private.expected_batch_size = max(1, int(coins.sum()))\n" + _STEP,
        ),
        _OF_STEPS + "test_the_noise_has_the_promised_deviation_even_on_empty_batches[simulation]",
    ),
    mutant(
        "DP-SGD clips the sum, not each",
        "each utterance is clipped on its own",
        Edit(_STEPS, "torch.cat(rows) if rows", "torch.cat(rows).sum(0, keepdim=True) if rows"),
        _OF_STEPS + "test_a_step_is_the_mean_of_clipped_gradients_computed_by_hand",
    ),
    mutant(
        "DP-SGD empty batch skipped",
        "a step that draws nobody is taken, on noise alone",
        Edit(_STEPS, _STEP, "            if bool(coins.any()):\n                private.step()\n"),
        _OF_STEPS + "test_the_noise_has_the_promised_deviation_even_on_empty_batches[simulation]",
    ),
    mutant(
        "DP-SGD ledger after training",
        "a training is paid for before its first step",
        (
            Edit(_STEPS, "    reserve(cost)\n", ""),
            Edit(_STEPS, "    return cost\n", "    reserve(cost)\n    return cost\n"),
        ),
        _OF_STEPS + "test_nothing_is_trained_when_the_budget_refuses",
    ),
    mutant(
        "DP-SGD coins seeded live",
        "which utterances a real device draws is its own secret",
        Edit(
            _STEPS,
            "coins = uniform(settings.utterances, generator) <",
            "coins = uniform(settings.utterances, generator or torch.Generator().manual_seed(step)) <",
        ),
        _OF_STEPS + "test_coins_on_a_real_device_are_thrown_anew",
    ),
    mutant(
        "DP-SGD coins thrown once",
        "every step throws its own coins",
        Edit(
            _STEPS,
            _COINS,
            "coins = coins if step else uniform(settings.utterances, generator) < settings.sampling_probability",
        ),
        _OF_STEPS + "test_every_step_throws_its_own_coins",
    ),
    mutant(
        "DP-SGD noise seeded live (private_steps)",
        "noise on a real device is not the recipe's to foretell",
        Edit(
            _ADAPTATION,
            "reserve=reserve, generator=generator,",
            "reserve=reserve, generator=generator or torch.Generator().manual_seed(recipe.seed),",
        ),
        _OF_CLONING + "test_live_noise_is_drawn_anew_each_time",
    ),
    mutant(
        "federated inner loop seeded live",
        "noise and coins of a federated device are not the recipe's to foretell",
        Edit(_TRAINING, "generator=task.private(rng),", "generator=rng,"),
        _OF_INNER_LOOP + "test_two_live_answers_to_one_question_differ_in_noise_and_coins",
    ),
    mutant(
        "private adaptation hears references",
        "nothing of a recording is heard but what is paid for",
        Edit(_ADAPTATION, "references=None", "references=[there[index].reference for index in chosen]"),
        _OF_CLONING + "test_private_adaptation_hears_no_reference",
    ),
    mutant(
        "private voice hears references at the end",
        "a private voice is its trained table and nothing else",
        Edit(
            "client/cloning.py",
            "return ClonedVoice(voice_alone(model), guaranteed)",
            "return ClonedVoice(voice_of(model, support), guaranteed)",
        ),
        _OF_CLONING + "test_private_adaptation_hears_no_reference",
    ),
    mutant(
        "shared not frozen in private steps",
        "private training moves the personal set alone",
        Edit(_ADAPTATION, "parameter.requires_grad_(False)", "parameter.requires_grad_(True)"),
        _OF_CLONING + "test_private_training_leaves_no_gradient_on_what_is_shared",
    ),
    mutant(
        "noise for steps of one round only",
        "the recipe's epsilon holds over all rounds of a federation",
        Edit(
            _TRAINING,
            "times=task.recipe.federation.rounds",
            "times=1",
        ),
        _OF_INNER_LOOP + "test_the_recipes_epsilon_holds_over_all_rounds",
    ),
)
