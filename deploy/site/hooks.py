"""What MkDocs calls while it builds the site. `mkdocs.yml` names this file."""

import json

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from deploy.site.dialect import for_python_markdown
from deploy.site.links import without_links_out
from deploy.site.openapi_page import describe, write_page

OPENAPI_PAGE, OPENAPI_FILE = "openapi.md", "openapi.json"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the OpenAPI document and a page that shows it."""
    document = describe()
    files.append(File.generated(config, OPENAPI_FILE, content=json.dumps(document, indent=1)))
    files.append(File.generated(config, OPENAPI_PAGE, content=write_page(document, OPENAPI_FILE)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Writes a page as Python-Markdown reads it, without links to files that are not on the site."""
    return for_python_markdown(without_links_out(markdown, page.file.src_uri, config.repo_url))
