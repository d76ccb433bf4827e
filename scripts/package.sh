#!/bin/bash
# Makes the Debian package: DIRECTORY/skep_VERSION_ARCHITECTURE.deb, and install.sh beside it (docs/adr/0053).
#   scripts/package.sh [--version VERSION] [--output DIRECTORY] [--compress xz|zstd|gzip|none] [--as-built]
# The version is package.json's, the directory dist-package, the compression xz. --as-built takes dist/ as it is.
# The same tree, Node.js and date give the same octets; the date is SOURCE_DATE_EPOCH, else that of the last commit.
# Needs no root and no network: what is not built here is taken from node_modules, native/build and the Node.js that runs this.
set -euo pipefail
umask 022
export LC_ALL=C TZ=UTC
cd "$(dirname "$0")/.."

fail() { # WHAT MEANING REMEDY
  printf 'package: %s\n  meaning: %s\n  to do:   %s\n' "$@" >&2
  exit 1
}

version='' output=dist-package compression=xz as_built=''
while [ $# -gt 0 ]; do
  case $1 in
    --version) version=${2:?} && shift 2 ;;
    --output) output=${2:?} && shift 2 ;;
    --compress) compression=${2:?} && shift 2 ;;
    --as-built) as_built=1 && shift ;;
    *) fail "$1 is no option" 'nothing was made' 'see the first lines of scripts/package.sh' ;;
  esac
done
for tool in dpkg-deb dpkg npm gzip md5sum find sort; do
  command -v "$tool" >/dev/null || fail "there is no $tool" 'the package cannot be made on this machine' "install it; on Debian: dpkg, npm, coreutils, findutils"
done
[ -n "$version" ] || version=$(node -p 'require("./package.json").version')
[[ $version =~ ^[0-9][A-Za-z0-9.+~]*$ ]] || fail "$version is no version of a Debian package" 'dpkg would refuse it' 'begin with a digit, then letters, digits, and . + ~'
architecture=$(dpkg --print-architecture)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y package.json)}
export SOURCE_DATE_EPOCH
revision=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)

[ -n "$as_built" ] || npm run --silent build
addon=native/build/Release/skep_native.node programs=native/build/bpf/skep.bpf.o
for built in "$addon" "$programs" node_modules/.package-lock.json; do
  [ -e "$built" ] || fail "$built is not there" 'the package would lack it' 'run scripts/setup.sh, which builds and installs what is missing'
done
nodejs=$(node -p process.execPath)
licence=''
for file in "$(dirname "$nodejs")/../LICENSE" /usr/share/doc/nodejs/LICENSE /usr/share/doc/nodejs/copyright; do
  if [ -e "$file" ]; then licence=$file && break; fi
done
[ -n "$licence" ] || fail "$nodejs has no licence beside it" 'the package brings Node.js and has to bring its licence' "put Node.js' LICENSE where its archive has it, beside bin/"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
library=$root/usr/lib/skep documents=$root/usr/share/doc/skep
copy() { cp -R --no-preserve=mode,ownership,timestamps -- "$@"; }
mkdir -p "$root/DEBIAN" "$library" "$documents/docs" "$root/usr/bin" "$root/lib/systemd/system"

