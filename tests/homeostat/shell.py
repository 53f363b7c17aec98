"""The shell's program in this process: what a test asks, as words, and what it answers."""

from collections.abc import Mapping

from typer.testing import CliRunner, Result

from homeostat.cli import app


def run(*arguments: object, env: Mapping[str, str] | None = None, given: str | bytes | None = None) -> Result:
    """`homeostat` with these arguments, in this environment, `given` on its standard input."""
    return CliRunner().invoke(app, [str(a) for a in arguments], env=env, input=given, prog_name="homeostat")
