"""Bugs in what a voice changes of a model."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_LORA = "shared_models/speakers/adaptation/lora.py"
_PROFILE = "client/profile.py"
_PRIVATE = "client/learning/private_adaptation.py"
_RECOGNISER = "shared_models/phoneme_recogniser.py"
_OF_KINDS = "shared_models/speakers/test_adaptation_kinds.py::"

MUTANTS = (
    mutant(
        "LoRA of the first voice for all",
        "each voice of a batch is changed by its own tensors",
        Edit(_LORA, "voice[self.up] @ narrow", "voice[self.up][:1] @ narrow"),
        _OF_KINDS + "test_each_voice_of_a_batch_is_changed_by_its_own_tensors[lora]",
    ),
    mutant(
        "LoRA that begins with an effect",
        "a newcomer sounds as the base does, whatever the adaptation",
        Edit(
            _LORA,
            'VoiceTensor(up, (outputs, self.rank), made_by="voice")',
            'VoiceTensor(up, (outputs, self.rank), made_by="voice", '
            "start=partial(uniform_start, up, outputs, self.rank))",
        ),
        _OF_KINDS + "test_a_base_has_the_same_shared_set_with_it_and_a_newcomer_sounds_the_same[lora]",
    ),
    mutant(
        "DP-SGD of an empty personal set",
        "a guarantee is given for nothing but what was trained under it",
        Edit(
            _PRIVATE,
            "    if not model.personal_parameters():\n        raise PrivacyError(NOTHING_TO_PROTECT)\n",
            "",
        ),
        "client/test_adaptations.py::"
        "test_where_nothing_is_trained_a_voice_is_what_is_heard_and_dp_sgd_is_refused",
    ),
    mutant(
        "profile that forgets its adaptation",
        "a voice speaks from its file, however it was adapted",
        Edit(_PROFILE, "    if profile.adaptation is not None:\n", "    if not profile.name:\n"),
        "client/commands/test_clone_command.py::"
        "test_a_voice_is_adapted_in_another_way_than_its_base_was_trained_with_and_speaks",
    ),
    mutant(
        "clone that teaches the base's discriminator",
        "a base is the same whoever was cloned on it",
        Edit(
            "client/cloning.py",
            "MelAdversary(deepcopy(judges.discriminator), ",
            "MelAdversary(judges.discriminator, ",
        ),
        "client/test_cloning.py::test_a_clone_is_pulled_by_the_bases_discriminator_which_stays_as_it_was",
    ),
    mutant(
        "words judged where nothing is said",
        "an utterance's loss never depends on what it is padded with",
        Edit(_RECOGNISER, "said.masked_fill(~mask, UNTOLD)", "said"),
        "shared_models/test_phoneme_recogniser.py::test_padding_changes_nothing_and_is_not_judged",
    ),
    mutant(
        "recogniser that hears the microphone",
        "a clone is judged by its words and not by its room",
        Edit(_RECOGNISER, "(heard - mean) * there", "heard * there"),
        "shared_models/test_phoneme_recogniser.py::test_what_a_microphone_adds_to_every_frame_is_not_heard",
    ),
    mutant(
        "private clone of what others train",
        "a clone by DP-SGD trains what the recipe says of private ones",
        Edit(
            "shared_models/config.py",
            "if private and cloning.private_adaptation is not None:",
            "if cloning.private_adaptation is not None and not private:",
        ),
        "client/test_cloning.py::test_what_a_clone_trains_and_how_fast_may_differ_where_it_is_private",
    ),
)
