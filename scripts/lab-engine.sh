#!/bin/bash
# Lays out a Docker Engine that is newer than Debian 12's below /var/cache/skep-lab/engine/VERSION, for labs that are to be on
# one: dockerd and what it starts, which are linked to `current`. Nothing is installed, and the machine's own sources of apt stay
# as they are: this has lists of its own, of Debian's unstable distribution, which apt checks by the archive's key as always.
# Idempotent; once the directory is there no network is needed. With --newest it takes the newest there is.
# Environment: SKEP_DEBIAN_MIRROR (may be unset: where the machine's own apt has Debian from), SKEP_LAB_ENGINES (may be unset: where to lay it out).
set -euo pipefail
cache=${SKEP_LAB_ENGINES:-/var/cache/skep-lab/engine}
# What test/swarm/http/kept was asked of last. Unstable moves on, then it is the newest: requests name the version they speak.
wanted=28.5.2+dfsg4-5
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf 'setup: %s\n' "$*"; }

if [ -e "$cache/current/dockerd" ] && [ "${1:-}" != --newest ]; then exit; fi
# The archive that the machine uses, unstable being another suite of it.
mirror=${SKEP_DEBIAN_MIRROR:-$(find /etc/apt \( -name '*.sources' -o -name '*.list' \) -exec cat {} + | sed -nE '/^#/d; s#.*(https?://[^ ]+/debian)/?( .*)?$#\1#p' | sed -n 1p)}
[ -n "$mirror" ] || {
  say 'apt has no Debian archive among its sources: SKEP_DEBIAN_MIRROR names one'
  exit 1
}
mkdir -p "$cache"
work=$(mktemp -d "$cache/new.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
printf 'Types: deb\nURIs: %s\nSuites: sid\nComponents: main\nSigned-By: %s\n' "$mirror" "$keyring" >"$work/sid.sources"

# apt with these lists alone. The directory is root's, so apt must not hand downloads to its own user.
of_unstable() { # PROGRAM ARGUMENT...
  local program=$1
  shift
  "$program" -qq -o "Dir::Etc::SourceList=$work/sid.sources" -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null \
    -o Dir::Etc::PreferencesParts=/dev/null -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" \
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=2 "$@"
}

of_unstable apt-get update
offered=$(of_unstable apt-cache madison docker.io | awk -F '|' -v mirror="$mirror" 'index($3, mirror) { gsub(/ /, "", $2); print $2 }')
version=$(head -n 1 <<<"$offered")
if [ "${1:-}" != --newest ] && grep -qxF "$wanted" <<<"$offered"; then version=$wanted; fi
[ -n "$version" ] || {
  say "$mirror does not answer, or has no docker.io in its unstable distribution"
  exit 1
}
[ "$version" = "$wanted" ] || say "docker.io $wanted is not offered any more: taking $version, which may answer otherwise"
say "unpacking docker.io $version for labs"
(cd "$work" && of_unstable apt-get download "docker.io=$version")
dpkg-deb -x "$work"/docker.io_*.deb "$work/package"
mkdir "$work/engine"
mv "$work"/package/usr/sbin/* "$work/engine/"
# What the newer distribution links with may not be here.
"$work/engine/dockerd" --version >/dev/null
chmod 755 "$work/engine"
rm -rf "${cache:?}/$version"
mv "$work/engine" "$cache/$version"
ln -sfn "$version" "$cache/current"
