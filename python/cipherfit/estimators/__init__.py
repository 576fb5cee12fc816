"""Scikit-learn estimators whose training ends in a proven integer graph."""
