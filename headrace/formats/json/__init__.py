"""JSON: one object, whose members are the declared columns."""
