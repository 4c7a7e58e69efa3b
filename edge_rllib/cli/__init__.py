"""The command ``edge-rllib``: one file a command, which parses, calls and prints."""
