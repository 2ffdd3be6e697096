"""The device's key pair. It identifies the device to the server and says nothing about the person."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from shared_models.errors import EnrolmentError
from shared_models.files import write_atomically

ENROL, LEAVE = b"fedvoice-enrol\0", b"fedvoice-leave\0"


class DeviceKey:
    """An EC P-384 key, which is what Flower's node authentication takes."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def of(cls, home: Path) -> DeviceKey:
        """The home's key, made where there is none. Raises :class:`EnrolmentError` for a damaged one."""
        path = home / "node.key"
        if not path.exists():
            fresh = ec.generate_private_key(ec.SECP384R1())
            write_atomically(path, _openssh(fresh))
        return cls.load(home)

    @classmethod
    def load(cls, home: Path) -> DeviceKey:
        """The home's key. Raises :class:`EnrolmentError` if there is none that can be used."""
        path = home / "node.key"
        try:
            key = serialization.load_ssh_private_key(path.read_bytes(), None)
        except (OSError, ValueError):
            key = None
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise EnrolmentError(f"{path} is missing or damaged: put it back, or join again with a new code")
        return cls(key)

    @property
    def public_pem(self) -> str:
        """The public key as PEM SubjectPublicKeyInfo."""
        public = self._key.public_key()
        encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        return public.public_bytes(encoding, form).decode()

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's DER form, in hexadecimal."""
        public = self._key.public_key()
        encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        return hashlib.sha256(public.public_bytes(encoding, form)).hexdigest()

    def prove(self, purpose: bytes, what: bytes) -> bytes:
        """A signature (ECDSA with SHA-256) that the holder of this key asks for ``purpose``."""
        return self._key.sign(purpose + what, ec.ECDSA(hashes.SHA256()))


def _openssh(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
