"""Which device is taken, what is said where it is not there, and that the processor does as it always did."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from shared_models import accelerator
from shared_models.accelerator import (
    Accelerator,
    devices_here,
    is_padded,
    limit_memory,
    multiplies_bfloat16,
    seeded,
)
from shared_models.config import parse_recipe
from shared_models.errors import AcceleratorError, RecipeError

GPU = torch.device("cuda", 0)


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with two GPUs, as far as looking goes."""
    here = [GPU, torch.device("cuda", 1), torch.device("cpu")]
    monkeypatch.setattr(accelerator, "devices_here", lambda: here)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"model {device.index}")


@pytest.mark.usefixtures("two_gpus")
def test_auto_takes_the_first_accelerator() -> None:
    assert Accelerator.resolve("auto").device == GPU
    assert Accelerator.resolve("cuda").device == GPU
    assert Accelerator.resolve("cuda:1").device == torch.device("cuda", 1)
    assert Accelerator.resolve("cpu").is_cpu


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize("asked", ["cuda:2", "mps"])
def test_what_is_not_there_is_one_sentence_with_what_is(asked: str) -> None:
    with pytest.raises(AcceleratorError, match=r"is not there: .*model 0.*choose cuda:0 or cuda:1 or cpu"):
        Accelerator.resolve(asked)


@pytest.mark.parametrize("asked", ["gpu", "cuda:", "cuda:x", "cpu:0", "", "CPU", "cuda:1\n"])
def test_a_name_of_no_device_is_refused(asked: str) -> None:
    with pytest.raises(AcceleratorError, match="a device is auto, cpu"):
        Accelerator.resolve(asked)
    with pytest.raises(RecipeError, match=r"engine.device.*a device is auto, cpu"):
        parse_recipe({"engine": {"device": asked}}, where="test")


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(AcceleratorError, match="float32, bfloat16, auto, and not 'float16'"):
        Accelerator.resolve("cpu", "float16")


@pytest.mark.usefixtures("two_gpus")
def test_it_says_what_it_is() -> None:
    assert str(Accelerator.resolve("cpu")) == "CPU, float32"
    assert str(Accelerator.resolve("cuda:1", "bfloat16")) == "GPU 1 (model 1), bfloat16"


def test_the_processor_is_always_there() -> None:
    assert devices_here()[-1] == torch.device("cpu")


def test_bfloat16_is_of_products_alone() -> None:
    layer = torch.nn.Linear(4, 4)
    with Accelerator.resolve("cpu", "bfloat16").autocast():
        assert layer(torch.ones(1, 4)).dtype is torch.bfloat16
    with Accelerator.resolve("cpu").autocast():
        assert layer(torch.ones(1, 4)).dtype is torch.float32
    assert layer.weight.dtype is torch.float32


def test_dropout_is_seeded_within_and_the_generator_untouched_without() -> None:
    before = torch.get_rng_state()
    with seeded(7):
        first = torch.rand(3)
    with seeded(7):
        again = torch.rand(3)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_padding_is_looked_for_on_the_processor_alone() -> None:
    full, ragged = torch.ones(2, 3).bool(), torch.tensor([[True, True], [True, False]])
    assert not is_padded(full)
    assert is_padded(ragged)
    assert is_padded(full.to("meta"))


def test_the_processor_s_memory_is_not_limited() -> None:
    limit_memory(torch.device("cpu"), 0.1)


@pytest.mark.parametrize(("made_for_it", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_automatic_precision_is_bfloat16_where_the_device_is_made_for_it(
    monkeypatch: pytest.MonkeyPatch, made_for_it: bool, precision: str
) -> None:
    monkeypatch.setattr(accelerator, "multiplies_bfloat16", lambda _: made_for_it)
    here = Accelerator.resolve("cpu", "auto")
    assert str(here).endswith(precision)
    with here.autocast():
        product = torch.nn.Linear(4, 4)(torch.ones(2, 4))
    assert product.dtype == (torch.bfloat16 if made_for_it else torch.float32)


def test_whether_a_processor_multiplies_bfloat16_is_what_the_system_says_of_it() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists() or "flags" not in flags.read_text():
        pytest.skip("this system does not tell a processor's instructions in /proc/cpuinfo")
    said = flags.read_text()
    assert multiplies_bfloat16(torch.device("cpu")) == ("avx512_bf16" in said or "amx_bf16" in said)
