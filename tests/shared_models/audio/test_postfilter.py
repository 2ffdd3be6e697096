"""The postfilter raises contrast, keeps level and slope, and can be undone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import correlate1d

from shared_models.audio.postfilter import sharpen

MELS = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 12), st.just(80)), elements=st.floats(-11, 2, width=32)
)


@given(MELS)
def test_without_contrast_it_changes_nothing(mel: np.ndarray) -> None:
    np.testing.assert_array_equal(sharpen(mel, contrast=0.0), mel)


@given(MELS)
def test_it_is_what_a_filter_of_another_library_in_float64_gives(mel: np.ndarray) -> None:
    wide = mel.astype(np.float64)
    smooth = correlate1d(wide, np.array([1, 2, 3, 2, 1]) / 9, axis=1, mode="nearest")
    np.testing.assert_allclose(sharpen(mel, contrast=0.3), wide + 0.3 * (wide - smooth), atol=1e-4)


def test_a_formant_stands_out_further_and_the_level_stays() -> None:
    mel = np.full((4, 80), -5.0, dtype=np.float32)
    mel[:, 20] = -2.0
    sharp = sharpen(mel, contrast=0.3)
    assert sharp[0, 20] - sharp[0, 22] > mel[0, 20] - mel[0, 22] + 0.5
    assert sharp.mean() == pytest.approx(mel.mean(), abs=1e-4)


def test_a_steady_slope_is_left_alone() -> None:
    mel = np.tile(np.linspace(0, -8, 80, dtype=np.float32), (3, 1))
    np.testing.assert_allclose(sharpen(mel)[:, 2:-2], mel[:, 2:-2], atol=1e-5)
