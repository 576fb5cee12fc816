"""Plots with scikit-learn's display interface: made of a model or a search, drawn by `plot`.

A display holds the numbers; `plot` draws them on axes that are given, or on new ones, and keeps
these as `ax_` and their figure as `figure_`.
"""
