"""Images: CIFAR-10's binary layout, the guarded download, and the digits' split."""

# Wrong types are the point of some rows here.
# pyright: reportArgumentType=false

import hashlib
import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from htfjax import locality
from htfjax.locality import cifar10

RECORD = 3073


def write_batch(path: Path, first: int, records: int = 10_000) -> np.ndarray:
    """A file of the official layout in which every byte says where it is."""
    data = np.zeros((records, RECORD), np.uint8)
    data[:, 0] = (np.arange(records) + first) % 10
    data[:, 1] = first  # red of the top left pixel
    data[:, 2] = 7  # red, one to the right
    data[:, 1 + 32] = 8  # red, one below
    data[:, 1 + 1024] = 9  # green of the top left pixel
    data[:, 3072] = 11  # blue of the bottom right pixel
    data.tofile(path)
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six files of the right size."""
    where = tmp_path_factory.mktemp("cifar")
    for k in range(1, 6):
        write_batch(where / f"data_batch_{k}.bin", k)
    write_batch(where / "test_batch.bin", 6)
    return where


def test_every_byte_comes_to_its_place(folder: Path) -> None:
    images = locality.load_cifar10(folder, "train", name="CIFAR-10 (JPEG-75 copy)")
    assert images.pixels.shape == (50_000, 32, 32, 3)
    assert images.name == "CIFAR-10 (JPEG-75 copy)"
    assert images.pixels[::10_000, 0, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert images.labels[:3].tolist() == [1, 2, 3]
    one = images.pixels[123]
    assert (one[0, 1, 0], one[1, 0, 0], one[0, 0, 1], one[31, 31, 2]) == (7, 8, 9, 11)
    assert int(one.astype(int).sum()) == 1 + 7 + 8 + 9 + 11


def test_the_test_split_and_the_folder_above(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").symlink_to(folder)
    images = locality.load_cifar10(tmp_path, "test")
    assert images.pixels.shape == (10_000, 32, 32, 3)
    assert images.name == "CIFAR-10"
    assert images.pixels[0, 0, 0, 0] == 6


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as error:
        locality.load_cifar10(tmp_path, "train")
    for word in ("data_batch_1.bin", "30730000 bytes", "https://www.cs.toronto.edu"):
        assert word in str(error.value)


@pytest.mark.parametrize(("records", "word"), [(9_999, "truncated"), (10_001, "too long")])
def test_a_file_of_another_size_is_named(tmp_path: Path, records: int, word: str) -> None:
    write_batch(tmp_path / "test_batch.bin", 0, records)
    with pytest.raises(ValueError, match=rf"test_batch.bin is {word}.*30730000"):
        locality.load_cifar10(tmp_path, "test")


def test_labels_above_nine_are_refused(tmp_path: Path) -> None:
    data = write_batch(tmp_path / "test_batch.bin", 0)
    data[77, 0] = 10
    data.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(ValueError, match=r"label 10 in record 77, expected 0 to 9"):
        locality.load_cifar10(tmp_path, "test")


def archive_of(path: Path, names: list[str]) -> bytes:
    """A gzipped tar with one short file for each name."""
    with tarfile.open(path, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 4
            tar.addfile(member, io.BytesIO(b"data"))
    return path.read_bytes()


OFFICIAL = [f"data_batch_{k}.bin" for k in range(1, 6)] + ["test_batch.bin"]


def fetch(tmp_path: Path, names: list[str], **changes) -> Path:
    """Downloads a small local archive, told its true size and checksum unless changed."""
    source = tmp_path / "source.tar.gz"
    data = archive_of(source, names)
    told = {"size": len(data), "md5": hashlib.md5(data).hexdigest()} | changes
    return locality.download_cifar10(
        tmp_path / "out", url=source.resolve().as_uri(), **told
    )


def test_the_archive_is_unpacked(tmp_path: Path) -> None:
    names = [f"cifar-10-batches-bin/{name}" for name in OFFICIAL]
    target = fetch(tmp_path, [*names, "../escape.bin"])
    assert sorted(path.name for path in target.iterdir()) == OFFICIAL
    assert (target / "test_batch.bin").read_bytes() == b"data"
    assert [path.name for path in (tmp_path / "out").iterdir()] == [target.name]
    assert not (tmp_path / "escape.bin").exists()


def test_a_finished_folder_needs_no_archive(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").symlink_to(folder)
    found = locality.download_cifar10(tmp_path, url="file:///nowhere")
    assert found == tmp_path / "cifar-10-batches-bin"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"md5": "0" * 32}, "expected 0000.*nothing was unpacked"),
        ({"size": 10**6}, "expected 1000000: a broken transfer"),
    ],
)
def test_another_archive_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fetch(tmp_path, OFFICIAL, **changes)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_archive_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"lacks data_batch_1.bin, data_batch_2.bin"):
        fetch(tmp_path, OFFICIAL[2:])
    assert list((tmp_path / "out").iterdir()) == []


def test_a_truncated_archive_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "half.tar.gz"
    data = archive_of(source, OFFICIAL)[:-40]
    source.write_bytes(data)
    with pytest.raises(ValueError, match="archive is damaged"):
        locality.download_cifar10(
            tmp_path / "out",
            url=source.as_uri(),
            size=len(data),
            md5=hashlib.md5(data).hexdigest(),
        )


def test_the_official_archive_is_the_default() -> None:
    assert cifar10.MD5 == "c32a1d4ab5d03f1284b67883e8d87530"
    assert cifar10.SIZE == 170_052_171
    assert cifar10.URL.endswith("/cifar-10-binary.tar.gz")


def test_digits_are_split_before_pairing() -> None:
    """The recipe's permutation, its counts, and no image on both sides."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(1797)
    train, test = locality.load_digits("train"), locality.load_digits("test")
    assert (len(train.labels), len(test.labels)) == (1078, 719)
    np.testing.assert_array_equal(train.pixels.reshape(-1, 64), values[order[:1078]])
    np.testing.assert_array_equal(test.labels, labels[order[1078:]])
    assert (train.white, train.mean, train.std) == (16, (0.0,), (1.0,))


@pytest.mark.parametrize(
    "load", [locality.load_digits, lambda s: locality.load_cifar10("", s)]
)
def test_another_split_is_refused(load) -> None:
    with pytest.raises(ValueError, match=r"`split='val'`"):
        load("val")


PIXELS, LABELS = np.zeros((2, 4, 4, 3), np.uint8), np.array([0, 1])


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ((PIXELS.astype(float), LABELS, "x"), TypeError, "`pixels` must be uint8"),
        ((PIXELS[0], LABELS, "x"), ValueError, r"`pixels` must be \(N, H, W, C\)"),
        ((PIXELS, LABELS[:1], "x"), ValueError, "`labels` has shape"),
        ((PIXELS, LABELS - 1, "x"), ValueError, "`labels` must be integers"),
        ((PIXELS, LABELS, "x", 0), ValueError, "`white=0`"),
        ((PIXELS, LABELS, "x", 255, (0.0, 0.0)), ValueError, "`mean="),
        ((PIXELS, LABELS, "x", 255, (0.0,), (0.0,)), ValueError, "`std="),
    ],
)
def test_images_that_cannot_be(arguments: tuple, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        locality.Images(*arguments)
