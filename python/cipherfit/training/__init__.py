"""Quantization-aware training in torch, and what lowers a network to its integer graph."""
