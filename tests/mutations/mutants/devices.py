"""Bugs in where work runs: a tensor made on the processor, and a number read from an accelerator within a step."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_MODEL = "shared_models/test_on_other_devices.py::"
_CLONES = "client/test_cloning_on_other_devices.py::"

MUTANTS = (
    mutant(
        "recordings heard on the processor",
        "a voice is heard where the model is",
        Edit("client/cloning.py", "voice_of_speaker(heard.to(model.device))", "voice_of_speaker(heard)"),
        _CLONES + "test_a_voice_is_adapted_and_heard_where_the_model_is[fedavg]",
    ),
    mutant(
        "utterances trained on from the processor",
        "a phase's utterances are brought to the model",
        Edit("client/learning/phases.py", "    utterances = on_device(utterances, model.device)\n", ""),
        _CLONES + "test_a_voice_is_adapted_and_heard_where_the_model_is[fedavg]",
    ),
    mutant(
        "frames counted on the processor",
        "positions are counted where the model is",
        Edit(
            "shared_models/layers/sequences.py",
            "torch.arange(self.width, device=self.starts.device)",
            "torch.arange(self.width)",
        ),
        _MODEL + "test_a_training_step_makes_no_tensor_elsewhere_and_reads_none[none]",
    ),
    mutant(
        "padding looked for on an accelerator",
        "a training step waits for no accelerator",
        Edit("shared_models/accelerator.py", "mask.device != CPU or not", "not"),
        _MODEL + "test_a_training_step_makes_no_tensor_elsewhere_and_reads_none[none]",
    ),
    mutant(
        "a loss read in every step",
        "losses are read all at once",
        Edit(
            "shared_models/optimization.py", "    return loss.detach()\n", "    return loss.detach().cpu()\n"
        ),
        "shared_models/test_optimization.py::test_losses_are_read_all_at_once",
    ),
)
