"""The documentation site, which `make site` builds from `docs/`: what MkDocs does not do by itself."""
