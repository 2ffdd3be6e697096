"""Bugs in what a voice is heard from, and in what judges and changes what is heard."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_FRONT = "shared_models/speakers/sources/self_supervised.py"
_EVERY = "shared_models/speakers/sources/test_every_source.py::"
_FROZEN = "shared_models/test_frozen_base.py::"

MUTANTS = (
    mutant(
        "front that hears the padding",
        "a recording is heard alone, however it is padded",
        Edit(_FRONT, "self._of(row[:n, 0])", "self._of(row[:, 0])"),
        _EVERY + "test_a_reference_is_heard_alone_however_it_is_padded[wav2vec2]",
    ),
    mutant(
        "front that hears somebody in nothing",
        "an empty reference is the voice of nobody",
        Edit(_FRONT, "Contribution(embedding * (wave.lengths > 0)[:, None])", "Contribution(embedding)"),
        _EVERY + "test_an_empty_reference_among_others_is_nobody[hubert]",
    ),
    mutant(
        "codebook without straight-through",
        "the styles learn as if nothing had been quantised",
        Edit(
            "shared_models/speakers/sources/vq.py",
            "return unit + (chosen - unit).detach(), penalty",
            "return chosen, penalty",
        ),
        "shared_models/speakers/sources/test_style_sources.py::test_gradients_pass_straight_through_the_codes",
    ),
    mutant(
        "frozen base that travels",
        "on a frozen base the style alone is sent",
        Edit(
            "shared_models/frozen_base.py",
            "module.belongs_to = Owner.FROZEN",
            "module.belongs_to = Owner.SHARED",
        ),
        _FROZEN + "test_the_style_alone_is_shared_and_all_else_is_the_bases",
    ),
    mutant(
        "server that names a place for the frozen base",
        "a server's recipe reads no file of the device but those that it may",
        Edit("client/home/policy.py", "if recipe.model.frozen not in (None, PACKAGED):", "if False:"),
        _FROZEN + "test_a_base_of_other_sizes_and_a_place_on_the_device_are_refused",
    ),
    mutant(
        "judge that nobody hears",
        "what an encoder says of a mel reaches the decoder that made it",
        Edit(
            "shared_models/perceptual.py",
            "ear(output.mel.float(), lengths)",
            "ear(output.mel.detach().float(), lengths)",
        ),
        "shared_models/test_perceptual.py::"
        "test_the_gradient_reaches_the_decoder_and_never_the_encoder[consistency-x_vector]",
    ),
    mutant(
        "augmentation that draws where it is off",
        "equal seeds give equal weights, with versions that had no augmentation",
        Edit(
            "shared_models/speakers/augmentation.py", "if not settings.share or not reference.frames or", "if"
        ),
        "shared_models/speakers/test_augmentation.py::test_by_default_nothing_is_changed_and_nothing_drawn",
    ),
    mutant(
        "sources that help the adversary",
        "the sources hear of the confusion alone, and never learn to be read",
        Edit(
            "shared_models/speakers/content.py", "self._read(embedding.detach(), ", "self._read(embedding, "
        ),
        "shared_models/speakers/test_content.py::"
        "test_the_adversary_reads_by_cross_entropy_and_the_sources_hear_of_the_confusion_alone",
    ),
)
