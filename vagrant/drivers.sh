# Sourced by cluster.sh and smoke.sh: one interface to a cluster and the client beside it, whatever they are made of.
#
#   open_driver vagrant               the machines of the Vagrantfile beside this file
#   open_driver lab [NAME [MANAGERS]] a lab of `skep lab`, by default "lab" with one manager; its first nodes are the managers
#
# sets `managers`, `workers`, `nodes` (both, managers first), `address` (of each node), `client_address`, `image` (which has wget, nslookup
# and a shell) and `web_command` (what in it answers on port 80 with HOSTNAME CLIENT ADDRESS; empty: what it does by itself), and makes
# these work:
#
#   run NODE COMMAND...               runs a command in a node as root, without input; output and exit code are the command's
#   run_with_input NODE COMMAND...    the same with the caller's standard input
#   client COMMAND...                 runs a command on the machine outside the cluster, without input
#   cut_power NODE                    the node is off at once: nothing in it gets to say a word
#   power_on NODE                     starts it again and returns when commands can be run in it
#   daemon_pid NODE DAEMON            the main process of skepd or skep-dataplane
#   load_image                        has every node have the image
#
# Every one of them ends within `within_s` seconds (by default 60), cut_power and power_on within ten minutes.
# `scratch` is a private directory that is removed with the process that opened the driver.
# shellcheck shell=bash

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
declare -a managers=() workers=() nodes=() web_command=()
declare -A address=()
client_address=
image=
scratch=
driver=
lab=
power_deadline_s=600

say() { printf '# %s\n' "$*" >&2; }

open_driver() { # KIND [NAME [MANAGERS]]
  driver=${1:-}
  case $driver in
  vagrant) [ $# = 1 ] || return 2 ;;
  lab) [ $# -le 3 ] || return 2 ;;
  *) return 2 ;;
  esac
  shift
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  "${driver}_open" "$@"
  nodes=("${managers[@]}" "${workers[@]}")
}

run_with_input() { "${driver}_run" "$@"; }
run() { run_with_input "$@" </dev/null; }
client() { "${driver}_client" "$@" </dev/null; }
cut_power() { "${driver}_cut_power" "$1" </dev/null; }
power_on() { "${driver}_power_on" "$1" </dev/null; }
daemon_pid() { "${driver}_daemon_pid" "$@"; }
load_image() { "${driver}_load_image"; }

# Ends a command that hangs; -k for one that does not hear.
bounded() { timeout -k 5 "${within_s:-60}" "$@"; }

# --- skep lab -----------------------------------------------------------------------------------------------------
lab_open() { # [NAME [MANAGERS]]
  local name at rest rows count=0
  lab=${1:-lab}
  skep=${SKEP:-$here/../bin/skep}
  image=skep/whoami:lab
  rows=$(bounded "$skep" lab status --name "$lab")
  while IFS=$'\t' read -r name at rest; do
    [ "$name" != cut ] || continue # a cut between two nodes
    if [ $((count += 1)) -le "${2:-1}" ]; then managers+=("$name"); else workers+=("$name"); fi
    address[$name]=$at
    # src/lab/layout.ts has it at this place of the nodes' network.
    client_address=${at%.*}.200
  done <<<"$rows"
}
lab_run() {
  local node=$1
  shift
  bounded "$skep" lab exec --name "$lab" "$node" -- "$@"
}
lab_client() { bounded "$skep" lab client --name "$lab" -- "$@"; }
lab_cut_power() { within_s=$power_deadline_s bounded "$skep" lab kill --name "$lab" "$1"; }
lab_power_on() { within_s=$power_deadline_s bounded "$skep" lab start --name "$lab" "$1"; }
lab_daemon_pid() { run "$1" cat "/run/lab/pid/$2"; }
lab_load_image() { :; } # a node has it from the start

# --- Vagrant ------------------------------------------------------------------------------------------------------
vagrant_open() {
  local name role at rest
  image=nginx:1.28-alpine
  # shellcheck disable=SC2016 # the variables are nginx's
  web_command=(sh -c 'printf "%s\n" '\''server { listen 80; default_type text/plain; location / { return 200 "$hostname $remote_addr $server_addr\n"; } }'\'' >/etc/nginx/conf.d/default.conf && exec nginx -g "daemon off;"')
  while read -r name role at rest; do
    case $role in
    manager) managers+=("$name") ;;
    worker) workers+=("$name") ;;
    client) client_address=$at ;;
    *) continue ;; # the table's head
    esac
    address[$name]=$at
  done <"$here/machines"
}
in_vagrant() { (cd "$here" && bounded vagrant "$@"); }
# How to reach a machine is asked once: each call of vagrant takes seconds. Standard input belongs to the command.
vagrant_run() {
  local machine=$1 config=$scratch/ssh.$1
  shift
  if [ ! -s "$config" ]; then
    in_vagrant ssh-config "$machine" </dev/null >"$config.new"
    mv "$config.new" "$config"
  fi
  # One string to a remote shell: quoted for it.
  bounded ssh -F "$config" -o LogLevel=ERROR -o ConnectTimeout=10 -o ServerAliveInterval=5 "$machine" "sudo -H -- $(printf '%q ' "$@")"
}
vagrant_client() { vagrant_run client "$@"; }
vagrant_cut_power() { within_s=$power_deadline_s in_vagrant halt --force "$1" >&2; }
vagrant_power_on() {
  rm -f "$scratch/ssh.$1" # it may have another port now
  within_s=$power_deadline_s in_vagrant up --no-provision "$1" >&2
}
vagrant_daemon_pid() { run "$1" systemctl show --property MainPID --value "$2"; }
# From Docker Hub, by the engine itself; before the services that are waited for.
vagrant_load_image() {
  local node
  for node in "${nodes[@]}"; do within_s=300 run "$node" docker -H unix:///run/docker.sock pull -q "$image" >&2; done
}
