"""Whatever computes, computes where the weights are: on torch's ``meta`` device, which holds shapes and no numbers.

A tensor that was made on the processor is refused there where it meets another, as it would be on a GPU. Reading a
number is an error, so that what passes waits for no accelerator. A fake GPU, whose tensors say that they are on
``cuda``, runs forward passes.
"""

from __future__ import annotations

import pytest
import torch
from numbers_of_nothing import reading_gives
from synthetic_batches import batch_of, random_features, small_model
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from shared_models.features import Batch, collate
from shared_models.losses import acoustic_loss
from shared_models.speakers.heard import MEL

META = torch.device("meta")
WINDOW = 16
SOURCES = pytest.mark.parametrize("source", ["none", "harmonics"])


def some_batch(*, aligned: bool = True) -> Batch:
    return batch_of([random_features(9, 40, 1, aligned), random_features(5, 31, 2)])


@SOURCES
def test_a_training_step_makes_no_tensor_elsewhere_and_reads_none(source: str) -> None:
    model = small_model(source=source).train().to(META)
    batch = some_batch().to(META)
    loss = acoustic_loss(model(batch, window=WINDOW), batch).total
    assert loss.device == META
    loss.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is None or p.grad.device == META for p in model.parameters())
    optimizer = torch.optim.Adam(model.parameters())
    optimizer.step()


def test_a_step_of_the_aligner_waits_once_for_its_search(monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = small_model().train().to(META), some_batch(aligned=False).to(META)
    with reading_gives(5, monkeypatch) as read:
        loss = acoustic_loss(model(batch, window=WINDOW), batch).total
        loss.backward()  # type: ignore[no-untyped-call]
    # The search takes the attention and both lengths, the forward-sum loss its scores and the same.
    assert [len(shape) for shape in read] == [3, 1, 1, 3, 1, 1]


@SOURCES
def test_speaking_reads_how_long_it_will_be_and_nothing_else(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, batch = small_model(source=source).eval().to(META), some_batch().to(META)
    voice = model.voice(batch.heard)
    with reading_gives(23, monkeypatch) as read:
        mel, lengths = model.synthesize(batch.phonemes, batch.phoneme_lengths, voice)
    assert mel.shape == (2, 23, 80)
    assert mel.device == lengths.device == META
    assert len(read) == 1


@SOURCES
def test_forward_passes_on_a_fake_gpu(source: str) -> None:
    batch = some_batch()
    model, gpu = small_model(source=source).eval(), torch.device("cuda", 0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        tensors = {
            name: torch.empty_like(tensor, device=gpu)
            for name, tensor in (*model.named_parameters(), *model.named_buffers())
        }
        output = functional_call(model, tensors, (batch.to(gpu),))
    assert output.mel.device == gpu


def test_utterances_on_a_device_make_a_batch_there() -> None:
    item = random_features(9, 40, 1).to(META)
    batch = collate([item, item], [item.reference, item.reference.excerpt(3, 7)])
    assert {getattr(batch, name).device for name in ("mel", "mel_lengths", "durations")} == {META}
    heard = batch.heard.signals[MEL]
    assert {batch.heard.rows.device, heard.values.device, heard.lengths.device} == {META}
    assert batch.aligned == (True, True)
