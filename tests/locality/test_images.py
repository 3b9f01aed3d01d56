"""CIFAR-10 files, the archive, and the digits: what is read, and what is refused."""

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from htfjax import locality

COUNT, RECORD = 10_000, 3073
FILES = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    """Records whose pixels say where they are."""
    rng = np.random.default_rng(0)
    records = rng.integers(0, 256, (COUNT, RECORD), np.uint8)
    records[:, 0] = rng.integers(0, 10, COUNT)
    return records


def test_cifar_pixels_and_labels_are_where_they_belong(
    tmp_path: Path, batch: np.ndarray
) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    batch.tofile(tmp_path / "cifar-10-batches-bin" / "test_batch.bin")
    images = locality.load_cifar10(tmp_path, "test", name="noise")
    assert images.pixels.shape == (COUNT, 32, 32, 3)
    assert images.name == "noise"
    np.testing.assert_array_equal(images.labels, batch[:, 0])
    for image, row, column, channel in ((0, 0, 0, 0), (7, 3, 9, 1), (9999, 31, 31, 2)):
        byte = batch[image, 1 + 1024 * channel + 32 * row + column]
        assert images.pixels[image, row, column, channel] == byte


def test_damaged_cifar_files_are_named(tmp_path: Path, batch: np.ndarray) -> None:
    with pytest.raises(FileNotFoundError, match=r"test_batch\.bin is missing.*30730000"):
        locality.load_cifar10(tmp_path, "test")
    path = tmp_path / "test_batch.bin"
    batch[:-1].tofile(path)
    with pytest.raises(ValueError, match=r"test_batch\.bin is truncated, 30726927 bytes"):
        locality.load_cifar10(tmp_path, "test")
    wrong = batch.copy()
    wrong[17, 0] = 10
    wrong.tofile(path)
    with pytest.raises(ValueError, match="holds label 10 in record 17"):
        locality.load_cifar10(tmp_path, "test")
    with pytest.raises(ValueError, match="`split="):
        locality.load_cifar10(tmp_path, "validation")


def pack(folder: Path, batch: np.ndarray, names: list[str]) -> dict[str, Any]:
    """An archive like the official one; the options under which it is accepted."""
    inside = folder / "inside"
    inside.mkdir()
    for name in names:
        batch.tofile(inside / name)
    path = folder / "archive.tar.gz"
    with tarfile.open(path, "w:gz", compresslevel=1) as tar:
        tar.add(inside, "cifar-10-batches-bin")
    content = path.read_bytes()
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return {"url": path.as_uri(), "md5": md5, "size": len(content)}


def test_the_archive_is_unpacked_only_if_it_is_the_right_one(
    tmp_path: Path, batch: np.ndarray
) -> None:
    options = pack(tmp_path, batch, FILES)
    with pytest.raises(ValueError, match=r"expected 0000.*nothing was unpacked"):
        locality.download_cifar10(tmp_path / "out", **{**options, "md5": "0000"})
    with pytest.raises(ValueError, match="bytes, expected 5"):
        locality.download_cifar10(tmp_path / "out", **{**options, "size": 5})
    assert list((tmp_path / "out").iterdir()) == []
    folder = locality.download_cifar10(tmp_path / "out", **options)
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    np.testing.assert_array_equal(locality.load_cifar10(folder, "test").labels, batch[:, 0])
    # A finished folder is left alone, whatever the address.
    again = locality.download_cifar10(tmp_path / "out", url="file:///nowhere")
    assert again == folder


def test_an_archive_without_a_file_is_refused(tmp_path: Path, batch: np.ndarray) -> None:
    options = pack(tmp_path, batch[:10], FILES[:-1])
    with pytest.raises(ValueError, match=r"lacks test_batch\.bin"):
        locality.download_cifar10(tmp_path / "out", **options)


def test_digits_are_split_before_anything_else() -> None:
    from sklearn import datasets

    values = np.asarray(datasets.load_digits(return_X_y=True)[0])
    order = np.random.default_rng(0).permutation(len(values))
    train, test = locality.load_digits("train"), locality.load_digits("test")
    assert (len(train.labels), len(test.labels)) == (1078, 719)
    both = np.concatenate([train.pixels, test.pixels]).reshape(-1, 64)
    np.testing.assert_array_equal(both, values[order])
    assert train.white == 16


@pytest.mark.parametrize(
    ("pixels", "labels", "words"),
    [
        (np.full((2, 4, 4, 1), 0.5), np.zeros(2, np.uint8), "uint8"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.uint8), r"\(N, H, W, C\)"),
        (np.zeros((2, 4, 4, 1), np.uint8), np.zeros(3, np.uint8), "one per image"),
    ],
)
def test_images_are_checked(pixels: Any, labels: Any, words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        locality.Images(pixels, labels, "wrong")
