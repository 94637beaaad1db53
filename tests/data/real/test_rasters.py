import numpy as np
import pytest
import torch
from PIL import Image

from mtlrepro.data.real.rasters import read_raster, resize_image, resize_nearest, rgb_of, write_raster
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
