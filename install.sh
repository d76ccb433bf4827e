#!/bin/sh
# Installs Skep's package on this Debian or Ubuntu host, upgrades it, or removes it. Downloads nothing itself; apt gets what
# the package depends on from the host's own sources.
#   install.sh [--package FILE]        FILE: default the newest skep_*.deb beside this script, or in dist-package below it
#   install.sh --uninstall [--purge]   --purge: also state and settings; the host forgets its swarm
set -eu
api=unix:///run/skep/docker.sock

say() { printf 'skep: %s\n' "$*"; }
fail() { # WHAT MEANING REMEDY
  printf 'skep: %s\n  meaning: %s\n  to do:   %s\n' "$@" >&2
  exit 1
}
usage() { sed -n '2,5s/^# \{0,1\}//p' "$0"; }

package='' uninstall='' purge=''
while [ $# -gt 0 ]; do
  case $1 in
    --package)
      [ $# -ge 2 ] || fail '--package names no file' 'nothing was done' 'give the path of a skep_*.deb after it'
      package=$2
      shift
      ;;
    --uninstall) uninstall=1 ;;
    --purge) purge=1 ;;
    --help | -h)
      usage
      exit 0
      ;;
    *)
      usage >&2
      fail "$1 is no option of install.sh" 'nothing was done' 'give one of those above'
      ;;
  esac
  shift
done
if [ -n "$purge" ] && [ -z "$uninstall" ]; then fail '--purge is for --uninstall' 'nothing was done' 'give both, or neither'; fi
if [ -n "$package" ] && [ -n "$uninstall" ]; then fail '--package is not for --uninstall' 'nothing was done' 'give one of the two'; fi

# --- Prerequisites ------------------------------------------------------------------------------------------------------
[ "$(id -u)" = 0 ] || fail 'this is not root' 'packages can only be installed and removed by root' "sudo sh $0"
for tool in apt-get dpkg dpkg-deb; do
  command -v "$tool" >/dev/null || fail "this host has no $tool" 'Skep comes as a Debian package, for Debian 12 and later and for Ubuntu 24.04 and later' \
    'use such a host'
done
[ -d /run/systemd/system ] || fail 'systemd does not run here' 'nothing would start the daemons' 'use a host that systemd has started'

# A context of one's own for who called sudo: the package makes root's.
caller=${SUDO_USER:-root}
as_caller() { # COMMAND...
  [ "$caller" != root ] && command -v docker >/dev/null && runuser -u "$caller" -- env -u DOCKER_HOST -u DOCKER_CONTEXT "$@"
}

# --- Removal --------------------------------------------------------------------------------------------------------------
if [ -n "$uninstall" ]; then
  state=$(dpkg-query -W -f '${db:Status-Status}' skep 2>/dev/null) || state=
  case $state in
    '' | not-installed)
      say 'not installed: there is nothing to remove'
      exit 0
      ;;
    config-files)
      if [ -z "$purge" ]; then
        say 'removed already; --purge removes its state and settings, too'
        exit 0
      fi
      ;;
  esac
  if [ "$(as_caller docker context inspect skep --format '{{.Endpoints.docker.Host}}' 2>/dev/null)" = "$api" ]; then
    as_caller docker context rm --force skep >/dev/null || true
  fi
  action=remove
  [ -z "$purge" ] || action=purge
  DEBIAN_FRONTEND=noninteractive apt-get -y "$action" skep || fail "apt-get $action failed" 'Skep may be half removed' \
    "read what apt says above, mend it, and run this again"
  say 'removed. What it depended on is still there: apt-get autoremove removes what nothing else needs'
  [ -n "$purge" ] || say "its state in /var/lib/skep and settings in /etc/skep are kept: --uninstall --purge removes them"
  exit 0
fi

# --- Installation -----------------------------------------------------------------------------------------------------------
architecture=$(dpkg --print-architecture)
here=$(cd "$(dirname "$0")" && pwd)
if [ -z "$package" ]; then
  for directory in "$here" "$here/dist-package"; do
    package=$(find "$directory" -maxdepth 1 -name "skep_*_$architecture.deb" 2>/dev/null | sort -V | tail -n 1)
    [ -z "$package" ] || break
  done
  [ -n "$package" ] || fail "there is no skep_*_$architecture.deb in $here" 'there is nothing to install' \
    'put the package beside install.sh, or name it: --package FILE; npm run package makes one from a checkout'
fi
[ -r "$package" ] || fail "$package cannot be read" 'there is nothing to install' 'give the path of a skep_*.deb'
[ "$(dpkg-deb -f "$package" Package 2>/dev/null)" = skep ] || fail "$package is no package of Skep" 'it is damaged, or another one' 'give the path of a skep_*.deb'
[ "$(dpkg-deb -f "$package" Architecture)" = "$architecture" ] || fail "$package is for $(dpkg-deb -f "$package" Architecture)" \
  "this host is $architecture, and its programs would not run" "make the package on a host of $architecture"
for unit in skep-dataplane.service skepd.service; do
  [ ! -e "/etc/systemd/system/$unit" ] || fail "/etc/systemd/system/$unit is there" \
    "it hides the package's own unit: an installation from a checkout would go on running" \
    "systemctl disable --now $unit; rm /etc/systemd/system/$unit; then run this again: state is kept"
done
if command -v docker >/dev/null; then
  swarm=$(docker -H unix:///var/run/docker.sock info --format '{{.Swarm.LocalNodeState}}' 2>/dev/null) || swarm=
  case $swarm in
    '' | inactive) ;;
    *) fail "this host's Docker Engine is itself in swarm mode ($swarm)" "its ports and networks would collide with Skep's" \
      'docker -H unix:///var/run/docker.sock swarm leave --force, which ends the services that run here; then run this again' ;;
  esac
fi

# Debian starts an etcd of its own when it installs the program, of which alone Skep has any use. One that was there before stays.
spare_etcd=
if ! dpkg-query -W -f '${db:Status-Status}' etcd-server 2>/dev/null | grep -qx installed; then
  spare_etcd=1
  systemctl --quiet --runtime mask etcd.service 2>/dev/null || spare_etcd=
fi
end_mask() {
  [ -z "$spare_etcd" ] || {
    systemctl --quiet --runtime unmask etcd.service || true
    systemctl --quiet disable etcd.service 2>/dev/null || true
    spare_etcd=
  }
}
trap end_mask EXIT

say "installing $package"
package=$(readlink -f "$package")
# Settings that were changed here stay as they are.
DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$package" ||
  fail 'apt-get install failed' 'Skep is not installed, or only in part' \
    'read what apt says above; where it finds no package, run apt-get update; then run this again'
end_mask
if [ "$caller" != root ] && ! as_caller docker context inspect skep >/dev/null 2>&1; then
  as_caller docker context create skep --docker "host=$api" >/dev/null 2>&1 || say "$caller has no docker context: docker context create skep --docker host=$api"
fi

say 'asking this host whether it can run Skep: skep doctor'
if ! skep doctor; then
  fail 'skep doctor finds something missing' 'Skep is installed, and part of what it does will not work on this host' 'what it says above; then: skep doctor'
fi
cat <<'NEXT'

Skep is installed and runs. Next:
  docker --context skep swarm init                    on the first host: make a swarm
  docker --context skep swarm join-token worker       there: what to run on the other hosts, after docker --context skep
  docker --context skep service create --name web --publish 8080:80 nginx
  skep status; skep verify                            how this host's network is
Settings: /etc/skep/skep.toml. Removal: install.sh --uninstall [--purge].
NEXT
