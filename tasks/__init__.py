"""The recipes that ship with distilnlp, as YAML files."""
