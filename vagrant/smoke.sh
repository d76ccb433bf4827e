#!/bin/bash
# The acceptance list of the first usable Skep, "from docker swarm init to a page through the routing mesh", on a cluster that is
# there: smoke.sh [vagrant] on the machines of the Vagrantfile, smoke.sh lab NAME MANAGERS on a lab of `skep lab`. Three nodes or more,
# of which one is a worker. Makes the swarm where there is none (cluster.sh).
#
# Says "ok N - text" or "not ok N - text" for each item of the list, with its number there, and what went wrong on lines with #.
# Exit code: 0 when all hold, 1 when one does not, 2 when the arguments make no sense. Every wait has a deadline; all ends within
# total_s and the last item's.
#
# Uses the names web, probe, missing and other of services, mynet of a network and port 8080: what is left of an earlier run is removed
# first. The items build on each other and run in order, as a user's session would.
set -euo pipefail
# shellcheck source=drivers.sh
. "$(dirname "${BASH_SOURCE[0]}")/drivers.sh"

usage() {
  printf 'Usage: smoke.sh [vagrant]\n       smoke.sh lab NAME MANAGERS\n' >&2
  exit 2
}

api=unix:///run/skep/docker.sock
port=8080
total_s=1500
# Several containers start at once on few processors.
converge_s=120
ready_s=90
verified_s=60
# Of an exit, seen by the manager, and what it takes to tell every node then (two seconds are a call's own patience).
replaced_s=20
# One call of a client; a call that takes longer has failed.
call_s=5

# --- Tools --------------------------------------------------------------------------------------------------------
complain() {
  printf '%s\n' "$*" >&2
  return 1
}

# Repeats a command until it succeeds; says what was waited for and what it said last when it has not by the deadline.
eventually() { # SECONDS WHAT COMMAND...
  local within=$1 what=$2 end=$((SECONDS + $1)) said
  shift 2
  until said=$("$@" 2>&1); do
    if [ "$SECONDS" -ge "$end" ]; then
      complain "$what: not within $within s; last: $said" || return 1
    fi
    sleep 0.5
  done
}

# The stock docker CLI on a node, or on the first manager.
docker_on() { # NODE ARGUMENT...
  local node=$1
  shift
  run "$node" docker -H "$api" "$@"
}
docker_() { docker_on "${managers[0]}" "$@"; }

# A command of the docker CLI that must fail, with these words.
refused() { # NODE WORDS ARGUMENT...
  local node=$1 words=$2 said
  shift 2
  if said=$(docker_on "$node" "$@" 2>&1); then complain "docker $*: was not refused: $said" || return 1; fi
  [[ $said == *"$words"* ]] || complain "docker $*: refused with $said, not with $words"
}

is_in() { # WORD WORDS...
  local word=$1 other
  shift
  for other; do [ "$word" != "$other" ] || return 0; done
  return 1
}

# --- What there is ------------------------------------------------------------------------------------------------
# Running tasks of a service, a line each: ID NAME NODE CONTAINER NETWORK=ADDRESS/PREFIX,...
tasks_of() { # SERVICE
  local rows inspected
  local -a ids
  rows=$(docker_ service ps --no-trunc -f desired-state=running --format '{{.ID}} {{.Name}} {{.Node}} {{.CurrentState}}' "$1") || return 1
  rows=$(awk '$4 == "Running" { print $1, $2, $3 }' <<<"$rows")
  [ -n "$rows" ] || return 0
  mapfile -t ids < <(awk '{ print $1 }' <<<"$rows")
  inspected=$(docker_ inspect --type task --format \
    '{{.ID}} {{.Status.ContainerStatus.ContainerID}} {{range .NetworksAttachments}}{{.Network.Spec.Name}}={{index .Addresses 0}},{{end}}' "${ids[@]}") || return 1
  join <(sort <<<"$rows") <(sort <<<"$inspected")
}

