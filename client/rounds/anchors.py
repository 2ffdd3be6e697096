"""The weights that a federation's changes count from, as a device has them.

With ``compression.delta`` a server sends what changed since its run's first weights. They may be the base that
every installation brings; otherwise the server sends them once, and the device keeps them in its home:
``<home>/anchors/<hash>.safetensors``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from client.home.device import Device
from shared_models.compression.anchors import packaged_anchor
from shared_models.errors import FedVoiceError, LacksAnchorError, WireError
from shared_models.files import write_atomically
from shared_models.partition import weights_hash
from shared_models.tensor_file import read_tensors

# What a server says is looked up as a file's name only where it has the form of a SHA-256.
_HASH = re.compile(r"[0-9a-f]{64}")


def find_anchor(device: Device, digest: str, sent: Tensor | None) -> Tensor:
    """The weights ``(D,)`` with that hash: those that were ``sent`` along, kept ones, or the packaged base's.

    Raises :class:`WireError` if those sent are others, and :class:`LacksAnchorError` if there are none.
    """
    path = device.home / "anchors" / f"{digest}.safetensors"
    if sent is not None:
        if weights_hash(sent) != digest:
            raise WireError("the first weights that came along are not those that the change counts from")
        _keep_only(path, sent)
        return sent
    kept = _kept(path) if _HASH.fullmatch(digest) else None
    if kept is not None:
        return kept
    packaged = packaged_anchor()
    if packaged is not None and packaged[0] == digest:
        return packaged[1]
    raise LacksAnchorError(
        f"the weights came as a change since {digest[:12]}, which this device does not have: send those along"
    )


def _keep_only(path: Path, weights: Tensor) -> None:
    """One run at a time needs an anchor, and each is as large as a model."""
    write_atomically(path, save({"weights": weights.contiguous()}))
    for other in path.parent.glob("*.safetensors"):
        if other != path:
            other.unlink(missing_ok=True)


def _kept(path: Path) -> Tensor | None:
    return _read(path, path.stat().st_mtime_ns) if path.exists() else None


@lru_cache(maxsize=1)
def _read(path: Path, _: int) -> Tensor | None:
    """The kept weights, or None where the file is damaged: they can be had again."""
    try:
        weights = read_tensors(path, "the anchor", "it is sent again")[1].get("weights")
    except FedVoiceError:
        return None
    return weights if weights is not None and weights_hash(weights) == path.stem else None
