#!/bin/sh
# Install what pip cannot bring, where this may be done (as root, on Debian):
#   - the cross compiler that links TVM libraries for aarch64 boards; without it EdgeKD makes none, and says so;
#   - OpenSSH's client and server, with which the tests measure over ssh on this machine.
# Tests of what is missing are skipped with the reason.
set -u
wanted=""
command -v aarch64-linux-gnu-g++ >/dev/null 2>&1 || wanted="$wanted g++-aarch64-linux-gnu"
command -v ssh >/dev/null 2>&1 || wanted="$wanted openssh-client"
[ -x /usr/sbin/sshd ] || wanted="$wanted openssh-server"
if [ -z "$wanted" ]; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    # Each by itself, so that one that cannot be had does not keep the others away.
    apt-get update -qq >/dev/null
    for package in $wanted; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null \
          || echo "note: $package could not be installed" >&2
    done
    exit 0
fi
echo "note: not installed, which leaves out what needs it: apt-get install$wanted" >&2
exit 0
