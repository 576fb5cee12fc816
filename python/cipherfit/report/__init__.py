"""What people look at: the demonstration and its picture."""
