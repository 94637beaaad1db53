import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from mtlrepro.data.real.rasters import (
    raster_size,
    read_array,
    read_raster,
    resize_image,
    resize_nearest,
    rgb_of,
    write_raster,
)
from mtlrepro.files import replacing

KINDS = {"RGB": ((5, 7, 3), np.uint8), "ids": ((5, 7), np.uint8), "uint16": ((5, 7), np.uint16)}


@pytest.mark.parametrize("kind", KINDS)
def test_files_hold_every_value(tmp_path, kind):
    shape, dtype = KINDS[kind]
    array = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    write_raster(tmp_path / "new/a.png", array)
    found = read_raster(tmp_path / "new/a.png", kind, size=(5, 7), remedy="")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_cut_through_a_file_is_found(tmp_path, kind):
    shape, dtype = KINDS[kind]
    write_raster(tmp_path / "a.png", np.random.default_rng(0).integers(0, 255, shape).astype(dtype))
    content = (tmp_path / "a.png").read_bytes()
    # The last 20 bytes are checksums and the end mark: without them all pixels are there.
    for length in range(0, len(content) - 24, 5):
        (tmp_path / "cut.png").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"cut\.png: not a complete image file .*; get it again"):
            read_raster(tmp_path / "cut.png", kind, remedy="get it again")


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow warns of the first and refuses the second.
def test_a_header_that_states_a_vast_image_is_named(tmp_path, side):
    write_raster(tmp_path / "a.png", np.zeros((5, 7, 3), np.uint8))
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    message = r"a\.png: not a complete image file \(Image size .* exceeds limit.*; get it again"
    with pytest.raises(ValueError, match=message):
        read_raster(tmp_path / "a.png", "RGB", remedy="get it again")
    with pytest.raises(ValueError, match=message):
        raster_size(tmp_path / "a.png", remedy="get it again")


@pytest.mark.parametrize("shape", ["(1000000, 1000000, 3)", "(99999999999999999999, 3)", "(2, 3"])
def test_a_header_of_an_array_that_is_not_in_the_file_is_named(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(24)
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.npy: not a complete array file .*; get it again"):
        read_array(tmp_path / "a.npy", low=0, high=1, remedy="get it again")


def test_what_is_no_array_of_pixels_is_named(tmp_path):
    for array, found in (
        (np.array([["0.5"]]), r"\[1, 1\] of <U3"),
        (np.zeros(3), r"\[3\] of"),
        (np.zeros((0, 3)), r"\[0, 3\]"),
    ):
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ValueError, match=rf"a\.npy: shape {found}.*; accepted: numbers, .*; get it again"):
            read_array(tmp_path / "a.npy", low=0, high=1, remedy="get it again")
    with (tmp_path / "a.npy").open("wb") as file:
        np.savez(file, np.zeros(3))
    with pytest.raises(ValueError, match=r"a\.npy: not a complete array file .*; get it again"):
        read_array(tmp_path / "a.npy", low=0, high=1, remedy="get it again")


def test_palette_files_give_their_indices(tmp_path):
    ids = np.array([[0, 18, 255]], np.uint8)
    image = Image.fromarray(ids, mode=None).convert("P")
    image.putpalette(list(range(255, -1, -1)) * 3)
    image.putdata(ids.ravel().tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_raster(tmp_path / "a.png", "ids", remedy=""), ids)


def test_the_nearest_pixel_is_that_of_the_centre():
    array = np.arange(6 * 9).reshape(6, 9)
    np.testing.assert_array_equal(resize_nearest(array, (2, 3)), array[1::3, 1::3])
    np.testing.assert_array_equal(resize_nearest(array, (12, 18))[::2, ::2], array)
    np.testing.assert_array_equal(resize_nearest(array, (6, 9)), array)
    pillow = Image.fromarray(array.astype(np.uint8)).resize((4, 5), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(resize_nearest(array, (5, 4)), np.array(pillow))


def test_shrinking_an_image_averages_it():
    checks = np.indices((32, 32)).sum(0) % 2 * 255
    small = resize_image(np.repeat(checks[..., None], 3, -1).astype(np.uint8), (8, 8))
    assert small.shape == (8, 8, 3)
    assert np.abs(small.astype(int) - 127).max() <= 1


def test_colours_are_rounded():
    image = torch.tensor([0.0, 0.5, 1.0])[:, None, None].expand(3, 1, 2)
    assert rgb_of(image).tolist() == [[[0, 128, 255]] * 2]


def test_a_file_that_could_not_be_written_does_not_appear(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
