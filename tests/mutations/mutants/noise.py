"""Bugs in the noise itself, and in who is drawn."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_MECHANISMS = "server/mechanisms.py"
_NOISE = "shared_models/noise.py"
_TESTS = "server/test_mechanisms.py::"
_SOURCE = "shared_models/test_noise.py::"
_WORDS = "words = np.frombuffer(os.urandom(8 * size), dtype=np.uint64)"

MUTANTS = (
    mutant(
        "noise off",
        "the release carries noise",
        Edit(_MECHANISMS, "noise.add_(value).div_", "noise.mul_(0).add_(value).div_"),
        _TESTS + "test_the_noise_has_the_promised_deviation_and_is_gaussian[simulation]",
    ),
    mutant(
        "noise halved",
        "the noise is as large as the accountant was told",
        Edit(_MECHANISMS, ".mul_(self.noise_on_sum)", ".mul_(self.noise_on_sum / 2)"),
        _TESTS + "test_the_noise_has_the_promised_deviation_and_is_gaussian[simulation]",
    ),
    mutant(
        "noise scaled by updates that came",
        "the noise does not depend on how many took part",
        Edit(_MECHANISMS, ".mul_(self.noise_on_sum)", ".mul_(self.noise_on_mean * max(1, total.count))"),
        _TESTS + "test_the_noise_has_the_promised_deviation_and_is_gaussian[simulation]",
    ),
    mutant(
        "sum divided by updates that came",
        "the sum is divided by the expected cohort, which is public",
        Edit(_MECHANISMS, ".div_(self.expected_cohort)\n", ".div_(max(1, total.count))\n"),
        _TESTS + "test_noise_is_added_to_the_mean_over_the_expected_cohort",
    ),
    mutant(
        "same noise in every block",
        "every coordinate has noise of its own",
        Edit(
            _MECHANISMS,
            "noise = standard_normal(len(value), generator).mul_(self.noise_on_sum)",
            "noise = (standard_normal(_BLOCK, generator) if start == 0 else first)\n"
            "            first = noise.clone()\n"
            "            noise = noise[: len(value)].mul(self.noise_on_sum)",
        ),
        _TESTS + "test_no_coordinate_of_a_release_tells_of_another[simulation]",
    ),
    mutant(
        "noise added after rounding to float32",
        "the low bits of the sum are not published",
        Edit(
            _MECHANISMS,
            "noise.add_(value).div_(self.expected_cohort)",
            "noise.float().add_(value.float()).div_(self.expected_cohort)",
        ),
        _TESTS + "test_noise_is_added_before_anything_is_rounded",
    ),
    mutant(
        "sampling fixed instead of Poisson",
        "each person's coin is their own, as the accountant assumes",
        Edit(_MECHANISMS, 'if kind == "poisson":', 'if kind == "never":'),
        _TESTS + "test_poisson_cohorts_are_made_of_independent_coins[simulation]",
    ),
    mutant(
        "coin <= p+1/N",
        "nobody is drawn more often than the accountant was told",
        Edit(_MECHANISMS, "(coins < probability)", "(coins < probability + 1 / len(population))"),
        _TESTS + "test_poisson_cohorts_are_made_of_independent_coins[simulation]",
    ),
    mutant(
        "os noise = numpy default_rng(time s)",
        "noise in a live run cannot be found by trying seeds",
        Edit(
            _NOISE,
            _WORDS,
            "import time; words = np.random.default_rng(int(time.time())).integers("
            "0, 2**64, size, dtype=np.uint64)",
        ),
        _SOURCE + "test_the_operating_systems_draws_never_repeat",
    ),
    mutant(
        "os noise = numpy default_rng(0)",
        "noise in a live run is not known beforehand",
        Edit(_NOISE, _WORDS, "words = np.random.default_rng(0).integers(0, 2**64, size, dtype=np.uint64)"),
        _SOURCE + "test_the_operating_systems_draws_never_repeat",
    ),
    mutant(
        "os noise = numpy default_rng(time ns)",
        "noise in a live run is made of the operating system's bytes and of nothing else",
        Edit(
            _NOISE,
            _WORDS,
            "import time; words = np.random.default_rng(time.time_ns()).integers(0, 2**64, size, dtype=np.uint64)",
        ),
        _SOURCE + "test_the_draws_are_made_of_the_operating_systems_bytes_alone",
    ),
    mutant(
        "os noise = torch's own generator",
        "a process that is forked, or a seed that is set, does not repeat noise",
        Edit(
            _NOISE,
            "    pairs = (size + 1) // 2\n",
            "    return torch.randn(size, dtype=torch.float64)\n    pairs = (size + 1) // 2\n",
        ),
        _SOURCE + "test_seeds_of_the_process_are_of_no_consequence",
    ),
    mutant(
        "Box-Muller cos twice (correlated halves)",
        "each draw is independent of the others",
        Edit(_NOISE, "radius * np.sin(angle)", "radius * np.cos(angle)"),
        _SOURCE + "test_no_draw_tells_of_another[standard_normal-operating system]",
    ),
    mutant(
        "Box-Muller with a quarter of the circle",
        "draws are Gaussian, with both signs",
        Edit(_NOISE, "angle = 2.0 * math.pi * ", "angle = 0.5 * math.pi * "),
        _SOURCE + "test_the_draws_are_standard_normal[operating system]",
    ),
    mutant(
        "uniform of 8 bits",
        "noise has a continuum of values and tails as far as they are paid for",
        Edit(
            _NOISE,
            "(words >> np.uint64(11)).astype(np.float64) * 2.0**-53",
            "(words >> np.uint64(56)) * 2.0**-8",
        ),
        _SOURCE + "test_the_draws_are_standard_normal[operating system]",
    ),
)
