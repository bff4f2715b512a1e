"""penstock password: a line for the file of hashed passwords."""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from penstock.cli.output import fail
from penstock.clients.login import hash_password


def password(login: Annotated[str, typer.Argument(help="The login, e.g. joe@example.com")]) -> None:
    """Print `login:hash` for the file smtp.auth.passwords; the password is asked for, or read from standard input."""
    if ":" in login or not login.strip():
        fail("a login is not empty and has no colon", 2)
    if sys.stdin.isatty():
        text = getpass.getpass("Password: ")
        if text != getpass.getpass("Again: "):
            fail("the two differ")
    else:
        text = sys.stdin.readline().rstrip("\n")
    if not text:
        fail("an empty password is none")
    typer.echo(f"{login}:{hash_password(text)}")