# Waits for COUNT running tasks of a service and writes them to FILE.
await_tasks() { # SERVICE COUNT FILE
  eventually "$converge_s" "$2 running tasks of $1" has_tasks "$@"
}
has_tasks() { # SERVICE COUNT FILE
  tasks_of "$1" >"$3" || return 1
  [ "$(wc -l <"$3")" = "$2" ] || complain "there are $(wc -l <"$3"): $(<"$3")"
}
# Columns of a file of tasks.
nodes_in() { awk '{ print $3 }' "$1" | sort; }
containers_in() { awk '{ print $4 }' "$1" | sort; }
address_in() { sed -nE "s#^.*[ ,]$2=([0-9.]+)/.*#\\1#p" <<<"$1"; } # LINE NETWORK

# Name, state, whether it is the one that is asked, and role of every node.
node_table() { docker_on "$1" node ls --format '{{.Hostname}} {{.Status}}/{{.Availability}}/{{.Self}}/{{.ManagerStatus}}' | sort; }

# Every node is there once and ready, with its role, and the asked one is marked.
all_ready() { # [ASKED]
  local asked=${1:-${managers[0]}} table node row leaders=0
  table=$(node_table "$asked") || return 1
  [ "$(wc -l <<<"$table")" = "${#nodes[@]}" ] || complain "not ${#nodes[@]} nodes: $table" || return 1
  for node in "${nodes[@]}"; do
    row=$(awk -v node="$node" '$1 == node { print $2 }' <<<"$table")
    case $row in
    Ready/Active/*/Leader) leaders=$((leaders + 1)) ;;
    Ready/Active/*/Reachable) ;;
    Ready/Active/*/) if is_in "$node" "${managers[@]}"; then complain "$node is no manager: $table" || return 1; fi ;;
    *) complain "$node is not ready: $table" || return 1 ;;
    esac
    if [ "$node" = "$asked" ]; then
      [[ $row == Ready/Active/true/* ]] || complain "$node is asked and not marked: $table" || return 1
    else
      [[ $row == Ready/Active/false/* ]] || complain "$node is marked, and $asked was asked: $table" || return 1
    fi
  done
  [ "$leaders" = 1 ] || complain "$leaders nodes lead: $table"
}
node_is() { # NODE STATUS
  local table
  table=$(node_table "${managers[0]}") || return 1
  [[ $'\n'$table == *$'\n'"$1 $2/"* ]] || complain "$table"
}

verified() { run "$1" skep verify; }
all_verified() {
  local node
  for node in "${nodes[@]}"; do eventually "$verified_s" "skep verify on $node" verified "$node" || return 1; done
}

url() { printf 'http://%s:%s/' "${address[$1]}" "$port"; }

# --- Calls --------------------------------------------------------------------------------------------------------
# Answers of the image are HOSTNAME CLIENT ADDRESS. A line of the report that begins with = is of a call: exit code of curl, status.
calls=(curl -s -m "$call_s" -H 'Connection: close' -w '= %{exitcode} %{response_code}\n')

# COUNT calls of the client, each on a connection of its own; writes the answers to FILE and fails if a call did.
call() { # COUNT NODE FILE
  local report bad
  report=$(client "${calls[@]}" "$(url "$2")?[1-$1]") || true # the last call's alone
  bad=$(grep '^=' <<<"$report" | grep -vxF '= 0 200' | sort | uniq -c) || true
  [ -z "$bad" ] || complain "calls through $2 failed (how often, exit code of curl, status): $bad" || return 1
  grep -v '^=' <<<"$report" >"$3" || true
  [ "$(wc -l <"$3")" = "$1" ] || complain "$(wc -l <"$3") answers to $1 calls through $2"
}

# Calls of the client for as long as a file is there, on its machine: DIRECTORY (whose file `on` that is, and which is removed), calls a
# second through each URL, seconds at most, URLs. Its lines are those of `call`, with the URL of each call.
# shellcheck disable=SC2016 # the client's
load_script='dir=$1 rate=$2 seconds=$3; shift 3; at=0; end=$((SECONDS + seconds))
  for url; do
    at=$((at + 1))
    while [ -e "$dir/on" ] && [ "$SECONDS" -lt "$end" ]; do
      curl -s -m '"$call_s"' --rate "$rate/s" -H "Connection: close" -w "= %{exitcode} %{response_code} $url\n" "$url?[1-$rate]"
    done >"$dir/out.$at" &
  done
  wait; cat "$dir"/out.*; rm -r "$dir"'

# The answers are of these tasks, all of them, each between LEAST and MOST times.
spread() { # TASKS ANSWERS LEAST MOST
  awk -v least="$3" -v most="$4" '
    NR == FNR { name[substr($4, 1, 12)] = $2; next }
    !($1 in name) { print "an answer of no running task: " $0; bad = 1; next }
    { count[$1]++ }
    END {
      for (host in name)
        if (count[host] < least || count[host] > most) {
          print name[host] " has answered " count[host] + 0 " times, not " least " to " most
          bad = 1
        }
      exit bad
    }' "$1" "$2" >&2
}

# Whom the tasks saw.
callers_are() { # ANSWERS ADDRESS
  local seen
  seen=$(awk '{ print $2 }' "$1" | sort -u)
  [ "$seen" = "$2" ] || complain "the tasks saw $seen call them, not $2"
}

# A shell command inside a task's container.
in_task() { # LINE-OF-TASKS SCRIPT
  local node container
  read -r _ _ node container _ <<<"$1"
  docker_on "$node" exec "$container" sh -c "$2"
}

# 300 calls to the name web from inside a task, each a look-up and a connection of its own.
call_web_from() { # LINE-OF-TASKS FILE
  local urls
  urls=$(printf 'http://web/ %.0s' {1..30})
  # timeout, not wget -T: with that option Debian's static busybox crashes.
  within_s=330 in_task "$1" "for i in \$(seq 10); do timeout 30 wget -q -O - $urls || echo failed; done" >"$2"
}

# The addresses that a name has inside a task.
resolve() { # LINE-OF-TASKS NAME
  in_task "$1" "nslookup -type=a $2" | awk '/^Name:/ { told = 1 } told && sub(/^Address( [0-9]+)?: */, "") { print $1 }' | sort
}

