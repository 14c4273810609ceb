"""`freeze_loaded`: what is loaded stays, so that Python's garbage collector need not look through it."""

import gc


def freeze_loaded() -> None:
    """Takes everything that there is now out of the collector's sight; for a process that is about to serve.

    Half a million objects of torch and transformers stay until the end. A full collection looks at each, which holds the event loop up
    for half a second, and does not even begin before a quarter as many new ones have gathered.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # the collector learns how little is left
