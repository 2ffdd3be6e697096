"""A model as a federation publishes it: weights, a card, and a signed list of both.

::

    FOLDER/model.safetensors    the shared weights and their recipe, as `fedvoice clone --base` takes them
    FOLDER/MODEL.md             the card: what it is, how it was trained, what it costs a person, what it is worth
    FOLDER/manifest.json        of which federation, run and round it is; SHA-256 and size of every file
    FOLDER/manifest.sig         base64 of the authority's signature (ECDSA P-384, SHA-384) of the manifest
    FOLDER/authority.pem        the certificate authority that signed

Whoever joined the federation knows the authority by the fingerprint in the join code, so the signature proves to
them whose model it is. To everybody else the folder proves only that it is whole, and names the fingerprint.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from shared_models.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "fedvoice-model-1"
WEIGHTS, CARD, AUTHORITY = "model.safetensors", "MODEL.md", "authority.pem"
MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"
LISTED = frozenset({WEIGHTS, CARD, AUTHORITY})
"""The files that a manifest lists: these and no other, so that no name of a server's becomes a path of a device's."""
MODEL_PATH = "/fedvoice/model"
"""Where a server's devices fetch it."""
PIECE_BYTES = 1024 * 1024
FINISHED_HEADER, PUBLISHED_HEADER = "x-fedvoice-finished", "x-fedvoice-published"
"""In answers to devices, once the last round is done: that round, and whether (1 or 0) a model is published."""
PURPOSE = b"fedvoice-model\0"
LARGEST_MANIFEST = 64 * 1024
LARGEST_CARD = 256 * 1024
LARGEST_WEIGHTS = 2 * 1024**3
_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """One file of a published model."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a published model is, and what its files are."""

    federation: str
    run: str
    round: int
    version: str
    """Of the FedVoice that wrote it."""
    schema: str
    """Which model the weights are of (:attr:`shared_models.partition.Partition.schema`)."""
    base: str
    """The weights' identity, to which voices are bound (:func:`shared_models.partition.weights_hash`)."""
    numbers: int
    privacy: str
    """One sentence, of which the first word is ``unprotected`` or ``epsilon``."""
    files: Mapping[str, ListedFile]

    def to_json(self) -> bytes:
        """The bytes that are signed."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True).encode()


def weights_file(
    weights: Tensor, recipe: str, schema: str, beside: Mapping[str, Tensor] | None = None
) -> bytes:
    """The content of a base's file: ``weights`` ``(D,)``, its recipe as JSON, and nothing of who took part.

    Tensors ``beside`` the weights are no part of the model.
    """
    # Imported here: what only serves or checks a model does without torch.
    from safetensors.torch import save

    kept = {name: value.contiguous() for name, value in {"weights": weights, **(beside or {})}.items()}
    return save(kept, {"recipe": recipe, "schema": schema})


def listed(content: bytes) -> ListedFile:
    """A file as the manifest lists it."""
    return ListedFile(hashlib.sha256(content).hexdigest(), len(content))


def parse_manifest(content: bytes) -> Manifest:
    """Read a manifest. Raises :class:`CheckpointError` for one that is not, or that lists other files than ours."""
    try:
        fields = json.loads(content[: LARGEST_MANIFEST + 1]) if len(content) <= LARGEST_MANIFEST else None
        if not isinstance(fields, dict) or fields.pop("format", None) != FORMAT:
            raise ValueError
        files = fields.pop("files")
        manifest = Manifest(**fields, files={name: _listed(value) for name, value in files.items()})
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise CheckpointError(
            "the manifest is not one of a published model: it is damaged, or of another version of FedVoice"
        ) from None
    if set(manifest.files) != LISTED:
        strange = sorted(set(manifest.files) ^ LISTED)[0][:80]
        raise CheckpointError(
            f"the manifest lists other files than a published model has ({strange!r}): it is not used"
        )
    for name, most in ((WEIGHTS, LARGEST_WEIGHTS), (CARD, LARGEST_CARD), (AUTHORITY, LARGEST_MANIFEST)):
        if manifest.files[name].bytes > most:
            raise CheckpointError(
                f"{name} of the published model would have {manifest.files[name].bytes} bytes, more than the {most} "
                "that are taken"
            )
    _check_types(manifest)
    return manifest


def check_signature(manifest: bytes, signature: bytes, authority_pem: bytes) -> None:
    """Raise :class:`CheckpointError` unless the authority signed just this manifest. ``signature`` is base64."""
    try:
        key = x509.load_pem_x509_certificate(authority_pem).public_key()
        proof = base64.b64decode(signature, validate=True)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise ValueError
        key.verify(proof, PURPOSE + manifest, ec.ECDSA(hashes.SHA384()))
    except (ValueError, binascii.Error, InvalidSignature):
        raise CheckpointError(
            "the published model is not signed by the federation's authority: it was changed, or is another's, and "
            "is not used"
        ) from None


def check_file(name: str, content: bytes, manifest: Manifest) -> None:
    """Raise :class:`CheckpointError` unless ``content`` is what the manifest lists under ``name``."""
    if listed(content) != manifest.files[name]:
        raise CheckpointError(
            f"{name} of the published model is not the file that its manifest lists: it is damaged or was swapped, "
            "so fetch the model again"
        )


def is_published(folder: Path) -> bool:
    """Whether a folder looks like a published model."""
    return (folder / MANIFEST).is_file()


def verify_folder(folder: Path, authority_pem: bytes | None = None) -> Manifest:
    """Check a published model's folder: signature, and every file's hash.

    The signature is checked against ``authority_pem``, or the folder's own authority where there is none to compare
    with. Raises :class:`CheckpointError`.
    """
    try:
        content = _read(folder / MANIFEST, LARGEST_MANIFEST)
        manifest = parse_manifest(content)
        authority = authority_pem or _read(folder / AUTHORITY, LARGEST_MANIFEST)
        check_signature(content, _read(folder / SIGNATURE, LARGEST_MANIFEST).strip(), authority)
        for name in sorted(LISTED):
            check_file(name, _read(folder / name, manifest.files[name].bytes), manifest)
    except OSError as error:
        raise CheckpointError(
            f"the published model in {folder} is not whole ({error.strerror or error}): fetch it again"
        ) from None
    return manifest


def fingerprint(authority_pem: bytes) -> str:
    """SHA-256 of an authority's certificate, in hexadecimal. Raises :class:`CheckpointError` if it is none."""
    try:
        certificate = x509.load_pem_x509_certificate(authority_pem)
    except ValueError:
        raise CheckpointError("authority.pem of the published model holds no certificate") from None
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def _read(path: Path, most: int) -> bytes:
    with path.open("rb") as file:
        # One byte more than expected tells that it is another file; how much more there is does not matter.
        return file.read(most + 1)


def _listed(value: Any) -> ListedFile:
    found = ListedFile(**value)
    if not (isinstance(found.sha256, str) and _HASH.fullmatch(found.sha256)):
        raise ValueError
    if type(found.bytes) is not int or found.bytes < 1:
        raise ValueError
    return found


def _check_types(manifest: Manifest) -> None:
    texts = (
        manifest.federation,
        manifest.run,
        manifest.version,
        manifest.schema,
        manifest.base,
        manifest.privacy,
    )
    numbers = (manifest.round, manifest.numbers)
    if not all(isinstance(text, str) for text in texts) or not all(type(number) is int for number in numbers):
        raise CheckpointError("the manifest of the published model has fields of wrong types: it is not used")
    if not _HASH.fullmatch(manifest.base):
        raise CheckpointError("the manifest of the published model names no base: it is not used")
