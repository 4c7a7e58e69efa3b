"""Settings: yaml files and dotted overrides become frozen dataclasses; unknown and missing keys are errors."""
