"""`notellm-serve keygen`: makes a new API key.

    notellm-serve keygen feed --scope read >> keys.toml

The command shows the key once, on standard error. The entry for the key file, which holds only the key's hash, goes to standard
output.
"""

from typing import Annotated

import typer

from service.security.keys import KeyRing, Scope, hash_key, new_key


def keygen(
    name: Annotated[str, typer.Argument(help="Name of the client, for logs and limits.")],
    scope: Annotated[list[Scope], typer.Option(help="What the key may do. Repeat the option to give several scopes.")],
    requests_per_second: Annotated[float | None, typer.Option(help="Limit of requests per second.")] = None,
    tokens_per_second: Annotated[float | None, typer.Option(help="Limit of prompt tokens per second.")] = None,
) -> None:
    """Makes an API key: shows it once, on standard error, and prints its entry for the file of NOTELLM_API_KEYS_FILE."""
    key = new_key()
    # The name is quoted: without quotes, TOML reads a name with a dot as a nested table.
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
    typer.echo(f"API key of {name}, shown only once: {key}", err=True)
    typer.echo("\n" + text, nl=False)