# --- The list -----------------------------------------------------------------------------------------------------
item_1() { # a swarm of all nodes
  local first=${managers[0]} printed manager
  "$here/cluster.sh" "$@"
  load_image
  for manager in "${managers[@]}"; do eventually "$ready_s" "all nodes ready, as $manager sees it" all_ready "$manager"; done
  # Not shown: there is a secret in it.
  printed=$(docker_ swarm join-token worker)
  [[ $printed =~ \ docker\ swarm\ join\ --token\ SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}\ ([0-9.]+:2377) && ${BASH_REMATCH[1]} == "${address[$first]}:2377" ]] ||
    complain 'docker swarm join-token worker prints no command for a join'
}

state_of() { docker_on "$1" info --format '{{.Swarm.LocalNodeState}}'; }
state_is() { # NODE STATE
  local state
  state=$(state_of "$1") || return 1
  [ "$state" = "$2" ] || complain "$1 is $state"
}
item_1b() { # joins with bad tokens
  local node=${workers[-1]} other=${workers[0]} at=${address[${managers[0]}]}:2377 token digest rotated
  local -a former
  local necessary='A valid join token is necessary to join this cluster'
  within_s=120 docker_on "$node" swarm leave
  eventually "$ready_s" "$node is on its own" state_is "$node" inactive
  # Up to its third hyphen a token is the fingerprint of the root certificate. The secret behind it stays in this shell.
  token=$(docker_ swarm join-token -q worker)
  digest=${token%-*}
  refused "$node" 'invalid join token' swarm join --token SWMTKN-1-x "$at"
  refused "$node" "$necessary" swarm join --token "$digest-0000000000000000000000000" "$at"
  refused "$node" 'remote CA does not match fingerprint' swarm join --token \
    "SWMTKN-1-11111111111111111111111111111111111111111111111111-0000000000000000000000000" "$at"
  rotated=$(docker_ swarm join-token -q --rotate worker)
  [ "$rotated" != "$token" ] || complain 'a rotated token is the one before'
  # From here on it opens nothing, so it may be on a command line.
  refused "$node" "$necessary" swarm join --token "$token" "$at"
  if [ "$node" != "$other" ]; then
    refused "$node" "no manager answers at ${address[$other]}:2377" swarm join --token "$digest-0000000000000000000000000" "${address[$other]}:2377"
  fi
  state_is "$node" inactive
  # The node it was before stays in the list until it is removed, as in Swarm.
  eventually "$ready_s" "the former $node is down" node_is "$node" Down
  mapfile -t former < <(docker_ node ls --format '{{.ID}} {{.Hostname}} {{.Status}}' | awk -v node="$node" '$2 == node && $3 == "Down" { print $1 }')
  docker_ node rm "${former[@]}"
  "$here/cluster.sh" "$@" "$node"
  eventually "$ready_s" 'all nodes ready' all_ready
}

