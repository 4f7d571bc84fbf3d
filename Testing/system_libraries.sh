#!/usr/bin/env bash
# Installs the system libraries that Qt and VTK need on a bare Debian or Ubuntu: only those that are absent.
set -euo pipefail

# shared library, the Debian package that has it
NEEDED="libGL.so.1 libgl1
libEGL.so.1 libegl1
libxkbcommon.so.0 libxkbcommon0
libdbus-1.so.3 libdbus-1-3
libfontconfig.so.1 libfontconfig1
libglib-2.0.so.0 libglib2.0-0
libX11.so.6 libx11-6"

[ "$(uname -s)" = Linux ] || exit 0
known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)
packages=$(echo "$NEEDED" | while read -r library package; do
  grep -q "$library " <<<"$known" || echo "$package"
done)
[ -n "$packages" ] || exit 0

if ! command -v apt-get >/dev/null; then
  echo "The tests need libraries that are absent; install what holds, on Debian, $(echo $packages)." >&2
  exit 1
fi
if [ "$(id -u)" = 0 ]; then run=(); elif sudo -n true 2>/dev/null; then run=(sudo -n); else
  echo "The tests need system packages that are absent; run: sudo apt-get install $(echo $packages)" >&2
  exit 1
fi
"${run[@]}" apt-get update -qq
"${run[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages
