"""`notellm-serve keygen`: a new API key.

    notellm-serve keygen feed --scope read >> keys.toml

The key goes to the terminal (standard error), once; its line for the key file goes to standard output, and holds only its hash.
"""

from typing import Annotated

import typer

from service.security.keys import KeyRing, Scope, hash_key, new_key


def keygen(
    name: Annotated[str, typer.Argument(help="Name of the client, for logs and limits.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key may do; may be given several times.")],
    requests_per_second: Annotated[float | None, typer.Option(help="Most requests a second.")] = None,
    tokens_per_second: Annotated[float | None, typer.Option(help="Most prompt tokens a second.")] = None,
) -> None:
    """Makes an API key: shows it once, on standard error, and prints the lines for the file of NOTELLM_API_KEYS_FILE."""
    key = new_key()
    # A name with a dot would be a table in a table.
    lines = [
        f'["{name}"]',
        f'sha256 = ["{hash_key(key)}"]',
        f"scopes = [{', '.join(f'{chr(34)}{one.value}{chr(34)}' for one in dict.fromkeys(scope))}]",
    ]
    limits = {"requests_per_second": requests_per_second, "tokens_per_second": tokens_per_second}
    lines += [f"{setting} = {value:g}" for setting, value in limits.items() if value is not None]
    text = "\n".join(lines) + "\n"
    try:
        KeyRing.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    typer.echo(f"API key of {name}, shown only now: {key}", err=True)
    typer.echo("\n" + text, nl=False)
