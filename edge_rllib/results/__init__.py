"""Results on disk: files that appear whole, estimates with intervals, tables and figures. Knows no Ray."""
