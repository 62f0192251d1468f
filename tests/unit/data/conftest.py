"""Small data sets in every accepted form, made on the spot."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

EncodeImage = Callable[..., bytes]
WriteFolder = Callable[[Path, Mapping[str, bytes]], Path]


@pytest.fixture
def encode_image() -> EncodeImage:
    """Return the bytes of an image of one value or one colour."""

    def encode(value: int | tuple[int, ...] = 0, *, size: tuple[int, int] = (8, 8), kind: str = "PNG") -> bytes:
        mode = "L" if isinstance(value, int) else {3: "RGB", 4: "RGBA"}[len(value)]
        stream = io.BytesIO()
        Image.new(mode, size, value).save(stream, kind)
        return stream.getvalue()

    return encode


@pytest.fixture
def write_folder() -> WriteFolder:
    def write(root: Path, files: Mapping[str, bytes]) -> Path:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return root

    return write


@pytest.fixture
def write_zip() -> WriteFolder:
    def write(path: Path, files: Mapping[str, bytes]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path

    return write


@pytest.fixture
def two_classes(encode_image: EncodeImage) -> dict[str, bytes]:
    """Two files of each of two classes; the pixels of each are its own grey value."""
    return {
        "cat/0.png": encode_image(10),
        "cat/1.png": encode_image(11),
        "dog/0.png": encode_image(20),
        "dog/1.png": encode_image(21),
    }
