"""The private authority: who accepts what it signs, and when the server's certificate is renewed."""

from __future__ import annotations

import datetime
import ipaddress
import os
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from server.live.certificates import ensure_certificates, fingerprint
from shared_models.errors import ServiceError

HOSTS = ["voices.example.org", "127.0.0.1"]


def _server(folder: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate((folder / "server.pem").read_bytes())


def _verify(folder: Path, host: str, authority: Path) -> None:
    store = Store([x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())])
    subject: x509.DNSName | x509.IPAddress = x509.DNSName(host)
    if host[0].isdigit():
        subject = x509.IPAddress(ipaddress.ip_address(host))
    PolicyBuilder().store(store).build_server_verifier(subject).verify(_server(folder), [])


def test_the_certificate_is_for_its_hosts_and_of_this_authority(tmp_path: Path) -> None:
    assert ensure_certificates(tmp_path, "test", HOSTS)
    for host in HOSTS:
        _verify(tmp_path, host, tmp_path)
    with pytest.raises(VerificationError):
        _verify(tmp_path, "elsewhere.example.org", tmp_path)
    ensure_certificates(tmp_path / "other", "test", HOSTS)
    with pytest.raises(VerificationError):
        _verify(tmp_path, HOSTS[0], tmp_path / "other")


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_keys_are_the_owners_alone(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, "test", HOSTS)
    for name in ("ca.key", "server.key"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_it_is_renewed_in_time_and_for_new_hosts_and_the_authority_stays(tmp_path: Path) -> None:
    ensure_certificates(tmp_path, "test", HOSTS)
    authority, first = fingerprint((tmp_path / "ca.pem").read_bytes()), _server(tmp_path).serial_number
    assert not ensure_certificates(tmp_path, "test", HOSTS)
    assert ensure_certificates(tmp_path, "test", [*HOSTS, "10.0.0.1"])
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=340)
    assert ensure_certificates(tmp_path, "test", [*HOSTS, "10.0.0.1"], now=soon)
    (tmp_path / "server.pem").write_text("damaged")
    assert ensure_certificates(tmp_path, "test", HOSTS)
    assert _server(tmp_path).serial_number != first
    assert fingerprint((tmp_path / "ca.pem").read_bytes()) == authority


def test_a_lost_or_foreign_key_is_told(tmp_path: Path) -> None:
    ensure_certificates(tmp_path / "a", "test", HOSTS)
    ensure_certificates(tmp_path / "b", "test", HOSTS)
    (tmp_path / "a" / "ca.key").write_bytes((tmp_path / "b" / "ca.key").read_bytes())
    with pytest.raises(ServiceError, match=r"not the key of ca\.pem"):
        ensure_certificates(tmp_path / "a", "test", ["new.example.org"])
    (tmp_path / "a" / "ca.key").unlink()
    with pytest.raises(ServiceError, match="missing or damaged"):
        ensure_certificates(tmp_path / "a", "test", ["new.example.org"])
