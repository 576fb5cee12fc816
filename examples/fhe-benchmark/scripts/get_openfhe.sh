#!/usr/bin/env bash
# The harness calls it for the reference submission's library, which this one doesn't use.
exit 0
