#!/bin/bash
# Makes a Debian 12 host a node of Skep, a named step at a time; the Vagrant lab runs them all, nodes of `skep lab` those that a
# node without an init system can. A step that finds its work done does nothing. Run by root.
#
#   prepare [INTERFACE...]          kernel modules and parameters, now and at each boot, and the directories of Skep
#   modules                         of these, the modules alone, now alone
#   sysctls [INTERFACE...]          the parameters alone, now alone, for interfaces that are there already, too
#   engine                          Debian's Docker Engine, which keeps its containers over its own restarts
#   install [--no-fetch] FILE       the package of Skep; without --no-fetch also what it depends on, from the host's archives
#   cluster state                   inactive, or what this host is in a swarm: pending, active, locked or error
#   cluster init ADDRESS            a swarm with this host, which the others reach at ADDRESS, as its first manager
#   cluster token manager|worker    writes the join token on its output
#   cluster join ADDRESS MANAGER    joins the swarm of MANAGER, an address; reads the token on its input
#   client                          not a node: the machine that calls the cluster
#
# A join token is a secret. It is on no command line, which every user of a host can read, and in no file: it comes on the
# standard input of `cluster join`, and goes on to the node's API by the input of curl.
# Environment: SKEP_API_SOCKET (may be unset: /run/skep/docker.sock).
set -euo pipefail
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME="${HOME:-/root}"

socket=${SKEP_API_SOCKET:-/run/skep/docker.sock}
api_deadline_s=90
# A join ends after 20 s with a refusal by Docker's contract, and goes on in the background.
call_deadline_s=60
manager_port=2377

say() { printf 'provision: %s\n' "$*" >&2; }
fail() {
  say "$@"
  exit 1
}
usage() {
  sed -n 's/^#   //p' "$0" >&2
  exit 2
}
has_systemd() { [ -d /run/systemd/system ]; }

# --- Host ---------------------------------------------------------------------------------------------------------
# All others the kernel loads when it is asked for what they do.
modules=(br_netfilter nf_conntrack_netlink)

# What systemd sets on a Debian host (50-default.conf), and forwarding, as a router of containers needs it.
sysctl_lines() { # INTERFACE...
  local interface
  cat <<'LINES'
net.ipv4.ip_forward = 1
net.ipv4.conf.default.rp_filter = 2
net.ipv4.conf.default.promote_secondaries = 1
net.ipv4.conf.default.accept_source_route = 0
net.ipv4.ping_group_range = 0 2147483647
LINES
  # Slashes: the name of an interface may have dots.
  for interface; do printf 'net/ipv4/conf/%s/rp_filter = 2\nnet/ipv4/conf/%s/promote_secondaries = 1\n' "$interface" "$interface"; done
}

step_modules() { modprobe -a "${modules[@]}"; }

step_sysctls() { sysctl_lines "$@" | sysctl -q -p -; }

step_prepare() {
  mkdir -p /etc/modules-load.d /etc/sysctl.d /etc/docker /etc/skep /var/lib/skep
  printf '%s\n' "${modules[@]}" >/etc/modules-load.d/skep-host.conf
  sysctl_lines "$@" >/etc/sysctl.d/60-skep-host.conf
  step_modules
  step_sysctls "$@"
}

# --- Packages -----------------------------------------------------------------------------------------------------
is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

is_updated=
apt_update() {
  [ -z "$is_updated" ] || return 0
  apt-get -q -y update
  is_updated=1
}

apt_install() { # PACKAGE-OR-FILE...
  DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold install "$@"
}

# Installs those that are missing.
want() { # PACKAGE...
  local package missing=()
  for package; do is_installed "$package" || missing+=("$package"); done
  [ "${#missing[@]}" -gt 0 ] || return 0
  say "installing ${missing[*]}"
  apt_update
  apt_install "${missing[@]}"
}

# Runs a command during which no package starts the services that match PATTERN.
without_service() { # PATTERN COMMAND...
  local pattern=$1 policy=/usr/sbin/policy-rc.d made= status=0
  shift
  if [ ! -e "$policy" ]; then
    # shellcheck disable=SC2064 # this path, whenever it ends
    trap "rm -f $policy" EXIT
    printf '#!/bin/sh\ncase $1 in %s) exit 101 ;; esac\nexit 0\n' "$pattern" >"$policy"
    chmod 755 "$policy"
    made=1
  fi
  "$@" || status=$?
  if [ -n "$made" ]; then
    rm -f "$policy"
    trap - EXIT
  fi
  return "$status"
}

# --- Engine -------------------------------------------------------------------------------------------------------
step_engine() {
  # Without its parser an engine on a kernel with AppArmor, which Debian's has, starts no container.
  want apparmor docker.io ca-certificates curl
  local settings=/etc/docker/daemon.json
  mkdir -p /etc/docker
  if [ ! -s "$settings" ]; then
    printf '{\n  "live-restore": true\n}\n' >"$settings"
    if has_systemd; then systemctl restart docker.service; fi
  elif ! grep -Eq '"live-restore"[[:space:]]*:[[:space:]]*true' "$settings"; then
    fail "$settings is there and does not keep containers over restarts of the engine: add \"live-restore\": true to it, then systemctl restart docker"
  fi
}

