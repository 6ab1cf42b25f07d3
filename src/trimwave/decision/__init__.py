"""The seam: what a method sees and what it decides."""
