#!/usr/bin/env bash
# Makes the environment: install.sh VENV PYTHON DEVICE, where DEVICE is cpu, cuda or auto (what the machine has).
# It writes the engine that this environment can run into VENV/engine: vllm, or hf where vLLM cannot be had.
set -euo pipefail
venv=$1 python=$2 device=$3 asked=$3
here=$(cd "$(dirname "$0")" && pwd)

if [ "$device" = auto ]; then
  if command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; then device=cuda; else device=cpu; fi
fi
case $device in cpu | cuda) ;; *) echo "DEVICE=$device: write cpu, cuda or auto" >&2; exit 2 ;; esac

"$python" - <<'PY' || exit 2
import sys
if not (3, 11) <= sys.version_info[:2] <= (3, 12):
    sys.exit(f"Python {sys.version.split()[0]} found: 3.11 or 3.12 is needed; write `make PYTHON=/path/to/python3.11`")
PY
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
[ -x "$venv/bin/uv" ] || "$venv/bin/python" -m pip install -q --disable-pip-version-check uv==0.13.8

. "$here/settings.sh"

uv_install() { "$venv/bin/uv" pip install --python "$venv/bin/python" "$@"; }
can_have() { "$venv/bin/uv" pip install --python "$venv/bin/python" -q --dry-run --no-deps "$@" >/dev/null 2>&1; }
cpu_index=(--index-strategy unsafe-best-match --extra-index-url https://download.pytorch.org/whl/cpu)
engine=vllm
if [ "$device" = cuda ]; then
  uv_install -r "$here/lock-cuda.txt" --no-deps
elif can_have torch==2.13.0+cpu; then
  uv_install -r "$here/lock-cpu.txt" --no-deps
elif can_have torch==2.13.0+cpu "${cpu_index[@]}"; then
  uv_install -r "$here/lock-cpu.txt" --no-deps "${cpu_index[@]}"
else
  echo "torch 2.13.0+cpu is not to be had here, and vLLM for the CPU needs it: installing without vLLM; engine=hf"
  engine=hf
  uv_install -r "$here/common.txt" --override "$here/overrides.txt"
fi
echo "$engine" >"$venv/engine"
rm -f "$venv"/ready-*
touch "$venv/ready-$asked"
echo "environment ready: $venv (device $device, engine $engine)"
