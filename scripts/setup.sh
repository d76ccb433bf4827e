#!/bin/bash
# Makes a Debian 12 machine ready to build, test and run Skep. Idempotent: it looks first, installs only what is missing,
# says what and why, and takes a second or two when nothing is missing. Needs root only when packages are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }

# --- Debian packages ----------------------------------------------------------------------------------------------
# package | a file it brings | why
read -r -d '' packages <<'PACKAGES' || true
docker.io           | /usr/sbin/dockerd                   | the Docker Engine that runs the containers, and the stock CLI
containerd          | /usr/bin/containerd                 | runs the containers below the engine
runc                | /usr/sbin/runc                      | starts them
etcd-server         | /usr/bin/etcd                       | the store of a manager
user-mode-linux     | /usr/bin/linux.uml                  | a kernel per lab node, with IPVS whatever the machine has
kmod                | /usr/sbin/modprobe                  | loads the modules of a lab node
iproute2            | /usr/sbin/ip                        | builds the network of the lab
iptables            | /usr/sbin/iptables-restore          | packet marks, filters and the cuts of the lab
ipset               | /usr/sbin/ipset                     | tests read sets with it
ipvsadm             | /usr/sbin/ipvsadm                   | tests read IPVS with it
bpftool             | /usr/sbin/bpftool                   | tests read maps with it
e2fsprogs           | /usr/sbin/mkfs.ext4                 | disks of lab nodes
util-linux          | /usr/bin/nsenter                    | enters network namespaces
procps              | /usr/bin/pgrep                      | finds processes in tests
busybox-static      | /bin/busybox                        | the busybox image
nginx-light         | /usr/sbin/nginx                     | the nginx image
docker-registry     | /usr/bin/docker-registry            | a registry of images for tests, on its own and as an image
mariadb-server-core | /usr/sbin/mariadbd                  | the database image of the stacks in tests
php8.2-cli          | /usr/bin/php8.2                     | the web application image of the stacks in tests
php8.2-mysql        | /usr/lib/php/20220829/mysqli.so     | that application talks to the database with it
openssl             | /usr/bin/openssl                    | certificates for clients of the API, as README.md makes them
curl                | /usr/bin/curl                       | the client of the lab
wrk                 | /usr/bin/wrk                        | the load generator of the benchmarks
dnsperf             | /usr/bin/dnsperf                    | asks for names in the benchmarks
dnsmasq-base        | /usr/sbin/dnsmasq                   | the benchmarks' name server of the world
g++                 | /usr/bin/g++                        | compiles the native addon
make                | /usr/bin/make                       | compiles the native addon
libbpf-dev          | /usr/include/bpf/libbpf.h           | the native addon loads BPF programs with it
clang               | /usr/bin/clang                      | compiles the BPF programs of the ebpf engine
python3             | /usr/bin/python3                    | node-gyp is written for it
python3-docker      | /usr/lib/python3/dist-packages/docker | Docker's SDK for Python drives a swarm in the tests
qemu-system-x86     | /usr/bin/qemu-system-x86_64         | lab nodes and tests on the stock Debian kernel
qemu-system-common  | /usr/lib/qemu/virtiofsd             | their file systems
systemd             | /usr/bin/systemd-analyze            | checks the units of real hosts
vagrant             | /usr/bin/vagrant                    | checks vagrant/Vagrantfile
groff-base          | /usr/bin/groff                      | checks the manual pages
ca-certificates     | /etc/ssl/certs/ca-certificates.crt  | npm speaks HTTPS
PACKAGES
missing=()
while IFS='|' read -r package file why; do
  package=${package// /} file=${file// /}
  [ -n "$package" ] || continue
  if [ ! -e "$file" ]; then
    say "missing: $package (${why# })"
    missing+=("$package")
  fi
done <<<"$packages"

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    say 'packages can only be installed by root'
    exit 1
  fi
  say "installing ${#missing[@]} Debian packages"
  # A package may start its service when it is installed; the lab starts its own, so none may run or be enabled here.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt-get update
  apt-get install -y --no-install-recommends "${missing[@]}"
  if [ -d /run/systemd/system ]; then
    for package in "${missing[@]}"; do
      case $package in
        docker.io) units='docker.service docker.socket' ;;
        containerd) units=containerd.service ;;
        nginx-light) units=nginx.service ;;
        docker-registry) units=docker-registry.service ;;
        etcd-server) units=etcd.service ;;
        *) units= ;;
      esac
      for unit in $units; do
        if systemctl cat "$unit" >/dev/null 2>&1; then systemctl disable --now "$unit"; fi
      done
    done
  fi
fi

scripts/qemu-kernel.sh
# All but labs on it can do without.
scripts/lab-engine.sh || say 'no later Docker Engine: test/lab/surface.test.ts and lab.test.ts fail until setup.sh gets one'

# --- Node.js ------------------------------------------------------------------------------------------------------
if ! command -v node >/dev/null || ! node -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 20 || (a == 20 && b >= 19) ? 0 : 1)'; then
  say 'Node.js 20.19 or later is needed, with npm (see https://nodejs.org/): Debian 12 has 18, which is too old'
  exit 1
fi

# --- npm packages, native addon, compiled code --------------------------------------------------------------------
if [ ! -e node_modules/.package-lock.json ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  say 'installing npm packages (npm ci)'
  npm ci --no-audit --no-fund
  touch node_modules/.package-lock.json
fi

# Newest of the sources against what was built from them.
outdated() { # TARGET SOURCE...
  local target=$1
  shift
  [ ! -e "$target" ] || [ -n "$(find "$@" -newer "$target" -type f -print -quit)" ]
}
addon=native/build/Release/skep_native.node
if outdated "$addon" native/binding.gyp native/src native/bpf/layout.h; then
  say 'compiling the native addon'
  npm run --silent build:native
fi
if outdated native/build/bpf/skep.bpf.o native/bpf scripts/build-bpf.sh; then
  say 'compiling the BPF programs'
  npm run --silent build:bpf
fi
if outdated dist/.tsbuildinfo src tsconfig.json tsconfig.build.json; then
  say 'compiling TypeScript'
  npm run --silent build
  touch dist/.tsbuildinfo
fi
say 'ready'