item_2() { # a published service
  local said node
  docker_ network create -d overlay mynet
  said=$(within_s=$converge_s docker_ service create --no-resolve-image --name web --network mynet --replicas 3 -p "$port:80" "$image" "${web_command[@]}")
  [[ $said == *'Service converged'* ]] || complain "docker service create: $said"
  await_tasks web 3 "$scratch/tasks"
  [ "$(nodes_in "$scratch/tasks" | uniq | wc -l)" = 3 ] || complain "not on three nodes: $(<"$scratch/tasks")"
  for node in "${nodes[@]}"; do
    call 300 "$node" "$scratch/answers"
    spread "$scratch/tasks" "$scratch/answers" 80 120
    callers_are "$scratch/answers" "$client_address"
  done
}

image_is_missing() {
  local rows
  rows=$(docker_ service ps --no-trunc --format '{{.CurrentState}}:{{.Error}}' missing) || return 1
  grep -Eq '^Rejected .*No such image: nosuch:1' <<<"$rows" || complain "$rows"
}
names_of() { docker_ "$1" ls --format '{{.Name}}' | sort; }
item_2a() { # bad input
  local first=${managers[0]} worker=${workers[0]} create='service create --detach --no-resolve-image' said services networks
  services=$(names_of service)
  networks=$(names_of network)
  local is_member='This node is already part of a swarm.'
  local no_manager="This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state."
  refused "$first" "$is_member" swarm init --advertise-addr "${address[$first]}"
  refused "$worker" "$is_member" swarm join --token SWMTKN-1-x "${address[$first]}:2377"
  refused "$worker" "$no_manager" service ls
  refused "$worker" "$no_manager" service create "$image"
  refused "$worker" 'from a worker node' network create -d overlay other
  # shellcheck disable=SC2086 # words
  {
    refused "$first" 'service web already exists' $create --name web "$image"
    refused "$first" "port '$port' is already in use by service 'web'" $create --name other -p "$port:80" "$image"
    refused "$first" 'No such network: nonet' $create --name other --network nonet "$image"
  }
  refused "$first" 'mynet already exists' network create -d overlay mynet
  refused "$first" bogus network create -d overlay --subnet bogus other
  said=$(run "$first" curl -sS --unix-socket "${api#unix://}" -H 'Content-Type: application/json' -d '{"Name": 5}' http://skep/services/create)
  [[ $said == *'json: cannot unmarshal number into Go struct field ServiceSpec.Name of type string'* ]] || complain "a service of the name 5: $said"
  said=$(names_of service)
  [ "$said" = "$services" ] || complain "there are services: $said; before: $services"
  said=$(names_of network)
  [ "$said" = "$networks" ] || complain "there are networks: $said; before: $networks"
  # An image that cannot be found is the tasks' failure, as in Swarm.
  # shellcheck disable=SC2086
  docker_ $create --name missing --restart-condition none nosuch:1
  eventually "$converge_s" 'the task without an image is rejected' image_is_missing
  docker_ service rm missing
}

item_2b() { # fewer tasks than nodes
  local node
  within_s=$converge_s docker_ service scale web=1
  await_tasks web 1 "$scratch/tasks"
  for node in "${nodes[@]}"; do
    call 50 "$node" "$scratch/answers"
    spread "$scratch/tasks" "$scratch/answers" 50 50
    callers_are "$scratch/answers" "$client_address"
  done
  docker_ service scale --detach web=3
  await_tasks web 3 "$scratch/tasks"
}

item_3() { # names and the VIP
  local probe own network vip said wanted
  docker_ service create --detach --no-resolve-image --name probe --network mynet "$image" sleep 86400
  await_tasks probe 1 "$scratch/probe"
  await_tasks web 3 "$scratch/tasks"
  probe=$(<"$scratch/probe")
  network=$(docker_ network inspect -f '{{.Id}}' mynet)
  said=$(docker_ service inspect -f '{{range .Endpoint.VirtualIPs}}{{.NetworkID}}={{.Addr}} {{end}}' web)
  vip=$(grep -oE "$network=[0-9.]+" <<<"$said" | sed 's/.*=//')
  [ -n "$vip" ] || complain "web has no VIP on mynet: $said"
  said=$(resolve "$probe" web)
  [ "$said" = "$vip" ] || complain "web is $said, not its VIP $vip"
  said=$(resolve "$probe" tasks.web)
  wanted=$(while read -r own; do address_in "$own" mynet; done <"$scratch/tasks" | sort)
  [ "$said" = "$wanted" ] || complain "tasks.web is $said, and the tasks are $wanted"
  call_web_from "$probe" "$scratch/from-probe"
  spread "$scratch/tasks" "$scratch/from-probe" 80 120
  callers_are "$scratch/from-probe" "$(address_in "$probe" mynet)"
  # On another node, so that neither takes turns that would have been the other's.
  own=$(awk -v node="$(nodes_in "$scratch/probe")" '$3 != node { print; exit }' "$scratch/tasks")
  call_web_from "$own" "$scratch/from-web"
  spread "$scratch/tasks" "$scratch/from-web" 80 120
  callers_are "$scratch/from-web" "$(address_in "$own" mynet)"
}

has_calls() { # LINE-OF-TASKS COUNT
  local count
  count=$(in_task "$1" 'wc -l </tmp/called') || return 1
  [ "$count" -ge "$2" ] || complain "$count calls"
}
is_replaced() { # CONTAINER
  has_tasks web 3 "$scratch/after" || return 1
  if containers_in "$scratch/after" | grep -qxF "$1"; then complain 'it runs still' || return 1; fi
}
item_4() { # a container dies
  local probe victim node container calls began last made
  await_tasks web 3 "$scratch/tasks"
  probe=$(<"$scratch/probe")
  read -r _ _ node container _ <"$scratch/tasks"
  # Calls of the probe, each with its outcome and the time of the probe's node, from before the kill until well after it.
  # shellcheck disable=SC2016 # the container's
  local script='rm -f /tmp/enough /tmp/called; end=$(($(date +%s) + 240))
    while [ ! -e /tmp/enough ] && [ $(date +%s) -lt $end ]; do
      if timeout 2 wget -q -O /dev/null http://web/; then echo ok; echo >>/tmp/called; else echo "failed $(date +%s)"; fi
      sleep 0.1
    done'
  within_s=260 in_task "$probe" "$script" >"$scratch/calls" &
  calls=$!
  # shellcheck disable=SC2064 # this task
  trap "in_task '$probe' 'touch /tmp/enough'" EXIT
  eventually 30 '20 calls' has_calls "$probe" 20
  began=$(in_task "$probe" 'date +%s')
  docker_on "$node" kill "$container"
  eventually "$converge_s" 'the killed task is replaced' is_replaced "$container"
  # The others stay as they are.
  made=$(comm -12 <(containers_in "$scratch/tasks") <(containers_in "$scratch/after") | wc -l)
  [ "$made" = 2 ] || complain "of the three tasks before, $made run on, not two"
  made=$(in_task "$probe" 'wc -l </tmp/called')
  eventually 30 '20 more calls' has_calls "$probe" $((made + 20))
  in_task "$probe" 'touch /tmp/enough'
  wait "$calls"
  [ "$(grep -cx ok "$scratch/calls")" -ge 40 ] || complain "$(grep -cx ok "$scratch/calls") calls were answered"
  last=$(awk '$1 == "failed" { last = $2 } END { print last }' "$scratch/calls")
  [ -z "$last" ] || [ $((last - began)) -le "$replaced_s" ] || complain "calls failed until $((last - began)) s after the kill"
}

item_4b() { # more tasks, and fewer
  local count node
  for count in 5 2; do
    within_s=$converge_s docker_ service scale "web=$count"
    await_tasks web "$count" "$scratch/tasks"
    : >"$scratch/all"
    for node in "${nodes[@]}"; do
      call 60 "$node" "$scratch/answers"
      cat "$scratch/answers" >>"$scratch/all"
    done
    spread "$scratch/tasks" "$scratch/all" 1 1000000
  done
}

# All that a node's kernel tells of networks, in its own namespace and in every overlay's. Tools that are not there tell nothing.
network_of() { # NODE
  # shellcheck disable=SC2016 # the node's
  run "$1" sh -c 'for net in /proc/1/ns/net /run/netns/skep-*; do
    if [ -e "$net" ]; then
      nsenter --net="$net" sh -c "ip address; ip neigh; ip route show table all; ip rule; bridge fdb; ipset save; iptables-save; ipvsadm -Ln" 2>/dev/null
    fi
  done; true'
}
holds() { # NODE: what of FILE's words is in its network
  network_of "$1" >"$scratch/network" || return 2
  # 10.0.1.2:80 is of 10.0.1.2.
  tr -sc '0-9a-f.:' '\n' <"$scratch/network" | sed -E 's/^([0-9.]+):[0-9]*$/\1/' | grep -xFf "$scratch/traces"
}
holds_nothing() { # NODE
  local held
  if held=$(holds "$1"); then complain "$(sort -u <<<"$held")" || return 1; fi
  [ -s "$scratch/network" ] || complain 'no answer'
}
has_no_container() { # NODE
  local left
  left=$(docker_on "$1" ps -aq -f label=com.docker.swarm.service.name=web) || return 1
  [ -z "$left" ] || complain "$left"
}
is_closed() { # NODE
  local code=0
  client curl -s -m "$call_s" -o /dev/null "$(url "$1")" || code=$?
  [ "$code" = 7 ] || complain "curl ends with $code, not with 7 (refused)"
}
item_4c() { # a service is removed
  local node container line
  await_tasks web 2 "$scratch/tasks"
  {
    docker_ service inspect -f '{{range .Endpoint.VirtualIPs}}{{println .Addr}}{{end}}' web | sed 's#/.*##'
    while read -r line; do
      address_in "$line" mynet
      address_in "$line" ingress
    done <"$scratch/tasks"
    while read -r _ _ node container _; do
      docker_on "$node" inspect -f '{{range .NetworkSettings.Networks}}{{println .MacAddress}}{{end}}' "$container"
    done <"$scratch/tasks"
  } | grep . | sort -u >"$scratch/traces"
  # Two VIPs, and of each task two addresses and their MACs. What is looked for afterwards can be found now.
  [ "$(wc -l <"$scratch/traces")" -ge 10 ] || complain "web has left few traces: $(<"$scratch/traces")"
  holds "$(nodes_in "$scratch/tasks" | head -n 1)" >"$scratch/held" || complain 'nothing of web can be found on its own node'
  docker_ service rm web
  for node in "${nodes[@]}"; do
    eventually "$verified_s" "nothing of web in the kernel of $node" holds_nothing "$node"
    eventually "$verified_s" "no container of web on $node" has_no_container "$node"
    eventually "$verified_s" "port $port of $node is closed" is_closed "$node"
  done
  all_verified
}

runs_without() { # NODE
  has_tasks web "${#nodes[@]}" "$scratch/tasks" || return 1
  if nodes_in "$scratch/tasks" | grep -qxF "$1"; then complain "$(<"$scratch/tasks")" || return 1; fi
}
item_5() { # a worker loses its power
  local victim=${workers[-1]} node
  # As many tasks as nodes: one of them is there.
  within_s=$converge_s docker_ service create --no-resolve-image --name web --network mynet --replicas "${#nodes[@]}" -p "$port:80" "$image" "${web_command[@]}"
  await_tasks web "${#nodes[@]}" "$scratch/tasks"
  nodes_in "$scratch/tasks" | grep -xF "$victim" || complain "no task on $victim: $(<"$scratch/tasks")"
  cut_power "$victim"
  eventually "$ready_s" "$victim is down" node_is "$victim" Down
  eventually "$converge_s" 'as many tasks on the others' runs_without "$victim"
  for node in "${nodes[@]}"; do
    [ "$node" != "$victim" ] || continue
    call 30 "$node" "$scratch/answers"
    spread "$scratch/tasks" "$scratch/answers" 1 30
  done
  power_on "$victim"
  eventually "$ready_s" 'all nodes ready' all_ready
  eventually "$converge_s" "$victim serves the port" call 20 "$victim" "$scratch/answers"
}

pid_is_new() { # NODE DAEMON OLD
  local pid
  pid=$(daemon_pid "$1" "$2") || return 1
  [[ $pid =~ ^[1-9][0-9]*$ ]] && [ "$pid" != "$3" ] || complain "its process is $pid"
}
item_6() { # both daemons are killed on every node
  local dir load node daemon pid bad
  # Spread again, so that what serves is not where the last item left it.
  within_s=$converge_s docker_ service scale web=3
  within_s=$((2 * converge_s)) docker_ service update --force web
  await_tasks web 3 "$scratch/tasks"
  dir=$(client mktemp -d)
  client touch "$dir/on"
  local -a urls=()
  for node in "${nodes[@]}"; do urls+=("$(url "$node")"); done
  # A hundred a second in all.
  within_s=700 client bash -c "$load_script" load "$dir" $((100 / ${#nodes[@]})) 600 "${urls[@]}" >"$scratch/report" &
  load=$!
  # shellcheck disable=SC2064 # this directory
  trap "client rm -f '$dir/on'" EXIT
  for node in "${nodes[@]}"; do
    for daemon in skepd skep-dataplane; do
      pid=$(daemon_pid "$node" "$daemon")
      run "$node" kill -9 "$pid"
      eventually "$ready_s" "$daemon on $node is there again" pid_is_new "$node" "$daemon" "$pid"
    done
    eventually "$ready_s" 'all nodes ready' all_ready
  done
  all_verified
  client rm "$dir/on"
  wait "$load"
  bad=$(grep '^=' "$scratch/report" | grep -v '^= 0 200 ' | sort | uniq -c) || true
  [ -z "$bad" ] || complain "failed calls (how often, exit code of curl, status, where): $bad"
  grep -v '^=' "$scratch/report" >"$scratch/answers"
  [ "$(wc -l <"$scratch/answers")" -ge 500 ] || complain "only $(wc -l <"$scratch/answers") calls were made meanwhile"
  callers_are "$scratch/answers" "$client_address"
  await_tasks web 3 "$scratch/after"
  cmp -s <(containers_in "$scratch/tasks") <(containers_in "$scratch/after") || complain "containers were started again: $(<"$scratch/tasks") then $(<"$scratch/after")"
  spread "$scratch/tasks" "$scratch/answers" 1 1000000
}

# --- What an earlier run has left ---------------------------------------------------------------------------------
has_no_network() {
  local left
  left=$(names_of network) || return 1
  ! grep -qxF mynet <<<"$left" || docker_ network rm mynet
}
clear_up() {
  local services
  [ "$(state_of "${managers[0]}")" = active ] || return 0
  mapfile -t services < <(docker_ service ls --format '{{.Name}}' | grep -xE 'web|probe|missing|other')
  [ "${#services[@]}" = 0 ] || docker_ service rm "${services[@]}"
  eventually "$converge_s" 'the network mynet is gone' has_no_network
}

# --- The run ------------------------------------------------------------------------------------------------------
count=0
failed=0
# Runs one item in a shell of its own, which ends at its first failure. Its output is shown when it fails.
prove() { # NUMBER TEXT FUNCTION ARGUMENT...
  local text="$1. $2" began=$SECONDS status=0 item
  shift 2
  count=$((count + 1))
  if [ "$SECONDS" -ge "$total_s" ]; then
    printf 'not ok %d - %s\n# not begun: %d s are over\n' "$count" "$text" "$total_s"
    failed=$((failed + 1))
    return 0
  fi
  # Not as part of a condition: there the shell would go on after a failure.
  (
    trap - EXIT
    "$@"
  ) >"$scratch/item" 2>&1 </dev/null &
  item=$!
  wait "$item" || status=$?
  if [ "$status" = 0 ]; then
    printf 'ok %d - %s (%d s)\n' "$count" "$text" $((SECONDS - began))
    return 0
  fi
  failed=$((failed + 1))
  printf 'not ok %d - %s (%d s)\n' "$count" "$text" $((SECONDS - began))
  tail -n 40 "$scratch/item" | sed 's/^/# /'
}
# The items after it would say nothing.
prove_first() {
  local before=$failed
  prove "$@"
  [ "$failed" = "$before" ] || end_here "Bail out! the items after this need it"
}
end_here() { # [WORDS]
  [ $# = 0 ] || printf '%s\n' "$*"
  printf '1..%d\n' "$count"
  [ "$failed" = 0 ] || exit 1
  exit 0
}

main() {
  if [ $# = 0 ]; then set -- vagrant; fi
  case $1$# in
  vagrant1 | lab3) ;;
  *) usage ;;
  esac
  open_driver "$@"
  if [ "${#nodes[@]}" -lt 3 ] || [ "${#workers[@]}" -lt 1 ]; then
    say "three nodes are needed, one of them a worker; there are ${#managers[@]} managers and ${#workers[@]} workers"
    exit 2
  fi
  prove_first 1 "init, join and node ls: ${#nodes[@]} nodes ready, ${#managers[@]} of them managers, the marker on the right one" item_1 "$@"
  prove_first 0 'what an earlier run has left is gone' clear_up
  prove_first 1b 'a bad token, a foreign one and a rotated one are refused; a node that has left joins again' item_1b "$@"
  prove_first 2 'a published service on three nodes: 300 calls through each, 80 to 120 a task, the client seen by its own address' item_2
  prove 2a 'bad input is refused in the words of Docker, and nothing of it is made' item_2a
  prove 2b 'scaled to one, every node serves the port' item_2b
  prove 3 'on the network web is the VIP, tasks.web the tasks, and calls spread, also from a task of web' item_3
  prove 4 'a killed container is replaced, and calls to the VIP fail no longer than that takes' item_4
  prove 4b 'scaled to five and to two' item_4b
  prove 4c 'a removed service leaves a closed port and nothing on any node' item_4c
  prove 5 'a worker loses its power: its tasks run elsewhere; started again it is ready and serves' item_5
  prove 6 'kill -9 of skepd and skep-dataplane on every node under load: no failed call, no container started again' item_6
  prove 0 'nothing is left of this run' clear_up
  end_here
}

# Sourced by its test, which proves the parts.
if [ "${BASH_SOURCE[0]}" = "$0" ]; then main "$@"; fi
