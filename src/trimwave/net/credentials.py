"""What a server, or a client, is known by: read and checked before a run starts."""

import datetime as dt
import ipaddress
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec

from trimwave.base.errors import InputError
from trimwave.net.key_files import (
    public_bytes,
    read_certificate,
    read_key,
    read_whole,
)
from trimwave.net.keys import check_name

SOON_DAYS = 14
"""A certificate that ends within so many days is warned about [days]."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """A server's: its certificate and key, its CA, and whom it knows."""

    ca: Path
    certificate: Path
    key: Path
    clients: Mapping[str, Path]
    """Public keys by the names of the clients, in the order of the names."""

    @classmethod
    def read(cls, folder: Path, host: str | None = None) -> "Credentials":
        """Read what ``trimwave keys`` made, and check that it works together.

        Parameters
        ----------
        folder : Path
            The folder of keys.
        host : str, optional
            Name or address by which the server is reached, as far as is known: 0.0.0.0
            says nothing.

        Raises
        ------
        InputError
            If a file is missing or damaged, a certificate is not valid now, not by the
            CA or not for the host, a key belongs to another certificate, or no client
            or the same client twice is known.

        Warns
        -----
        UserWarning
            If a certificate ends soon, or others may read a private key.
        """
        folder = folder.absolute()
        found = cls(
            ca=folder / "ca.pem",
            certificate=folder / "server.pem",
            key=folder / "server.key",
            clients={one.stem: one for one in sorted(folder.glob("clients/*.pub"))},
        )
        ca = read_certificate(found.ca)
        _check_dates(found.ca, ca)
        shown = read_certificate(found.certificate)
        _check_dates(found.certificate, shown)
        try:
            shown.verify_directly_issued_by(ca)
        except (ValueError, TypeError, InvalidSignature):
            raise InputError(
                f"{found.certificate} is not signed by {found.ca}; make it anew with "
                "`trimwave keys server`."
            ) from None
        key = read_key(found.key)
        warn_if_readable(found.key)
        if public_bytes(key.public_key()) != public_bytes(shown.public_key()):
            raise InputError(f"{found.key} is not the key of {found.certificate}.")
        if host is not None:
            _check_host(found.certificate, shown, host)
        _check_clients(folder, found.clients)
        return found


def check_client(ca: Path, key: Path) -> None:
    """Check what a client joins with.

    Parameters
    ----------
    ca : Path
        The certificate of the server's CA.
    key : Path
        The client's private key.

    Raises
    ------
    InputError
        If a file is missing or damaged, or the certificate is not valid now.

    Warns
    -----
    UserWarning
        If the certificate ends soon, or others may read the key.
    """
    _check_dates(ca, read_certificate(ca))
    data = read_whole(key)
    try:
        found = formats.load_ssh_private_key(data, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        found = None
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise InputError(
            f"{key} is no private key of a client; `trimwave keys client NAME` makes "
            "one, and NAME.pub is its public half."
        )
    warn_if_readable(key)


def warn_if_readable(key: Path) -> None:
    """Warn if others than its owner may read a private key."""
    if stat.S_IMODE(key.stat().st_mode) & (stat.S_IRWXG | stat.S_IRWXO):
        warnings.warn(f"others may read {key}; run: chmod 600 {key}", stacklevel=3)


def _check_dates(path: Path, certificate: x509.Certificate) -> None:
    now = dt.datetime.now(dt.UTC)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now < begins:
        raise InputError(
            f"{path} is valid from {begins:%Y-%m-%d %H:%M} UTC on; the clock here says "
            f"{now:%Y-%m-%d %H:%M} UTC. Set it."
        )
    anew = "make a new one with `trimwave keys server`"
    if now > ends:
        raise InputError(f"{path} ended on {ends:%Y-%m-%d}; {anew}.")
    if ends - now < dt.timedelta(days=SOON_DAYS):
        warnings.warn(f"{path} ends on {ends:%Y-%m-%d}; {anew}", stacklevel=3)


def _check_host(path: Path, certificate: x509.Certificate, host: str) -> None:
    names = certificate.extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    ).value
    covered = {str(one) for one in names.get_values_for_type(x509.IPAddress)}
    covered |= {one.lower() for one in names.get_values_for_type(x509.DNSName)}
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        asked, is_any = host.lower(), False
    else:
        asked, is_any = str(address), address.is_unspecified
    if asked not in covered and not is_any:
        raise InputError(
            f"{path} does not cover `{host}`, only {', '.join(sorted(covered))}; move "
            f"it and its key away and run: trimwave keys server {host}"
        )


def _check_clients(folder: Path, clients: Mapping[str, Path]) -> None:
    if not clients:
        raise InputError(
            f"no client is known: {folder}/clients has no .pub file; `trimwave keys "
            "client NAME` makes one."
        )
    owners: dict[bytes, str] = {}
    for name, path in clients.items():
        check_name(name)
        data = read_whole(path)
        try:
            key = formats.load_ssh_public_key(data)
        except (ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise InputError(f"{path} is no public key of `trimwave keys client`.")
        other = owners.setdefault(public_bytes(key), name)
        if other != name:
            raise InputError(f"{name} and {other} in {folder}/clients are one key.")
