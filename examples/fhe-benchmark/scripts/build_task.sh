#!/usr/bin/env bash
# Puts the steps where the harness runs them. Nothing is compiled: cipherfit must be installed.
# The harness calls it in the root of its tree, with the submission's folder.
set -euo pipefail

"${CIPHERFIT:-cipherfit}" --version
mkdir -p "$1/build"
install -m 755 "$1"/steps/* "$1/build/"
