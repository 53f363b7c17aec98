"""A file that ends with the hash of all that stands before: a change of any byte is found before anything is read.

The last bytes of the file are one more entry of `metadata_props`, which every reader of ONNX reads as such.
"""

import hashlib

KEY = "homeostat.sha256"
_HASH = 64  # hexadecimal digits


def _end(digest: str) -> bytes:
    """ModelProto's field 14, a StringStringEntryProto of the key and the digest (protobuf wire format, onnx.proto)."""
    entry = bytes([0x0A, len(KEY)]) + KEY.encode() + bytes([0x12, _HASH]) + digest.encode()
    return bytes([0x72, len(entry)]) + entry


def sealed(body: bytes) -> bytes:
    """The model with its hash behind it."""
    return body + _end(hashlib.sha256(body).hexdigest())


def unsealed(data: bytes) -> bytes:
    """The model before its hash. Errors: `ValueError`, one clause, where it does not end with the hash of what stands before."""
    size = len(_end("0" * _HASH))
    body, end = data[:-size], data[-size:]
    if end[:-_HASH] != _end("0" * _HASH)[:-_HASH]:
        raise ValueError(
            "it does not end with the hash that our files end with; it is truncated, or another kind of file"
        )
    if end != _end(hashlib.sha256(body).hexdigest()):
        raise ValueError("its hash is not that of what it holds; it was changed or damaged")
    return body
