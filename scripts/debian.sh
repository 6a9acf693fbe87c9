# Debian's packages unpacked into a folder: nothing on the machine is replaced, nothing is installed. Sourced, not run.
# Where something is not to be had here the script that sources this ends with 3.

die() { echo "$(basename "$0"): $*" >&2; exit 3; }

# unpack FOLDER PACKAGE...: downloads packages and unpacks them into a folder, once. `apt` holds further options of apt.
apt=()
unpack() {
  local into=$1; shift
  [ -e "$into/.complete" ] && return
  command -v apt-get >/dev/null 2>&1 || die "no apt-get here; hint: ${instead:?}"
  mkdir -p "$into/packages"
  echo "fetching $# packages into $into" >&2
  (cd "$into/packages" && apt-get "${apt[@]}" download -qq "$@" >&2) || die "packages could not be fetched; hint: apt-get update"
  rm -rf "${into:?}/usr" "${into:?}/lib"
  local package
  for package in "$into"/packages/*.deb; do dpkg -x "$package" "$into"; done
  rm -r "$into/packages"
  touch "$into/.complete"
}

# debian_rust FOLDER PACKAGE...: Debian's current Rust and what else is named of it (its version is appended); sets
# `cargo` to a command that runs it.
debian_rust() {
  local into=$1; shift
  local version short llvm
  version=$(apt-cache policy rustc-web 2>/dev/null | sed -n 's/^  Candidate: //p')
  [ -n "$version" ] && [ "$version" != "(none)" ] || die "Debian's rustc-web is not to be had here; hint: ${instead:?}"
  short=${version%%+*}
  short=${short%.*}
  llvm=$(apt-cache depends rustc-web libstd-rust-web-"$short" 2>/dev/null | sed -n 's/.*Depends: \(libllvm[0-9]*\).*/\1/p' | head -1)
  # Only what cargo is linked with and a plain system may lack.
  unpack "$into" "rustc-web=$version" "cargo-web=$version" "libstd-rust-web-$short" "libstd-rust-web-dev=$version" \
    "${@/%/=$version}" "${llvm:-libllvm22}" libgit2-1.5 libmbedtls14 libmbedcrypto7 libmbedx509-1 libhttp-parser2.9
  cargo=(env "LD_LIBRARY_PATH=$into/usr/lib/x86_64-linux-gnu" "RUSTC=$into/usr/bin/rustc" "$into/usr/bin/cargo")
}
