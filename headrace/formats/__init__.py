"""How the value of a record is written.

A folder for each format, with its parts as `headrace.contract.formats` describes them.
"""
