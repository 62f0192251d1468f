#!/bin/sh
# Install the cross compiler that links TVM libraries for aarch64 boards, where this may be done (as root, on Debian).
# Without it EdgeKD works, makes no TVM library, and says so; the tests of that part are skipped with the reason.
set -u
if command -v aarch64-linux-gnu-g++ >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq >/dev/null && apt-get install -y -qq g++-aarch64-linux-gnu >/dev/null && exit 0
fi
echo "note: no aarch64-linux-gnu-g++, so no TVM libraries: apt-get install g++-aarch64-linux-gnu" >&2
exit 0
