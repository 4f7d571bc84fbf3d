"""A checkerboard of two volume nodes: cubes in mm, grey values as both are shown."""

import numpy as np

from DeepFeatureLandmarksLib.scene.comparison_volume import SQUARES, checkerboardNode
from DeepFeatureLandmarksLib.scene.nodes import arrayFromNode

MATRIX = np.array([[0, 0, 2, 40], [-1, 0, 0, 5], [0, 1, 0, -30], [0, 0, 0, 1]], float)  # i, j, k to RAS mm


def test_cubes_alternate_and_grey_values_are_as_shown(scene, add_volume):
    shape = (16, 24, 32)
    rng = np.random.default_rng(3)
    template = add_volume("template", rng.uniform(0, 100, shape), MATRIX)
    warped = add_volume("warped", rng.uniform(-1000, 3000, shape), MATRIX)
    for node, window in ((template, (20, 60)), (warped, (-500, 1500))):
        node.CreateDefaultDisplayNodes()
        node.GetDisplayNode().SetAutoWindowLevel(False)
        node.GetDisplayNode().SetWindowLevelMinMax(*window)
    board = checkerboardNode(template, warped)
    found, first, second = (arrayFromNode(node) for node in (board, template, warped))
    for name in ("origin", "spacing", "direction"):
        assert np.allclose(getattr(found, name), getattr(first, name)), "it lies where the template lies"
    shades = np.clip((first.voxels - 20) / 40, 0, 1), np.clip((second.voxels + 500) / 2000, 0, 1)
    edge_mm = 32 / SQUARES  # 16 x 2 mm deep, 32 x 1 mm wide
    cubes = [(np.arange(size) * mm // edge_mm).astype(int) for size, mm in zip(shape, (2, 1, 1), strict=True)]
    is_second = (cubes[0][:, None, None] + cubes[1][:, None] + cubes[2]) % 2 == 1
    assert 0.4 < is_second.mean() < 0.6
    assert np.allclose(found.voxels, np.where(is_second, shades[1], shades[0]), atol=1e-6)


def test_one_node_is_filled_again_and_is_not_saved(scene, add_volume):
    template, warped = add_volume("template"), add_volume("warped")
    for node in (template, warped):
        node.CreateDefaultDisplayNodes()
    board = checkerboardNode(template, warped)
    count = scene.GetNumberOfNodes()
    assert checkerboardNode(template, warped, board) is board and scene.GetNumberOfNodes() == count
    assert not board.GetSaveWithScene() and board.GetHideFromEditors()
