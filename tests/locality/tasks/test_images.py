"""CIFAR-10 files, the archive, and the digits: what is read, and what is refused."""

import contextlib
import hashlib
import http.server
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from htfjax import locality
from htfjax.locality.tasks import digits

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


@pytest.mark.slow
def test_the_archive_is_unpacked_only_if_it_is_the_right_one(
    tmp_path: Path, batch: np.ndarray
) -> None:
    options = pack(tmp_path, batch, FILES)
    with pytest.raises(ValueError, match=r"expected 0000.*nothing was unpacked"):
        locality.download_cifar10(tmp_path / "out", **{**options, "md5": "0000"})
    with pytest.raises(ValueError, match="more than 5 bytes"):
        locality.download_cifar10(tmp_path / "out", **{**options, "size": 5})
    with pytest.raises(ValueError, match=f"bytes, expected {options['size'] + 1}"):
        locality.download_cifar10(
            tmp_path / "out", **{**options, "size": options["size"] + 1}
        )
    assert list((tmp_path / "out").iterdir()) == []
    folder = locality.download_cifar10(tmp_path / "out", **options)
    assert sorted(p.name for p in folder.iterdir()) == sorted(FILES)
    np.testing.assert_array_equal(locality.load_cifar10(folder, "test").labels, batch[:, 0])
    # A finished folder is left alone, whatever the address.
    again = locality.download_cifar10(tmp_path / "out", url="file:///nowhere")
    assert again == folder
    # One flipped bit in a file of the right size is noticed, and mended.
    path = folder / "data_batch_2.bin"
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_2\.bin has changed"):
        locality.load_cifar10(folder, "train")
    with pytest.raises(OSError, match="cannot be read"):
        locality.download_cifar10(tmp_path / "out", url="file:///nowhere")
    locality.download_cifar10(tmp_path / "out", **options)
    locality.load_cifar10(tmp_path / "out", "train")
    # Files that were not unpacked here are compared, and left alone if they differ.
    (tmp_path / "out" / "htfjax-cifar-10.json").unlink()
    locality.download_cifar10(tmp_path / "out", **options)
    (tmp_path / "out" / "htfjax-cifar-10.json").unlink()
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"data_batch_2\.bin is not the official file"):
        locality.download_cifar10(tmp_path / "out", **options)
    assert path.read_bytes() == content


@contextlib.contextmanager
def served(answer: Callable[[Any], None]) -> Iterator[str]:
    """The address of a server on this machine that answers every request so."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with contextlib.suppress(OSError):
                answer(self.wfile)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/archive.tar.gz"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_slow_server_is_given_up_after_the_deadline(tmp_path: Path) -> None:
    """Each byte comes in time, the whole never does."""

    def drip(file: Any) -> None:
        for _ in range(600):
            file.write(b"x")
            time.sleep(0.05)

    begun = time.monotonic()
    with served(drip) as url, pytest.raises(OSError, match=r"cannot be read.*bytes in"):
        locality.download_cifar10(tmp_path / "out", url=url, timeout=5.0, deadline=0.5)
    assert time.monotonic() - begun < 4.0
    assert list((tmp_path / "out").iterdir()) == []


def test_an_endless_body_stops_at_the_known_size(tmp_path: Path) -> None:
    sent = []

    def pour(file: Any) -> None:
        while True:
            file.write(bytes(1 << 16))
            sent.append(1 << 16)

    with served(pour) as url, pytest.raises(ValueError, match="more than 100000 bytes"):
        locality.download_cifar10(tmp_path / "out", url=url, size=100_000)
    assert sum(sent) < 100e6


def test_another_answer_is_no_archive(tmp_path: Path) -> None:
    with served(lambda file: file.write(b"<html>")) as url:
        with pytest.raises(ValueError, match="gave 6 bytes, expected 170052171"):
            locality.download_cifar10(tmp_path / "out", url=url)


def test_an_archive_without_a_file_is_refused(tmp_path: Path, batch: np.ndarray) -> None:
    options = pack(tmp_path, batch[:10], FILES[:-1])
    with pytest.raises(ValueError, match=r"lacks test_batch\.bin"):
        locality.download_cifar10(tmp_path / "out", **options)


def test_digits_are_split_before_anything_else() -> None:
    """Both parts are the whole, in the order of the permutation."""
    with np.load(digits.FILE, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    order = np.random.default_rng(0).permutation(len(labels))
    train, test = locality.load_digits("train"), locality.load_digits("test")
    assert (len(train.labels), len(test.labels)) == (1078, 719)
    both = np.concatenate([train.pixels, test.pixels])[..., 0]
    np.testing.assert_array_equal(both, images[order])
    whole = np.concatenate([train.labels, test.labels])
    np.testing.assert_array_equal(whole, labels[order])
    assert (train.white, train.pixels.dtype, train.labels.dtype) == (16, "uint8", "uint8")


def test_digits_are_those_of_the_source() -> None:
    """Their number per class as in UCI's own description of the test part."""
    with np.load(digits.FILE, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    np.testing.assert_array_equal(np.bincount(labels), counts)
    assert (images.shape, images.min(), images.max()) == ((1797, 8, 8), 0, 16)
    np.testing.assert_array_equal(labels[:10], range(10))


def test_digits_are_those_of_scikit_learn() -> None:
    """The same values in the same order, so results of either are the same."""
    datasets = pytest.importorskip("sklearn.datasets")
    values, wanted = datasets.load_digits(return_X_y=True)
    with np.load(digits.FILE, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["images"].reshape(-1, 64), values)
        np.testing.assert_array_equal(archive["labels"], wanted)


def test_the_licence_of_the_digits_stands_beside_them() -> None:
    """Its text, the creators and the source: CC BY 4.0 asks for them."""
    text = digits.FILE.with_name("digits.LICENSE.txt").read_text("utf-8")
    licence = "Creative Commons Attribution 4.0 International Public License"
    for words in ("Alpaydin", "Kaynak", "UCI Machine Learning Repository", licence):
        assert words in text


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
