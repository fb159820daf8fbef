"""Access tokens: where one is looked for when none is given, for those who need it before there is a client."""

from asana_jobs._client.http.tokens import TOKEN_FILE_VARIABLE, TOKEN_VARIABLES, TokenProvider, find_token


__all__ = ["TOKEN_FILE_VARIABLE", "TOKEN_VARIABLES", "TokenProvider", "find_token"]
