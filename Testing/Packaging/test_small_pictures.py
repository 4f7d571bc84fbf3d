"""Pictures are stored small, and still show what they are drawn for."""

import io

import numpy as np
import pytest
from PIL import Image

import small_pictures

ORANGE = (230, 159, 0)


@pytest.fixture(scope="module")
def noisy():
    """Grey noise, which compresses badly, with an orange mark of a few pixels."""
    grey = np.random.default_rng(0).normal(128, 30, (600, 700, 1)).clip(0, 255).astype(np.uint8)
    pixels = np.repeat(grey, 3, axis=2)
    pixels[290:310, 347:353] = ORANGE
    return Image.fromarray(pixels)


def test_a_large_picture_becomes_small_and_keeps_its_coloured_marks(noisy):
    stored = small_pictures.small(noisy)
    assert len(stored) <= small_pictures.LIMIT_BYTES
    pixels = np.asarray(Image.open(io.BytesIO(stored)).convert("RGB")).astype(int)
    middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2]
    assert np.abs(middle - ORANGE).max() < 40


def test_a_picture_that_is_small_stays_as_it_is(noisy, tmp_path):
    path = tmp_path / "picture.png"
    noisy.save(path)
    small_pictures.main([str(tmp_path)])
    once = path.read_bytes()
    small_pictures.main([str(path)])
    assert path.read_bytes() == once


def test_a_transparent_picture_stays_as_it_is(tmp_path):
    path = tmp_path / "icon.png"
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(path)
    before = path.read_bytes()
    small_pictures.store_small(path)
    assert path.read_bytes() == before
