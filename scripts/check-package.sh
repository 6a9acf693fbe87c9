#!/usr/bin/env bash
# Installs, runs, upgrades, bundles, removes and purges a package in a small Debian system of its own, a folder under target/
# (debootstrap, 200 MB). Needs root for chroot; systemd does not run in there, so the unit is only looked over.
#   sudo ./scripts/check-package.sh target/package/r2d-edge_0.1.0-1_amd64.deb [MODEL_HOME]
# A package of another architecture is run under qemu-user, which the kernel is told of (binfmt_misc): twenty minutes.
# MODEL_HOME is a state folder that holds the default model (target/test-home, where ./scripts/test.sh leaves it).
set -euo pipefail
deb=$(realpath "${1:?usage: check-package.sh DEB [MODEL_HOME]}")
cd "$(dirname "$0")/.."
models=$(realpath "${2:-target/test-home}")/models/smollm2-135m-instruct
. scripts/need.sh
need debootstrap=debootstrap dpkg-deb=dpkg mosquitto_pub=mosquitto-clients systemd-analyze=systemd
[ "$(id -u)" = 0 ] || { echo "check-package.sh: needs root for chroot" >&2; exit 2; }
[ -f "$models/model.gguf" ] || { echo "check-package.sh: $models holds no model; hint: ./scripts/test.sh first" >&2; exit 2; }

arch=$(dpkg-deb -f "$deb" Architecture)
# How long a reading may take, in seconds, and what the program is told for it.
wait=60
judge=()
if [ "$arch" != "$(dpkg --print-architecture)" ]; then
  need qemu-aarch64-static=qemu-user-static update-binfmts=binfmt-support
  [ "$arch" = arm64 ] && [ -e /proc/sys/fs/binfmt_misc/qemu-aarch64 ] || {
    echo "check-package.sh: this machine's kernel starts no programs for $arch; hint: update-binfmts --enable qemu-aarch64" >&2
    exit 2
  }
  # Under qemu a model reads a token in a second or two.
  wait=1800
  judge=(--set policy.depth=none --set "policy.deadline_ms=${wait}000")
fi

system=$PWD/target/package/system-$arch
fresh=$PWD/target/package/fresh-$arch
release=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
[ -e "$fresh/.complete" ] || { rm -rf "$fresh"; debootstrap --arch="$arch" --variant=minbase "$release" "$fresh" >&2; touch "$fresh/.complete"; }
unmount() { if mountpoint -q "$system/proc"; then umount "$system/proc" || umount --lazy "$system/proc"; fi; }
trap unmount EXIT
unmount
# Never into what is mounted there.
if mountpoint -q "$system/proc"; then echo "check-package.sh: $system/proc is still mounted" >&2; exit 1; fi
rm -rf --one-file-system "$system"
cp -a "$fresh" "$system"
mount -t proc proc "$system/proc"
cp /etc/resolv.conf "$system/etc/resolv.conf"

