"""Access tokens and where they are found, for those who need one before there is a client."""

from asana_jobs._client.http.secret import Secret
from asana_jobs._client.http.tokens import (
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLES,
    TokenProvider,
    check_token,
    find_token,
)


__all__ = ["TOKEN_FILE_VARIABLE", "TOKEN_VARIABLES", "Secret", "TokenProvider", "check_token", "find_token"]
