"""Files of keys: read with clear errors, written once and for their owner alone."""

import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization as formats
from cryptography.hazmat.primitives.asymmetric import ec

from trimwave.base.errors import InputError
from trimwave.base.stored import disk_errors, sync_folder


def read_certificate(path: Path) -> x509.Certificate:
    """Read a certificate in PEM.

    Raises
    ------
    InputError
        If the file is missing or is none.
    """
    data = read_whole(path)
    try:
        return x509.load_pem_x509_certificate(data)
    except ValueError as error:
        raise InputError(f"{path} is no certificate in PEM.") from error


def read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Read a private key of the CA or the server, in PEM and without a password.

    Raises
    ------
    InputError
        If the file is missing or is none.
    """
    data = read_whole(path)
    try:
        found = formats.load_pem_private_key(data, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no private key in PEM.") from error
    if not isinstance(found, ec.EllipticCurvePrivateKey):
        raise InputError(f"{path} is no key on an elliptic curve, as ours are.")
    return found


def public_bytes(key: object) -> bytes:
    """Return a public key in one form, to compare it with others."""
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key.public_bytes(
        formats.Encoding.DER, formats.PublicFormat.SubjectPublicKeyInfo
    )


def read_whole(path: Path) -> bytes:
    """Read a file of keys.

    Raises
    ------
    InputError
        If it is missing or cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror or error}; `trimwave keys` makes it."
        ) from error


def refuse_to_replace(*paths: Path) -> None:
    """Check that nothing is where keys are to be.

    Raises
    ------
    InputError
        If a file is there.
    """
    for path in paths:
        if os.path.lexists(path):
            raise InputError(
                f"{path} exists, and no key is ever overwritten; move it away or give "
                "another --to."
            )


def make_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter; one that is there stays as is."""
    with disk_errors(folder, "no key was made", "try again"):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def write_new(path: Path, content: bytes, mode: int) -> None:
    """Write a file that is not there yet, never readable by more than it should be."""
    with disk_errors(path, "no key was made", "try again"):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(handle, "wb") as file:
                os.fchmod(handle, mode)
                file.write(content)
                file.flush()
                os.fsync(handle)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
