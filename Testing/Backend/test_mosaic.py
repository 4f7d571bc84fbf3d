"""The picture of a patch beside its activation."""

from __future__ import annotations

import pytest
import torch

from deepfeatures.errors import InputError
from deepfeatures.pipelines.activation_figure import write_mosaic


@pytest.mark.parametrize("depths", [(8, 4), (32, 2), (12, 1)])
def test_mosaic_is_a_picture_of_its_own_kind_for_any_depth(tmp_path, depths):
    pytest.importorskip("matplotlib")
    patch, activation = (torch.rand(depth, depth, depth) for depth in depths)
    write_mosaic(patch, activation, tmp_path / "a.png", title="conv1_1")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_mosaic_of_nothing_but_one_value_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    write_mosaic(torch.zeros(4, 4, 4), torch.zeros(2, 2, 2), tmp_path / "a.png", title="flat")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_a_title_is_drawn_as_it_stands(tmp_path):
    pytest.importorskip("matplotlib")
    write_mosaic(torch.zeros(4, 4, 4), torch.zeros(2, 2, 2), tmp_path / "a.png", title=r"conv1_1, $\frac$")
    assert (tmp_path / "a.png").stat().st_size > 0


def test_mosaic_where_nothing_can_be_written_says_so(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(InputError, match="cannot write"):
        write_mosaic(torch.zeros(4, 4, 4), torch.zeros(2, 2, 2), tmp_path / "absent" / "a.png", title="x")
