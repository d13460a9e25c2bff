"""The published quality rules (Gopher, C4, FineWeb), counted in one pass of compiled code and compared in columns."""