# --- Skep ---------------------------------------------------------------------------------------------------------
step_install() {
  local fetch=1 file
  if [ "${1:-}" = --no-fetch ]; then
    fetch=
    shift
  fi
  [ $# = 1 ] || usage
  file=$(readlink -m "$1")
  [ -s "$file" ] || fail "there is no package at $1: \"npm run package\" in a checkout of Skep builds it, in dist-package"
  if [ -z "$fetch" ]; then
    # What it depends on is there, if not always by way of a package. Nothing is lost by a power cut that the next start does not do again.
    dpkg --force-depends --force-unsafe-io --force-confdef --force-confold --install "$file"
    return
  fi
  local had_etcd=
  if is_installed etcd-server; then had_etcd=1; fi
  apt_update
  # skepd starts an etcd of its own on managers. One that was here before is somebody's.
  if [ -n "$had_etcd" ]; then
    apt_install "$file"
  else
    without_service 'etcd*' apt_install "$file"
    if has_systemd && systemctl cat etcd.service >/dev/null 2>&1; then systemctl disable --now etcd.service; fi
  fi
  await_api
}

# One request to this node's API, with the body, if any, on the standard input; prints the answer. What a body says is nobody's but
# the API's.
api() { # METHOD PATH
  curl -sS --fail-with-body -m "$call_deadline_s" --unix-socket "$socket" -H 'Content-Type: application/json' -X "$1" --data-binary @- "http://skep$2"
}
api_get() { curl -sS --fail-with-body -m "$call_deadline_s" --unix-socket "$socket" "http://skep$1"; }

await_api() {
  local end=$((SECONDS + api_deadline_s))
  until curl -sf -m 5 -o /dev/null --unix-socket "$socket" http://skep/_ping; do
    [ "$SECONDS" -lt "$end" ] || fail "skepd does not answer on $socket after $api_deadline_s s: journalctl -u skepd says why"
    sleep 0.5
  done
}

# inactive, pending, active, locked or error
local_node_state() {
  local answer
  answer=$(api_get /info)
  [[ $answer =~ \"LocalNodeState\":\"([a-z]*)\" ]] || fail "no state of this node in the answer to /info on $socket: is it skepd that listens there?"
  printf '%s\n' "${BASH_REMATCH[1]}"
}

await_active() {
  local end=$((SECONDS + api_deadline_s)) state
  until state=$(local_node_state 2>/dev/null) && [ "$state" = active ]; do
    [ "$SECONDS" -lt "$end" ] || fail "this node is ${state:-not to be asked} and not active after $api_deadline_s s: journalctl -u skepd says why"
    sleep 0.5
  done
}

expect_inactive() {
  local state
  state=$(local_node_state)
  [ "$state" = inactive ] || fail "this node is in a swarm already, and $state there: \"docker swarm leave\" takes it out"
}

# For JSON and URLs: an IPv4 or IPv6 address, or a host name, none of which has anything to escape.
check_address() { [[ $1 =~ ^[0-9A-Za-z.:-]+$ ]] || fail "$1 is no address"; }

# Answers of refusals are Docker's: {"message":"..."}.
refused() { # WHAT ANSWER
  local words=$2
  if [[ $words =~ \"message\":\"(.*)\"\} ]]; then words=${BASH_REMATCH[1]}; fi
  fail "$1: ${words:-no answer from skepd on $socket}"
}

step_cluster() {
  local action=${1:-} answer
  shift || usage
  await_api
  case $action in
  state) local_node_state ;;
  init)
    [ $# = 1 ] || usage
    check_address "$1"
    expect_inactive
    answer=$(printf '{"ListenAddr":"0.0.0.0:%s","AdvertiseAddr":"%s"}' "$manager_port" "$1" | api POST /swarm/init) ||
      refused 'the swarm is not made' "$answer"
    await_active
    say "this node is the first manager of a new swarm, at $1:$manager_port"
    ;;
  token)
    case "$#${1:-}" in
    1manager) local field=Manager ;;
    1worker) local field=Worker ;;
    *) usage ;;
    esac
    answer=$(api_get /swarm) || refused 'no token' "$answer"
    [[ $answer =~ \"$field\":\"(SWMTKN-[0-9A-Za-z-]+)\" ]] || fail "no token for a $1 in the answer to /swarm"
    printf '%s\n' "${BASH_REMATCH[1]}"
    ;;
  join)
    [ $# = 2 ] || usage
    check_address "$1"
    check_address "$2"
    local token
    read -r -t "$call_deadline_s" token || fail 'no join token on the standard input: pipe the output of "cluster token" on a manager into this'
    [[ $token =~ ^SWMTKN-[0-9A-Za-z-]+$ ]] || fail 'what came on the standard input is no join token'
    expect_inactive
    # printf is the shell's own: what it writes is in no list of processes.
    answer=$(
      printf '{"ListenAddr":"0.0.0.0:%s","AdvertiseAddr":"%s","RemoteAddrs":["%s:%s"],"JoinToken":"%s"}' \
        "$manager_port" "$1" "$2" "$manager_port" "$token" | api POST /swarm/join
    ) || refused "this node does not join $2" "$answer"
    await_active
    say "this node has joined the swarm of $2"
    ;;
  *) usage ;;
  esac
}

# --- Client -------------------------------------------------------------------------------------------------------
step_client() { want curl; }

# --- Steps --------------------------------------------------------------------------------------------------------
step=${1:-}
shift || usage
case $step in
prepare | modules | sysctls | engine | install | cluster | client) "step_$step" "$@" ;;
*)
  say "no such step: $step"
  usage
  ;;
esac
