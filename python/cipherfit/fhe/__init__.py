"""From an integer graph to encrypted runs with Concrete."""
