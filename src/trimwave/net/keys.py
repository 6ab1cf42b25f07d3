"""Makes what a deployment is trusted by: a CA, the server's certificate, node keys.

The server shows a certificate that our own certification authority (CA) signed; clients
hold ``ca.pem`` and so know the server. A client signs with a key of its own, in
OpenSSH's format as Flower reads it; the server holds the public halves.

::

    keys/ca.pem ca.key           the CA; the certificate goes to every client
    keys/server.pem server.key   what the server shows
    keys/clients/NAME NAME.pub   a client's pair; NAME stays on that device
"""

import datetime as dt
import ipaddress
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from trimwave.base.errors import InputError
from trimwave.net.key_files import (
    make_folder,
    public_bytes,
    read_certificate,
    read_key,
    refuse_to_replace,
    write_new,
)

CURVE = ec.SECP384R1()
"""NIST P-384, of all keys; Flower takes elliptic curves of NIST alone from a node."""

CA_DAYS = 3650
"""How long a CA is good, and the longest that a server's certificate may be [days]."""

CLOCK_SKEW = dt.timedelta(days=1)
"""A certificate is valid from so long ago, for devices whose clocks are behind."""

LOCAL = ("localhost", "127.0.0.1", "::1")
"""Covered by every server certificate: the server's own processes call it so."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_LABEL = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(\.{_LABEL})*")


def make_ca(folder: Path) -> Path:
    """Make the CA of a deployment; one that is there stays.

    Parameters
    ----------
    folder : Path
        Where to; made if need be, for its owner alone.

    Returns
    -------
    Path
        The certificate, which every client needs.

    Raises
    ------
    InputError
        If one half of a CA is there without the other.
    RunError
        If the folder cannot be written.
    """
    certificate, key = folder / "ca.pem", folder / "ca.key"
    if certificate.exists() and key.exists():
        return certificate
    refuse_to_replace(certificate, key)
    private = ec.generate_private_key(CURVE)
    name = _name("trimwave CA")
    draft = _draft(private.public_key(), name, name, CA_DAYS, is_ca=True)
    make_folder(folder)
    _write_pair(key, _pem(private), certificate, draft.sign(private, hashes.SHA384()))
    return certificate


def make_server_certificate(
    folder: Path, hosts: Sequence[str], days: int = 365
) -> x509.Certificate:
    """Make the server's key, and its certificate by the folder's CA.

    Parameters
    ----------
    folder : Path
        Holds the CA, see `make_ca`; gets ``server.pem`` and ``server.key``.
    hosts : sequence of str
        Names and addresses by which clients reach the server.
    days : int
        How long it is good [days].

    Raises
    ------
    InputError
        If a host or the days are wrong, a key is there already, or the CA is not whole.
    RunError
        If the folder cannot be written.
    """
    names = host_names(hosts)
    certificate, key = folder / "server.pem", folder / "server.key"
    refuse_to_replace(certificate, key)
    ca, signer = read_certificate(folder / "ca.pem"), read_key(folder / "ca.key")
    if public_bytes(ca.public_key()) != public_bytes(signer.public_key()):
        raise InputError(f"{folder}/ca.key is not the key of {folder}/ca.pem.")
    days_left = (ca.not_valid_after_utc - dt.datetime.now(dt.UTC)).days
    if not 1 <= days <= max(1, days_left):
        raise InputError(
            f"a server's certificate is good for 1 to {days_left} days, as long as its "
            f"CA in {folder} is, got {days}."
        )
    private = ec.generate_private_key(CURVE)
    name = _name("trimwave server")
    draft = _draft(private.public_key(), name, ca.subject, days, is_ca=False)
    by = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    serves = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    draft = (
        draft.add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(serves, critical=False)
        .add_extension(by, critical=False)
    )
    made = draft.sign(signer, hashes.SHA384())
    _write_pair(key, _pem(private), certificate, made)
    return made


def make_client_key(folder: Path, name: str) -> Path:
    """Make a client's key pair, ``clients/NAME`` and ``clients/NAME.pub``.

    Parameters
    ----------
    folder : Path
        Of all keys.
    name : str
        The client's: a plain file name.

    Returns
    -------
    Path
        The private key.

    Raises
    ------
    InputError
        If the name is no plain file name, or is taken.
    RunError
        If the folder cannot be written.
    """
    check_name(name)
    private, public = client_files(folder, name)
    refuse_to_replace(private, public)
    made = ec.generate_private_key(CURVE)
    secret = made.private_bytes(
        formats.Encoding.PEM, formats.PrivateFormat.OpenSSH, formats.NoEncryption()
    )
    shown = made.public_key().public_bytes(
        formats.Encoding.OpenSSH, formats.PublicFormat.OpenSSH
    )
    make_folder(folder)
    make_folder(private.parent)
    write_new(private, secret, 0o600)
    write_new(public, shown + f" {name}\n".encode(), 0o644)
    return private


def client_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return where a client's private and public key are."""
    return folder / "clients" / name, folder / "clients" / f"{name}.pub"


def check_name(name: str) -> None:
    """Check a client's name.

    Raises
    ------
    InputError
        If it is no plain file name.
    """
    if not NAME.fullmatch(name) or name.endswith(".pub"):
        raise InputError(
            "a client's name is up to 64 letters, digits and ._- that begin with a "
            f"letter or digit and do not end in .pub, got `{name}`."
        )


def host_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    """Return hosts and this machine's own names as a certificate holds them.

    Raises
    ------
    InputError
        If one is neither a name nor an address.
    """
    return [_host_name(host) for host in dict.fromkeys([*hosts, *LOCAL])]


def _host_name(host: str) -> x509.GeneralName:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if not HOST.fullmatch(host) or re.fullmatch(r"[\d.]+", host):
            raise InputError(
                "a host is a name or an address without a port, such as "
                f"fl.example.org or 192.168.1.10, got `{host}`."
            ) from None
        return x509.DNSName(host.lower())
    if address.is_unspecified:
        raise InputError(
            f"`{host}` stands for every address of this machine; name the one by which "
            "clients reach it."
        )
    return x509.IPAddress(address)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _draft(
    public: ec.EllipticCurvePublicKey,
    subject: x509.Name,
    issuer: x509.Name,
    days: int,
    *,
    is_ca: bool,
) -> x509.CertificateBuilder:
    """Return what every certificate has, as RFC 5280 and Python 3.13 want it."""
    now = dt.datetime.now(dt.UTC)
    limits = x509.BasicConstraints(ca=is_ca, path_length=0 if is_ca else None)
    usage = x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(public)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(limits, critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
    )


def _pem(private: ec.EllipticCurvePrivateKey) -> bytes:
    return private.private_bytes(
        formats.Encoding.PEM, formats.PrivateFormat.PKCS8, formats.NoEncryption()
    )


def _write_pair(key: Path, secret: bytes, path: Path, made: x509.Certificate) -> None:
    write_new(key, secret, 0o600)
    write_new(path, made.public_bytes(formats.Encoding.PEM), 0o644)
