# What the steps share: each sources it. The harness gives a step the instance size, from 0 to 3,
# and runs it in the root of its tree.
set -euo pipefail

cipherfit=${CIPHERFIT:-cipherfit}
model=submission/network.cipherfit
client=submission/network.client
templates=submission/network.templates

# All steps but the one that prepares the model know whose folders they work in.
if [[ $# -gt 0 ]]; then
  sizes=(single small medium large)
  size=${sizes[$1]}
  pixels=datasets/$size/intermediate/test_pixels.txt
  io=io/$size
  secret=$io/secret_key
  keys=(--keys "$secret/store" --key-file "$secret/passphrase")
fi
