"""One request, from the intent to the answer."""
