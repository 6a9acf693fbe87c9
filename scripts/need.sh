# Installs what a script needs, on Debian and Ubuntu; elsewhere says what is missing. Sourced, not run.
# Use: need COMMAND=PACKAGE ...   (a COMMAND that is missing stands for its PACKAGE)

need() {
  local missing=() pair
  for pair in "$@"; do
    # libclang is a library, not a command: bindgen looks for it as clang does.
    if [ "${pair%%=*}" = libclang ]; then
      ldconfig -p 2>/dev/null | grep -q 'libclang[-.]' || ls /usr/lib/llvm-*/lib/libclang.so* >/dev/null 2>&1 \
        || [ "$(uname)" = Darwin ] || missing+=("${pair#*=}")
    else
      command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair#*=}")
    fi
  done
  if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null 2>&1; then
      echo "please install: ${missing[*]} (names as in Debian), then start this again" >&2
      exit 2
    fi
    local sudo=''
    [ "$(id -u)" = 0 ] || sudo=sudo
    echo "installing: ${missing[*]}" >&2
    $sudo apt-get update -qq >&2
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  fi
  if ! command -v cargo >/dev/null 2>&1; then
    echo "please install Rust (https://rustup.rs); rust-toolchain.toml names the version" >&2
    exit 2
  fi
}
