"""How the value of a record is written: a folder for each format, with its parts as `headrace.contract.formats` describes them."""
