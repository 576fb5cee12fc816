"""The commands of `cipherfit`: what each takes, and what it does."""
