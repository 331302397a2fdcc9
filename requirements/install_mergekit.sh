#!/usr/bin/env bash
# Makes mergekit's environment: install_mergekit.sh VENV OURS PYTHON, where OURS is the environment that has uv.
set -euo pipefail
venv=$1 ours=$2 python=$3
here=$(cd "$(dirname "$0")" && pwd)
. "$here/settings.sh"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# The same torch as ours, so that equal arithmetic can be expected to give equal numbers.
torch=$("$ours/bin/python" -c 'from importlib.metadata import version; print(version("torch"))')
"$ours/bin/uv" pip install --python "$venv/bin/python" -r "$here/mergekit.txt" "torch==$torch" \
  -c "$here/common.txt" --override "$here/overrides.txt"
touch "$venv/ready"
