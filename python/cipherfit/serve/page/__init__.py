"""A page to try a model on: the client's side in one process, the service in another."""
