"""Settings of a page: what was asked, versions and digests, folder beside folder."""

import html
from collections.abc import Sequence

import htfjax as htf

from .folders import Folder, author_of, table_of
from .tables import short
from .words import spaced

# Of a manifest: what a run was asked for, beside its grid.
OPTIONS = ("seeds", "until_step", "record_every", "chunk_steps", "tolerance", "patience",
           "watch", "batching", "dtype", "build")  # fmt: skip


def settings_of(folder: Folder) -> dict[str, object]:
    """What was asked, by name: of the command, or of the grid."""
    if folder.config:
        hidden = ("command", "out", "versions")
        return {k: v for k, v in folder.config.items() if k not in hidden}
    for part in folder.parts:
        manifest = part.manifest
        grid = table_of(manifest.get("grid"))
        axes = {f"axis {k}": v for k, v in table_of(grid.pop("axes", {})).items()}
        return grid | axes | {k: manifest[k] for k in OPTIONS if k in manifest}
    return {}


def as_html(folders: list[Folder]) -> str:
    """Three tables, a column for each folder; rows that differ are marked."""
    about = [
        {
            "folder": str(folder.path), "command": author_of(folder),
            "state": folder.state,
        }
        for folder in folders
    ]  # fmt: skip
    asked = [settings_of(folder) for folder in folders]
    here = {"htfjax of this report": htf.__version__}
    versions = [dict(folder.versions) | here for folder in folders]
    digests = [dict(folder.digests) for folder in folders]
    names = [folder.name for folder in folders]
    parts = (
        ("Folders", about), ("Settings", asked), ("Versions", versions),
        ("Digests (SHA-256)", digests),
    )  # fmt: skip
    return "".join(_table(title, names, values) for title, values in parts)


def _table(
    title: str, names: list[str], columns: Sequence[dict[str, str] | dict[str, object]]
) -> str:
    keys = list(dict.fromkeys(key for column in columns for key in column))
    if not keys:
        return ""
    heads = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in names)
    head = f"<thead><tr><th></th>{heads}</tr></thead>" if len(names) > 1 else ""
    rows: list[str] = []
    for key in keys:
        texts = [short(column.get(key)) for column in columns]
        differ = len(set(texts)) > 1 and title not in ("Folders", "Digests (SHA-256)")
        cells = "".join(f"<td>{html.escape(text)}</td>" for text in texts)
        mark = ' class="differ"' if differ else ""
        label = key if "/" in key or "." in key else spaced(key)
        rows.append(f'<tr{mark}><th scope="row">{html.escape(label)}</th>{cells}</tr>')
    return (
        f'<section class="card settings"><header><h3>{title}</h3></header>'
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}">'
        f"<table>{head}<tbody>{''.join(rows)}</tbody></table></div></section>"
    )
