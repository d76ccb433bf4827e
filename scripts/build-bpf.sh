#!/bin/bash
# Compiles the BPF programs of the ebpf engine (native/bpf/) to one object file that the native addon loads. Beside the addon,
# whose own build empties native/build: so build:native runs this afterwards. The file appears whole or not at all.
set -euo pipefail
cd "$(dirname "$0")/../native"
mkdir -p build/bpf
# v3 of the instruction set: atomics that give the old value (Linux 5.12). -g: the types of the maps, and lines for the verifier's words.
clang -target bpf -mcpu=v3 -O2 -g -std=gnu11 -Wall -Wextra -Werror \
  -isystem "/usr/include/$(gcc -print-multiarch)" \
  -c bpf/skep.bpf.c -o "build/bpf/skep.bpf.o.$$"
mv "build/bpf/skep.bpf.o.$$" build/bpf/skep.bpf.o
