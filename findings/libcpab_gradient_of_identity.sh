#!/bin/sh
# libcpab's gradient at the identity is not a number.
#
# Seen with libcpab 0.1.3, torch 2.13.0 and numpy 2.3.5, Python 3.11. With all parameters 0, which is where an
# optimisation begins, `transform_grid` returns the points, and its gradient by the parameters is NaN. The next step then
# fails with an IndexError in another place. With parameters of 1e-6 the gradient is right.
#
# Output seen:
#   0.0 False
#   1e-06 True
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.3.5 setuptools libcpab==0.1.3
cd "$folder"
cat > look.py <<'PYTHON'
import torch
from libcpab import Cpab

layer = Cpab([2, 2, 2], device="cpu", zero_boundary=True)
for size in (0.0, 1e-6):
    theta = torch.full((1, layer.get_theta_dim()), size, requires_grad=True)
    layer.transform_grid(torch.rand(3, 20), theta).square().sum().backward()
    print(size, bool(torch.isfinite(theta.grad).all()))
PYTHON
venv/bin/python look.py 2> /dev/null | tee seen.txt
cat > expected.txt <<'TEXT'
0.0 False
1e-06 True
TEXT
diff expected.txt seen.txt
