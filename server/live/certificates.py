"""The server's private certificate authority, and the certificate that it gives the server.

Devices trust this authority and no other: its fingerprint is in the join code. So no public name, no public
authority and no clock-bound renewal on devices is needed; the server's certificate is renewed here.
"""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared_models.errors import ServiceError
from shared_models.files import write_atomically

AUTHORITY_DAYS = 3650
SERVER_DAYS = 365
RENEWED_BEFORE_DAYS = 30
# A device whose clock is slow must still accept a certificate made this minute.
_BACKDATED = datetime.timedelta(days=2)


def ensure_certificates(
    folder: Path, name: str, hosts: Sequence[str], now: datetime.datetime | None = None
) -> bool:
    """Make the authority where there is none, and the server's certificate where it is missing, is for other
    hosts, or expires within 30 days. True if the server's certificate was (re)made.

    Raises :class:`ServiceError` if the authority's key is damaged or not its certificate's.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    if not (folder / "ca.pem").exists():
        _make_authority(folder, name, moment)
    if _still_good(folder, hosts, moment):
        return False
    _make_server_certificate(folder, hosts, moment)
    return True


def fingerprint(ca_pem: bytes) -> bytes:
    """SHA-256 of a certificate's DER form, 32 bytes. Raises :class:`ServiceError` if it is no certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(ca_pem)
    except ValueError:
        raise ServiceError("ca.pem holds no certificate: restore it, or serve from a new home") from None
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()


def authority_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The authority's private key. Raises :class:`ServiceError` if it is damaged or not its certificate's."""
    authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    try:
        signer = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    except (OSError, ValueError):
        raise ServiceError(
            f"{folder / 'ca.key'} is missing or damaged: restore it from a backup, or serve from a new home and "
            "invite the devices again"
        ) from None
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != authority.public_key():
        raise ServiceError(f"{folder / 'ca.key'} is not the key of ca.pem: restore both from one backup")
    return signer


def _make_authority(folder: Path, name: str, now: datetime.datetime) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "FedVoice"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority"[:64]),
        ]
    )
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_DAYS)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA384())
    )
    write_atomically(folder / "ca.key", _private(key))
    write_atomically(folder / "ca.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _make_server_certificate(folder: Path, hosts: Sequence[str], now: datetime.datetime) -> None:
    authority, signer = (
        x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes()),
        authority_key(folder),
    )
    key = ec.generate_private_key(ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:64])])
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    certificate = (
        _builder(subject, authority.subject, key.public_key(), now, SERVER_DAYS)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_alternative(host) for host in hosts]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(signer, hashes.SHA384())
    )
    write_atomically(folder / "server.key", _private(key))
    write_atomically(folder / "server.pem", certificate.public_bytes(serialization.Encoding.PEM))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
    days: int,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _still_good(folder: Path, hosts: Sequence[str], now: datetime.datetime) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())
        key = serialization.load_pem_private_key((folder / "server.key").read_bytes(), None)
        authority = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        certificate.verify_directly_issued_by(authority)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except Exception:  # whatever is wrong with it, it is made anew
        return False
    fresh = certificate.not_valid_after_utc - now > datetime.timedelta(days=RENEWED_BEFORE_DAYS)
    return (
        fresh and key.public_key() == certificate.public_key() and set(names) == {*map(_alternative, hosts)}
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
