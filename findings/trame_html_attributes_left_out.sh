#!/bin/sh
# trame leaves out attributes of HTML elements that it does not know, without a word: `role` is one of them.
#
# Seen with trame 4.0.0 and trame-client 4.1.4, Python 3.11. `html.Div("a", role="status", title="t")` becomes a div with
# a title and without a role, so that screen readers are not told of a status. No exception, no warning. Attributes given
# as `raw_attrs=['role="status"']` are kept.
#
# Output seen:
#   title kept: True
#   role kept: False
#   role kept by raw_attrs: True
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet trame==4.0.0 trame-client==4.1.4
cat > "$folder/look.py" <<'PYTHON'
from trame.app import get_server
from trame.ui.html import DivLayout
from trame.widgets import html

with DivLayout(get_server("first")) as layout:
    html.Div("a", role="status", title="t")
print("title kept:", 'title="t"' in layout.html)
print("role kept:", 'role="status"' in layout.html)
with DivLayout(get_server("second")) as layout:
    html.Div("a", raw_attrs=['role="status"'])
print("role kept by raw_attrs:", 'role="status"' in layout.html)
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
