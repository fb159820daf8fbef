"""The ``asana-jobs`` command. Its interface is the command line; nothing in here is for import."""
