"""Bugs in what is released of a speaker embedding."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_RELEASE = "client/embedding_release.py"
_TESTS = "client/test_embedding_release.py::"

MUTANTS = (
    mutant(
        "embedding released for nothing",
        "the cost of an embedding is in the ledger before the embedding exists",
        Edit(_RELEASE, "entry = ledger.reserve(\n", "entry = repr(\n"),
        _TESTS + "test_the_cost_is_in_the_ledger_before_the_noise_exists",
    ),
    mutant(
        "embeddings averaged unclipped",
        "one utterance moves the mean by the clipping norm over their number at most",
        Edit(_RELEASE, "(real * scale).mean(0)", "real.mean(0)"),
        _TESTS + "test_what_clipping_leaves_alone_is_the_mean",
    ),
    mutant(
        "a person's noise divided by the utterances",
        "the noise for the unit person is that of emptying everything",
        Edit(_RELEASE, 'if self.unit == "utterance" else 1', "if self.unit else 1"),
        _TESTS + "test_measured_noise_is_that_of_the_closed_form_and_gaussian[person]",
    ),
    mutant(
        "an emptied recording is not counted",
        "neighbours have as many rows and noise of one size",
        Edit("client/embed.py", "_with_the_silent(vectors, len(left_out))", "vectors"),
        "client/commands/test_embed_command.py::"
        "test_emptying_a_recording_moves_the_mean_by_its_share_and_leaves_the_noise_alone",
    ),
    mutant(
        "an embedding known by its terms alone",
        "an embedding without noise is refused under the terms of a release that was paid for",
        Edit(_RELEASE, '.astype("<f4").tobytes()', '.astype("<f4").tobytes()[:0]'),
        _TESTS + "test_an_embedding_with_another_releases_terms_is_refused",
    ),
    mutant(
        "a profile carries what nobody paid for",
        "a profile carries a speaker embedding only if it was released",
        Edit(
            "client/profile.py",
            "if profile.embedding.privacy is None:",
            "if profile.embedding.vector is None:",
        ),
        "client/commands/test_embed_command.py::test_a_profile_carries_what_was_paid_for_and_nothing_else",
    ),
)