inside() { chroot "$system" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/nonexistent LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"; }
step() { printf '== %s\n' "$*"; }
fail() { echo "check-package.sh: $*" >&2; exit 1; }
install() { cp "$1" "$system/tmp/it.deb"; inside apt-get install -y -qq --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold "${@:2}" /tmp/it.deb; }

step install
inside apt-get update -qq
install "$deb"
for file in usr/bin/r2d-edge usr/lib/r2d-edge/release usr/sbin/r2d-edge-admin usr/lib/systemd/system/r2d-edge.service etc/r2d-edge/config.toml \
  usr/share/man/man1/r2d-edge.1.gz usr/share/bash-completion/completions/r2d-edge; do
  [ -e "$system/$file" ] || fail "$file is not there"
done
inside r2d-edge --version
inside r2d-edge config check
inside r2d-edge doctor --unit

step the unit
# `verify` wants the units that it needs, which this small system has not: --test package does that outside.
systemd-analyze security --offline=true --threshold=25 --root="$system" r2d-edge.service >"$system/tmp/security" ||
  fail "the unit is exposed: $(tail -1 "$system/tmp/security")"
tail -1 "$system/tmp/security"

step ask, the root file system read-only but for the state
mkdir -p "$system/var/lib/r2d-edge/models/smollm2-135m-instruct"
cp "$models"/model.* "$system/var/lib/r2d-edge/models/smollm2-135m-instruct/"
chown -R nobody "$system/var/lib/r2d-edge"
# A private mount space: everything read-only, the state is not.
as_service=(unshare --mount --propagation private sh -c '
  mount --rbind "$0" "$0" && mount --bind "$0/var/lib/r2d-edge" "$0/var/lib/r2d-edge" && mount -o remount,bind,ro "$0"
  exec chroot --userspec=nobody "$0" /usr/bin/env -i PATH=/usr/bin STATE_DIRECTORY=/var/lib/r2d-edge "$@"' "$system")
"${as_service[@]}" r2d-edge check "${judge[@]}" "How do I oil the chain of a hoist?" || [ $? = 1 ] || fail "check did not end as it should"

step serve and a verdict
port=$((20000 + RANDOM % 20000))
"${as_service[@]}" /usr/lib/r2d-edge/release serve --set mqtt.listen=127.0.0.1:$port --set policy.depth=none "${judge[@]}" 2>"$system/tmp/serve.log" &
service=$!
trap 'kill $service 2>/dev/null || true; unmount' EXIT
listens='listening for requests'
for _ in $(seq $((wait * 5))); do grep -q "$listens" "$system/tmp/serve.log" && break; kill -0 $service || break; sleep 0.2; done
grep -q "$listens" "$system/tmp/serve.log" || { cat "$system/tmp/serve.log" >&2; fail "serve did not listen after $wait s"; }
base=r2d/v1/site/area/line/$(sed -n 's#.*r2d/v1/site/area/line/\([A-Za-z0-9_-]*\).*#\1#p' "$system/tmp/serve.log" | head -1)
timeout "$wait" mosquitto_sub -p $port -t "$base/verdict" -C 1 >"$system/tmp/verdict" &
sub=$!
sleep 1
mosquitto_pub -q 1 -p $port -t "$base/req/check" -m '{"id":"package-1","prompt":"How do I oil the chain of a hoist?"}'
wait $sub || { cat "$system/tmp/serve.log" >&2; fail "no verdict came"; }
grep -o '"id":"[^"]*"\|"decision":"[^"]*"' "$system/tmp/verdict"
kill -TERM $service
wait $service || fail "serve ended with $?"

step upgrade, with a configuration and a state that stay
echo '# of this site' >>"$system/etc/r2d-edge/config.toml"
newer=$(mktemp -d)
dpkg-deb -R "$deb" "$newer"
sed -i 's/^Version: .*/&+upgraded/' "$newer/DEBIAN/control"
dpkg-deb --root-owner-group -Zxz -z1 -b "$newer" "$newer.deb" >/dev/null
install "$newer.deb"
rm -rf "$newer" "$newer.deb"
inside dpkg-query -W -f '${Version}\n' r2d-edge | grep upgraded
grep -q 'of this site' "$system/etc/r2d-edge/config.toml" || fail "the configuration was overwritten"
"${as_service[@]}" r2d-edge audit verify

step a bundle of this package with model and adapter: verified, installed, tested by itself, taken back
bundle() { inside env R2D_HOME=/var/lib/r2d-edge r2d-edge bundle "$@"; }
named=/tmp/$(basename "$deb")
cp "$deb" "$system$named"
bundle keygen --secret-key /tmp/bundle.key --public-key /tmp/bundle.pub
for n in 7 8; do
  bundle create --out /tmp/$n.r2d --version $n --deb "$named" --model smollm2-135m-instruct --adapter smollm2-135m-r2d \
    --secret-key /tmp/bundle.key
done
bundle verify --public-key /tmp/bundle.pub /tmp/7.r2d
cp "$system/tmp/7.r2d" "$system/tmp/altered.r2d"
printf x | dd of="$system/tmp/altered.r2d" bs=1 seek=40000000 conv=notrunc status=none
bundle verify --public-key /tmp/bundle.pub /tmp/altered.r2d && fail "an altered bundle was believed"
bundle install --public-key /tmp/bundle.pub /tmp/7.r2d
bundle install --public-key /tmp/bundle.pub /tmp/8.r2d
bundle install --public-key /tmp/bundle.pub /tmp/7.r2d && fail "an older release was installed"
bundle rollback
bundle status | grep 'in force .*version 7 of' || fail "the release before is not in force"
chown -R nobody "$system/var/lib/r2d-edge"
"${as_service[@]}" /usr/lib/r2d-edge/release check "${judge[@]}" "How do I oil the chain of a hoist?" || [ $? = 1 ] || fail "the release does not run"
rm "$system"/tmp/*.r2d "$system$named"

step remove and purge
limits=$system/etc/systemd/system/r2d-edge.service.d/50-board.conf
mkdir -p "$(dirname "$limits")"
echo '# of this site' >"$limits"
inside dpkg --remove r2d-edge
[ ! -e "$system/usr/bin/r2d-edge" ] || fail "the program is still there"
[ -d "$system/var/lib/r2d-edge/audit" ] || fail "removing took the audit log"
[ -e "$limits" ] || fail "removing took the limits of the unit"
inside dpkg --purge r2d-edge
[ ! -e "$(dirname "$limits")" ] || fail "purging left the limits of the unit"
[ ! -e "$system/var/lib/r2d-edge" ] || fail "purging left the state"
[ ! -e "$system/etc/r2d-edge" ] || fail "purging left the configuration"
echo "installed, asked, served, upgraded, bundled and taken back, removed and purged"