# --- Programs -----------------------------------------------------------------------------------------------------
# Of each source its code: what others have left in dist/ stays out, and so do labs, which need a checkout.
while IFS= read -r source; do
  compiled=dist/${source#src/}
  compiled=${compiled%.ts}.js
  [ -e "$compiled" ] || fail "$compiled is not there" "dist/ is not built from this src/" 'run npm run build'
  mkdir -p "$library/$(dirname "$compiled")"
  copy "$compiled" "$compiled.map" "$library/$(dirname "$compiled")"
done < <(find src -name '*.ts' -not -path 'src/lab/*' | sort)
copy proto bin "$library"
mkdir -p "$library/${addon%/*}" "$library/${programs%/*}" "$library/node_modules"
copy "$addon" "$library/${addon%/*}"
copy "$programs" "$library/${programs%/*}"
copy "$nodejs" "$library/node"
VERSION=$version node -e '
  const { name, license, type } = require("./package.json");
  process.stdout.write(JSON.stringify({ name, version: process.env.VERSION, license, private: true, type }, null, 2) + "\n");
' >"$library/package.json"

# npm's own list of what runs; below the top level they lie inside those that need them.
packages=$(npm ls --omit=dev --all --parseable 2>"$work/npm") || fail "npm finds fault with node_modules: $(cat "$work/npm")" 'it is not what package-lock.json says' 'run npm ci'
packages=$(sed -n "s#^$PWD/\(node_modules/\(@[^/]*/\)\?[^/]*\)\$#\1#p" <<<"$packages" | sort -u)
while IFS= read -r package; do
  case $package in node_modules/@types/*) continue ;; esac # of use to compilers alone
  mkdir -p "$library/${package%/*}"
  copy "$package" "$library/${package%/*}"
done <<<"$packages"
# What npm has compiled on this machine, of which none is needed (ssh2 does without), and what only developers read.
find "$library/node_modules" \( -name build -type d -execdir test -e '{}/Makefile' ';' -o -name .bin \) -prune -exec rm -rf {} +
find "$library/node_modules" -type f \( -name '*.ts' -o -name '*.map' -o -name '*.node' \) -delete

for command in skep skepd skep-dataplane; do ln -s "../lib/skep/bin/$command" "$root/usr/bin/$command"; done
copy systemd/*.service "$root/lib/systemd/system"

# --- What the programs say of themselves --------------------------------------------------------------------------
run() { node "$library/dist/cli/$1" "${@:2}" || fail "dist/cli/$* failed" 'the package would lack what it makes' 'mend that command'; }
: >"$root/DEBIAN/conffiles"
if [ -e src/cli/config.ts ]; then
  mkdir -p "$root/etc/skep"
  run main.js config example >"$root/etc/skep/skep.toml"
  [ -s "$root/etc/skep/skep.toml" ] || fail 'skep config example printed nothing' 'the package would have no configuration' 'mend that command'
  echo /etc/skep/skep.toml >>"$root/DEBIAN/conffiles"
fi
if [ -e src/cli/manual.ts ]; then
  mkdir "$work/manual"
  run manual.js "$work/manual"
  for page in skep.1 skepd.8 skep-dataplane.8; do
    [ -s "$work/manual/$page" ] || fail "dist/cli/manual.js made no $page" 'the package would have no manual of it' 'mend that program'
  done
  for page in "$work"/manual/*.[18]; do
    mkdir -p "$root/usr/share/man/man${page##*.}"
    gzip -9n <"$page" >"$root/usr/share/man/man${page##*.}/${page##*/}.gz"
  done
  while read -r shell place; do
    mkdir -p "$root/usr/share/${place%/*}"
    run main.js completion "$shell" >"$root/usr/share/$place"
    [ -s "$root/usr/share/$place" ] || fail "skep completion $shell printed nothing" 'the package would lack it' 'mend that command'
  done <<'PLACES'
bash bash-completion/completions/skep
zsh zsh/vendor-completions/_skep
fish fish/vendor_completions.d/skep.fish
PLACES
fi

# --- Documents ----------------------------------------------------------------------------------------------------
copy README.md ARCHITECTURE.md "$documents"
copy docs/. "$documents/docs"
{
  cat packaging/copyright
  printf '\nFiles: /usr/lib/skep/node\nNode.js %s, with this licence:\n\n' "$(node --version)"
  cat "$licence"
} >"$documents/copyright"
maintainer=$(sed -n 's/^Maintainer: //p' packaging/control)
printf 'skep (%s) unstable; urgency=medium\n\n  * Made from revision %s.\n\n -- %s  %s\n' \
  "$version" "$revision" "$maintainer" "$(date -R -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$documents/changelog.gz"

# --- Control ------------------------------------------------------------------------------------------------------
glibc=$(grep -aoh 'GLIBC_2\.[0-9]*' "$library/node" "$library/$addon" | sort -Vu | tail -n 1)
find "$root" -type d -exec chmod 755 {} +
find "$root" -type f -exec chmod 644 {} +
chmod 755 "$library"/bin/* "$library/node"
(cd "$root" && find . -type f -not -path './DEBIAN/*' -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
size=$(find "$root" -not -path "$root/DEBIAN*" -printf '%k\n' | awk '{ kib += $1 } END { print kib }')
sed "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@SIZE@/$size/; s/@GLIBC@/${glibc#GLIBC_}/" packaging/control >"$root/DEBIAN/control"
for script in postinst prerm postrm; do install -m 755 "packaging/$script" "$root/DEBIAN/$script"; done
[ -s "$root/DEBIAN/conffiles" ] || rm "$root/DEBIAN/conffiles"

# --- The package --------------------------------------------------------------------------------------------------
mkdir -p "$output"
package=$output/skep_${version}_$architecture.deb
# One thread: with several, what xz makes hangs on their number.
dpkg-deb --build --root-owner-group --threads-max=1 "-Z$compression" "$root" "$package" >/dev/null
install -m 755 install.sh "$output/install.sh"
printf 'package: %s, %s KiB, sha256 %s\n' "$package" "$(($(stat -c %s "$package") / 1024))" "$(sha256sum "$package" | cut -d ' ' -f 1)"
